"""Whatever a coordinator publishes, an audit names it and goes on: no bundle makes it crash."""

import hashlib
import json
import random
import shutil

import pytest

from fl.audit.bundle import BrokenBundle, Bundle, read_round
from fl.audit.store import BundleStore
from fl.audit.task_audit import TaskAudit
from fl.chain.record import PostedRound, TaskRecord

VALUES = [
    None, True, 0, -1, 2**200, -(2**200), 0.5, "", "0", "-1", "x", "0x", "00" * 32, "ff" * 65, str(2**128), str(-(2**127) - 1),
    "0x" + "11" * 20, [], [[]], [-1], [2**62], {}, {"a": 1}, "é", "1e5",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(lasting_world):
    """Two rounds that are on chain."""
    one = lasting_world(rounds=2)
    one.run(one.app(one.downhill))
    return one


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
def test_no_round_json_crashes_an_audit(world, tmp_path, seed):
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
        (("updates", 0, "selected"), 1),
        (("updates", 0, "stake"), "-1"),
        (("updates", 0, "weight"), str(2**64)),
    ],
)
def test_what_no_round_holds_is_a_broken_bundle(world, way, value):
    honest = json.loads((world.reports[1].bundle / "round.json").read_text())
    with pytest.raises(BrokenBundle, match="round.json cannot be read"):
        read_round(json.dumps(changed(honest, way, value)).encode(), where="here")


def test_the_untouched_round_reads(world):
    assert Bundle.read(world.reports[1].bundle)[0].round == 2
