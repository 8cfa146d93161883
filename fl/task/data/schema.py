"""How one row of a table becomes one row of features: the part of the task that every node must agree on.

A schema is plain data. `fl.task.data.fit` makes one from the coordinator's rows, it travels in the task's spec as
JSON, and `fl.task.data.encode` applies it alike on every machine.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from fl.foreign.json_text import read_json
from fl.task.data.errors import DataError


@dataclass(frozen=True, kw_only=True)
class NumericColumn:
    """A column of numbers: one feature, (value - mean) / std, 0 where missing; one more if missing is marked."""

    name: str
    mean: float  # in the unit of the column
    std: float  # above 0, in the unit of the column
    marks_missing: bool  # add a feature that is 1 where the value is missing, else 0
    zero_is_missing: bool

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that this column gives."""
        return (self.name, f"{self.name} missing") if self.marks_missing else (self.name,)


@dataclass(frozen=True, kw_only=True)
class CategoricalColumn:
    """A column of words or codes: one feature per level, 1 where it holds; all 0 if missing or never seen before."""

    name: str
    levels: tuple[str, ...]  # numbers in one spelling, "4" for 4.0; empty if nothing was seen: then no feature
    marks_missing: bool
    zero_is_missing: bool

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that this column gives."""
        marks = (f"{self.name} missing",) if self.marks_missing else ()
        return (*(f"{self.name}={level}" for level in self.levels), *marks)


@dataclass(frozen=True, kw_only=True)
class IdColumn:
    """A column of ids, of words or items: one feature, the whole number as it is. Where one column is of ids, all are."""

    name: str
    highest: int  # that the coordinator's rows hold

    marks_missing = False  # an id that is not there has no number: it is refused
    zero_is_missing = False

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that this column gives."""
        return (self.name,)


Column = NumericColumn | CategoricalColumn | IdColumn


@dataclass(frozen=True, kw_only=True)
class TableSchema:
    """Everything that a node needs to read its own file as the others read theirs."""

    names: tuple[str, ...]  # all columns in the order of the coordinator's file, to match files without a header
    has_header: bool  # whether those names come from a header
    columns: tuple[Column, ...]  # those that give features, in order
    target: str  # the column to predict
    class_names: tuple[str, ...]  # label i is class_names[i]; empty: the target is a number
    positive_above: float | None  # label 1 is a target above this number; None: the target's values are the classes
    label_map: tuple[tuple[str, str], ...]  # (value of the target, class name); empty: each value names its class
    missing: tuple[str, ...]  # what stands for no value, in any case
    level_map: tuple[tuple[str, str, str], ...] = ()  # (column, level, the level that it is read as)
    # Mean and standard deviation of a target that is a number, in its unit: labels are (target - mean) / std, so a mean
    # squared error of 1 is what the mean alone would give. None: classes.
    target_scale: tuple[float, float] | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(feature for column in self.columns for feature in column.features)

    @property
    def of_ids(self) -> bool:
        """Whether a row is whole numbers that name things, and not quantities."""
        return any(isinstance(column, IdColumn) for column in self.columns)

    @property
    def num_features(self) -> int:
        """Length F of one encoded row."""
        return len(self.features)

    def to_json(self) -> str:
        """One line of JSON with sorted keys, so that equal schemas are equal bytes; floats keep every bit."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> TableSchema:
        """The schema that `to_json` wrote.

        Raises: DataError if the text is no schema.
        """
        try:
            raw = read_json(text)
            schema = cls(
                names=tuple(map(str, raw["names"])),
                has_header=bool(raw["has_header"]),
                columns=tuple(_column(column) for column in raw["columns"]),
                target=str(raw["target"]),
                class_names=tuple(map(str, raw["class_names"])),
                positive_above=None if raw["positive_above"] is None else float(raw["positive_above"]),
                label_map=tuple((str(value), str(name)) for value, name in raw["label_map"]),
                missing=tuple(map(str, raw["missing"])),
                level_map=tuple((str(column), str(level), str(name)) for column, level, name in raw["level_map"]),
                target_scale=None if raw["target_scale"] is None else _scale(*raw["target_scale"]),
            )
            if any(name not in schema.names for name in (schema.target, *(column.name for column in schema.columns))):
                raise ValueError("a column that is used is not among the names")
            if bool(schema.class_names) == (schema.target_scale is not None):
                raise ValueError("it has classes and a scale of the target, or neither")
            if schema.of_ids and not all(isinstance(column, IdColumn) for column in schema.columns):
                raise ValueError("some of its columns are of ids, and some are not")
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise DataError(
                seen=f"a table schema that cannot be read ({type(error).__name__}: {error})",
                expected="the JSON text that TableSchema.to_json writes",
                fix="fetch the task's spec again",
            ) from None
        return schema


def _column(raw: dict[str, Any]) -> Column:  # Any: parsed JSON
    if "highest" in raw:
        return IdColumn(name=str(raw["name"]), highest=int(raw["highest"]))
    name, marks, zero = str(raw["name"]), bool(raw["marks_missing"]), bool(raw["zero_is_missing"])
    if "levels" in raw:
        levels = tuple(map(str, raw["levels"]))
        return CategoricalColumn(name=name, marks_missing=marks, zero_is_missing=zero, levels=levels)
    mean, std = _scale(raw["mean"], raw["std"])
    return NumericColumn(name=name, marks_missing=marks, zero_is_missing=zero, mean=mean, std=std)


def _scale(mean: Any, std: Any) -> tuple[float, float]:
    center, spread = float(mean), float(std)
    if not (abs(center) < float("inf") and 0 < spread < float("inf")):
        raise ValueError(f"a column has mean {mean} and std {std}")
    return center, spread
