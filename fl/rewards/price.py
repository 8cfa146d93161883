"""Scores → totals → price → pay: what a client has earned is its whole score times one price, the same for everybody.

total_t      = total_{t−1} + score_t
cumulative_t = max(cumulative_{t−1}, floor(price_t · max(0, total_t) / 2^64))
allowed_t    = floor(budget · t / rounds); at the last round, or at a stop, the budget
price_t      = the largest integer below 2^128 with C_t = Σ cumulative_t ≤ allowed_t

The price moves as scores come in; nobody's pay ever falls. Rounds of noise move totals by almost nothing, so they move pay by
almost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PRICE_BITS = 64  # a price is in units of 2^−64 wei per 2^−40 of loss
HIGHEST_PRICE = (1 << 128) - 1  # where nobody has a positive total, or too little of it for what is allowed


@dataclass(frozen=True, kw_only=True)
class Account:
    """Where a client stands after a round."""

    total: int = 0  # all its scores, units of 2^−40 of loss
    cumulative: int = 0  # wei earned since the task began

    def at(self, price: int) -> int:
        """Wei that the account has earned at a price: never less than before."""
        return max(self.cumulative, price * max(0, self.total) >> PRICE_BITS)


@dataclass(frozen=True, kw_only=True)
class RoundPayout:
    """What one round pays, and where everybody stands after it."""

    allowed: int  # wei that all rounds up to this one may pay together
    price: int  # units of 2^−64 wei per 2^−40 of loss
    accounts: dict[str, Account]  # by account address
    pays: dict[str, int]  # wei, by account address

    @property
    def cumulative(self) -> int:
        """C: what all rounds up to this one pay together, wei."""
        return sum(account.cumulative for account in self.accounts.values())


def allowed_by(round_number: int, *, budget: int, rounds: int) -> int:
    """Wei that the rounds up to this one may pay together.

    Args:
        budget: Of the task, as it counts in this round.
        rounds: The last round: the task's, or sooner after a stop.
    """
    if not 1 <= round_number <= rounds:
        raise ValueError(f"round {round_number} is not among the {rounds} rounds of the schedule")
    return budget if round_number == rounds else budget * round_number // rounds


def price_of(price: int) -> float:
    """A price as people read it: whole tokens of 10^18 wei for 1.0 of loss."""
    return price * 2.0 ** (40 - PRICE_BITS) / 10**18


def settle_round(accounts: Mapping[str, Account], *, scores: Mapping[str, int], allowed: int) -> RoundPayout:
    """Carry every account over one round.

    Args:
        accounts: Every enrolled client by address; a new one has `Account()`.
        scores: Scores in units of 2^−40 of loss; an account without one scored 0.
        allowed: `allowed_by` of the round.
    Raises: KeyError for a score without an account; ValueError if more was paid before than is allowed now.
    """
    if strangers := set(scores) - set(accounts):
        raise KeyError(f"scores for accounts that are not enrolled: {', '.join(sorted(strangers))}")
    due = {
        address: Account(total=account.total + scores.get(address, 0), cumulative=account.cumulative)
        for address, account in accounts.items()
    }
    price = largest_price(list(due.values()), allowed=allowed)
    after = {address: Account(total=account.total, cumulative=account.at(price)) for address, account in due.items()}
    return RoundPayout(
        allowed=allowed,
        price=price,
        accounts=after,
        pays={address: after[address].cumulative - account.cumulative for address, account in due.items()},
    )


def largest_price(accounts: Sequence[Account], *, allowed: int) -> int:
    """The largest price at which all accounts together have at most `allowed` wei, exact in integers.

    Args:
        accounts: With this round's totals and the last round's cumulatives.
        allowed: Wei.
    Raises: ValueError if the cumulatives alone are more than that.
    """
    paid = sum(account.cumulative for account in accounts)
    if paid > allowed:
        raise ValueError(f"{paid} wei were paid before, and the schedule allows {allowed}")
    earners = [account for account in accounts if account.total > 0]
    if not earners:
        return HIGHEST_PRICE
    idle = paid - sum(account.cumulative for account in earners)
    # Rounding down takes less than a wei from each: the price lies between where the unrounded sum meets what is allowed,
    # and where it is as many wei beyond that as there are earners.
    low, high = (_crossing(earners, target=allowed - idle + slack) for slack in (0, len(earners)))
    while low < high:
        price = (low + high + 1) // 2
        if idle + sum(account.at(price) for account in earners) <= allowed:
            low = price
        else:
            high = price - 1
    return low


def _crossing(earners: Sequence[Account], *, target: int) -> int:
    """The largest price with Σ max(cumulative, price · total / 2^64) ≤ target, nothing rounded.

    Newton's steps from above on a convex, piecewise linear sum: each fixes those who stay at what they have, and none
    passes the crossing.
    """
    moving, held = list(earners), 0
    price = HIGHEST_PRICE
    while moving:
        price = min(price, ((target - held) << PRICE_BITS) // sum(account.total for account in moving))
        staying = [account for account in moving if price * account.total < account.cumulative << PRICE_BITS]
        if not staying:
            break
        held += sum(account.cumulative for account in staying)
        moving = [account for account in moving if price * account.total >= account.cumulative << PRICE_BITS]
    return price
