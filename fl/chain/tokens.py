"""Amounts as people write them, whole tokens in decimal, and as the contract holds them, in wei."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from fractions import Fraction

from fl.errors import ConfigError

WEI = 10**18  # of one token
_MOST_WEI = 2**96 - 1  # of one amount in the contract
_LONGEST = 100  # characters


def wei(tokens: str | int | float, *, setting: str) -> int:
    """Whole tokens, written in decimal, as wei. Raises: ConfigError for anything but 0 to what the contract can hold."""
    text = str(tokens)
    try:
        number = Decimal(text if len(text) <= _LONGEST else "NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        told = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
        raise ConfigError(f"{setting} is {told!r}; write a number of tokens such as 1000 or 0.5")
    if not number:
        return 0
    # Before it is a fraction: of 1e99999999 that has a hundred million digits.
    if number > _MOST_WEI // WEI + 1:
        raise ConfigError(f"{setting} is {tokens}; set at most {_MOST_WEI // WEI} tokens, the contract holds no more")
    if number < 0 or number.adjusted() < -18:
        raise ConfigError(f"{setting} is {tokens}; set 0 or more tokens, with at most 18 decimals")
    amount = Fraction(number) * WEI  # exact, where a Decimal rounds to 28 digits
    if amount.denominator != 1:
        raise ConfigError(f"{setting} is {tokens}; set 0 or more tokens, with at most 18 decimals")
    if amount > _MOST_WEI:
        raise ConfigError(f"{setting} is {tokens}; set at most {_MOST_WEI // WEI} tokens, the contract holds no more")
    return int(amount)


def tokens(amount: int) -> str:
    """Wei as people read them: with two decimals from one token on, with three digits below."""
    if abs(amount) < WEI:
        return f"{amount / WEI:.3g}"
    whole, cents = divmod((abs(amount) * 100 + WEI // 2) // WEI, 100)
    return ("-" if amount < 0 else "") + f"{whole:,}" + (f".{cents:02d}" if cents else "")
