"""What two clients gain by agreeing on a lie: both tell a false value of their pair, and one hands its score to the other.

The sum of both scores stays, but a negative total costs its owner nothing, so the receiver's gain is the ring's. It is found when the
public draw opens the pair: both then score 0 in the round and have no place in the rounds to come. No score exceeds what its length
allows, so the gain is at most the room between the receiver's own score and that bound.
"""

from __future__ import annotations

import math

from fl.privacy.graph import drawn_pairs, neighbours
from fl.privacy.seeds import Round
from fl.privacy.terms import PrivacyTerms


def draw_chance(clients: int, *, terms: PrivacyTerms, draws: int = 400) -> float:
    """How likely a pair is opened, over so many draws.

    Args:
        clients: Of a round.
        terms: Of its privacy.
        draws: How many.
    """
    accounts = [f"0x{number:040x}" for number in range(1, clients + 1)]
    graph = neighbours(accounts, of=Round(task_id=bytes(32), number=1), terms=terms)
    total = sum(map(len, graph.values())) / 2
    opened = sum(len(drawn_pairs(graph, seed=number.to_bytes(8, "big"))[0]) for number in range(draws))
    return opened / draws / total


def ring_gain(*, chance: float, room: float, rounds_left: int) -> float:
    """What a ring of two expects of its lie, in honest scores of one of them and round.

    Args:
        chance: That its pair is opened.
        room: What the bound allows over an honest score, as a factor: 1 / cos of the angle between update and direction.
        rounds_left: After this one, in which both would score as now.
    """
    return (1 - chance) * (room - 1) - chance * 2 * (1 + rounds_left)


def safe_rounds(*, chance: float, room: float) -> int:
    """With how many rounds left, at least, a ring of two loses by its lie."""
    if chance <= 0:
        raise ValueError("no pair is ever opened among so few clients")
    return max(0, math.floor(((1 - chance) * (room - 1) / (2 * chance)) - 1) + 1)
