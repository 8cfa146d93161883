"""The house of the design: imports point downwards, and every module is named for its idea."""

import ast
from itertools import pairwise
from pathlib import Path

import pytest
from marks import BEGIN_WITH
from sources import imported, parsed

import fl

REPOSITORY = Path(__file__).resolve().parents[1]
# Top to bottom. A floor imports from itself and from those below it.
FLOORS = [
    "cli",
    "dashboard",
    "report",
    "coordinator",
    "audit",
    "bundle",
    "scoring",
    "aggregation",
    "task",
    "privacy",
    "protocol",
    "chain",
    "rewards",
    "spool",
    "codec",
    "bounded_http",
    "foreign",
    "errors",
    "machine_errors",
    "plain_text",
]
FL = sorted((REPOSITORY / "fl").rglob("*.py"))
CLIENTS = sorted((REPOSITORY / "clients").rglob("*.py"))


def floor_of(path):
    """The floor that a module of fl/ is on."""
    return path.relative_to(REPOSITORY / "fl").parts[0].removesuffix(".py")


def name_of(path):
    """For the list of failing tests."""
    return str(path.relative_to(REPOSITORY))


INSIDE = [path for path in FL if path != REPOSITORY / "fl" / "__init__.py"]


@pytest.mark.parametrize("path", INSIDE, ids=name_of)
def test_imports_point_downwards(path):
    own = FLOORS.index(floor_of(path))
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "fl" and len(parts) > 1 and parts[1] in FLOORS:
            assert FLOORS.index(parts[1]) >= own, f"{name} is above {floor_of(path)}"


def test_every_module_is_on_a_floor():
    assert {floor_of(path) for path in INSIDE} == set(FLOORS)


# The steps of a coordinator's work; a module of the floor itself is where they meet.
COORDINATOR = {
    "config": "what a run is told",
    "run": "a whole federation on one machine",
    "serve": "a coordinator of real machines",
    "serve_again": "what it left, for those who come later",
    "wrap": "a strategy of somebody's own",
    "result": "what a run comes to",
    "training": "its rounds",
    "service": "the steps of a coordinator of real machines",
    "round": "collect, settle, sign, post",
    "quorum": "who signs",
    "lifecycle": "from opening to closing",
    "engines": "what carries the messages",
    "local_grid": "one of them, where scripts of users look for it",
    "superlink": "Flower's server",
    "gateway": "what the world sees",
}


def test_the_coordinator_has_a_room_for_each_step():
    found = {path.name.removesuffix(".py") for path in (REPOSITORY / "fl" / "coordinator").iterdir()}
    assert found - {"__init__", "__pycache__"} == set(COORDINATOR)


def test_the_tests_of_a_room_stand_in_a_room_of_its_name():
    tests = REPOSITORY / "tests"
    for room in {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")}:
        if room.parts and room.parts[0] in FLOORS:
            assert (REPOSITORY / "fl" / room).is_dir(), f"tests/{room} tests nothing of that name"
        elif room.parts and room.parts[0] == "clients":
            assert (REPOSITORY / room).is_dir(), f"tests/{room} tests nothing of that name"


def test_the_slow_tests_that_begin_the_run_are_where_they_are_said_to_be():
    for folder in BEGIN_WITH:
        assert list((REPOSITORY / "tests" / folder).glob("test_*.py")), f"no tests are in tests/{folder}"


def public_functions(node):
    """Those of a module and of its public classes."""
    for child in getattr(node, "body", []):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public_functions(child)
        elif isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
            yield child


def test_public_functions_of_three_or_more_parameters_explain_them():
    for path in (*INSIDE, *CLIENTS):
        for function in public_functions(parsed(path)):
            given = function.args
            names = {each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)} - {"self", "cls"}
            words = ast.get_docstring(function) or ""
            if len(names) >= 3 and not words.startswith("See `"):
                assert "Args:" in words, f"{name_of(path)}, line {function.lineno}: {function.name} has no Args"


def test_a_room_has_more_than_one_module():
    for room in {path.parent for path in (*FL, *CLIENTS)}:
        inside = [
            path for path in room.iterdir() if path.name != "__init__.py" and (path.suffix == ".py" or path.is_dir())
        ]
        assert len([path for path in inside if path.name != "__pycache__"]) != 1, (
            f"{room} holds one module; a folder with one module is a file"
        )


def test_there_is_no_circle_of_modules():
    modules = {".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path for path in (*INSIDE, *CLIENTS)}
    needs = {
        name: {
            module
            for found in imported(path)
            for module in (found, found.rpartition(".")[0])  # a module, or a name in one
            if module in modules and module != name
        }
        for name, path in modules.items()
    }
    while leaves := [name for name, below in needs.items() if not below & needs.keys()]:
        for name in leaves:
            del needs[name]
    assert not needs, f"these import each other: {sorted(needs)}"


def outside(floor):
    """Packages from elsewhere that a floor imports."""
    return {name.split(".")[0] for path in INSIDE if floor_of(path) == floor for name in imported(path)}


def test_scoring_never_sees_the_chain():
    assert not outside("scoring") & {"web3", "eth_account", "eth_utils", "solcx"}


def test_the_chain_never_sees_learning():
    assert not outside("chain") & {"torch", "flwr", "sklearn", "numpy"}


@pytest.mark.parametrize("floor", ["codec", "rewards"])
def test_pure_arithmetic_touches_no_network_file_or_clock(floor):
    assert not outside(floor) & {
        "torch",
        "flwr",
        "web3",
        "requests",
        "pathlib",
        "os",
        "io",
        "time",
        "random",
        "logging",
    }


def test_the_library_never_sees_the_node_but_for_the_commands_that_run_it():
    for path in FL:
        if floor_of(path) == "cli":
            continue
        assert not any(name.split(".")[0] == "clients" for name in imported(path)), name_of(path)


def test_the_node_sees_neither_the_coordinators_work_nor_the_report():
    allowed = {
        "audit",
        "bounded_http",
        "bundle",
        "chain",
        "codec",
        "errors",
        "foreign",
        "machine_errors",
        "plain_text",
        "privacy",
        "protocol",
        "rewards",
        "scoring.direction",  # a client's trial, on rows of its own
        "scoring.game",
        "task",
    }
    for path in CLIENTS:
        for name in imported(path):
            if name.startswith("fl."):
                inner = name.removeprefix("fl.")
                assert any(f"{inner}.".startswith(f"{module}.") for module in allowed), (
                    f"{name_of(path)} imports {name}"
                )


def test_no_module_is_named_for_nothing():
    for path in (*FL, *CLIENTS, *(REPOSITORY / "tests").rglob("*.py")):
        words = set(path.stem.split("_")) | set(path.parent.name.split("_"))
        assert not words & {"utils", "util", "helpers", "helper", "manager", "common", "misc"}, name_of(path)


def test_the_library_prints_on_the_command_line_only():
    for path in FL:
        if floor_of(path) == "cli" or path.name == "__init__.py":
            continue
        if "print(" in path.read_text():
            calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
            assert not any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls), name_of(path)


def test_the_face_is_what_it_says():
    assert fl.__all__ == sorted(fl.__all__)
    for name in fl.__all__:
        assert getattr(fl, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'fl' has no attribute 'nothing'"):
        fl.nothing  # noqa: B018


def test_the_floors_of_this_test_are_those_that_contributors_read():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    places = [text.index(f"`fl/{floor}`") for floor in FLOORS if f"`fl/{floor}`" in text]
    assert len(places) >= len(FLOORS) - 2
    assert all(before < after for before, after in pairwise(places))
