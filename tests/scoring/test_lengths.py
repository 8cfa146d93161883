import numpy as np
import pytest

from fl.codec import Blocks
from fl.scoring.lengths import loose_cap


def updates(*norms):
    return [Blocks.encode(np.array([norm, 0.0])) for norm in norms]


@pytest.mark.parametrize("cap", ["0.5", "1", "3"])
def test_a_cap_near_the_updates_is_not_warned_of(cap):
    assert loose_cap(updates(1.0, 1.0, 1.0), cap=cap) is None


def test_a_cap_far_above_the_updates_is_told_with_what_to_set():
    assert loose_cap(updates(0.5, 0.5, 0.75), cap="10") == (
        "task.norm_cap is 10, 20.0 times the median update (0.5): whoever scales its own update is paid for up to that; "
        "leave task.length=median, or open tasks like this one with a cap near the longest honest update, such as 1"
    )


def test_one_who_scaled_up_does_not_hide_how_loose_the_cap_is():
    assert "10.0 times the median update (1)" in loose_cap(updates(1.0, 1.0, 10.0), cap="10")


def test_those_who_sent_nothing_do_not_count():
    assert loose_cap(updates(0.0, 0.0), cap="10") is None
    assert "5.0 times" in loose_cap(updates(0.0, 0.0, 2.0), cap="10")
