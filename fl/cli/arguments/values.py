"""Values of `key=value` arguments that are numbers or addresses."""

from __future__ import annotations

import math
import re
from typing import cast

from eth_typing import ChecksumAddress

from fl.codec.address import given_address
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


def address_of(text: str, *, setting: str) -> ChecksumAddress:
    """A checksum address. Raises: ConfigError for anything else."""
    if (found := given_address(text)) is not None:
        return cast(ChecksumAddress, found)
    if re.fullmatch(r"0x[0-9a-fA-F]{40}", text):
        raise ConfigError(
            f"{setting} is {text!r}, whose capitals are not those of its checksum, so a digit may be wrong; copy it again, or write it "
            "in small letters if you are sure"
        )
    raise ConfigError(f"{setting} is {text!r}, which is not an address; write 0x and 40 hex digits")
