"""What two that agree on a lie expect of it."""

import pytest

from fl.privacy.rings import draw_chance, ring_gain, safe_rounds
from fl.privacy.terms import PrivacyTerms

TERMS = PrivacyTerms(masked=True)


@pytest.mark.parametrize(("clients", "least"), [(4, 0.3), (6, 0.35), (10, 0.4), (20, 0.44)])
def test_a_pair_is_opened_nearly_half_of_the_time(clients, least):
    assert least < draw_chance(clients, terms=TERMS, draws=60) <= 0.5


def test_among_three_no_pair_can_be_opened():
    chance = draw_chance(3, terms=TERMS, draws=5)
    assert chance == 0
    with pytest.raises(ValueError, match="no pair is ever opened among so few clients"):
        safe_rounds(chance=chance, room=2)


@pytest.mark.parametrize("room", [1.5, 3, 10, 30])
@pytest.mark.parametrize("chance", [0.33, 0.44, 0.5])
def test_a_ring_loses_by_its_lie_but_for_the_last_rounds(room, chance):
    left = safe_rounds(chance=chance, room=room)
    assert ring_gain(chance=chance, room=room, rounds_left=left) < 0
    if left:
        assert ring_gain(chance=chance, room=room, rounds_left=left - 1) >= 0


def test_the_figures_of_the_documents():
    assert safe_rounds(chance=0.44, room=2.5) == 0  # at the very end, too
    assert safe_rounds(chance=0.44, room=10) == 5
