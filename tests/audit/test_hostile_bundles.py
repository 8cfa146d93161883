"""Whatever a coordinator publishes, an audit names it and goes on, and so does a watcher: no bundle makes them crash."""

import hashlib
import json
import random
import shutil

import pytest
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from fl.audit.disputes.watch import Watch
from fl.audit.task_audit import TaskAudit
from fl.bundle.files import BrokenBundle
from fl.bundle.format import Bundle
from fl.bundle.round_record import read_round
from fl.bundle.store import BundleStore
from fl.chain.record import PostedRound, TaskRecord

VALUES = [
    None, True, 0, -1, 2**200, -(2**200), 0.5, "", "0", "-1", "x", "0x", "00" * 32, "ff" * 65, str(2**128), str(-(2**127) - 1),
    "0x" + "11" * 20, [], [[]], [-1], [2**62], {}, {"a": 1}, "é", "1e5",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(lasting_world):
    """Two rounds that are on chain."""
    world = lasting_world(rounds=2)
    world.run(world.app(world.downhill))
    return world


class Posted(TaskRecord):
    """The task's record, but for a second round that names whatever was published."""

    bundle = b""

    def posted(self):
        """The rounds, with another bundle hash in the second: as if the coordinator had posted it so."""
        found = super().posted()
        second = found[2]
        header = type(second.header)(**{**vars(second.header), "bundle": self.bundle})
        return {**found, 2: PostedRound(header=header, block=second.block, transaction=second.transaction)}


def places(raw, way=()):
    """Every place in a JSON value."""
    yield way
    if isinstance(raw, dict | list):
        for key in raw if isinstance(raw, dict) else range(len(raw)):
            yield from places(raw[key], (*way, key))


def changed(raw, way, value):
    """A copy with another value in one place, or without it."""
    if not way:
        return value
    copy = dict(raw) if isinstance(raw, dict) else list(raw)
    if len(way) == 1 and value is KeyError:
        del copy[way[0]]
    else:
        copy[way[0]] = changed(copy[way[0]], way[1:], value)
    return copy


@pytest.mark.parametrize("seed", range(3))
def test_no_round_json_crashes_an_audit_or_a_watcher(world, tmp_path, seed):
    rng = random.Random(seed)
    bundles = shutil.copytree(world.folder / "bundles", tmp_path / "bundles")
    folder = bundles / "round-0002"
    honest = json.loads((folder / "round.json").read_text())
    sums = json.loads((folder / "manifest.json").read_text())
    ways = [way for way in places(honest) if way]
    record = Posted(world.invite)
    enrolments = record.enrolments()
    record.enrolments = lambda: enrolments
    audit = TaskAudit(
        record=record,
        source=BundleStore.at(str(bundles)),
        spec=world.spec,
        game=world.game(),
        account=world.addresses[0],
    )
    for _ in range(60):
        raw = changed(honest, rng.choice(ways), rng.choice([*VALUES, KeyError]))
        text = json.dumps(raw).encode()
        if json.loads(text) == honest:
            continue
        (folder / "round.json").write_bytes(text)
        manifest = json.dumps({**sums, "round.json": hashlib.sha256(text).hexdigest()}).encode()
        (folder / "manifest.json").write_bytes(manifest)
        record.bundle = hashlib.sha256(manifest).digest()
        first, second = audit.rounds()
        assert not first.differences
        assert second.differences, raw
        look = Watch(record, audit.source).look()
        assert 1 in look.fine
        assert 2 not in look.fine or raw.get("leaves") == honest["leaves"], raw


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("round",), "2"),
        (("round",), True),
        (("shapes", 0), [-1]),
        (("shapes", 0), [2**62]),
        (("shapes", 0), ["3"]),
        (("updates", 0, "account"), "nobody"),
        (("updates", 0, "root"), "00"),
        (("updates", 0, "signature"), "00"),
        (("updates", 0, "signature"), "00" * 66),
        (("updates", 0, "selected"), 1),
        (("updates", 0, "stake"), "-1"),
        (("updates", 0, "weight"), str(2**64)),
    ],
)
def test_what_no_round_holds_is_a_broken_bundle(world, way, value):
    honest = json.loads((world.reports[1].bundle / "round.json").read_text())
    with pytest.raises(BrokenBundle, match="round.json cannot be read"):
        read_round(json.dumps(changed(honest, way, value)).encode(), where="here")


@pytest.fixture
def published(world, tmp_path):
    """Two rounds whose second one says what a test writes; the posted header names its manifest, whatever that is."""
    bundles = shutil.copytree(world.folder / "bundles", tmp_path / "bundles")
    record, folder = Posted(world.invite), bundles / "round-0002"

    def audit(*, manifest):
        (folder / "manifest.json").write_bytes(manifest)
        record.bundle = hashlib.sha256(manifest).digest()
        source = BundleStore.at(str(bundles))
        return TaskAudit(record=record, source=source, spec=world.spec, game=world.game()), folder

    return audit


@pytest.mark.parametrize("name", ["base.safetensors", "next.safetensors", "direction.blocks"])
def test_a_file_that_no_manifest_names_is_a_difference(world, published, name):
    sums = json.loads((world.reports[1].bundle / "manifest.json").read_text())
    audit, _ = published(manifest=json.dumps({key: told for key, told in sums.items() if key != name}).encode())
    first, second = audit.rounds()
    assert not first.differences
    assert f"{name} is not in the manifest" in second.differences


@pytest.mark.parametrize("name", ["manifest.json", "round.json"])
def test_json_that_exhausts_the_stack_is_a_broken_bundle(world, published, name):
    deep = b"[" * 100_000
    sums = json.loads((world.reports[1].bundle / "manifest.json").read_text())
    sums["round.json"] = hashlib.sha256(deep).hexdigest()
    audit, folder = published(manifest=deep if name == "manifest.json" else json.dumps(sums).encode())
    if name == "round.json":
        (folder / name).write_bytes(deep)
    _, second = audit.rounds()
    assert any(f"{name} cannot be read" in difference for difference in second.differences)
    look = Watch(audit.record, audit.source).look()
    assert look.fine == (1,)
    told = (*look.unread, *look.unchecked.get(2, ()))
    assert any(f"{name} cannot be read" in line for line in told)


def test_a_model_of_truth_values_is_a_difference(world, published):
    sums = json.loads((world.reports[1].bundle / "manifest.json").read_text())
    audit, folder = published(manifest=json.dumps(sums).encode())
    names = load_safetensors((folder / "base.safetensors").read_bytes())
    (folder / "base.safetensors").write_bytes(save_safetensors({key: array > 0 for key, array in names.items()}))
    (folder.parent / "round-0001" / "next.safetensors").write_bytes((folder / "base.safetensors").read_bytes())
    first, second = audit.rounds()
    assert any(difference.startswith("next.safetensors has sha256") for difference in first.differences)
    assert any(difference.startswith("base.safetensors has sha256") for difference in second.differences)


def test_the_untouched_round_reads(world):
    assert Bundle.read(world.reports[1].bundle)[0].round == 2


class Watched:
    """A store that notes what is read of it."""

    def __init__(self, store):
        self.store, self.where, self.names = store, store.where, []

    def bundle(self, number):
        """The files of a round."""
        files, names = self.store.bundle(number), self.names

        class Files:
            where = files.where

            def read(self, name):
                names.append((number, name))
                return files.read(name)

        return Files()


def test_an_audit_reads_nothing_that_a_manifest_names_before_it_is_the_posted_one(world, tmp_path):
    bundles = shutil.copytree(world.folder / "bundles", tmp_path / "bundles")
    path = bundles / "round-0002" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "secrets.txt": "00" * 32}))
    source = Watched(BundleStore.at(str(bundles)))
    first, second = TaskAudit(
        record=TaskRecord(world.invite), source=source, spec=world.spec, game=world.game()
    ).rounds()
    assert not first.differences
    # What every round has by name, and nothing else.
    assert [name for number, name in source.names if number == 2] == ["header.json", "manifest.json", "round.json"]
    (told,) = second.differences
    assert told.startswith("manifest.json has sha256 ")
    assert "scores, direction and next model (the manifest.json at hand is not the posted one)" in second.unchecked


def test_an_audit_reads_only_the_rounds_own_files_of_a_posted_manifest(world, published):
    sums = json.loads((world.reports[1].bundle / "manifest.json").read_text())
    more = {f"more-{number}.bin": "00" * 32 for number in range(500)}
    audit, _ = published(manifest=json.dumps({**sums, **more}).encode())
    source = Watched(audit.source)
    _, second = TaskAudit(record=audit.record, source=source, spec=audit.spec, game=audit.game).rounds()
    assert not [name for _, name in source.names if name.startswith("more")]
    assert "manifest.json names more-0.bin, which is not a file of the round, and 499 more" in second.differences
