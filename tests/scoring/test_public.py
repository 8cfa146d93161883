"""What everybody knows belongs to nobody: the rows' halves, the public vectors and the public step."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scoring.rounds import small_round

from fl.errors import ConfigError
from fl.scoring.direction import direction
from fl.scoring.game import Evaluation, ValidationGame
from fl.scoring.public_step import as_far_as_it_helps, gradients_in, search
from fl.scoring.public_vectors import (
    RATES,
    AdamStep,
    Combined,
    PublicRound,
    PublicStep,
    PublicVector,
    orthonormal,
    products,
    public_vectors,
    step_vectors,
    without_public,
)
from fl.scoring.rows import MOST_STEERING, few_rows, split_rows
from fl.task.objectives import LanguageModelling
from fl.task.rows import Rows
from fl.task.spec import TaskSpec

VECTORS = st.lists(st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6), min_size=1, max_size=6)


def whole(vectors):
    """As public vectors over the whole range."""
    return [PublicVector(values=np.asarray(vector, dtype=np.float64)) for vector in vectors]


@given(VECTORS)
@example([[0.0] * 5 + [6.6e-161]])
def test_the_basis_is_orthonormal(rows):
    basis = orthonormal(whole(rows))
    for place, vector in enumerate(basis):
        assert np.linalg.norm(vector.values) == pytest.approx(1, rel=1e-6)
        assert all(abs(vector.values @ other.values) < 1e-6 for other in basis[:place])


@given(VECTORS, st.lists(st.floats(-3, 3), min_size=6, max_size=6))
def test_any_sum_of_what_is_public_leaves_nothing(rows, places):
    vectors = [np.array(row) for row in rows]
    basis = orthonormal(whole(vectors))
    replayed = sum((place * vector for place, vector in zip(places, vectors, strict=False)), np.zeros(6))
    # A vector whose new part is below 10^-6 of its length counts as said before.
    longest = max(np.linalg.norm(vector) for vector in vectors)
    assert np.linalg.norm(without_public(replayed, basis)) <= 1e-4 * max(1e-9, longest)


def test_a_vector_that_was_said_before_is_dropped():
    vector = np.array([3.0, 4.0, 0.0])
    assert len(orthonormal(whole([vector, 2 * vector, vector + np.array([0, 0, 1e-7])]))) == 1
    assert len(orthonormal(whole([vector, vector + np.array([0, 0, 1e-3])]))) == 2
    assert orthonormal(whole([np.zeros(3), np.array([0, 0, 6.6e-161])])) == []


def test_the_latest_round_comes_first_by_tensor_and_its_step_before_its_direction():
    x, y, z, w = np.eye(24)[[0, 1, 2, 3]]
    rounds = [PublicRound(step=3 * x + y, direction=z - w), PublicRound(step=y + z, direction=x + w)]
    basis = public_vectors(rounds, model=np.zeros(24), parts=(1, 2, 21))
    assert [(vector.start, vector.values.tolist()) for vector in basis] == [
        (0, [1]), (1, [1, 0]), (1, [0, 1]), (3, [-1, *[0] * 20])
    ]  # fmt: skip


def test_an_older_round_is_one_vector_and_no_part_of_it():
    rng = np.random.default_rng(0)
    latest, older = (PublicRound(step=rng.normal(size=60), direction=rng.normal(size=60)) for _ in range(2))
    model = rng.normal(size=60)
    basis = public_vectors([latest, older], parts=(30, 30), model=model)
    assert [(vector.start, vector.stop) for vector in basis] == [(0, 30), (30, 60)] * 3 + [(0, 60)] * 5
    # The model before is the model less the last step.
    known = [latest.step, latest.direction, model, model - latest.step, older.step, older.direction]
    part = np.where(np.arange(60) < 30, latest.direction, 0)
    longer = np.where(np.arange(60) < 30, 3 * model, -model)
    # Adam's step for the second vector of two, from its paper.
    mean = (0.9 * 0.1 * older.direction + 0.1 * latest.direction) / (1 - 0.9**2)
    square = (0.999 * 0.001 * older.direction**2 + 0.001 * latest.direction**2) / (1 - 0.999**2)
    for replay in (*known, part, longer, np.sign(latest.direction), mean / (np.sqrt(square) + 1e-8)):
        assert np.linalg.norm(without_public(replay, basis)) < 1e-6 * np.linalg.norm(replay)
    half = np.where(np.arange(60) < 30, older.direction, 0)
    assert np.linalg.norm(without_public(half, basis)) > 0.1 * np.linalg.norm(half)


def test_the_public_step_goes_along_steps_the_latest_by_tensor():
    rng = np.random.default_rng(2)
    latest, older = rng.normal(size=(2, 60))
    basis = step_vectors([latest, older], parts=(30, 30))
    assert [(vector.start, vector.stop) for vector in basis] == [(0, 30), (30, 60), (0, 60), (0, 60)]
    for part in basis:
        assert abs(np.linalg.norm(part.values) - 1) < 1e-6
    by_tensor = np.where(np.arange(60) < 30, latest, -3 * latest)
    for step in (by_tensor, older, AdamStep(vectors=[older, latest])[:]):
        assert np.linalg.norm(without_public(step, basis)) < 1e-6 * np.linalg.norm(step)
    # Nothing that fits the validation rows is among them.
    assert np.linalg.norm(without_public(rng.normal(size=60), basis)) > 1
    assert len(step_vectors([latest[:8], older[:8]], parts=(2, 2, 4))) == 2  # a quarter of the values


def test_a_small_model_keeps_three_quarters_for_its_clients():
    rng = np.random.default_rng(1)
    rounds = [PublicRound(step=rng.normal(size=11), direction=rng.normal(size=11)) for _ in range(3)]
    basis = public_vectors(rounds, parts=(8, 3), model=rng.normal(size=11))
    assert [(vector.start, vector.stop) for vector in basis] == [(0, 8), (8, 11)]


def test_before_the_first_round_the_model_alone_is_public_tensor_by_tensor():
    basis = public_vectors([], parts=(2, 5, 1), model=np.array([3.0, 4, 0, 0, 0, 0, 0, 2]))
    assert [(vector.start, vector.values.tolist()) for vector in basis] == [(0, pytest.approx([0.6, 0.8]))]
    assert [vector.start for vector in public_vectors([], parts=(2, 5, 5), model=np.arange(12.0))] == [0, 2, 7]


def test_a_step_is_added_in_one_order_and_rounded_once():
    basis = [PublicVector(values=np.array([1.0, 0, 0])), PublicVector(values=np.array([1.0]), start=1)]
    step = PublicStep(coefficients=(0.1, -0.2), rate=0.5)
    aggregate = np.array([1, 2, 3], dtype=np.float32)
    np.testing.assert_array_equal(
        step.applied(aggregate, basis), Combined(origin=aggregate, basis=basis, places=[0.05, -0.1]).whole()
    )
    assert PublicStep(coefficients=(0.1, -0.2), rate=0.0).applied(aggregate, basis) is aggregate
    with pytest.raises(ValueError, match="zip"):
        PublicStep(coefficients=(0.1,), rate=1.0).applied(aggregate, basis)


def test_rows_are_halved_by_their_hashes():
    game = small_round().game
    rows = split_rows(game)
    count = len(game.features)
    order = sorted(range(count), key=lambda row: hashlib.sha256(game.validation_hash + row.to_bytes(8, "big")).digest())
    assert len(rows.steering.features) == count // 2
    assert len(rows.held_out.features) == count - count // 2
    np.testing.assert_array_equal(rows.steering.features, game.features[sorted(order[: count // 2])])
    np.testing.assert_array_equal(rows.held_out.features, game.features[sorted(order[count // 2 :])])


def test_no_more_rows_steer_than_the_search_can_afford_and_half_of_all_are_held_out():
    game = small_round().game
    many = np.resize(np.arange(len(game)), 2 * MOST_STEERING + 50)
    game = ValidationGame(
        game.model, loss=game.objective, features=game.features[many], labels=game.labels[many], device="cpu"
    )
    rows = split_rows(game)
    assert (len(rows.steering), len(rows.held_out)) == (MOST_STEERING, MOST_STEERING + 25)


@pytest.mark.parametrize(("tokens", "steering"), [(8, 192), (32, 64), (1000, 32)])
def test_of_text_as_many_rows_steer_as_have_2048_tokens(tokens, steering):
    rows = Rows(
        arrays={
            "features": torch.arange(500)[:, None].expand(500, tokens),
            "labels": torch.zeros(500, tokens, dtype=torch.int64),
        }
    )
    game = ValidationGame(torch.nn.Embedding(500, 3), loss=LanguageModelling(), rows=rows, device="cpu")
    split = split_rows(game)
    assert (len(split.steering), len(split.held_out)) == (steering, 250)


def test_one_row_has_no_halves():
    game = small_round().game
    flags = np.zeros(len(game.features), dtype=bool)
    flags[0] = True
    with pytest.raises(
        ConfigError, match="the validation set has 1 row.*; bring more rows, or set scorer.public_rounds=0"
    ):
        split_rows(game.subset(flags))


@pytest.mark.parametrize(("count", "warned"), [(2, True), (39, True), (40, False)])
def test_few_rows_are_warned_of_with_their_number(count, warned):
    told = few_rows(count)
    assert (told is not None) == warned
    if warned:
        assert told == (
            f"the validation set has {count} rows, and all scores rest on them; with fewer than 40 a score is mostly chance, so bring "
            "more rows"
        )


def test_the_search_lowers_the_steering_loss_and_never_raises_the_held_out_loss():
    inputs = small_round()
    rows = split_rows(inputs.game)
    downhill = direction(rows.held_out, base=inputs.base, step=np.zeros(len(inputs.base)))
    basis = orthonormal(whole([downhill, np.arange(len(inputs.base), dtype=np.float64)]))
    step = search(rows, aggregate=inputs.base, basis=basis, scale=1.0, gradients=18)
    moved = step.applied(inputs.base, basis)
    assert step.rate in RATES
    assert rows.held_out.evaluate(moved).loss <= rows.held_out.evaluate(inputs.base).loss
    full = PublicStep(coefficients=step.coefficients, rate=1.0).applied(inputs.base, basis)
    assert rows.steering.evaluate(full).loss < rows.steering.evaluate(inputs.base).loss


@pytest.mark.parametrize(
    ("losses", "found", "asked"),
    [
        ({0.0: 5, 1.0: 1, 0.75: 2}, 1.0, 3),  # the common case asks for three
        ({0.0: 5, 1.0: 3, 0.75: 2, 0.5: 1, 0.25: 2}, 0.5, 5),
        ({0.0: 5, 1.0: 9, 0.75: 10, 0.5: 8, 0.25: 6, 0.125: 4}, 0.125, 6),  # above the loss without a step it goes on
        ({0.0: 1, 1.0: 5, 0.75: 4, 0.5: 3, 0.25: 2, 0.125: 1}, 0.0, 6),  # as good as none is none
        ({0.0: 5, 1.0: 2, 0.75: 2, 0.5: 3}, 0.75, 4),  # of two as good, the shorter
        ({0.0: 5, 1.0: np.nan, 0.75: 4, 0.5: 4.5}, 0.75, 4),
        ({0.0: np.nan, 1.0: np.inf, 0.75: 4, 0.5: 3, 0.25: 3.5}, 0.5, 5),
        (dict.fromkeys(RATES, np.nan), 0.0, 6),
    ],
)
def test_the_step_is_as_long_as_it_helps(losses, found, asked):
    base, seen = np.zeros(4, dtype=np.float32), []

    class Loss:
        def evaluate(self, model):
            # Along one coordinate the model tells the rate.
            seen.append(float(model[0]))
            return Evaluation(loss=losses[seen[-1]], accuracy=None, perplexity=None)

    axis = np.eye(1, len(base))[0]
    chosen = as_far_as_it_helps(Loss(), aggregate=base, basis=orthonormal(whole([axis])), coefficients=(1.0,))
    assert (chosen.rate, len(seen), len(set(seen))) == (found, asked, asked)
    assert chosen.coefficients == (1.0,)


def test_the_search_is_short_in_the_rounds_that_pay_most():
    assert [gradients_in(number, first=7) for number in (1, 2, 3, 40)] == [7, 7, 14, 14]


def test_the_search_costs_no_more_than_ten_gradients():
    inputs = small_round()
    rows, asked = split_rows(inputs.game), []
    measured = rows.steering.add_gradient
    rows.steering.add_gradient = lambda model, into: asked.append(1) or measured(model, into=into)
    basis = orthonormal(whole([direction(rows.held_out, base=inputs.base, step=np.zeros(len(inputs.base)))]))
    search(
        rows, aggregate=inputs.base, basis=basis, scale=1.0, gradients=gradients_in(9, first=TaskSpec.public_gradients)
    )
    assert 0 < len(asked) / 2 <= 10  # each on half of the rows


@pytest.mark.parametrize("scale", [0.0, np.nan, np.inf])
def test_without_a_length_or_a_vector_nothing_moves(scale):
    inputs = small_round()
    rows = split_rows(inputs.game)
    assert search(rows, aggregate=inputs.base, basis=[], scale=1.0, gradients=18).rate == 0
    basis = orthonormal(whole([np.ones(len(inputs.base))]))
    step = search(rows, aggregate=inputs.base, basis=basis, scale=scale, gradients=18)
    assert step == PublicStep(coefficients=(0.0,), rate=0.0)


def test_a_model_that_is_no_number_moves_nothing():
    inputs = small_round()
    rows = split_rows(inputs.game)
    broken = np.full_like(inputs.base, np.nan)
    assert (
        search(rows, aggregate=broken, basis=orthonormal(whole([np.ones(len(broken))])), scale=1.0, gradients=18).rate
        == 0
    )


def test_products_are_those_of_the_basis():
    basis = [*whole(np.eye(3)), PublicVector(values=np.array([2.0, 2.0]), start=1)]
    assert products(np.array([1.0, -2.0, 0.5]), basis) == [1.0, -2.0, 0.5, -3.0]
