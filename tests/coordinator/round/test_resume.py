"""A coordinator that is killed at any step of a round goes on where it was: no round lost, none paid twice, nobody asked twice."""

import json
import os
import shutil

import pytest
from chain.mempool import blocks_come_again, dying_after_sending
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAvg

from fl.bundle.format import read_header
from fl.codec import model_hash
from fl.coordinator.lifecycle.retention import RetentionPolicy
from fl.coordinator.round.collect import Question
from fl.coordinator.round.journal import Journal, NotKept
from fl.coordinator.round.posting import post_round
from fl.coordinator.round.resume import LostRound
from fl.task.strategies import build_strategy

STEPS = [
    "training",
    "checking",
    "scoring",
    "aggregating",
    "public step",
    "settling",
    "bundling",
    "evaluating",
    "posting",
    "reporting",
]


class Killed(BaseException):
    """Ends a run as a signal would: nothing catches it."""


def counted(world):
    """An app, and how often each round was trained."""
    trained = []

    def moves(number, round_number, base):
        trained.append((round_number, number))
        return world.downhill(number, round_number, base)

    return world.app(moves), trained


def start(world, app, *, inner=None, grid=None, **options):
    """One life of a coordinator: a new strategy over the same folder."""
    initial = ArrayRecord(world.spec.build_model().state_dict())
    return world.strategy(inner, **options).start(grid or world.grid(app), initial)


def killed_at(round_number, phase):
    """A phase hook that ends the coordinator's life as that step begins."""

    def hook(number, step):
        if (number, step) == (round_number, phase):
            raise Killed

    return hook


def totals(world):
    """What everybody has earned, by the last round's leaves."""
    return [leaf.cumulative for leaf in world.reports[-1].leaves]


def built(spec):
    """A new strategy, as a coordinator that starts again has it."""
    return build_strategy(spec.strategy, spec.strategy_arguments)


@pytest.fixture(scope="module")
def expected(lasting_world):
    """What everybody earns in two rounds when nobody is killed."""
    world = lasting_world()
    start(world, world.app(world.downhill))
    return totals(world)


@pytest.mark.parametrize("phase", STEPS)
def test_a_kill_at_any_step_loses_and_repeats_nothing(new_world, expected, phase):
    world = new_world()
    app, trained = counted(world)
    grid = world.grid(app)
    with pytest.raises(Killed):
        start(world, app, grid=grid, on_phase=killed_at(2, phase))
    start(world, app, grid=grid)

    assert totals(world) == expected
    assert [report.round for report in world.reports] == [1, 2]
    assert world.task.state().posted == 2
    assert world.task.state().cumulative == sum(expected)
    # What was collected is never asked for again; a client that is asked again answers without training again.
    assert sorted(trained) == [(number, client) for number in (1, 2) for client in range(3)]
    assert sorted(path.name for path in (world.folder / "bundles").iterdir()) == ["round-0001", "round-0002"]


def test_a_post_that_was_sent_and_not_seen_is_found_and_reported(new_world, monkeypatch):
    world = new_world()
    app, _ = counted(world)
    grid, strategy = world.grid(app), world.strategy()

    def sent_and_killed(task, header, *, signatures):
        post_round(task, header, signatures=signatures)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("fl.coordinator.round.strategy.post_round", sent_and_killed)
        with pytest.raises(Killed):
            strategy.start(grid, ArrayRecord(world.spec.build_model().state_dict()))
    assert world.task.state().posted == 1
    assert world.reports == []

    start(world, app, grid=grid)
    assert [report.round for report in world.reports] == [1, 2]
    assert world.reports[0].transaction == world.task.posting(1).sent.hash
    assert world.reports[0].gas > 50_000
    assert world.task.state().posted == 2


@pytest.fixture(scope="module")
def adam(lasting_world, spec):
    """A server optimizer, which remembers, and the models that it makes when nobody is killed."""
    arguments = {"eta": 0.1, "eta_l": 0.1, "tau": 0.1}
    told = spec(strategy="fedadam", strategy_arguments=arguments)
    world = lasting_world(spec=told)
    start(world, world.app(world.downhill), inner=built(told))
    return told, [report.header.next_model for report in world.reports]


@pytest.mark.parametrize("phase", ["training", "scoring", "evaluating"])
def test_a_server_optimizers_memory_is_rebuilt(new_world, adam, phase):
    told, expected = adam
    world = new_world(spec=told)
    app = world.app(world.downhill)
    grid = world.grid(app)
    with pytest.raises(Killed):
        start(world, app, inner=built(told), grid=grid, on_phase=killed_at(2, phase))
    start(world, app, inner=built(told), grid=grid)
    assert [report.header.next_model for report in world.reports] == expected


def test_krum_goes_on_too(new_world, spec):
    world = new_world(spec=spec(strategy="krum", strategy_arguments={"num_malicious_nodes": 0}))

    app = world.app(world.downhill)
    grid = world.grid(app)
    with pytest.raises(Killed):
        start(world, app, inner=built(world.spec), grid=grid, on_phase=killed_at(2, "evaluating"))
    start(world, app, inner=built(world.spec), grid=grid)
    assert world.reports[-1].left_out


@pytest.mark.parametrize("phase", ["training", "evaluating", "pruned"])
def test_rounds_whose_models_were_dropped_do_not_stop_a_new_start(new_world, phase):
    world = new_world(rounds=5)
    app, trained = counted(world)
    grid = world.grid(app)
    policy = RetentionPolicy(world.folder / "bundles", archive=None, keep=1, spec=world.spec)

    def kept(report):
        world.reports.append(report)
        policy.after_round()
        if (report.round, phase) == (4, "pruned"):  # reported, and not forgotten yet
            world.reports.pop()
            raise Killed

    with pytest.raises(Killed):
        start(world, app, grid=grid, on_phase=killed_at(5, phase), on_round=kept)
    assert not (world.folder / "bundles" / "round-0001" / "next.safetensors").exists()
    phase = "over"
    start(world, app, grid=grid, on_round=kept)
    assert [report.round for report in world.reports] == [1, 2, 3, 4, 5]
    assert len(trained) == 15
    assert all(set(report.receipts) == set(world.addresses) for report in world.reports)


def test_signatures_that_were_gathered_are_not_asked_for_again(new_world):
    world = new_world(rounds=1)
    app = world.app(world.downhill)
    grid = world.grid(app)
    with pytest.raises(Killed):
        start(world, app, grid=grid, on_phase=killed_at(1, "posting"))
    before = read_header(world.folder / "bundles" / "round-0001")

    class Deaf:
        addresses = frozenset(signer.address for signer in world.evaluators)

        def sign(self, folder, header, *, view):
            raise AssertionError("nobody should be asked")

    start(world, app, grid=grid, quorum=Deaf())
    assert read_header(world.folder / "bundles" / "round-0001") == before


def test_receipts_of_before_reach_the_clients(new_world):
    world = new_world(rounds=2)
    asked = []

    def moves(number, round_number, base):
        return world.downhill(number, round_number, base)

    app = world.app(moves)
    grid = world.grid(app)
    with pytest.raises(Killed):
        start(world, app, grid=grid, on_phase=killed_at(2, "training"))
    ask = grid.send_and_receive

    def noting(messages, **options):
        asked.extend(messages := list(messages))
        return ask(messages, **options)

    grid.send_and_receive = noting
    strategy = world.strategy()
    for number in range(3):
        strategy.nodes.note_sender(number + 2, world.clients[number].address)
    strategy.start(grid, ArrayRecord(world.spec.build_model().state_dict()))
    assert {message.content["fairshare"]["receipt-round"] for message in asked} == {1}


@pytest.mark.parametrize("phase", ["checking", "bundling"])
def test_a_full_disk_is_named_and_loses_nothing(new_world, no_room, phase):
    world = new_world()
    app, trained = counted(world)
    grid = world.grid(app)

    def fills_up(number, step):
        if (number, step) == (1, phase):
            no_room(True)

    with pytest.raises(NotKept, match=r"round 1 cannot be written to .*round-0001 \(File too large\); make room there"):
        start(world, app, grid=grid, on_phase=fills_up)
    no_room(False)
    assert not list((world.folder / "bundles").rglob("*.partial"))
    start(world, app, grid=grid)
    assert [report.round for report in world.reports] == [1, 2]
    assert len(trained) == 6


def test_a_post_that_is_in_no_block_yet_is_waited_for(new_world):
    world = new_world(rounds=1)
    app, _ = counted(world)
    grid = world.grid(app)
    with dying_after_sending(world.w3, "post"):
        start(world, app, grid=grid)
    assert world.task.state().posted == 0
    with blocks_come_again(world.w3):
        start(world, app, grid=grid)
    assert [report.transaction for report in world.reports] == [world.task.posting(1).sent.hash]


# ---- what cannot be taken up -----------------------------------------------------------------------------------------


def test_a_round_on_chain_without_its_bundle_is_refused(new_world):
    world = new_world()
    app = world.app(world.downhill)
    grid = world.grid(app)
    with pytest.raises(Killed):
        start(world, app, grid=grid, on_phase=killed_at(2, "training"))
    shutil.rmtree(world.folder / "bundles")
    with pytest.raises(
        LostRound, match="round 1 is on chain and its bundle is not at .*round-0001; go on in the folder"
    ):
        start(world, app, grid=grid)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (
            b"cut",
            r"its bundle .*round-0001 is damaged: next\.safetensors has sha256 \w+, the manifest says \w+; go on in",
        ),
        (None, r"its bundle .*round-0001 is damaged: next\.safetensors cannot be read \(FileNotFoundError\); go on in"),
    ],
)
def test_the_last_model_is_read_whole_or_not_at_all(new_world, damage, problem):
    world = new_world()
    app = world.app(world.downhill)
    grid = world.grid(app)
    with pytest.raises(Killed):
        start(world, app, grid=grid, on_phase=killed_at(2, "training"))
    model = world.folder / "bundles" / "round-0001" / "next.safetensors"
    model.write_bytes(damage) if damage else model.unlink()
    with pytest.raises(LostRound, match=problem):
        start(world, app, grid=grid)


def test_a_base_that_is_not_the_model_before_is_refused(new_world):
    world = new_world()
    app = world.app(world.downhill)
    grid = world.grid(app)
    with pytest.raises(Killed):
        start(world, app, grid=grid, on_phase=killed_at(2, "evaluating"))
    first, second = (world.folder / "bundles" / f"round-000{number}" for number in (1, 2))
    (first / "next.safetensors").unlink()
    shutil.copyfile(second / "next.safetensors", second / "base.safetensors")
    sums = json.loads((second / "manifest.json").read_text())
    sums["base.safetensors"] = sums["next.safetensors"]
    (second / "manifest.json").write_text(json.dumps(sums))
    with pytest.raises(LostRound, match="round 1 is on chain and the bundle at .*round-0002 has another model"):
        start(world, app, grid=grid)


def test_a_header_that_was_damaged_after_its_post_is_written_again_from_the_chain(new_world, caplog):
    world = new_world()
    app = world.app(world.downhill)
    grid = world.grid(app)
    with pytest.raises(Killed):
        start(world, app, grid=grid, on_phase=killed_at(2, "training"))
    path = world.folder / "bundles" / "round-0001" / "header.json"
    raw = json.loads(path.read_text())
    raw["header"]["price"] = "1"
    path.write_text(json.dumps(raw))
    start(world, app, grid=grid)
    header, signatures = read_header(path.parent)
    assert header == world.task.posting(1).header
    assert world.task.check_quorum(header, signatures)  # which came from the transaction
    assert "round 1: header.json is not the posted one; it is written again as it stands on chain" in caplog.text


def test_another_bundle_than_the_posted_one_is_refused(new_world):
    world = new_world()
    app = world.app(world.downhill)
    grid = world.grid(app)
    with pytest.raises(Killed):
        start(world, app, grid=grid, on_phase=killed_at(2, "training"))
    folder = world.folder / "bundles" / "round-0001"
    (folder / "header.json").unlink()
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(LostRound, match="round 1 is on chain and the bundle at .* has another header"):
        start(world, app, grid=grid)


def test_a_kill_while_a_round_is_forgotten_stops_no_new_start(new_world, monkeypatch):
    world = new_world()
    app, trained = counted(world)
    grid = world.grid(app)
    unlink, gone = os.unlink, []

    def killed_after_one(path, **where):
        if gone:
            raise Killed
        gone.append(path)
        unlink(path, **where)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", killed_after_one)
        with pytest.raises(Killed):
            start(world, app, grid=grid)
    assert gone
    start(world, app, grid=grid)
    assert [report.round for report in world.reports] == [1, 2]
    assert len(trained) == 6
    assert sorted(path.name for path in (world.folder / "bundles").iterdir()) == ["round-0001", "round-0002"]


def test_a_damaged_journal_of_a_round_on_chain_is_not_missed(new_world, caplog):
    world = new_world()
    app = world.app(world.downhill)
    grid = world.grid(app)
    with pytest.raises(Killed):
        start(world, app, grid=grid, on_phase=killed_at(2, "reporting"))
    (world.folder / "bundles" / "journal" / "round-0002" / "collected.json").unlink()
    start(world, app, grid=grid)
    assert world.task.state().posted == 2
    assert "round 2: the journal is damaged (is not there); it is now " in caplog.text
    assert [path.name for path in (world.folder / "bundles" / "journal").iterdir()] == ["round-0002.damaged-1"]


def test_a_journal_reads_back_what_was_collected(new_world):
    world = new_world(rounds=1)
    app = world.app(
        lambda number, round_number, base: base * float("nan") if number == 0 else world.downhill(number, 1, base)
    )
    with pytest.raises(Killed):
        start(world, app, on_phase=killed_at(1, "scoring"), inner=FedAvg(fraction_evaluate=0.0))
    question = Question(
        task_id=world.task.task_id,
        round=1,
        base_model=model_hash(world.base),
        size=len(world.base),
        enrolled=world.task.enrolments(),
        domain=world.task.domain,
    )
    found = Journal(world.folder / "bundles").collected(1, question)
    updates, refusals = found.updates, found.refusals
    assert not found.lost
    assert [update.account for update in updates] == sorted(world.addresses[1:], key=lambda account: int(account, 16))
    assert updates[0].metrics == {"num-examples": 1, "train-loss": 1.0}
    assert "the node failed" in refusals[0].reason
