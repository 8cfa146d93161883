"""Values of `key=value` arguments that are numbers or addresses."""

from __future__ import annotations

import math

from eth_utils import is_address, to_checksum_address

from fl.errors import ConfigError
from fl.foreign.json_text import shown

_MOST_DIGITS = 20


def whole(text: str, *, setting: str, least: int = 1) -> int:
    """A whole number.

    Args:
        text: As written.
        setting: Its name, for messages.
        least: The smallest that is taken.
    Raises: ConfigError for anything else, or less than `least`.
    """
    if not is_whole(text) or int(text) < least:
        raise ConfigError(f"{setting} is {shown(text)}; write a whole number, {least} or more")
    return int(text)


def is_whole(text: str) -> bool:
    """Whether a text is a whole number of 0 or more, in digits that `int` reads, and few of them."""
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS


def number_of(text: str, *, setting: str) -> float:
    """A number above 0. Raises: ConfigError for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ConfigError(f"{setting} is {text!r}; write a number above 0")
    return value


def address_of(text: str, *, setting: str) -> str:
    """A checksum address. Raises: ConfigError for anything else."""
    if not is_address(text):
        raise ConfigError(f"{setting} is {text!r}, which is no address; write 0x and 40 hex digits")
    return to_checksum_address(text)
