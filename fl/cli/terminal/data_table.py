"""The table of what was understood of somebody's data, and what to look at in them."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fl.plain_text import plural, printable
from fl.task.data import DataReading

_COLUMNS = 40  # that are shown; data.json has all


def print_reading(reading: DataReading, *, console: Console) -> None:
    """Print each column with its kind, what it holds and what is missing; then the classes, and a line for each note."""
    console.print(
        Text(f"data: {printable(reading.source, most=200)}, {plural(reading.rows, 'row')}, {reading.header}"),
        soft_wrap=True,
    )
    if reading.columns:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("column", overflow="fold")
        table.add_column("kind", no_wrap=True)
        table.add_column("holds", overflow="fold")
        table.add_column("missing", justify="right", overflow="fold")
        for column in reading.columns[:_COLUMNS]:
            gone = (
                f"{column.missing}" + (f" ({column.missing_as})" if column.missing_as else "") if column.missing else ""
            )
            table.add_row(*(Text(printable(text, most=200)) for text in (column.name, column.kind, column.holds, gone)))
        console.print(table)
        if len(reading.columns) > _COLUMNS:
            console.print(
                f"… and {plural(len(reading.columns) - _COLUMNS, 'more column')}; data.json lists every column"
            )
    if reading.classes:
        held = ", ".join(f"{name} {rows}" for name, rows in list(reading.classes.items())[:20])
        console.print(Text(f"classes: {printable(held, most=400)}"), soft_wrap=True)
    for note in reading.notes:
        console.print(Text(f"note: {printable(note, most=1000)}"), soft_wrap=True)
