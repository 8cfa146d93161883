"""What a client sends that does not train, by arithmetic that can be done by hand."""

import numpy as np
import pytest

from fl.task.behaviour import Known
from fl.task.behaviour.replays import adam, as_long, decayed, norm, opposite, replayed

BASE = np.array([1.0, 1.0, 1.0], dtype=np.float32)
BEFORE = np.array([1.0, -2.0, -3.0], dtype=np.float32)  # the last step is (0, 3, 4), of length 5
OLDEST = np.array([1.0, -2.0, -4.0], dtype=np.float32)
FIRST, LAST = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -2.0])


def sent(source, *, models=(OLDEST, BEFORE), directions=(FIRST, LAST), decay=1.0):
    """What a client that knows two rounds sends."""
    known = Known(base=BASE, models=models, directions=directions)
    return replayed(source, known=known, decay=decay, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("source", "settings", "expected"),
    [
        ("zero", {}, [0, 0, 0]),
        ("replay_step", {}, [0, 3, 4]),
        ("replay_direction", {}, [0, 0, -5]),
        ("replay_direction", {"directions": (LAST, FIRST)}, [0, 5, 0]),
        ("replay_direction", {"directions": ()}, [0, 3, 4]),  # none is revealed: the last step stands for it
        ("replay_average", {"directions": (np.array([0.0, 6, 0]), np.array([0.0, 0, 4])), "decay": 0.5}, [0, 3, 4]),
        ("adam", {"directions": (FIRST,)}, [0, 5, 0]),
        ("sign", {}, [0, 0, -5]),
        ("replay_model", {}, [5 / 3**0.5] * 3),
        ("replay_model", {"models": (), "directions": ()}, [1 / 3**0.5] * 3),  # known before the first round
        ("replay_step", {"models": ()}, [0, 0, 0]),  # in the first round there is nothing to replay
        ("sign", {"models": (), "directions": ()}, [0, 0, 0]),
    ],
)
def test_a_replay_is_what_it_says_as_long_as_the_last_step(source, settings, expected):
    np.testing.assert_allclose(sent(source, **settings), expected, atol=1e-9)


@pytest.mark.parametrize(("models", "length"), [((OLDEST, BEFORE), 5.0), ((), 1.0)])
def test_noise_is_as_long_as_the_last_step(models, length):
    assert norm(sent("noise", models=models)) == pytest.approx(length)


def test_two_opposite_clients_send_one_vector_and_its_negative_round_after_round():
    first, other, later = (
        opposite(3, pair=(4, 2), number=number, length=length, seed=7)
        for number, length in ((4, 5.0), (2, 5.0), (4, 10.0))
    )
    np.testing.assert_array_equal(first, -other)
    np.testing.assert_allclose(later, 2 * first)
    assert norm(first) == pytest.approx(5.0)
    assert not np.allclose(first, opposite(3, pair=(4, 2), number=4, length=5.0, seed=8))


def test_a_decayed_sum_counts_the_latest_whole():
    np.testing.assert_allclose(decayed([FIRST, LAST], decay=0.25), [0.0, 0.25, -2.0])


def test_adam_makes_every_coordinate_as_large_as_the_next():
    found = adam([np.array([100.0, -0.1, 0.0])] * 3)
    np.testing.assert_allclose(found, [1.0, -1.0, 0.0], atol=1e-6)


def test_nothing_stays_nothing_at_any_length():
    np.testing.assert_array_equal(as_long(np.zeros(2), length=3.0), np.zeros(2))
