from importlib.metadata import EntryPoint

import numpy as np
import pytest
from scoring.rounds import RULES, SAMPLED, rng, small_round
from torch import nn

import fl.scoring.scorer as registry
from fl.errors import ConfigError
from fl.scoring.coalition.game import CoalitionGame
from fl.scoring.coalition.values import all_coalitions, banzhaf_values, shapley_values
from fl.scoring.inputs import RoundInputs
from fl.scoring.rules.leverage import fit, paired_coalitions
from fl.scoring.scorer import TooManyClients, build_scorer, known_scorers
from fl.scoring.scores import Scores, rank_correlation, relative_l2


def exact(inputs, **settings):
    return build_scorer("shapley", settings).score(inputs, rng=rng()).values


@pytest.mark.parametrize("game", ["fixed", "renormalised"])
@pytest.mark.parametrize("utility", ["loss", "accuracy"])
def test_exact_shapley_is_brute_force(game, utility):
    inputs = small_round()
    worth = CoalitionGame(inputs, game=game, utility=utility)
    table = np.array([worth.value(np.flatnonzero(mask)) for mask in all_coalitions(4)])
    np.testing.assert_allclose(exact(inputs, game=game, utility=utility), shapley_values(table), atol=1e-6)
    assert exact(inputs, game=game, utility=utility).sum() == pytest.approx(table[-1] - table[0], abs=1e-6)


def test_leave_one_out_is_what_the_round_loses():
    inputs = small_round()
    worth = CoalitionGame(inputs)
    found = build_scorer("loo").score(inputs, rng=rng())
    expected = [
        worth.value(range(4)) - worth.value([player for player in range(4) if player != left]) for left in range(4)
    ]
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    assert found.diagnostics["evaluations"] == 5


def test_banzhaf_is_exact_while_it_can_be_and_close_beyond():
    inputs = small_round()
    table = CoalitionGame(inputs).values(all_coalitions(4))
    found = build_scorer("banzhaf").score(inputs, rng=rng())
    np.testing.assert_allclose(found.values, banzhaf_values(table), atol=1e-6)
    assert not found.errors.any()
    sampled = build_scorer("banzhaf", {"evaluations": 15}).score(inputs, rng=rng())
    assert sampled.diagnostics["evaluations"] <= 15
    assert (np.abs(sampled.values - found.values) < 5 * sampled.errors).all()


def test_cosine_is_the_angle_to_the_aggregate():
    inputs = small_round()
    step = sum(weight * update for weight, update in zip(inputs.weights, inputs.updates, strict=True))
    found = build_scorer("cosine").score(inputs, rng=rng()).values
    for client in range(4):
        update = inputs.updates[client]
        assert found[client] == pytest.approx(update @ step / np.linalg.norm(update) / np.linalg.norm(step))


def test_the_direction_is_near_exact_shapley_and_sums_to_the_gain():
    inputs = small_round(clients=6)
    found = build_scorer("direction", {"nodes": 8}).score(inputs, rng=rng()).values
    assert relative_l2(found, exact(inputs)) < 0.1
    worth = CoalitionGame(inputs)
    assert found.sum() == pytest.approx(worth.value(range(6)) - worth.value([]), rel=1e-3)


@pytest.mark.parametrize("name", SAMPLED)
def test_a_sampled_rule_comes_nearer_with_more_evaluations(name):
    inputs = small_round(clients=7)
    target = exact(inputs)
    few, many = (
        np.median(
            [relative_l2(build_scorer(name, settings).score(inputs, rng=rng(seed)).values, target) for seed in range(5)]
        )
        for settings in (
            {"evaluations": 30},
            {"evaluations": 128} | ({"convergence": 0.0} if name == "gtg" else {}),
        )
    )
    assert many < few
    assert many < 0.1


@pytest.mark.parametrize("name", SAMPLED)
def test_a_sampled_rule_keeps_to_its_evaluations(name):
    inputs = small_round(clients=8)
    for evaluations in (20, 64, 100):
        found = build_scorer(name, {"evaluations": evaluations}).score(inputs, rng=rng())
        assert found.diagnostics["evaluations"] <= evaluations


@pytest.mark.parametrize("name", SAMPLED)
def test_the_errors_of_a_sampled_rule_cover_the_truth(name):
    inputs = small_round(clients=7)
    target = exact(inputs)
    settings = {"evaluations": 60} | ({} if name == "leverage" else {"truncation": 0.0})
    covered = []
    for seed in range(12):
        found = build_scorer(name, settings).score(inputs, rng=rng(seed))
        covered.append(np.abs(found.values - target) <= 2 * found.errors + 1e-7)
    assert np.mean(covered) > 0.7


def test_leverage_is_exact_once_all_coalitions_are_drawn():
    inputs = small_round(clients=5)
    found = build_scorer("leverage", {"evaluations": 32, "control": False}).score(inputs, rng=rng())
    np.testing.assert_allclose(found.values, exact(inputs), atol=1e-6)
    np.testing.assert_allclose(found.errors, 0, atol=1e-12)
    assert found.diagnostics["evaluations"] == 32


def test_pairs_are_exact_for_every_game_of_second_order():
    # Why the second-order control variate needs no Hessian: complements cancel its quadratic part.
    draw = rng(3)
    players = 8
    linear, square = draw.normal(size=players), draw.normal(size=(players, players))
    square = square + square.T

    def worth(masks):
        z = masks.astype(float)
        return z @ linear + np.einsum("mi,ij,mj->m", z, square, z) / 2

    table = worth(all_coalitions(players))
    masks, chances = paired_coalitions(players, pairs=20, rng=draw)
    values, errors = fit(masks, chances=chances, worth=worth(masks), ends=table[[0, -1]], prior=np.zeros(players))
    np.testing.assert_allclose(values, shapley_values(table), atol=1e-9)
    assert errors.max() > 0  # the additive fit does not fit, and says so, though its values are right


def test_what_draws_leave_open_stays_with_the_control():
    inputs = small_round(clients=12)
    target = exact(inputs)
    with_control, without = (
        build_scorer("leverage", {"evaluations": 10, "control": control}).score(inputs, rng=rng())
        for control in (True, False)
    )
    assert relative_l2(with_control.values, target) < relative_l2(without.values, target) / 2
    assert np.isinf(with_control.errors).all()


@pytest.mark.parametrize("players", [2, 3, 4, 7, 8])
def test_pairs_are_distinct_complements_and_reach_every_coalition(players):
    everything = 2 ** (players - 1) - 1
    for pairs in {1, everything // 2 or 1, everything, everything + 5}:
        masks, chances = paired_coalitions(players, pairs=pairs, rng=rng())
        assert len(masks) == 2 * min(pairs, everything)
        assert len({mask.tobytes() for mask in masks}) == len(masks)
        np.testing.assert_array_equal(masks[::2], ~masks[1::2])
        assert ((chances > 0) & (chances <= 1)).all()
    assert (paired_coalitions(players, pairs=everything, rng=rng())[1] == 1).all()


def test_every_coalition_is_drawn_as_often_as_its_chance_says():
    draw, seen = rng(), {}
    for _ in range(2000):
        masks, chances = paired_coalitions(5, pairs=5, rng=draw)
        for mask, chance in zip(masks, chances, strict=True):
            seen.setdefault(mask.tobytes(), []).append(chance)
    assert len(seen) == 30
    # Horvitz–Thompson: each coalition's inverse chances sum to the number of draws.
    for chances in seen.values():
        assert sum(1 / chance for chance in chances) == pytest.approx(2000, rel=0.25)


def test_gtg_cuts_off_a_round_that_gained_nothing():
    inputs = small_round()
    found = build_scorer("gtg", {"round_threshold": 1e9}).score(inputs, rng=rng())
    assert not found.values.any()
    assert found.diagnostics["evaluations"] == 2


@pytest.mark.parametrize("name", RULES)
def test_an_empty_round_has_no_scores(name):
    found = build_scorer(name).score(small_round(clients=0), rng=rng())
    assert found.values.shape == (0,)
    assert found.errors is None or found.errors.shape == (0,)


@pytest.mark.parametrize("name", ["direction", "shapley", "leverage", "permutation", "gtg", "banzhaf", "loo"])
def test_a_single_client_has_the_whole_gain(name):
    inputs = small_round(clients=1)
    worth = CoalitionGame(inputs)
    gain = worth.value([0]) - worth.value([])
    assert build_scorer(name, {"nodes": 8} if name == "direction" else {}).score(inputs, rng=rng()).values == (
        pytest.approx([gain], rel=1e-3)
    )


@pytest.mark.parametrize("name", RULES)
def test_equal_updates_of_equal_weight_score_the_same(name):
    inputs = small_round()
    same = RoundInputs(game=inputs.game, base=inputs.base, updates=[inputs.updates[0]] * 4, weights=np.full(4, 0.25))
    values = build_scorer(name).score(same, rng=rng()).values
    np.testing.assert_allclose(values, values[0], rtol=0.2 if name in SAMPLED else 1e-5)


@pytest.mark.parametrize("name", ["direction", "shapley", "loo", "cosine", "banzhaf"])
def test_a_zero_update_scores_exactly_zero(name):
    inputs = small_round()
    inputs.updates[2][:] = 0
    assert build_scorer(name).score(inputs, rng=rng()).values[2] == 0


def test_a_split_client_scores_in_sum_what_it_scored_whole():
    inputs = small_round()
    split = RoundInputs(
        game=inputs.game,
        base=inputs.base,
        updates=[*inputs.updates, inputs.updates[0]],
        weights=np.append(inputs.weights * [0.5, 1, 1, 1], inputs.weights[0] / 2),
    )
    whole = build_scorer("direction").score(inputs, rng=rng()).values
    parts = build_scorer("direction").score(split, rng=rng()).values
    assert parts[0] + parts[4] == pytest.approx(whole[0], rel=1e-6)


@pytest.mark.parametrize("name", RULES)
def test_the_same_draws_give_the_same_scores(name):
    inputs = small_round()
    scorer = build_scorer(name)
    np.testing.assert_array_equal(scorer.score(inputs, rng=rng(7)).values, scorer.score(inputs, rng=rng(7)).values)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_leaves_the_model_as_it_was(name):
    inputs = small_round(model=nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Linear(4, 3)))
    before = {key: value.clone() for key, value in inputs.game.model.state_dict().items()}
    build_scorer(name).score(inputs, rng=rng())
    assert not inputs.game.model.training
    if name not in ("direction", "leverage"):  # these move the game's own copy along the round
        for key, value in inputs.game.model.state_dict().items():
            assert (value == before[key]).all()


def test_exact_shapley_refuses_seventeen_and_names_the_rules_that_scale():
    inputs = small_round(clients=17)
    with pytest.raises(TooManyClients) as caught:
        build_scorer("shapley").score(inputs, rng=rng())
    assert (caught.value.clients, caught.value.most) == (17, 16)
    for name in ("direction", "leverage", "permutation", "gtg"):
        assert f"scorer={name}" in str(caught.value)


def test_unknown_rules_and_settings_are_named():
    with pytest.raises(ConfigError, match="scorer=shaply is unknown, the nearest is shapley; there are .*direction"):
        build_scorer("shaply")
    with pytest.raises(ConfigError, match="scorer=loo has no setting nodes; its settings: game, utility, workers"):
        build_scorer("loo", {"nodes": 3})
    with pytest.raises(ConfigError, match="scorer=shapley cannot be built: game is 'free'"):
        build_scorer("shapley", {"game": "free"})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("direction", {"nodes": 0}), ("direction", {"error_nodes": 65}), ("leverage", {"evaluations": 3}),
("permutation", {"truncation": 1.0}), ("permutation", {"evaluations": 1}),
        ("gtg", {"evaluations": 1}), ("gtg", {"convergence": -1}), ("banzhaf", {"evaluations": 1}), ("loo", {"utility": "f1"}),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(name, settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        build_scorer(name, settings)


class Halves:
    """A third party's rule."""

    def score(self, inputs, *, rng):
        return Scores(values=np.full(len(inputs), 0.5))


def test_a_third_partys_rule_plugs_in(monkeypatch):
    entries = [EntryPoint(name="halves", value=f"{__name__}:Halves", group=registry.ENTRY_POINTS)]
    entries.append(EntryPoint(name="loo", value=f"{__name__}:Halves", group=registry.ENTRY_POINTS))
    monkeypatch.setattr(registry, "entry_points", lambda group: entries)
    monkeypatch.setattr(registry, "import_object", lambda path, setting: Halves if "Halves" in path else dict)
    known_scorers.cache_clear()
    try:
        assert build_scorer("halves").score(small_round(clients=3), rng=rng()).values.tolist() == [0.5] * 3
        assert known_scorers()["loo"].startswith("fl.")  # a name that is taken stays taken
        with pytest.raises(ConfigError, match="scorer=cosine is no scoring rule"):
            build_scorer("cosine")
    finally:
        known_scorers.cache_clear()


def test_rank_correlation_is_spearmans():
    stats = pytest.importorskip("scipy.stats")
    draw = rng()
    for _ in range(10):
        values, other = draw.integers(5, size=12), draw.normal(size=12)
        assert rank_correlation(values, other) == pytest.approx(stats.spearmanr(values, other).statistic)
    assert np.isnan(rank_correlation(np.ones(3), np.arange(3)))
    assert np.isnan(rank_correlation(np.ones(1), np.ones(1)))
