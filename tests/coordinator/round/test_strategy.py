"""The paying strategy around Flower's FedAvg, on a real chain, with clients whose updates the test chooses."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, FedMedian, FedXgbBagging

from fl.aggregation.selection import UnscorableStrategy
from fl.audit.difference import RoundDiffers
from fl.audit.evaluators.local import Evaluator
from fl.bundle.format import Bundle, read_header
from fl.chain.typed_data import signer_of
from fl.codec import Blocks, model_hash
from fl.coordinator.quorum.local import LocalQuorum
from fl.errors import ConfigError
from fl.rewards import norm_q64
from fl.rewards.tree import NO_UPDATE
from fl.scoring.game import ValidationGame
from fl.task.data import Dataset

TOKENS = 10**18


def vector(arrays):
    """A record's arrays as one vector."""
    return np.concatenate([array.numpy().ravel() for array in arrays.values()])


def leaves(report):
    """A round's leaves by account."""
    return {leaf.account: leaf for leaf in report.leaves}


# ---- one ordinary run ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ordinary(lasting_world):
    """Two rounds: clients 0 and 1 go downhill, client 2 sends its base back. 2 of 3 evaluators have to sign."""
    world = lasting_world(evaluators=3, quorum=2)
    world.result = world.run(
        world.app(lambda number, *rest: np.zeros(8) if number == 2 else world.downhill(number, *rest))
    )
    return world


def test_every_round_is_on_chain(ordinary):
    state = ordinary.task.state()
    assert state.posted == 2
    assert state.cumulative == sum(leaf.cumulative for leaf in ordinary.reports[-1].leaves)
    assert 1000 * TOKENS - 3 < state.cumulative <= 1000 * TOKENS


def test_each_round_pays_what_the_schedule_allows_but_for_a_wei_of_each_client(ordinary):
    for number, report in enumerate(ordinary.reports, start=1):
        allowed = ordinary.task.schedule().allowed(number)
        assert allowed == 500 * number * TOKENS
        assert allowed - 3 < report.header.cumulative <= allowed
        assert sum(report.pays.values()) in range(500 * TOKENS - 3, 500 * TOKENS + 3)


def test_everybody_has_earned_its_whole_score_at_one_price(ordinary):
    for report in ordinary.reports:
        assert {leaf.cumulative - max(0, report.header.price * leaf.total >> 64) for leaf in report.leaves} == {0}


def test_an_unchanged_model_earns_exactly_nothing(ordinary):
    idle = ordinary.addresses[2]
    for report in ordinary.reports:
        assert (report.scores[idle], report.pays[idle], leaves(report)[idle].cumulative) == (0, 0, 0)
        assert leaves(report)[idle].update_root != NO_UPDATE  # it took part


def test_who_moved_further_downhill_with_more_stake_earns_more(ordinary):
    for report in ordinary.reports:
        assert report.scores[ordinary.addresses[1]] > report.scores[ordinary.addresses[0]] > 0


def test_the_scores_sum_to_the_loss_that_the_round_took_off(ordinary):
    for report in ordinary.reports:
        gained = report.loss_before - report.loss_after
        assert sum(report.scores.values()) / 2**40 == pytest.approx(gained, rel=1e-3)


def test_every_evaluator_signed_each_header(ordinary):
    for report in ordinary.reports:
        header, signatures = read_header(report.bundle)
        assert header == report.header
        signers = {signer_of(header, domain=ordinary.task.domain, signature=signature) for signature in signatures}
        assert signers == set(ordinary.task.terms.evaluators)


def test_the_headers_chain(ordinary):
    first, second = (report.header for report in ordinary.reports)
    assert first.base_model == ordinary.task.terms.base_model
    assert second.base_model == first.next_model
    assert second.previous == ordinary.escrow.header_hash(first)
    assert second.next_model == model_hash(vector(ordinary.result.arrays))


def test_flowers_result_has_the_metrics(ordinary):
    assert ordinary.result.train_metrics_clientapp[1]["train-loss"] == pytest.approx(1.0)


def test_the_seconds_of_each_step_are_told(ordinary):
    steps = {"collecting", "checking", "aggregating", "public step", "scoring", "settling", "bundling", "evaluating", "posting",
             "reporting", "training", "signing"}  # fmt: skip
    assert set(ordinary.reports[0].seconds) == steps


# ---- the next model --------------------------------------------------------------------------------------------------


def test_fedavg_inside_gives_what_plain_fedavg_gives_on_the_decoded_updates(new_world):
    world = new_world(rounds=1, stakes=[1 * TOKENS, 5 * TOKENS, 2 * TOKENS])
    rng = np.random.default_rng(5)
    moves = rng.normal(size=(3, 8)).astype(np.float32)
    result = world.run(world.app(lambda number, *_: moves[number]))
    bundle, _ = Bundle.read(world.reports[0].bundle)
    replies = []
    for update in bundle.updates:
        model = bundle.base + update_of(update, bundle).decode()
        arrays = {name: Array(array) for name, array in bundle.layout.unflatten(model).items()}
        content = {"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": update.stake // TOKENS})}
        replies.append(Message(RecordDict(content), reply_to=Message(RecordDict(), 2, "train")))
    plain, _ = FedAvg().aggregate_train(1, replies)
    np.testing.assert_allclose(vector(result.arrays), vector(plain), rtol=0, atol=1e-6)


def update_of(update, bundle):
    """A bundled update's blocks."""
    return Blocks.from_bytes(update.wire, size=bundle.layout.size)


def test_an_update_beyond_the_cap_is_clipped_in_the_model_and_in_its_weight(new_world, spec):
    world = new_world(rounds=1, spec=spec(norm_cap="2"), stakes=[TOKENS, TOKENS, 2 * TOKENS])
    long, short = np.full(8, 5.0), np.full(8, 0.01)  # norms √200 and 0.028
    result = world.run(world.app(lambda number, *_: long if number == 2 else short))
    clip = 2 / np.sqrt(200)
    np.testing.assert_allclose(vector(result.arrays), world.base + 0.5 * clip * long + 0.5 * short, rtol=0, atol=1e-5)
    weights = {update.account: update.weight for update in Bundle.read(world.reports[0].bundle)[0].updates}
    assert weights[world.addresses[2]] / 2**32 == pytest.approx(0.5 * clip, rel=1e-4)
    assert weights[world.addresses[0]] == 2**32 // 4


def test_a_cap_that_holds_nobody_back_is_told_once(new_world, caplog):
    world = new_world(rounds=2)
    world.run(world.app(lambda number, round_number, base: 0.01 * world.downhill(number, round_number, base)))
    assert caplog.text.count("times the median update") == 1


def test_half_of_the_stake_cannot_stop_a_task_by_sending_nothing(new_world, spec):
    world = new_world(
        rounds=2, clients=4, stakes=[3 * TOKENS, 3 * TOKENS, 2 * TOKENS, TOKENS], spec=spec(length="median")
    )
    world.run(world.app(lambda number, *rest: np.zeros(8) if number < 2 else world.downhill(number, *rest)))
    for report in world.reports:
        bundle = Bundle.read(report.bundle)[0]
        lengths = sorted(norm_q64(update_of(update, bundle)) for update in bundle.updates)
        assert lengths[:2] == [0, 0]
        assert bundle.length in lengths[2:]
        assert [report.pays[who] > 0 for who in world.addresses] == [False, False, True, True]
    assert world.game().evaluate(bundle.next).loss < world.game().evaluate(world.base).loss


def test_of_equal_updates_the_stakes_decide_the_pay(new_world):
    world = new_world(rounds=1, stakes=[TOKENS, 2 * TOKENS, 5 * TOKENS])
    world.run(world.app(lambda number, *rest: world.downhill(0, *rest)))
    pays = world.reports[0].pays
    assert [pays[who] / (1000 * TOKENS) for who in world.addresses] == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=1e-6)


# ---- clients that fail, come late, leave, or send what they should not -----------------------------------------------


def test_a_node_that_raises_is_refused_and_the_others_are_paid(new_world):
    world = new_world()

    def moves(number, *rest):
        if number == 0:
            raise RuntimeError("disk full")
        return world.downhill(number, *rest)

    world.run(world.app(moves))
    failed = world.addresses[0]
    for report in world.reports:
        (refusal,) = report.refusals
        assert (refusal.node_id, refusal.reason) == (2, "the node failed: RuntimeError: disk full")
        assert failed not in report.scores
        assert leaves(report)[failed].update_root == NO_UPDATE
        assert report.pays[failed] == 0
        assert sum(report.pays.values()) == pytest.approx(500 * TOKENS, abs=3)


def test_an_update_that_is_nan_is_refused_as_the_nodes_own_failure(new_world):
    world = new_world(rounds=1)
    world.run(world.app(lambda number, *rest: np.full(8, np.nan) if number == 1 else world.downhill(number, *rest)))
    (refusal,) = world.reports[0].refusals
    assert refusal.reason.startswith("the node failed: UnencodableVector: value 0 of the vector is nan")
    assert np.isfinite(world.reports[0].loss_after)


def test_a_round_without_any_update_pays_the_totals_so_far(new_world):
    world = new_world(rounds=3)

    def moves(number, round_number, base):
        if round_number == 2:
            raise RuntimeError("power cut")
        step = world.downhill(number, round_number, base)
        return -step if number == 0 else step

    world.run(world.app(moves))
    before, empty, after = world.reports
    assert world.task.state().posted == 3
    assert len(empty.refusals) == 3
    assert sum(empty.pays.values()) == pytest.approx(1000 * TOKENS // 3, abs=3)
    assert empty.header.next_model == empty.header.base_model
    assert empty.scores == {}
    debtor = world.addresses[0]
    assert leaves(before)[debtor].total < 0
    assert leaves(empty)[debtor].total == leaves(before)[debtor].total  # it stands until it is earned back
    assert after.header.cumulative == pytest.approx(1000 * TOKENS, abs=3)


def test_a_round_that_made_the_model_worse_pays_nobody(new_world):
    world = new_world(rounds=1)
    world.run(world.app(lambda *rest: -world.downhill(*rest)))
    (report,) = world.reports
    assert all(score < 0 for score in report.scores.values())
    assert sum(report.pays.values()) == 0
    assert world.task.state().cumulative == 0


def test_a_late_joiner_counts_from_its_first_round(new_world, late_join):
    world = new_world(rounds=3, joining=2)

    def moves(number, round_number, base):
        if (number, round_number) == (0, 1):
            late_join(world, 2)
        return world.downhill(number, round_number, base)

    world.run(world.app(moves))
    late = world.addresses[2]
    assert [late in leaves(report) for report in world.reports] == [False, True, True]
    (refusal,) = world.reports[0].refusals
    assert refusal.reason == f"{late} has not joined the task; join with a stake first"
    assert world.reports[1].scores[late] > 0
    assert [len(report.refusals) for report in world.reports] == [1, 0, 0]
    assert world.reports[1].header.leaf_count == 3


def test_a_leaver_keeps_its_leaf_and_has_no_weight_any_more(new_world):
    world = new_world(rounds=2)

    def moves(number, round_number, base):
        if (number, round_number) == (0, 1):
            world.escrow.leave(world.task.task_id, account=world.clients[1])
        return world.downhill(number, round_number, base)

    world.run(world.app(moves))
    first, second = world.reports
    gone = world.addresses[1]
    assert first.scores[gone] > 0  # the round that was under way counts
    assert [refusal.reason for refusal in second.refusals] == [
        f"{gone} counts from round 1 and left before round 2, this is round 2"
    ]
    # Its total stays and earns what the others' totals earn, at the price of the day.
    assert leaves(second)[gone].total == leaves(first)[gone].total
    assert second.pays[gone] >= 0


def test_a_client_behind_two_nodes_counts_once(new_world):
    world = new_world(rounds=1)
    nodes = {2: world.node_config(0), 3: world.node_config(1), 4: {**world.node_config(0), "partition-id": 2}}
    app = world.app(world.downhill)
    world.run(app, grid=world.grid(app, nodes=nodes))
    (refusal,) = world.reports[0].refusals
    assert refusal.node_id in (2, 4)  # whichever was asked last
    assert refusal.account == world.addresses[0]
    assert "a second update for this round came from the same account" in refusal.reason


def test_an_app_without_the_mod_is_refused_with_what_to_do(new_world):
    world = new_world(rounds=1)
    world.run(world.app(world.downhill, mods=[]))
    assert {refusal.reason for refusal in world.reports[0].refusals} == {
        "the reply has no signed update ('fairshare'); wrap the ClientApp with mods=[clients.sign_updates]"
    }


def test_clients_get_a_receipt_with_the_next_round(new_world):
    world = new_world()
    app = world.app(world.downhill)
    grid = world.grid(app)
    world.run(app, grid=grid)
    kept = grid._contexts[2].state["fairshare-receipts"]
    assert list(kept) == ["1"]
    assert kept["1"][:32] == leaves(world.reports[0])[world.addresses[0]].update_root


# ---- refusals at the start -------------------------------------------------------------------------------------------


def test_another_spec_is_refused(new_world, spec):
    world = new_world(joining=0)
    with pytest.raises(ConfigError) as caught:
        world.strategy(spec=spec(steps=99))
    assert str(caught.value) == (
        f"the spec's hash is 0x{spec(steps=99).hash().hex()}, the task on chain has 0x{world.spec.hash().hex()}; use the spec "
        "that the task was opened with"
    )


def test_another_validation_set_is_refused(new_world, rows):
    world = new_world(joining=0)
    other = ValidationGame(
        world.spec.build_model(), loss=world.spec.build_loss(), features=-rows.features, labels=rows.labels
    )
    with pytest.raises(ConfigError, match="the validation set's hash is 0x"):
        world.strategy(game=other)


def test_too_few_of_the_tasks_evaluators_are_refused(new_world, account):
    world = new_world(joining=0, evaluators=3, quorum=2)
    stranger = Evaluator(account=account(19), spec=world.spec, game=world.game())
    with pytest.raises(ConfigError, match="1 of the task's evaluators are here, its quorum is 2"):
        world.strategy(quorum=LocalQuorum(evaluators=[world.signers()[0], stranger]))


def test_another_number_of_rounds_is_refused(new_world):
    world = new_world()
    with pytest.raises(ConfigError) as caught:
        world.strategy().start(
            world.grid(world.app(world.downhill)), ArrayRecord(world.spec.build_model().state_dict()), 5
        )
    assert str(caught.value) == "num_rounds is 5, the task on chain has 2; leave it out"


def test_another_initial_model_is_refused(new_world):
    world = new_world()
    other = replace(world.spec, seed=1).build_model()
    with pytest.raises(ConfigError, match="the initial model is not the one that the task was opened with"):
        world.strategy().start(world.grid(world.app(world.downhill)), ArrayRecord(other.state_dict()))
    assert world.task.state().posted == 0


def test_a_strategy_that_no_score_follows_is_refused(new_world):
    world = new_world(joining=0)
    with pytest.raises(UnscorableStrategy, match="FedXgbBagging aggregates in a way that its rounds have no score for"):
        world.strategy(FedXgbBagging())
    with pytest.raises(ConfigError, match="the strategy is fedmedian with {}, and the task's spec says fedavg with {}"):
        world.strategy(FedMedian())


# ---- evaluators that refuse ------------------------------------------------------------------------------------------


def blind(world, number):
    """An evaluator of the task whose validation set is another one."""
    other = Dataset(features=-world.validation.features, labels=world.validation.labels)
    game = ValidationGame(
        world.spec.build_model(), loss=world.spec.build_loss(), features=other.features, labels=other.labels
    )
    return Evaluator(account=world.evaluators[number], spec=world.spec, game=game)


def test_one_evaluator_that_refuses_does_not_stop_a_quorum(new_world):
    world = new_world(rounds=1, evaluators=3, quorum=2)
    signers = [*world.signers()[:2], blind(world, 2)]
    world.run(world.app(world.downhill), quorum=LocalQuorum(evaluators=signers))
    _, signatures = read_header(world.reports[0].bundle)
    assert len(signatures) == 2
    assert world.task.state().posted == 1


def test_without_a_quorum_nothing_is_posted_and_the_reason_is_told(new_world):
    world = new_world(rounds=1, evaluators=3, quorum=2)
    signers = [world.signers()[0], blind(world, 1), blind(world, 2)]
    with pytest.raises(RoundDiffers) as caught:
        world.run(world.app(world.downhill), quorum=LocalQuorum(evaluators=signers))
    assert caught.value.what == "the validation set at hand"
    assert world.task.state().posted == 0
    assert world.reports == []


def test_a_round_that_was_not_opened_cannot_be_aggregated(ordinary):
    with pytest.raises(ConfigError, match="round 1 was not opened; call configure_train for it first"):
        ordinary.strategy().aggregate_train(1, [])


def test_an_update_that_makes_the_loss_too_steep_for_blocks_costs_nobody_else_the_round(new_world, spec):
    """Its loss is finite, and its gradient beyond 32767."""
    features = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32) * 3
    squares = {"loss": "torch.nn:MSELoss", "num_classes": 1, "norm_cap": "1000000"}
    world = new_world(
        rounds=1,
        clients=4,
        spec=spec(model_arguments={"in_features": 3, "out_features": 1}, **squares),
        validation=Dataset(features=features, labels=features[:, 0] / 3),
    )
    steep = np.eye(4)[0] * 30_000
    world.run(world.app(lambda number, turn, base: steep if number == 3 else -0.01 * world.game().gradient(base)))
    (report,) = world.reports
    assert set(report.scores) == set(world.addresses[:3])
    assert [refusal.account for refusal in report.refusals] == world.addresses[3:]
