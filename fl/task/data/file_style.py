"""How one owner's file is written: where it differs from others, the settings that make it read as they do."""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fl.errors import ConfigError
from fl.task.data.number import parse_conversion, parse_number
from fl.task.data.spelling import CENSORED, DATES, DECIMALS, THOUSANDS, Spelling
from fl.task.data.words import parse_list

# What `fl client` takes, by name, with a line each; `data.NAME` for whoever owns all of the data.
SETTINGS = {
    "delimiter": "character between two cells, tab or auto",
    "header": "does the first row name the columns: true, false or auto",
    "encoding": "of a text file that is not UTF-8, such as cp1252",
    "decimal": "point, comma, or either",
    "thousands": "mark between thousands: none, comma, point, space or apostrophe",
    "censored": 'how "<5" is read: refuse, bound (5), half (2.5) or missing',
    "dates": "order of dates, read as days since 1970: refuse, ymd, dmy or mdy",
    "units": "words or signs beside numbers, such as mg/l,%",
    "missing": "what else stands for no value, such as -999,unknown",
    "label_map": "labels as the task writes them: OWN:THEIRS, such as Ill:ill,Well:well",
    "level_map": "values of a column as the task writes them: COLUMN:OWN:THEIRS",
    "scale": "numbers of a column in the task's unit: COLUMN:FACTOR or COLUMN:FACTOR+OFFSET; a factor of 1 says that the unit is the same",
}
_LISTS = ("units", "missing", "label_map", "level_map", "scale")
_NAMED_MARKS = {".": "point", ",": "comma", " ": "space", "'": "apostrophe", "": "none"}


@dataclass(frozen=True, kw_only=True)
class FileStyle:
    """Everything that is a matter of one file's writing and not of the task."""

    delimiter: str | None = None  # None: found out
    header: bool | str = "auto"
    encoding: str = "auto"
    spelling: Spelling = field(default_factory=Spelling)
    missing: tuple[str, ...] = ()  # besides what the task takes for missing
    label_map: tuple[tuple[str, str], ...] = ()  # (label of the file, label of the task)
    level_map: tuple[str, ...] = ()  # COLUMN:OWN:THEIRS, parted where the columns are known
    scale: tuple[str, ...] = ()  # [SITE:]COLUMN:FACTOR[+OFFSET]

    @classmethod
    def of(cls, values: Mapping[str, str], *, prefix: str = "") -> FileStyle:
        """A style from the texts that a person typed, by the names of `SETTINGS`; other keys are passed over.

        Raises: ConfigError that names the setting and what it takes.
        """
        told: dict[str, Any] = {
            key: parse_list(text, key=prefix + key) if key in _LISTS else text
            for key, text in values.items()
            if key in SETTINGS
        }
        header = told.get("header", "auto")
        told["header"] = {"true": True, "false": False}.get(str(header), header)
        return TypedStyle(**told).checked(prefix=prefix)


@dataclass(frozen=True, kw_only=True)
class TypedStyle:
    """What a person said of a file, before anybody looked whether it makes sense; see `SETTINGS`."""

    delimiter: str = "auto"
    header: bool | str = "auto"
    encoding: str = "auto"
    decimal: str = "point"
    thousands: str = "none"
    censored: str = "refuse"
    dates: str = "refuse"
    units: Sequence[str] = ()
    missing: Sequence[str] = ()
    label_map: Sequence[str] = ()
    level_map: Sequence[str] = ()
    scale: Sequence[str] = ()

    def checked(self, *, prefix: str = "data.") -> FileStyle:
        """A style whose settings make sense; `prefix` stands before their names in messages. Raises: ConfigError, as `FileStyle.of`."""
        if self.header not in (True, False, "auto"):
            raise ConfigError(f"{prefix}header is {self.header!r}; set true, false or auto")
        separator = {"auto": None, "tab": "\t", "\\t": "\t"}.get(self.delimiter, self.delimiter)
        if separator is not None and len(separator) != 1:
            raise ConfigError(f"{prefix}delimiter is {self.delimiter!r}; set one character, tab or auto")
        if separator is not None and separator in '"\r\n':
            raise ConfigError(f"{prefix}delimiter is {self.delimiter!r}, which cannot part two cells; set another one")
        if self.encoding != "auto":
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise ConfigError(
                    f"{prefix}encoding is {self.encoding!r}, which Python does not know; set auto, cp1252, latin-1 or utf-16"
                ) from None
        decimal, thousands = (_NAMED_MARKS.get(mark, mark) for mark in (self.decimal, self.thousands))
        for key, value, choices in (
            ("decimal", decimal, DECIMALS),
            ("thousands", thousands, THOUSANDS),
            ("censored", self.censored, CENSORED),
            ("dates", self.dates, DATES),
        ):
            check_choice(prefix + key, value, choices)
        if thousands in (decimal, {"either": "comma"}.get(decimal), {"either": "point"}.get(decimal)):
            raise ConfigError(
                f"{prefix}thousands and {prefix}decimal are both {thousands}; a number's marks must differ"
            )
        if any(not unit.strip() or parse_number(unit) is not None for unit in self.units):
            raise ConfigError(f"{prefix}units holds {list(self.units)}; name words or signs, such as [mg/l,%]")
        _check_maps(self.label_map, self.level_map, self.scale, prefix=prefix)
        return FileStyle(
            delimiter=separator,
            header=self.header,
            encoding=self.encoding,
            spelling=Spelling(
                decimal=decimal, thousands=thousands, censored=self.censored, dates=self.dates, units=tuple(self.units)
            ),
            missing=tuple(self.missing),
            label_map=pairs(self.label_map),
            level_map=tuple(self.level_map),
            scale=tuple(self.scale),
        )


def pairs(entries: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """VALUE:NAME entries as pairs; a value may hold a colon itself."""
    parts = [entry.rpartition(":") for entry in entries]
    return tuple((value.strip(), name.strip()) for value, _, name in parts)


def check_choice(key: str, value: str, choices: Iterable[str]) -> None:
    """Check a setting that has a few choices.

    Args:
        key: Of the setting.
        value: That was set.
        choices: That there are.
    Raises: ConfigError, with the nearest, for a value that is none of the choices.
    """
    if value not in choices:
        near = difflib.get_close_matches(value, list(choices), n=1)
        hint = f"did you mean {near[0]}?" if near else "set one of these"
        raise ConfigError(f"{key} is {value!r}; known are {', '.join(choices)}; {hint}")


def _check_maps(label_map: Sequence[str], level_map: Sequence[str], scale: Sequence[str], *, prefix: str) -> None:
    for entry in label_map:
        if not all(part.strip() for part in entry.rpartition(":")):
            raise ConfigError(f"{prefix}label_map holds {entry!r}; write VALUE:CLASS, such as [0:well,1:ill]")
    for entry in level_map:
        if entry.count(":") < 2 or not entry.partition(":")[0].strip() or not entry.rpartition(":")[2].strip():
            raise ConfigError(f"{prefix}level_map holds {entry!r}; write COLUMN:LEVEL:NAME, such as [sex:M:male]")
    for entry in scale:
        column, _, text = entry.rpartition(":")
        if not column.strip() or parse_conversion(text) is None:
            raise ConfigError(
                f"{prefix}scale holds {entry!r}; write COLUMN:FACTOR, such as [crea:0.0113], or COLUMN:FACTOR+OFFSET"
            )
