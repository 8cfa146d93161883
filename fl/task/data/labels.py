"""From the target column to class names: a threshold, a map, or the values as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fl.plain_text import agreeing, plural
from fl.task.data.advice import setting, shown
from fl.task.data.alike import alike, merge_map, similar
from fl.task.data.cells import levels, missing_cells, numbers
from fl.task.data.errors import DataError
from fl.task.data.kinds import check_marks, side_by_side
from fl.task.data.number import by_size, spell
from fl.task.data.table import Table

_SHOWN = 10  # rows or values listed in a message


def keep_labelled(table: Table, place: int, *, missing: Sequence[str], drop_unlabelled: bool) -> Table:
    """The rows that have a label.

    Args:
        table: The file.
        place: Of the label.
        missing: Marks of a missing value.
        drop_unlabelled: Whether rows without one are left out.
    Raises: DataError if no row has one, or if some have none and are not to be dropped; names their lines.
    """
    unlabelled = missing_cells(table.columns[place], missing=missing)
    rows = np.flatnonzero(unlabelled)
    if not rows.size:
        return table
    if rows.size == len(table):
        raise DataError(
            seen=f"{table.source} has no label in any row (column {table.names[place]!r})",
            expected="a label in every row",
            fix="set data.target to the column to predict, or leave the file out",
        )
    check_marks(table, place, absent=unlabelled, missing=missing)
    if not drop_unlabelled:
        places = "; ".join(table.place(int(row)) for row in rows[:_SHOWN]) + ("; ..." if rows.size > _SHOWN else "")
        words = [str(mark) for mark in np.unique(table.columns[place][rows]) if str(mark).isalpha()]
        hint = f"take {shown(words)} out of data.missing if it is one, or " if words else ""
        raise DataError(
            seen=f"{rows.size} of {plural(len(table), 'row')} {agreeing(rows.size, 'has', 'have')} no label in column {table.names[place]!r} ({places})",
            expected="a label in every row",
            fix=f"add the labels, {hint or 'or '}set data.drop_unlabelled=true to leave these rows out"
            + ("; or delete that line, if it is a row of totals or of units" if rows.size == 1 else ""),
        )
    return table.take(np.flatnonzero(~unlabelled))


def name_classes(
    table: Table, place: int, *, positive_above: float | None, label_map: Mapping[str, str]
) -> NDArray[np.str_]:
    """The class name of every row, shape (N,). Every row has a label.

    Args:
        table: The file.
        place: Of the label.
        positive_above: The threshold of a number, None for classes.
        label_map: Words for classes.
    Raises: DataError if a target is not a number where a threshold is set, or is not in the map.
    """
    if positive_above is not None:
        everywhere = np.ones(len(table), dtype=np.bool_)
        what = f"a number to compare with positive_above={positive_above:g}"
        above = numbers(table, place, present=everywhere, what=what) > positive_above
        return np.array(threshold_names(positive_above), dtype=np.str_)[above.astype(np.int64)]
    values = levels(table.columns[place])
    if not label_map:
        return values
    # A file that holds the names already means them.
    known = {name: name for name in label_map.values()} | {spell(value): name for value, name in label_map.items()}
    for row, value in enumerate(values):
        if value not in known:
            near = similar(str(value), list(known))
            entry = "" if near is None else f" as {value}:{known[near]}"
            raise DataError(
                seen=f"{table.place(row)} has the label {str(value)!r}",
                expected=f"one that data.label_map names ({', '.join(map(spell, label_map))})",
                fix=f"add it to data.label_map{entry}, or correct the row",
            )
    return np.array([known[value] for value in values], dtype=np.str_)


def threshold_names(positive_above: float) -> tuple[str, str]:
    """The names of the two classes that a threshold makes."""
    return f"up to {positive_above:g}", f"above {positive_above:g}"


def list_classes(names: Iterable[NDArray[np.str_]], *, target: str, declared: bool = False) -> tuple[str, ...]:
    """All classes that occur, numbers by size and words by alphabet.

    Args:
        names: The class names of the rows of each file, shape (N,) each.
        target: The target column, for messages.
        declared: Whether settings name the classes, so that near ones are meant.
    Raises: DataError if there are fewer than 2, so many that the target is a measurement rather than a class, or one
        class that is written in several ways.
    """
    rows = np.concatenate(list(names))
    values, counts = np.unique(rows, return_counts=True)
    times = {str(value): int(count) for value, count in zip(values, counts, strict=True)}
    found = tuple(sorted(times, key=by_size))
    if len(found) < 2:
        raise DataError(
            seen=f"every row has the same label {found[0]!r} in column {target!r}",
            expected="2 classes or more",
            fix="check data.target and data.positive_above",
        )
    if len(found) > 20 and 2 * len(found) > len(rows):
        raise DataError(
            seen=f"column {target!r} holds {len(found)} different labels in {len(rows)} rows",
            expected="classes, each with several rows",
            fix="check data.target; predict a measurement with data.regression=true task.loss=mse, or make two classes of it "
            "with data.positive_above=NUMBER",
        )
    if not declared and (groups := alike(times)):
        grouped = {value for group in groups for value in group}
        entries = merge_map(groups) | {value: value for value in found if value not in grouped}
        raise DataError(
            seen=f"column {target!r} writes one class in several ways: {side_by_side(groups, times)}",
            expected="one spelling of each class",
            fix=f"merge them with {setting('label_map', [f'{value}:{name}' for value, name in entries.items()])}, "
            f"or keep them apart with {setting('classes', found)}",
        )
    return found


def check_words(classes: NDArray[np.str_], members: NDArray[np.int64], names: Sequence[str], *, target: str) -> None:
    """Refuse a file that shares no class with the others and has as many: it calls the same ones otherwise.

    Args:
        classes: Of the rows, shape (N,).
        members: The file of each row, shape (N,).
        names: Of the files.
        target: The target column, for messages.
    Raises: DataError with both and the settings that tell.
    """
    own = [sorted(map(str, np.unique(classes[members == site]))) for site in range(len(names))]
    for site, values in enumerate(own):
        rest = sorted({value for at, other in enumerate(own) if at != site for value in other})
        if len(values) == len(rest) > 1 and not set(values) & set(rest):
            entries = [f"{value}:{other}" for value, other in zip(values, rest, strict=True)]
            raise DataError(
                seen=f"column {target!r} holds {shown(values)} at {names[site]!r} and {shown(rest)} at the others",
                expected="one word for each class",
                fix=f"say which is which, as in {setting('label_map', [*entries, *(f'{value}:{value}' for value in rest)])}, or keep "
                f"them apart with {setting('classes', sorted({*values, *rest}, key=by_size))}",
            )


def index_classes(
    table: Table, names: NDArray[np.str_], *, class_names: Sequence[str], settled: bool = True
) -> NDArray[np.int64]:
    """The labels as indices into the class names, shape (N,).

    Args:
        table: The rows.
        names: The class of each, shape (N,).
        class_names: All classes.
        settled: Whether they are a task's, and not a setting that may be changed yet.
    Raises: DataError if a row has a label outside of them.
    """
    index = {name: place for place, name in enumerate(class_names)}
    values, inverse = np.unique(names, return_inverse=True)
    labels = np.array([index.get(str(value), -1) for value in values], dtype=np.int64)[inverse]
    outside = np.flatnonzero(labels < 0)
    if outside.size:
        row = int(outside[0])
        listed = ", ".join(class_names[:_SHOWN]) + (", ..." if len(class_names) > _SHOWN else "")
        strange = sorted({str(name) for name in names[outside]}, key=by_size)
        pairs = [f"{name}:{near}" for name in strange if (near := similar(name, class_names)) is not None]
        other_words = settled and not pairs and outside.size == len(labels) and len(strange) <= len(class_names)
        asked = setting("label_map", [f"{name}:CLASS" for name in strange])
        raise DataError(
            seen=f"{table.place(row)} has the label {str(names[row])!r} ({outside.size} such rows"
            + (f", of the labels {shown(strange)})" if len(strange) > 1 else ")"),
            expected=f"one of the {len(class_names)} classes of the task ({listed})",
            fix=(f"set {setting('label_map', pairs)} if they are the same, or " if pairs else "")
            + (f"say which is which: {asked} with one of them for CLASS, or " if other_words else "")
            + ("correct the rows" if settled else "correct the rows, or add the class to data.classes"),
        )
    return labels
