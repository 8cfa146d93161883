"""Scores → balances → payouts: a loss is earned back before more is paid, and a round's payouts sum to its pot.

balance_t    = min(0, balance_{t−1}) + score_t
entitlement  = max(0, balance_t);   E = Σ entitlement
pay          = floor(pot · entitlement / E) (+1 by largest remainder, ties by address);  Σ pay = pot exactly
cumulative_t = cumulative_{t−1} + pay
pot          = floor((budget − C_{t−1}) / rounds left)       C: sum of all cumulatives
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Account:
    """Where a client stands after a round."""

    balance: int = 0  # units of 2^−40 of loss; below 0 is a debt that is earned back first
    cumulative: int = 0  # wei earned since the task began

    @property
    def entitlement(self) -> int:
        """The part of the balance that counts for pay."""
        return max(0, self.balance)


@dataclass(frozen=True, kw_only=True)
class RoundPayout:
    """What one round pays, and where everybody stands after it."""

    pot: int  # wei on offer
    paid: int  # wei handed out: the pot, or 0 where nobody is entitled
    accounts: dict[str, Account]  # by account address
    pays: dict[str, int]  # wei, by account address


def pot_of(*, budget: int, paid_before: int, rounds_left: int) -> int:
    """Wei on offer in a round: what is left of the budget, spread over the rounds left (this one included)."""
    if rounds_left < 1:
        raise ValueError(f"{rounds_left} rounds are left; a pot needs 1 or more")
    return (budget - paid_before) // rounds_left


def settle_round(accounts: Mapping[str, Account], *, scores: Mapping[str, int], pot: int) -> RoundPayout:
    """Carry every account over one round.

    Args:
        accounts: Every enrolled client by address; a new one has `Account()`.
        scores: Scores in units of 2^−40 of loss; an account without one scored 0.
        pot: Wei on offer.
    Raises: KeyError for a score without an account.
    """
    if strangers := set(scores) - set(accounts):
        raise KeyError(f"scores for accounts that are not enrolled: {', '.join(sorted(strangers))}")
    balances = {address: min(0, account.balance) + scores.get(address, 0) for address, account in accounts.items()}
    pays = _split(pot, {address: max(0, balance) for address, balance in balances.items()})
    return RoundPayout(
        pot=pot,
        paid=sum(pays.values()),
        accounts={
            address: Account(balance=balances[address], cumulative=account.cumulative + pays[address])
            for address, account in accounts.items()
        },
        pays=pays,
    )


def _split(pot: int, entitlements: Mapping[str, int]) -> dict[str, int]:
    """Share `pot` by entitlement to the wei, largest remainders first, ties by address (as a number)."""
    total = sum(entitlements.values())
    if total == 0:
        return dict.fromkeys(entitlements, 0)
    pays = {address: pot * part // total for address, part in entitlements.items()}
    by_remainder = sorted(entitlements, key=lambda address: (-(pot * entitlements[address] % total), int(address, 16)))
    for address in by_remainder[: pot - sum(pays.values())]:
        pays[address] += 1
    return pays
