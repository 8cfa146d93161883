"""One round's arithmetic, whole: from stakes, updates and scores to leaves and their sum.

The coordinator runs it to make a round and every evaluator runs it to check one; the same inputs give the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fl.codec import Blocks
from fl.rewards.price import Account, RoundPayout, settle_round
from fl.rewards.score import score, slopes_of
from fl.rewards.tree import NO_UPDATE, Leaf, RoundTree
from fl.rewards.weight import median_q64, norm_q64, weights_q32


@dataclass(frozen=True, kw_only=True, eq=False)
class Participant:
    """One accepted update."""

    account: str
    stake: int  # wei
    blocks: Blocks
    root: bytes
    selected: bool = True  # whether the aggregation rule took it (Krum leaves some out)


@dataclass(frozen=True, kw_only=True, eq=False)
class Settlement:
    """What a round comes to."""

    scores: dict[str, int]  # units of 2^−40 of the utility, participants only
    payout: RoundPayout
    tree: RoundTree


def length_of(participants: Sequence[Participant], *, cap: int, median: bool) -> int:
    """The length that an update counts with at most, in units of 2^−64.

    Args:
        participants: Accepted updates, those that the aggregation rule leaves out included.
        cap: `cap_q64` of the spec's norm cap.
        median: Whether the round's stake-weighted median holds it lower (task.length=median).
    """
    if not median or not participants:
        return cap
    norms = [norm_q64(participant.blocks) for participant in participants]
    return min(
        cap,
        median_q64(
            stakes=[participant.stake for participant in participants],
            norms=norms,
            accounts=[participant.account for participant in participants],
        ),
    )


def weigh(participants: Sequence[Participant], *, cap: int) -> dict[str, int]:
    """Weight of each participant by account, in units of 2^−32. `cap` is the round's length (see `length_of`)."""
    weights = weights_q32(
        stakes=[participant.stake for participant in participants],
        norms=[norm_q64(participant.blocks) for participant in participants],
        cap=cap,
        selected=[int(participant.selected) for participant in participants],
    )
    return {participant.account: weight for participant, weight in zip(participants, weights, strict=True)}


def direction_scores(
    participants: Sequence[Participant], *, weights: Mapping[str, int], direction: Blocks
) -> dict[str, int]:
    """Score of each participant by account, in units of 2^−40 of loss: the ones that the chain can check.

    Args:
        participants: Of the round.
        weights: By account, units of 2^−32.
        direction: Of the round.
    """
    slopes = list(slopes_of(direction))
    return {
        participant.account: score(participant.blocks, direction, weight=weights[participant.account], slopes=slopes)
        for participant in participants
    }


class Seat(Protocol):
    """Whoever has a place in a round: all that pay asks of an update."""

    @property
    def account(self) -> str: ...

    @property
    def root(self) -> bytes: ...


def settle(
    participants: Sequence[Seat],
    *,
    weights: Mapping[str, int],
    scores: Mapping[str, int],
    accounts: Mapping[str, Account],
    allowed: int,
) -> Settlement:
    """Pay and commit to one round.

    Args:
        participants: Accepted updates.
        weights: `weigh` of them.
        scores: Of each participant, in units of 2^−40: `direction_scores`, or what evaluators attest.
        accounts: Every enrolled client before the round.
        allowed: `allowed_by` of the round.
    Raises: ValueError if more was paid before than is allowed now.
    """
    payout = settle_round(accounts, scores=scores, allowed=allowed)
    roots = {participant.account: participant.root for participant in participants}
    leaves = [
        Leaf(
            account=account,
            update_root=roots.get(account, NO_UPDATE),
            weight=weights.get(account, 0),
            score=scores.get(account, 0),
            total=after.total,
            cumulative=after.cumulative,
        )
        for account, after in payout.accounts.items()
    ]
    return Settlement(scores=dict(scores), payout=payout, tree=RoundTree(leaves))
