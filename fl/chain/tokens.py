"""Amounts as people write them, whole tokens in decimal, and as the contract holds them, in wei."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from fractions import Fraction

from fl.errors import ConfigError

WEI = 10**18  # of one token
_MOST_WEI = 2**96 - 1  # of one amount in the contract


def wei(tokens: str | int | float, *, setting: str) -> int:
    """Whole tokens, written in decimal, as wei. Raises: ConfigError for anything but 0 to what the contract can hold."""
    try:
        number = Decimal(str(tokens))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise ConfigError(f"{setting} is {tokens!r}; write a number of tokens such as 1000 or 0.5")
    amount = Fraction(number) * WEI  # exact, where a Decimal rounds to 28 digits
    if amount < 0 or amount.denominator != 1:
        raise ConfigError(f"{setting} is {tokens}; set 0 or more tokens, with at most 18 decimals")
    if amount > _MOST_WEI:
        raise ConfigError(f"{setting} is {tokens}; set at most {_MOST_WEI // WEI} tokens, the contract holds no more")
    return int(amount)
