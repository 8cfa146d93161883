"""Which tests are slow, which start a chain or a browser, which take minutes, and in which order they are dealt out."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Their tests wait for processes of their own, some for minutes. They begin the run, each folder's files on workers of its own,
# so that the last of them is not waited for when all others are done, and few of them load the machine at once.
BEGIN_WITH = {"federation": (0, 1), "clients/node": (2,), "coordinator/engines": (3,), "docs": (3,)}

# What a test starts, by the fixtures that it uses and the folder or file that it is in.
CHAIN_FIXTURES = {"anvil", "deployment", "chain", "new_world", "lasting_world"}
SLOW_FIXTURES = {"environment", "python", "superlink", "town", "new_coordination", "launcher", "fl_process"}
SLOW_PLACES = (
    "bundle/test_http_client.py",
    "chain/test_accounts.py",  # deriving keys takes a second each, which is their point
    "chain/test_contract_agrees.py",
    "chain/test_devnet.py",
    "chain/test_json_file.py",
    "chain/test_node_key.py",
    "chain/test_outages.py",
    "chain/test_system_keyring.py",  # keystores are made slow to open
    "cli/arguments/test_overrides.py",
    "cli/commands/test_completion.py",
    "cli/commands/test_score.py",
    "clients/joining/test_cost.py",
    "clients/node",
    "coordinator/engines",
    "coordinator/gateway/test_intake.py",
    "coordinator/superlink",
    "coordinator/test_any_model.py",
    "coordinator/test_run.py",
    "deploy",
    "docs",
    "federation",
    "fuzz",
    "network",
    "report/test_live.py",
    "scoring/coalition/test_linear_layers.py",
    "scoring/test_robust.py",
    "scoring/test_rules.py",
    "test_wheel.py",
)
# Whole federations of many processes, minutes each.
LONG_FOLDERS = ("federation", "network")
LONG = "LONG_TESTS"  # variable by which `scripts/test long` asks for them


@functools.cache  # as text: thousands of tests are held against dozens of places, and paths take seconds for it
def place_of(path: Path) -> str:
    """Where a test file is below tests/."""
    return path.as_posix().removeprefix(f"{(REPOSITORY / 'tests').as_posix()}/")


def is_in(item: pytest.Item, places: Sequence[str]) -> bool:
    """Whether a test stands in one of these folders or files of tests/."""
    return f"{place_of(item.path)}/".startswith(tuple(f"{place}/" for place in places))


def mark(item: pytest.Item) -> None:
    """Mark a test by what it starts, for `scripts/check` and `pytest -m`."""
    fixtures = set(getattr(item, "fixturenames", ()))
    if fixtures & CHAIN_FIXTURES:
        item.add_marker("chain")
    if "browser" in fixtures:
        item.add_marker("browser")
    if is_in(item, SLOW_PLACES) or fixtures & SLOW_FIXTURES:
        item.add_marker("slow")
    if is_in(item, LONG_FOLDERS):
        item.add_marker("long")
    if item.get_closest_marker("long") and not os.environ.get(LONG):
        item.add_marker(pytest.mark.skip(reason="takes minutes: scripts/test long"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not read what the asked marks leave out as a whole: reading every test takes longer than the fast ones run."""
    asked = config.getoption("markexpr")
    left_out = () if " or " in asked else asked.split(" and ")
    places = (SLOW_PLACES if "not slow" in left_out else ()) + (LONG_FOLDERS if "not long" in left_out else ())
    return True if place_of(collection_path) in places else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests, and put the slow folders to the front of the contiguous parts that xdist's work stealing deals out first."""
    for item in items:
        mark(item)
    workers = int(getattr(config, "workerinput", {"workercount": 1})["workercount"])
    parts: list[list[pytest.Item]] = [[] for _ in range(workers)]
    others = list(items)
    for folder, own in BEGIN_WITH.items():
        inside = [item for item in items if is_in(item, [folder])]
        others = [item for item in others if not is_in(item, [folder])]
        for number, (_, of_a_file) in enumerate(itertools.groupby(inside, key=lambda item: place_of(item.path))):
            parts[own[number % len(own)] % workers] += of_a_file
    rest = iter(others)
    for number, part in enumerate(parts):
        dealt = sum(map(len, parts[:number]))
        part.extend(itertools.islice(rest, max(0, (len(items) - dealt) // (workers - number) - len(part))))
    items[:] = [*itertools.chain.from_iterable(parts), *rest]
