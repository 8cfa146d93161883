"""What rounds may pay by and by, where the sponsor added to the budget or stopped the task."""

import pytest

from fl.chain.schedule import Schedule


def test_the_rounds_before_a_stop_are_held_to_what_was_planned_then():
    stopped = Schedule(planned=4, rounds=3, budgets=((1, 1000),))
    assert [stopped.allowed(number) for number in (1, 2, 3)] == [250, 500, 1000]
    with pytest.raises(ValueError, match="round 4 is not among the 3 rounds of the schedule"):
        stopped.allowed(4)


def test_what_was_added_in_the_round_of_a_stop_counts_in_it():
    stopped = Schedule(planned=4, rounds=2, budgets=((1, 1000), (3, 1600)))
    assert [stopped.allowed(number) for number in (1, 2)] == [250, 1600]


def test_what_was_added_counts_from_its_round_on():
    longer = Schedule(planned=4, rounds=4, budgets=((1, 1000), (3, 1600)))
    assert [longer.allowed(number) for number in (1, 2, 3, 4)] == [250, 500, 1200, 1600]
