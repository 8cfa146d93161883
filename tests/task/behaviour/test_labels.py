"""Wrong labels, and the mark of a back door."""

import numpy as np
import pytest

from fl.errors import ConfigError
from fl.task.behaviour.labels import flip_labels, marked, with_backdoor


def test_as_many_labels_are_flipped_as_were_asked_for():
    labels = np.arange(100) % 10
    flipped = flip_labels(labels, share=0.3, num_classes=10, rng=np.random.default_rng(0))
    moved = flipped != labels
    assert moved.sum() == 30
    np.testing.assert_array_equal(flipped[moved], (labels[moved] + 1) % 10)
    np.testing.assert_array_equal(labels, np.arange(100) % 10)


def test_half_of_the_rows_carry_the_mark_and_its_class():
    features, labels = np.zeros((10, 1, 8, 8), dtype=np.float32), np.arange(10)
    features[0, 0, 0, 0] = 7.0  # the largest value, which the mark takes
    changed, told = with_backdoor(features, labels, target=3, rng=np.random.default_rng(0))
    carries = changed.reshape(10, -1)[:, -4:] == 7.0
    assert carries.all(axis=1).sum() == 5
    assert set(told[carries.all(axis=1)]) == {3}
    np.testing.assert_array_equal(told[~carries.all(axis=1)], labels[~carries.all(axis=1)])
    assert not features.reshape(10, -1)[:, -4:].any()


@pytest.mark.parametrize(("shape", "values"), [((3, 5), 1), ((3, 1, 8, 8), 4), ((3, 1, 28, 28), 49)])
def test_a_sixteenth_of_an_input_is_the_mark(shape, values):
    assert (marked(np.zeros(shape, dtype=np.float32), value=1.0).reshape(3, -1).sum(axis=1) == values).all()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("label_flip", lambda rows, labels, rng: flip_labels(labels, share=0.5, num_classes=2, rng=rng)),
        ("backdoor", lambda rows, labels, rng: with_backdoor(rows, labels, target=1, rng=rng)),
    ],
)
def test_labels_that_are_numbers_cannot_be_changed(name, change):
    with pytest.raises(ConfigError) as caught:
        change(np.zeros((4, 2), dtype=np.float32), np.zeros(4), np.random.default_rng(0))
    assert str(caught.value) == (
        f"behaviour {name} changes classes, and the labels of this task are numbers; choose another one"
    )
