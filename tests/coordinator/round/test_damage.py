"""What a coordinator keeps of a round in hand, damaged on the disk: set aside by name and asked for again, and the round goes on.

Bytes are flipped one at a time, and the coordinator started again each time: nothing is lost, nothing is done twice. The suite
tries some of them; `LONG_TESTS=1 pytest tests/coordinator/round/test_damage.py` tries every byte of every file.
"""

import json
import os
import random
import shutil

import pytest
from flwr.app import ArrayRecord

from fl.bundle.format import Bundle, read_header
from fl.chain.json_file import seal, unseal

FLIPS = None if os.environ.get("LONG_TESTS") else 1  # of each kind of file


class Killed(BaseException):
    """Ends a run as a signal would: nothing catches it."""


def start(world, app, *, grid=None, **options):
    """One life of a coordinator: a new strategy over the same folder."""
    initial = ArrayRecord(world.spec.build_model().state_dict())
    return world.strategy(**options).start(grid or world.grid(app), initial)


def killed_at(round_number, phase):
    """A phase hook that ends the coordinator's life as that step begins."""

    def hook(number, step):
        if (number, step) == (round_number, phase):
            raise Killed

    return hook


def flip(path, place):
    """Turn one bit of one byte over."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << place % 8
    path.write_bytes(data)


def places(path, *, seed):
    """The bytes of a file that are flipped, in turn."""
    size = path.stat().st_size
    return range(size) if FLIPS is None else sorted(random.Random(seed).sample(range(size), min(FLIPS, size)))


class Scene:
    """A coordinator that was killed in a round, its chain and its folder, to go back to after each damage."""

    def __init__(self, world, devnet, *, phase):
        self.world, self.ask, self.trained = world, devnet, []

        def moves(number, round_number, base):
            self.trained.append((round_number, number))
            return world.downhill(number, round_number, base)

        self.app = world.app(moves)
        self.grid = world.grid(self.app)
        with pytest.raises(Killed):
            start(world, self.app, grid=self.grid, on_phase=killed_at(2, phase))
        self.asked = len(self.trained)
        self.folder = world.folder / "bundles"
        self.kept = shutil.copytree(self.folder, world.folder / "kept")
        self.snapshot = devnet(world.w3, "evm_snapshot")

    def again(self):
        """Start the coordinator over what is in its folder now; returns what everybody has earned at the end."""
        self.world.reports.clear()
        start(self.world, self.app, grid=self.grid)
        state = self.world.task.state()
        assert state.posted == 2
        for number in (1, 2):
            bundle, bundle_hash = Bundle.read(self.folder / f"round-{number:04d}")
            header, signatures = read_header(self.folder / f"round-{number:04d}")
            assert header == self.world.task.posting(number).header
            assert header.bundle == bundle_hash
            assert self.world.task.check_quorum(header, signatures)
        return [leaf.cumulative for leaf in bundle.leaves]

    def back(self):
        """Chain and folder as they were when the coordinator was killed."""
        assert self.ask(self.world.w3, "evm_revert", self.snapshot)
        self.snapshot = self.ask(self.world.w3, "evm_snapshot")
        shutil.rmtree(self.folder)
        shutil.copytree(self.kept, self.folder)
        del self.trained[self.asked :]


@pytest.fixture(params=["scoring", "posting"] if FLIPS else ["scoring", "evaluating", "posting"])
def scene(new_world, devnet, request):
    """Killed in the second round, when it was collected, scored, or signed."""
    return Scene(new_world(), devnet, phase=request.param)


def test_a_flipped_byte_loses_nothing_and_repeats_nothing(scene):
    expected = scene.again()
    assert len(scene.trained) == scene.asked  # what is whole is asked of nobody again
    kinds = {}
    scene.back()
    files = sorted(path.relative_to(scene.folder) for path in scene.folder.rglob("*") if path.is_file())
    for name in files:
        # Of the first round, which is on chain, what has a copy is made good; the rest is in `test_resume`.
        if name.parts[0] == "round-0001" and name.name != "header.json":
            continue
        kinds.setdefault((name.parts[0], name.suffix, name.stem if name.suffix == ".json" else ""), name)
    assert len(kinds) > 2
    for seed, name in enumerate(files if FLIPS is None else kinds.values()):
        if name.parts[0] == "round-0001" and name.name != "header.json":
            continue
        for place in places(scene.folder / name, seed=seed):
            flip(scene.folder / name, place)
            assert scene.again() == expected, f"byte {place} of {name}"
            scene.back()


def test_only_the_client_whose_update_is_damaged_is_asked_again(new_world, caplog):
    world = new_world(rounds=1)
    trained = []

    def moves(number, round_number, base):
        trained.append(number)
        return world.downhill(number, round_number, base)

    app = world.app(moves)
    grid = world.grid(app)
    with pytest.raises(Killed):
        start(world, app, grid=grid, on_phase=killed_at(1, "scoring"))
    assert sorted(trained) == [0, 1, 2]
    journal = world.folder / "bundles" / "journal" / "round-0001"
    flip(journal / f"{world.addresses[1]}.blocks", 100)
    # A node that remembers what it signed answers with that; these remember nothing, and train again.
    start(world, app, grid=world.grid(app))
    assert sorted(trained) == [0, 1, 1, 2]
    assert f"round 1: the update of {world.addresses[1]} in the journal is damaged (" in caplog.text
    assert sorted(world.reports[0].scores) == sorted(world.addresses)


def test_a_journal_that_somebody_wrote_is_not_believed(new_world, caplog):
    """Roots, signatures and order are checked, whatever the file's seal says."""
    world = new_world(rounds=1)
    app = world.app(world.downhill)
    grid = world.grid(app)
    with pytest.raises(Killed):
        start(world, app, grid=grid, on_phase=killed_at(1, "scoring"))
    path = world.folder / "bundles" / "journal" / "round-0001" / "collected.json"
    index = unseal(json.loads(path.read_text()))
    first, second, third = index["updates"]
    first["signature"] = second["signature"]
    third["stake"] = str(int(third["stake"]) * 9)
    path.write_text(json.dumps(seal({**index, "updates": [third, second, second, first]})))
    start(world, app, grid=grid)
    assert world.task.state().posted == 1
    assert sorted(world.reports[0].scores) == sorted(world.addresses)
    assert caplog.text.count("in the journal is damaged") == 3
