"""Tasks that pay by a rule the chain cannot check: played on the real contract, recomputed, and lied about."""

import shutil
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from chain_view import view_of

from fl.audit.difference import RoundDiffers
from fl.audit.evaluators.local import Evaluator
from fl.audit.recompute import check_round
from fl.bundle.format import Bundle
from fl.errors import ConfigError
from fl.rewards import Account, RoundTree, settle_round
from fl.scoring import scorer as registry
from fl.scoring.scores import Scores
from fl.task.spec import TaskSpec
from fl.task.strategies import build_strategy

TOKENS = 10**18
TASKS = {
    "shapley": {"scorer": "shapley"},
    "leverage": {"scorer": "leverage", "scorer_arguments": {"evaluations": 6}},
    "permutation": {"scorer": "permutation", "scorer_arguments": {"evaluations": 8}},
    "cosine": {"scorer": "cosine"},
    "fedmedian": {"strategy": "fedmedian", "scorer": "median"},
    "fedtrimmedavg": {
        "strategy": "fedtrimmedavg",
        "strategy_arguments": {"beta": 0.34},
        "scorer": "trimmed_mean",
        "scorer_arguments": {"beta": 0.34},
    },
    "bulyan": {
        "strategy": "bulyan",
        "strategy_arguments": {"num_malicious_nodes": 1},
        "scorer": "bulyan",
        "scorer_arguments": {"malicious": 1},
    },
}


@pytest.fixture(scope="module", params=list(TASKS))
def played(request, lasting_world):
    """A task by each rule that was played to its end, two rounds on the model of eight weights."""
    spec = TaskSpec(
        model="torch.nn:Linear",
        model_arguments={"in_features": 3, "out_features": 2},
        feature_shape=(3,),
        num_classes=2,
        **TASKS[request.param],
    )
    world = lasting_world(spec=spec, clients=8 if request.param == "bulyan" else 3)
    world.run(world.app(world.downhill), build_strategy(spec.strategy, spec.strategy_arguments))
    return world


def judged(world, bundle, folder, *, header=None):
    """Let an evaluator judge round 2 as this bundle tells it, header and all."""
    folder = folder.parent / "told" / "round-0002"
    if not folder.exists():
        shutil.copytree(world.folder / "bundles", folder.parent)  # what was public before is read from there
    shutil.rmtree(folder)
    tree = RoundTree(bundle.leaves)
    told = replace(
        world.reports[1].header,
        bundle=bundle.write(folder),
        tree_root=tree.root,
        cumulative=tree.cumulative,
        price=bundle.price,
        **(header or {}),
    )
    evaluator = Evaluator(account=world.evaluators[0], spec=world.spec, game=world.game())
    return evaluator.evaluate(folder, told, view=view_of(world, 2))


def rescored(bundle, scores):
    """The bundle with other scores, and everything that follows from them."""
    before = {leaf.account: Account(total=leaf.total, cumulative=leaf.cumulative) for leaf in bundle.previous}
    accounts = {leaf.account: before.get(leaf.account, Account()) for leaf in bundle.leaves}
    paid = settle_round(accounts, scores=scores, allowed=1000 * TOKENS)
    leaves = tuple(
        replace(
            leaf,
            score=scores[leaf.account],
            total=paid.accounts[leaf.account].total,
            cumulative=paid.accounts[leaf.account].cumulative,
        )
        for leaf in bundle.leaves
    )
    return replace(bundle, leaves=leaves, price=paid.price)


@pytest.fixture
def second(played):
    """The bundle of round 2, and its scores."""
    bundle, _ = Bundle.read(played.reports[1].bundle)
    return bundle, {leaf.account: leaf.score for leaf in bundle.leaves}


def test_a_whole_task_is_scored_signed_posted_and_paid(played):
    terms, state = played.escrow.task(played.task.task_id)
    assert terms.attested
    assert state.posted == 2
    assert state.cumulative == sum(sum(report.pays.values()) for report in played.reports) > 0
    for report in played.reports:
        assert any(report.scores.values())
        assert sum(report.pays.values()) >= 0
        assert report.evaluators == (played.evaluators[0].address,)


def test_a_score_that_was_raised_is_refused(played, second, tmp_path):
    bundle, scores = second
    favourite = max(scores, key=lambda account: scores[account])
    with pytest.raises(RoundDiffers) as caught:
        judged(played, rescored(bundle, {**scores, favourite: 2 * scores[favourite]}), tmp_path / "bundle")
    assert caught.value.what == f"the {played.spec.scorer} score of {favourite}"
    assert f"{2 * scores[favourite]}, and all scores are off by" in caught.value.seen
    assert caught.value.expected == f"{scores[favourite]}, all within 0.001 of the rule"


def test_what_float_arithmetic_may_differ_by_is_signed(played, second, tmp_path):
    bundle, scores = second
    near = {account: score + (1 << 8) for account, score in scores.items()}
    assert judged(played, rescored(bundle, near), tmp_path / "bundle")


def test_the_payout_of_an_attested_score_is_still_exact(played, second, tmp_path):
    bundle, _ = second
    first, *rest = bundle.leaves
    greedy = replace(bundle, leaves=(replace(first, cumulative=first.cumulative + 1), *rest))
    with pytest.raises(RoundDiffers) as caught:
        judged(played, greedy, tmp_path / "bundle")
    assert caught.value.what == f"the cumulative in the leaf of {first.account}"


def test_another_next_model_is_refused(played, second, tmp_path):
    bundle, _ = second
    moved = replace(bundle, aggregate=bundle.aggregate + np.float32(0.01))
    with pytest.raises(RoundDiffers) as caught:
        judged(played, moved, tmp_path / "bundle")
    assert caught.value.what == "the aggregated model"
    expected = "the mean" if played.spec.strategy == "fedavg" else f"what {played.spec.strategy} picks"
    assert caught.value.expected.endswith(expected)


def test_whoever_has_no_validation_data_checks_all_but_the_rule(played, second, tmp_path):
    bundle, _ = second
    header = played.reports[1].header
    settings = {
        "bundle_hash": header.bundle,
        "view": view_of(played, 2),
        "spec": played.spec,
        "game": None,
        "past": None,
    }
    assert check_round(bundle, header, **settings) is None
    first, *rest = bundle.leaves
    greedy = replace(bundle, leaves=(replace(first, total=first.total + 1), *rest))
    with pytest.raises(RoundDiffers, match=f"the leaf of {first.account}"):
        check_round(greedy, header, **settings)


# ---- what does not fit -----------------------------------------------------------------------------------------------


def test_a_task_that_is_not_marked_as_attested_is_refused(new_world, spec):
    unmarked = new_world(spec=spec(scorer="shapley"), attested=False, joining=0)
    with pytest.raises(ConfigError) as caught:
        unmarked.strategy()
    assert str(caught.value) == (
        "the task on chain has attested=False, and scorer=shapley makes it True; open the task with that"
    )


@dataclass(frozen=True)
class Pair:
    """A rule of another package that values two clients at most."""

    most_clients = 2

    def score(self, inputs, *, rng):
        """By place."""
        return Scores(values=np.arange(1.0, len(inputs) + 1))


@pytest.fixture
def pair(monkeypatch):
    """Installs the rule by entry point."""
    point = EntryPoint(name="pair", value=f"{__name__}:Pair", group=registry.ENTRY_POINTS)
    registry.known_scorers.cache_clear()
    monkeypatch.setattr(registry, "entry_points", lambda *, group: [point] if group == registry.ENTRY_POINTS else [])
    yield
    registry.known_scorers.cache_clear()


@pytest.mark.usefixtures("pair")
def test_one_client_more_than_the_rule_can_value_does_not_end_the_task(new_world, spec):
    world = new_world(spec=spec(scorer="pair"), rounds=1)
    world.run(world.app(world.downhill))
    (report,) = world.reports
    least = world.addresses[0]  # who staked least
    assert set(report.scores) == set(world.addresses) - {least}
    assert [(refusal.account, refusal.reason) for refusal in report.refusals] == [
        (least, "scorer=pair values at most 2 clients of a round, and others staked more")
    ]
    assert set(report.receipts) == set(report.scores)  # a receipt would prove an omission
    assert report.pays[least] == 0
