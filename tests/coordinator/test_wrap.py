"""An ordinary Flower ServerApp and ClientApp, turned into a paid pair by one call and one mod."""

import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAdam, FedAvg, FedXgbBagging, MultiKrum
from torch import nn

from clients import sign_updates
from fl import paying
from fl.aggregation.selection import UnscorableStrategy
from fl.audit.disputes import proofs
from fl.audit.disputes.proofs import Published
from fl.bundle.format import Bundle
from fl.chain.deployment import BadDeployment, Deployment
from fl.chain.invite import Invite
from fl.chain.membership import join
from fl.chain.paid_task import TooFewClients
from fl.codec import Blocks
from fl.coordinator.engines.local import LocalGrid
from fl.coordinator.lifecycle import refuter
from fl.coordinator.lifecycle.close import claim_for_all, close_and_return_stakes
from fl.coordinator.round.resume import LostRound
from fl.coordinator.round.settings import RoundHooks
from fl.errors import ConfigError, FairshareError

TOKENS = 10**18
ROUNDS, FIRST_CLIENT = 2, 5


class Net(nn.Module):
    """A user's own model, with batch statistics."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        return self.last(self.norm(x))


def seeded_net():
    """The same weights each time."""
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def folder(chain, tmp_path, monkeypatch):
    """Where the user's app runs: the deployment file is there, as `fl deploy` writes it."""
    chain.write(tmp_path / "deployment.json")
    monkeypatch.chdir(tmp_path)
    _, _, token = chain.connect()
    return tmp_path, token


@pytest.fixture
def settings(rows, folder, account):
    """What `paying` is told; the sponsor holds its budget."""
    _, token = folder
    token.mint(account(0).address, 1000 * TOKENS, account=account(0))
    return {
        "loss": nn.CrossEntropyLoss(),
        "validation": (rows.features, rows.labels),
        "clients": 2,
        "rounds": ROUNDS,
        "budget": "100",
        "enrolment_s": 0,
    }


def enrol(folder, token, account, *, invite="invite.json", stakes=(TOKENS, TOKENS)):
    """Both clients accept the invite that is there."""
    invite = Invite.read(folder / invite)
    for number, stake in enumerate(stakes):
        member = account(FIRST_CLIENT + number)
        token.mint(member.address, stake, account=account(0))
        join(invite, account=member, stake=stake, node_key=b"", dataset=bytes(32))
    return invite


def server_app(strategy_of):
    """The README's server, whose strategy is made by the test."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        model = seeded_net()
        strategy = strategy_of(model)
        app.result = strategy.start(grid=grid, initial_arrays=ArrayRecord(model.state_dict()), num_rounds=ROUNDS)

    return app


def client_app(rows, *, hostile=()):
    """The README's client: an ordinary train function, and the mod. Hostile clients send a buffer of their choice."""
    app = ClientApp(mods=[sign_updates])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        model = Net()
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        half = slice(context.node_config["partition-id"], None, 2)
        x, y = torch.from_numpy(rows.features[half]), torch.from_numpy(rows.labels[half])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
        for _ in range(5):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        if context.node_config["partition-id"] in hostile:
            model.norm.running_var -= 5
        metrics = MetricRecord({"num-examples": len(x)})
        return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)

    return app


def grid_of(folder, app, *, invite="invite.json"):
    """Both clients' nodes."""
    configs = {
        number + 2: {
            "invite": str(folder / invite), "anvil-account": FIRST_CLIENT + number, "partition-id": number,
        }
        for number in range(2)
    }  # fmt: skip
    return LocalGrid(app, configs)


def test_an_ordinary_pair_of_apps_is_paid(folder, settings, rows, account):
    here, token = folder
    with pytest.raises(TooFewClients):  # the first start writes the invite and waits for clients
        paying(FedAvg(fraction_evaluate=0.0), model=seeded_net(), **settings)
    enrol(here, token, account)
    kept = {}

    def strategy_of(model):
        kept["paying"] = paying(FedAvg(fraction_evaluate=0.0), model=model, **settings)
        return kept["paying"]

    app = server_app(strategy_of)
    app(
        grid_of(here, client_app(rows)), Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    )
    task = kept["paying"].task
    state = task.state()
    assert (state.posted, state.cumulative) == (ROUNDS, 100 * TOKENS)
    assert set(app.result.arrays) == set(Net().state_dict())  # integer buffers come back, too
    assert len(list((here / "bundles").iterdir())) == ROUNDS


def test_a_false_challenge_is_refuted_while_the_app_runs(folder, settings, rows, account, monkeypatch):
    here, token = folder
    monkeypatch.setattr(refuter, "_LOOK_S", 0.1)
    with pytest.raises(TooFewClients):
        paying(FedAvg(fraction_evaluate=0.0), model=seeded_net(), **settings)
    enrol(here, token, account)
    strategy = paying(FedAvg(fraction_evaluate=0.0), model=(model := seeded_net()), **settings)
    task, challenger, ended = strategy.task, account(9), []
    token.mint(challenger.address, 1000 * TOKENS, account=challenger)
    token.approve(task.escrow.address, 1000 * TOKENS, purpose="bond", account=challenger)

    def challenged(number, arrays):
        if number == 1:
            bundle, _ = Bundle.read(here / "bundles" / "round-0001")
            posted = Published.read(here / "bundles" / "round-0001")
            blocks = Blocks.from_bytes(bundle.updates[0].wire, size=bundle.layout.size)
            place = next(at for at, leaf in enumerate(posted.leaves) if leaf.account == bundle.updates[0].account)
            false = [sum_ + (1 << 55) for sum_ in proofs.partials(blocks, bundle.direction)]
            call = proofs.challenge_with(posted, place=place, update=blocks, sums=false)
            task.escrow.submit(call.function, call.arguments, account=challenger)
            (opened,) = task.escrow.challenges(task.task_id)
            until = time.monotonic() + 60
            while task.escrow.standing_of(opened.id)[0] and time.monotonic() < until:
                time.sleep(0.05)
            ended.append(not task.escrow.standing_of(opened.id)[0])

    grid, arrays = grid_of(here, client_app(rows)), ArrayRecord(model.state_dict())
    strategy.start(grid=grid, initial_arrays=arrays, num_rounds=ROUNDS, evaluate_fn=challenged)
    assert ended == [True]
    assert (task.state().posted, task.state().open_challenges) == (ROUNDS, 0)


def test_a_second_start_takes_the_same_task_up_again(folder, settings, account):
    here, token = folder
    with pytest.raises(TooFewClients):
        paying(FedAvg(), model=seeded_net(), **settings)
    first = (here / "invite.json").read_text()
    enrol(here, token, account)
    assert paying(FedAvg(), model=seeded_net(), **settings).task.invite(
        url=Invite.read(here / "invite.json").url, spec=Invite.read(here / "invite.json").spec
    ) == Invite.read(here / "invite.json")
    assert (here / "invite.json").read_text() == first


def test_another_model_or_validation_set_than_the_tasks_is_refused(folder, settings, rows, account):
    here, token = folder
    with pytest.raises(TooFewClients):
        paying(FedAvg(), model=seeded_net(), **settings)
    enrol(here, token, account)
    with pytest.raises(ConfigError, match="the spec's hash is 0x"):
        paying(MultiKrum(num_nodes_to_select=2), model=seeded_net(), **settings)
    with pytest.raises(ConfigError, match="the validation set's hash is 0x"):
        paying(FedAvg(), model=seeded_net(), **{**settings, "validation": (-rows.features, rows.labels)})


def test_a_strategy_without_weights_is_refused_before_anything_is_escrowed(folder, settings):
    here, _ = folder
    with pytest.raises(UnscorableStrategy):
        paying(FedXgbBagging(), model=seeded_net(), **settings)
    assert not (here / "invite.json").exists()


def test_without_a_deployment_nothing_is_opened(folder, settings):
    with pytest.raises(BadDeployment, match="deployment file none.json is not there; write one with `fl deploy`"):
        paying(FedAvg(), model=seeded_net(), deployment="none.json", **settings)


# ---- the end of a task -----------------------------------------------------------------------------------------------


def test_everybody_is_paid_in_one_go(new_world):
    world = new_world()
    world.run(world.app(world.downhill))
    last = world.reports[-1]
    before = [world.token.balance(who) for who in world.addresses]
    ((count, _),) = claim_for_all(world.task, last.header, leaves=last.leaves, account=world.sponsor)
    assert count == 3
    gained = [world.token.balance(who) - had for who, had in zip(world.addresses, before, strict=True)]
    cumulative = {leaf.account: leaf.cumulative for leaf in last.leaves}
    assert gained == [cumulative[who] for who in world.addresses]
    assert claim_for_all(world.task, last.header, leaves=last.leaves, account=world.sponsor) == []  # nothing is left


def test_stakes_come_back_to_those_who_stayed_and_those_who_left(new_world):
    world = new_world()

    def moves(number, round_number, base):
        if (number, round_number) == (0, 1):
            world.escrow.leave(world.task.task_id, account=world.clients[1])
        if (number, round_number) == (0, 2):  # round 1 is final: the leaver fetches its stake before the task ends
            late = world.escrow.posted_at(world.task.task_id, 1) + world.task.terms.challenge_window
            world.w3.manager.request_blocking("evm_mine", [late + 1])
            world.escrow.release(world.task.task_id, client=world.addresses[1], account=world.clients[1])
        return world.downhill(number, round_number, base)

    world.run(world.app(moves))
    last = world.reports[-1]
    claim_for_all(world.task, last.header, leaves=last.leaves, account=world.sponsor)
    close_and_return_stakes(world.task, account=world.sponsor)
    assert [world.escrow.client(world.task.task_id, who).stake for who in world.addresses] == [0, 0, 0]
    assert [world.escrow.credit(world.token.address, who) for who in world.addresses] == [0, 0, 0]


# ---- what a hostile client can do ------------------------------------------------------------------------------------


def test_a_hostile_buffer_changes_nothing(folder, settings, rows, account):
    # A negative running variance would make the loss NaN: batch statistics are measured on the committed rows instead.
    here, token = folder
    # Adam's memory would never get rid of a NaN.
    inner = FedAdam(eta=0.03, fraction_evaluate=0.0, min_available_nodes=0, min_train_nodes=0)
    strategy = paying(inner, model=seeded_net(), **{**settings, "invite": "adam.json", "clients": 0})
    enrol(here, token, account, invite="adam.json", stakes=(TOKENS, 2 * TOKENS))
    reports = []
    strategy.hooks = RoundHooks(on_round=reports.append)
    app = client_app(rows, hostile=[1])
    result = strategy.start(grid_of(here, app, invite="adam.json"), ArrayRecord(seeded_net().state_dict()))
    for report in reports:
        assert not report.refusals
        assert all(report.scores[account(FIRST_CLIENT + number).address] != 0 for number in range(2))
    variance = result.arrays["norm.running_var"].numpy()
    np.testing.assert_allclose(variance, rows.features.var(axis=0), rtol=0.05)
    assert np.isfinite(np.concatenate([array.numpy().ravel() for array in result.arrays.values()])).all()
    assert strategy.task.state().posted == ROUNDS


def test_a_strategy_that_waits_for_more_nodes_than_join_is_refused(settings):
    with pytest.raises(ConfigError, match="clients is 1 and FedAvg waits for 2 nodes; raise clients"):
        paying(FedAvg(fraction_evaluate=0.0), model=seeded_net(), **{**settings, "clients": 1})


def test_a_task_whose_rounds_are_all_on_chain_is_left_as_it_is(folder, settings, rows, account):
    here, token = folder
    inner = FedAvg(fraction_evaluate=0.0, min_available_nodes=0, min_train_nodes=0)
    common = {**settings, "invite": "again.json", "clients": 0}
    strategy = paying(inner, model=seeded_net(), **common)
    enrol(here, token, account, invite="again.json")
    app = client_app(rows)
    first = strategy.start(grid_of(here, app, invite="again.json"), ArrayRecord(seeded_net().state_dict()))
    again = paying(inner, model=seeded_net(), **common)
    second = again.start(grid_of(here, app, invite="again.json"), ArrayRecord(seeded_net().state_dict()))
    for name, array in first.arrays.items():
        assert np.array_equal(array.numpy(), second.arrays[name].numpy())
    shutil.rmtree(here / "bundles")
    with pytest.raises(LostRound, match="round 1 is on chain .*remove or rename the invite"):
        paying(inner, model=seeded_net(), **common).start(
            grid_of(here, app, invite="again.json"), ArrayRecord(seeded_net().state_dict())
        )


def of_named_rows(model, batch):
    """A loss of a model that somebody wrote otherwise, one a row."""
    return nn.functional.cross_entropy(model(batch["inputs"]), batch["targets"], reduction="none")


def test_a_named_part_is_paid_by_a_loss_over_named_batches(folder, settings, rows, account):
    here, token = folder
    named = [{"inputs": rows.features[half], "targets": rows.labels[half]} for half in (slice(0, 20), slice(20, 40))]
    common = {
        **settings, "invite": "part.json", "clients": 0, "loss": of_named_rows, "validation": named, "trainable": "last.*",
    }  # fmt: skip
    inner = FedAvg(fraction_evaluate=0.0, min_available_nodes=0, min_train_nodes=0)
    strategy = paying(inner, model=seeded_net(), **common)
    invite = enrol(here, token, account, invite="part.json")
    reports = []
    strategy.hooks = RoundHooks(on_round=reports.append)
    result = strategy.start(grid_of(here, client_app(rows), invite="part.json"), ArrayRecord(seeded_net().state_dict()))
    bundle, _ = Bundle.read(reports[0].bundle)
    assert bundle.layout.names == ("last.weight", "last.bias")
    assert reports[-1].loss_after < reports[0].loss_before
    assert all(report.scores and not report.refusals for report in reports)
    # What does not travel comes back as it was sent.
    np.testing.assert_array_equal(result.arrays["norm.weight"].numpy(), seeded_net().norm.weight.detach())
    assert '"trainable":"last.*"' in invite.spec
    assert '"loss":"' in invite.spec
    assert ":of_named_rows" in invite.spec


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": nn.Linear(3, 1), "loss": nn.MSELoss()}, r"outputs of shape \(8, 1\), targets of shape \(8,\)"),
        ({"model": nn.Linear(3, 2).bfloat16()}, "the parameters are bfloat16: convert in forward"),
        ({"model": nn.Sequential(nn.LazyLinear(2))}, "layer 0 is lazy and has no size yet"),
        (
            {"validation": (np.full((4, 3), np.nan), [0, 1, 0, 1])},
            "validation's inputs has NaN or infinity in 4 of 4 rows",
        ),
        ({"trainable": "head.*"}, "task.trainable is 'head.*', which names no parameter"),
        (
            {
                "model": nn.Linear(3, 2),
                "validation": (
                    np.where(np.isin(np.arange(40), [3, 4])[:, None], 3e38, np.ones((40, 3))),
                    np.arange(40) % 2,
                ),
            },
            "the loss of the whole validation set is .*; look for rows with NaN or absurd values",
        ),
        ({"loss": "cross_entropy"}, r"loss is 'cross_entropy'; give a module such as nn.CrossEntropyLoss\(\)"),
        ({"loss": nn.CrossEntropyLoss}, r"loss is the class CrossEntropyLoss; give one that is built"),
        ({"model": nn.Linear}, r"model is the class Linear; give one that is built"),
        ({"budget": "1,000"}, "budget is '1,000'; write a number of tokens"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_what_does_not_work_is_refused_before_anything_is_escrowed(folder, settings, account, changes, message):
    here, token = folder
    before = token.balance(account(0).address)
    with pytest.raises(FairshareError, match=message):
        paying(FedAvg(fraction_evaluate=0.0), **{"model": seeded_net(), **settings, "invite": "bad.json", **changes})
    assert token.balance(account(0).address) == before
    assert not (here / "bad.json").exists()


class Twice(Net):
    """Ends in the softmax that its loss takes too."""

    def forward(self, x):
        return super().forward(x).softmax(1)


def test_what_is_seldom_meant_is_told_before_anything_is_escrowed(folder, settings, account, caplog):
    _, token = folder
    before = token.balance(account(0).address)
    with pytest.raises(FairshareError, match="budget is '1,000'"):
        paying(FedAvg(fraction_evaluate=0.0), model=Twice(), **settings | {"budget": "1,000"})
    assert "no row's loss comes below 0.313; leave out the softmax at the end of forward" in caplog.text
    assert token.balance(account(0).address) == before


def test_the_legacy_class_of_the_same_name_is_refused(settings):
    with pytest.raises(
        ConfigError, match="the strategy is a FedAvg of flwr.server.strategy.fedavg, which has no configure_train"
    ):
        paying(LegacyFedAvg(), model=seeded_net(), **settings)


def test_starting_over_without_the_invite_takes_what_nobody_joined_and_opens_a_new_task_otherwise(
    folder, settings, rows, account
):
    here, token = folder
    inner = FedAvg(fraction_evaluate=0.0, min_available_nodes=0, min_train_nodes=0)
    common = {**settings, "invite": "over.json", "clients": 0}
    before = token.balance(account(0).address)
    first = paying(inner, model=seeded_net(), **common).task
    (here / "over.json").unlink()
    assert paying(inner, model=seeded_net(), **common).task.task_id == first.task_id
    assert before - token.balance(account(0).address) == 100 * TOKENS  # escrowed once
    enrol(here, token, account, invite="over.json")
    (here / "over.json").unlink()
    assert paying(inner, model=seeded_net(), **common).task.task_id != first.task_id
    (here / "over.json").unlink()
    (here / "bundles" / "round-0001").mkdir(parents=True)
    with pytest.raises(ConfigError, match="bundles is bundles, which has 1 round of another task; move it away"):
        paying(inner, model=seeded_net(), **common)


def test_an_invite_of_other_settings_another_contract_or_a_chain_that_was_reset_is_no_task_to_take_up(
    folder, settings, account
):
    here, _ = folder
    inner = FedAvg(fraction_evaluate=0.0)
    with pytest.raises(TooFewClients):
        paying(inner, model=seeded_net(), **settings)
    with pytest.raises(
        ConfigError,
        match=r"invite.json names a task that was opened with other settings: rounds was 2 and is 3 now; budget was 100 and is 50 "
        r"now; start it without them, or remove invite.json to open another task",
    ):
        paying(inner, model=seeded_net(), **settings | {"rounds": 3, "budget": "50"})
    invite, deployment = Invite.read(here / "invite.json"), Deployment.read(here / "deployment.json")
    replace(invite, task_id="0x" + "ab" * 32).write(here / "invite.json")
    with pytest.raises(
        ConfigError,
        match=r"names the task 0xabababab…, which chain 31337 does not have: a devnet that was reset has lost it; remove invite.json to",
    ):
        paying(inner, model=seeded_net(), **settings)
    invite.write(here / "invite.json")
    other = replace(deployment, contract=deployment.token)
    other.write(here / "other.json")
    with pytest.raises(
        ConfigError,
        match=rf"names a task of contract {deployment.contract} on chain 31337, and the deployment file has",
    ):
        paying(inner, model=seeded_net(), **settings, deployment="other.json")
