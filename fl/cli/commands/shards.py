"""`fl shards`: deal a data set into one file per client, and a folder for the coordinator, to try real machines with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fl.cli.arguments.overrides import check, defaults, groups, one_point, spell_out
from fl.cli.terminal.data_table import print_reading
from fl.coordinator.config import RunConfig
from fl.errors import ConfigError
from fl.plain_text import plural
from fl.task.data import ShardFiles, write_shards

_GROUPS = ("data", "partition")


def main(arguments: Sequence[str]) -> None:
    """Deal, write, and say who reads what."""
    if any(argument in ("-h", "--help") for argument in arguments):
        print(_help())
        return
    outs = [argument.removeprefix("out=") for argument in arguments if argument.startswith("out=")]
    if len(outs) != 1 or not outs[0]:
        raise ConfigError("out is not set; add out=FOLDER, where the files go")
    overrides = spell_out([argument for argument in arguments if not argument.startswith("out=")])
    config = check_shards(overrides)
    folder = Path(outs[0])
    written = write_shards(folder, data=config.data, partition=config.partition, seed=config.seed)
    if written.reading is not None:
        print_reading(written.reading, console=Console())
    print(_account(written))


def check_shards(overrides: Sequence[str]) -> RunConfig:
    """The configuration, of which data, partition and seed are set. Raises: ConfigError for anything else."""
    for override in overrides:
        key = override.partition("=")[0]
        if key.split(".")[0] not in (*_GROUPS, "seed"):
            raise ConfigError(
                f"{key} is not a setting of fl shards; it takes data, partition, their settings, seed and out"
            )
    one_point(overrides, command="shards")
    config = check(overrides)
    if config.data.name == "holdout":
        raise ConfigError("data=holdout has no client's rows to deal; name the data set that `fl run` would take")
    return config


def _account(written: ShardFiles) -> str:
    width = max(len(str(path)) for path in written.clients)
    lines = [
        f"  {path!s:<{width}}  {plural(rows, 'row')}"
        + (f" of {written.names[path]}" if written.names[path] != path.name.removesuffix(".csv") else "")
        for path, rows in written.clients.items()
    ]
    held = f"{plural(written.validation, 'row')} to score on, {written.test} to report on"
    return "\n".join([
        f"{plural(len(written.clients), 'client')}, each with data=",
        *lines,
        f"the coordinator's rows, {held}: data=holdout data.path={written.coordinator}",
    ])  # fmt: skip


def _help() -> str:
    lines = ["usage: fl shards out=FOLDER key=value …", "", "Choices:"]
    for group in _GROUPS:
        lines.append("")
        lines += [f"  {group}={choice:<14} {line}" for choice, line in groups()[group].items() if choice != "holdout"]
    lines += ["", "Settings and their defaults:", "", "  out= (required)"]
    for key, value in defaults().items():
        if key.split(".")[0] in (*_GROUPS, "seed"):
            lines.append(f"  {key}={'' if value is None else value}")
    return "\n".join(lines)
