"""`key=value` arguments of the small commands, which need no Hydra: the same grammar, checked the same way."""

from __future__ import annotations

import difflib
import shutil
import sys
import textwrap
from collections.abc import Sequence

from fl.errors import ConfigError
from fl.plain_text import printable

_TEXTS = ("fairshare:", "https://", "http://")  # how invites begin that are no file; one may end in =


def named(arguments: Sequence[str], *keys: str, command: str) -> list[str]:
    """Words without a key as the settings that they are, in their order; all else stays.

    Raises: ConfigError for more of them than there are keys.
    """
    bare = [
        argument
        for argument in arguments
        if argument.startswith(_TEXTS) or ("=" not in argument and not argument.startswith("-"))
    ]
    if len(bare) > len(keys):
        shown = ", ".join(printable(word, most=60) for word in bare)
        raise ConfigError(f"fl {command} takes {' and '.join(keys)} without a key, and {shown} are named")
    told = [f"{key}={word}" for key, word in zip(keys, bare, strict=False)]
    return [*told, *(argument for argument in arguments if argument not in bare)]


def parse(
    arguments: Sequence[str], *, known: dict[str, str], command: str, required: Sequence[str] = ()
) -> dict[str, str]:
    """Read key=value arguments.

    Args:
        known: Key → one line that explains it, shown by --help.
        required: Keys that have to be there.
    Returns: the given values by key.
    Raises: ConfigError for an argument that is not a key=value, an unknown key (with the nearest), one that is said
        twice, or a missing one.
    """
    if any(word in ("-h", "--help") for word in arguments):
        print(f"usage: fl {command} key=value …\n")
        print("\n".join(_explained(known, required=required)))
        sys.exit(0)
    name = command.partition(" ")[0]
    values: dict[str, str] = {}
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if not sign:
            # Whoever writes one word means the setting that has to be there.
            lacking = [key for key in required if not any(word.startswith(f"{key}=") for word in arguments)]
            hint = (
                f"write {lacking[0]}={printable(argument, most=100)}, or "
                if lacking and not argument.startswith("-")
                else ""
            )
            raise ConfigError(
                f"{printable(argument, most=100)!r} is not of the form key=value; {hint}see `fl {name} --help`"
            )
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
            hint = f", the nearest is {near[0]}" if near else ""
            raise ConfigError(f"{key} is not a setting of fl {name}{hint}; `fl {name} --help` lists them all")
        if values.setdefault(key, value) != value:
            shown = " and ".join(printable(told, most=60) for told in (values[key], value))
            raise ConfigError(f"{key} is said twice, {shown}; say it once")
    if missing := [key for key in required if not values.get(key)]:
        key = missing[0]
        by_place = key.upper() in command.split() or (key == "data" and command.endswith(("FILE", "TABLE")))
        how = f"write fl {command}, or {key}=…" if by_place else f"add {key}=…"
        raise ConfigError(f"{key} is not set; {how} ({known[key]})")
    return values


def _explained(known: dict[str, str], *, required: Sequence[str]) -> list[str]:
    """A line for each key, broken between words at the terminal's width."""
    wide = max(12, *map(len, known))
    lines = []
    for key, line in known.items():
        lines += textwrap.wrap(
            f"{line}{' (required)' if key in required else ''}",
            max(60, shutil.get_terminal_size(fallback=(110, 24)).columns),
            initial_indent=f"  {key:<{wide}} ",
            subsequent_indent=" " * (wide + 3),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines
