"""How an owner's rows differ from those that the task's schema was fitted on: said before anybody is asked to stake for them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl.plain_text import agreeing, plural, printable
from fl.task.data import Dataset, TableSchema, is_text_schema
from fl.task.data.schema import CategoricalColumn, NumericColumn

_FAR = 1.0  # standard deviations between two means that are worth a line
_BEYOND = 6.0  # standard deviations from the task's mean at which a value is one of another range
_SPREAD = 3.0  # times as wide, or as narrow, as the task's
_MOST_LINES = 12
_FEW = 10  # rows of a class below which it is said
_LOPSIDED = 10  # times as many rows of one class as of another


def differences(*, spec: Mapping[str, Any], data: Dataset) -> list[str]:
    """Lines about columns and classes that are unlike the task's; none where nothing stands out.

    Args:
        spec: The spec's parsed JSON.
        data: The rows, as the task reads them.
    """
    lines: list[str] = []
    # Of text there is nothing to compare: the task says what a token is, and not which texts are usual.
    if spec.get("schema") is not None and not is_text_schema(spec["schema"]):
        schema = TableSchema.from_json(json.dumps(spec["schema"]))
        lines += _values(schema, data)
    lines += _classes(spec, data)
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES:] = [f"and {plural(len(lines) - _MOST_LINES, 'more difference')}"]
    return lines


def _values(schema: TableSchema, data: Dataset) -> Iterator[str]:
    start = 0
    for column in schema.columns:
        width = len(column.features)
        values, name = data.features[:, start : start + width], _called(column.name)
        start += width
        if not width:
            continue
        absent = values[:, -1] > 0 if column.marks_missing else np.zeros(len(values), dtype=bool)
        if absent.mean() > 0.5:
            yield f"{name}: {absent.mean():.0%} of your rows have no value"
        elif isinstance(column, NumericColumn):
            yield from _number(name, column, values[~absent, 0])
        elif isinstance(column, CategoricalColumn):
            known = values[:, : len(column.levels)].any(axis=1)
            if strange := int((~known & ~absent).sum()):
                levels = ", ".join(printable(level, most=20) for level in column.levels[:8])
                yield f"{name}: {strange} of {plural(len(values), 'row')} {agreeing(strange, 'has', 'have')} nothing, or none of the task's levels ({levels}), and {agreeing(strange, 'counts', 'count')} as none"


def _number(name: str, column: NumericColumn, scaled: NDArray[np.float32]) -> Iterator[str]:
    if not len(scaled):
        return
    gap, spread = float(scaled.mean()), float(scaled.std())
    if abs(gap) > _FAR:
        own = column.mean + gap * column.std
        yield (
            f"{name}: your mean is {own:.4g}, the task's {column.mean:.4g} ± {column.std:.3g}; another unit, or another "
            "kind of row?"
        )
    elif beyond := int((np.abs(scaled) > _BEYOND).sum()):
        yield (
            f"{name}: {beyond} of {plural(len(scaled), 'value')} {agreeing(beyond, 'lies', 'lie')} more than {_BEYOND:.0f} standard deviations from the task's "
            f"{column.mean:.4g} ± {column.std:.3g}"
        )
    elif len(scaled) >= _FEW and not 1 / _SPREAD < spread < _SPREAD:
        told = "is one value only" if not spread else f"spreads by ± {spread * column.std:.3g}"
        yield f"{name}: yours {told}, the task's {'' if spread else 'spreads '}by ± {column.std:.3g}"


def _called(name: str) -> str:
    """A column's name as a sentence can begin with it; one of a table without a header is its place."""
    told = printable(name, most=40)
    return f"column {told}" if told.isdecimal() else told


def _classes(spec: Mapping[str, Any], data: Dataset) -> Iterator[str]:
    if not np.issubdtype(data.labels.dtype, np.integer):
        return
    counts = data.class_counts(int(spec["num_classes"]))
    names = spec.get("class_names") or [str(number) for number in range(len(counts))]
    none = [printable(name, most=30) for name, count in zip(names, counts, strict=False) if not count]
    few = [printable(name, most=30) for name, count in zip(names, counts, strict=False) if 0 < count < _FEW]
    if none:
        yield f"no rows of: {', '.join(none[:8])}"
    if few:
        yield f"fewer than {_FEW} rows of: {', '.join(few[:8])}"
    held = counts[counts > 0]
    if len(held) > 1 and held.max() >= _LOPSIDED * held.min():
        yield f"classes are uneven: {held.max()} rows of one, {held.min()} of another"
