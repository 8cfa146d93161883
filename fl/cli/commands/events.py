"""`fl events`: the chain's history of a task as CSV and Parquet, one table for each kind of event."""

from __future__ import annotations

import csv
import importlib.util
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fl.chain.escrow import Escrow
from fl.chain.history import EventTable, read_history
from fl.chain.sender import connect
from fl.cli.arguments.key_value import parse
from fl.cli.arguments.task import open_task, split
from fl.errors import ConfigError

KNOWN = {
    "out": "folder that takes the tables, events by default",
    "format": "csv, parquet or csv,parquet; both by default where pyarrow is installed",
    "url": "RPC URL to read from, the invite's by default",
}
CHOICES = {"format": ["csv", "parquet", "csv,parquet"]}
_PARQUET = "pip install 'fairshare[events]'"


def main(arguments: Sequence[str]) -> None:
    """Read the history, write the tables, and say how many events there are of each kind."""
    named, rest = split(arguments, command="events")
    values = parse(rest, known=KNOWN, command="events TASK")
    formats = _formats(values.get("format"))
    invite = open_task(named).invite
    w3 = connect(values.get("url", invite.url), chain_id=invite.chain_id)
    escrow = Escrow(w3, invite.contract)
    escrow.task(invite.id_bytes)  # a wrong id is told before empty tables are written
    tables = read_history(w3, escrow.address, invite.id_bytes, from_block=invite.block)
    happened = [table for table in tables if table.rows]
    if not happened:
        print(f"task {invite.task_id} has no events from block {invite.block} on; nothing was written")
        return
    out = Path(values.get("out", "events"))
    out.mkdir(parents=True, exist_ok=True)
    for table in happened:
        if "csv" in formats:
            write_csv(out / f"{table.name}.csv", table)
        if "parquet" in formats:
            write_parquet(out / f"{table.name}.parquet", table)
    shown = Table(
        box=SIMPLE_HEAD, title=f"task {invite.task_id[:10]}… on chain {invite.chain_id}", title_justify="left"
    )
    for name in ("event", "rows", "first block", "last block"):
        shown.add_column(name, justify="left" if name == "event" else "right")
    for table in happened:
        blocks = [row["block"] for row in table.rows]
        shown.add_row(table.name, str(len(blocks)), str(blocks[0]), str(blocks[-1]))
    console = Console()
    console.print(shown)
    console.print(f"written to {out} as {' and '.join(formats)}", highlight=False, soft_wrap=True)
    if never := [table.name for table in tables if not table.rows]:
        console.print(f"never happened, and has no file: {', '.join(never)}", highlight=False, soft_wrap=True)
    if "format" not in values and "parquet" not in formats:
        console.print(f"for Parquet too: {_PARQUET}", highlight=False, markup=False)


def write_csv(path: Path, table: EventTable) -> None:
    """Write one table; amounts are whole decimal numbers of wei, times are ISO 8601 in UTC, arrays are JSON."""
    times = [name for name, kind in table.columns.items() if kind == "time"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(table.columns))
        writer.writeheader()
        writer.writerows({**row, **{name: iso(row[name]) for name in times}} for row in table.rows)


def iso(seconds: int) -> str:
    """Unix seconds as 2026-01-31T12:00:00Z."""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_parquet(path: Path, table: EventTable) -> None:
    """Write one table: amounts as decimal(38, 0), times as UTC timestamps, arrays as JSON text."""
    import pyarrow  # noqa: PLC0415 (optional)
    import pyarrow.parquet  # noqa: PLC0415

    columns = {}
    for name, kind in table.columns.items():
        values = [row[name] for row in table.rows]
        columns[name] = pyarrow.array(*_typed(kind, values, pyarrow))
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def _typed(kind: str, values: list[Any], pyarrow: Any) -> tuple[list[Any], Any]:
    number = re.fullmatch(r"(u?)int(\d+)", kind)
    if number is None:
        known = {"time": pyarrow.timestamp("s", tz="UTC"), "bool": pyarrow.bool_()}
        return values, known.get(kind, pyarrow.string())
    unsigned, bits = bool(number[1]), int(number[2])
    if bits <= 64:
        return values, pyarrow.uint64() if unsigned and bits > 32 else pyarrow.int64()
    # The widest decimal that SQL engines share. The contract has no amount above 2^96; what a header merely states may
    # be any 128 bits, and is text then.
    if all(abs(value) < 10**38 for value in values):
        return values, pyarrow.decimal128(38, 0)
    return [str(value) for value in values], pyarrow.string()


def _formats(text: str | None) -> list[str]:
    installed = importlib.util.find_spec("pyarrow") is not None
    if text is None:
        return ["csv", "parquet"] if installed else ["csv"]
    formats = [part.strip() for part in text.split(",")]
    for kind in formats:
        if kind not in ("csv", "parquet"):
            raise ConfigError(f"format is {text!r}; choose csv, parquet or csv,parquet")
    if "parquet" in formats and not installed:
        raise ConfigError(f"format is {text!r} and pyarrow is not installed; {_PARQUET}, or set format=csv")
    return formats
