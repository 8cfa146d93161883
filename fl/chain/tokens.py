"""Amounts as people write them, whole tokens in decimal, and as the contract holds them, in wei."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from fl.errors import ConfigError

WEI = 10**18  # of one token
_MOST_WEI = 2**95 - 1  # of one amount in the contract
_LONGEST = 100  # characters
_AMOUNT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")


def wei(tokens: str | int | float, *, setting: str, unit: str = "tokens") -> int:
    """Whole tokens, or ETH, written in decimal, as wei.

    One grammar: digits without a leading zero, and decimals after a point. A comma, an exponent or 010 can be read in two ways,
    and money is not guessed.

    Args:
        tokens: As a person writes them.
        setting: That says them, for messages.
        unit: What they are, for messages.
    Raises: ConfigError for anything else, or more than the contract can hold.
    """
    text = str(tokens)
    if len(text) > _LONGEST or not _AMOUNT.fullmatch(text):
        told = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
        raise ConfigError(f"{setting} is {told!r}; write a number of {unit} such as 1000 or 0.5{_hint(text)}")
    amount = Fraction(text) * WEI
    if amount < 0 or amount.denominator != 1:
        raise ConfigError(f"{setting} is {tokens}; set 0 or more {unit}, with at most 18 decimals")
    if amount > _MOST_WEI:
        raise ConfigError(f"{setting} is {tokens}; set at most {_MOST_WEI // WEI} {unit}, the contract holds no more")
    return int(amount)


def _hint(text: str) -> str:
    """What was likely meant, for the one who wrote it to say."""
    if len(text) > _LONGEST:
        return ""
    plain = re.sub(r"(?<=\d)[,_' ](?=\d{3}\b)", "", text.strip())
    try:
        number = Decimal(plain)
    except InvalidOperation:
        return ""
    if not number.is_finite() or not -30 < number.adjusted() < 30:
        return ""
    meant = f"{number:f}"
    meant = meant.rstrip("0").rstrip(".") if "." in meant else meant
    return f", without thousands' marks, exponents and leading zeros ({meant}?)"


def eth(amount: int) -> str:
    """Wei of the chain's own coin as people read them: six digits, since what gas costs is little."""
    return tokens(amount) if abs(amount) >= 1_000_000 * WEI else f"{amount / WEI:.6g}"


def two_places(amount: int) -> str:
    """Wei as tokens with two decimals whatever their size: in columns, in running totals, and on every page.

    What is too small for them is not called nothing. web/src/words.ts writes the same.
    """
    cents = (abs(amount) * 100 + WEI // 2) // WEI
    if amount and not cents:
        return "< 0.01" if amount > 0 else "> −0.01"
    return f"{'−' if amount < 0 else ''}{cents // 100:,}.{cents % 100:02d}"


def in_tokens(amount: int) -> str:
    """As `tokens`, with the noun: 1 token, 2.50 tokens."""
    return f"{tokens(amount)} token" + ("" if amount == WEI else "s")


def tokens(amount: int) -> str:
    """Wei as people read them: with two decimals from one token on, with three digits below."""
    if abs(amount) < WEI:
        return f"{amount / WEI:.3g}"
    whole, cents = divmod((abs(amount) * 100 + WEI // 2) // WEI, 100)
    return ("-" if amount < 0 else "") + f"{whole:,}" + (f".{cents:02d}" if cents else "")
