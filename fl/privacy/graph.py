"""Who shares masks with whom, and which pairs a public draw opens.

Up to 32 clients everybody is everybody's neighbour. Beyond, a ring over a public random order joins each to its next few on both
sides (the Harary graph of Bell et al. 2020, section 3), so that a client talks to O(log n) others. The order follows from task, round
and enrolment alone: no coordinator chooses who a client's neighbours are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from fl.privacy.seeds import Round
from fl.privacy.terms import PrivacyTerms

Pair = tuple[str, str]  # ascending
LEAST_CLOSED = 2  # pairs of a client that stay closed whatever is drawn


def by_number(accounts: Iterable[str]) -> list[str]:
    """Accounts, ascending."""
    return sorted(accounts, key=lambda account: int(account, 16))


def pair_of(account: str, other: str) -> Pair:
    """A pair, ascending."""
    return (account, other) if int(account, 16) <= int(other, 16) else (other, account)


def neighbours(accounts: Sequence[str], *, of: Round, terms: PrivacyTerms) -> dict[str, tuple[str, ...]]:
    """Each client's neighbours, ascending.

    Args:
        accounts: Everybody who weighs in the round by the chain, whether it answers or not.
    """
    ordered = by_number(accounts)
    degree = terms.degree(len(ordered))
    if degree >= len(ordered) - 1:
        return {account: tuple(other for other in ordered if other != account) for account in ordered}
    ring = sorted(ordered, key=lambda account: hashlib.sha256(of.told("ring", account)).digest())
    reach = max(1, degree // 2)
    found: dict[str, set[str]] = {account: set() for account in ordered}
    for place, account in enumerate(ring):
        for step in range(1, reach + 1):
            other = ring[(place + step) % len(ring)]
            found[account].add(other)
            found[other].add(account)
    return {account: tuple(by_number(found[account])) for account in ordered}


def drawn_pairs(
    pairs: Mapping[str, Sequence[str]], *, seed: bytes, first: Iterable[Pair] = ()
) -> tuple[list[Pair], list[Pair]]:
    """Which pairs are opened, and which of `first` are not, because they may not be.

    Pairs are taken in an order that follows from `seed`, those of `first` before all others, as long as each end keeps half of its
    pairs closed, and two at least: the closed ones hide its update once its own mask is open.

    Args:
        pairs: Of each client whose update is in the sum, the others with whom it shares a mask that is closed.
        seed: Follows from everything that was signed, so that nobody knew it when it signed.
        first: Pairs whose ends disagree.
    """
    edges = {pair_of(account, other) for account, others in pairs.items() for other in others if other in pairs}
    left = {account: _may_open(len([other for other in others if other in pairs])) for account, others in pairs.items()}
    wanted = [pair for pair in dict.fromkeys(first) if pair in edges]
    order = [*_shuffled(wanted, seed), *_shuffled(edges - set(wanted), seed)]
    taken = []
    for pair in order:
        if all(left[end] > 0 for end in pair):
            taken.append(pair)
            for end in pair:
                left[end] -= 1
    return taken, [pair for pair in wanted if pair not in set(taken)]


def _may_open(pairs: int) -> int:
    return max(0, min(pairs // 2, pairs - LEAST_CLOSED))


def _shuffled(pairs: Iterable[Pair], seed: bytes) -> list[Pair]:
    return sorted(pairs, key=lambda pair: hashlib.sha256(seed + "|".join(pair).encode()).digest())
