"""`fl run`: a whole paid federation on this machine, from its data to its last claim."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fl.chain.rpc_url import carries_key, key_note, shown
from fl.cli.arguments.overrides import (
    CONFIGS,
    check,
    check_sweeps,
    defaults,
    groups,
    register_schema,
    spell_out,
    to_config,
)
from fl.errors import FairshareError
from fl.machine_errors import told
from fl.report.files import STATUS
from fl.report.loggers import check_loggers, logged

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> None:
    """Check the arguments, then hand them to Hydra, which makes the run's folder (or, with -m, one for each point)."""
    arguments = spell_out(arguments)
    if any(argument in ("-h", "--help") for argument in arguments):
        print(_help())
        return
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    check_loggers(check(overrides).loggers)
    if not {"-m", "--multirun"} & set(arguments):
        check_sweeps(overrides)
    register_schema()
    sys.argv = ["fl run", *arguments]
    os.environ.setdefault(
        "HYDRA_FULL_ERROR", "1"
    )  # our own errors are one line; anything else shows where it came from
    hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="run")(_run)()


def _run(raw: DictConfig) -> None:
    folder = Path(HydraConfig.get().runtime.output_dir)
    _log_flower_to_file()
    # A polite kill ends the run as Ctrl-C does: Anvil stopped, the status written.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    status = folder / STATUS
    try:
        with status.open("x") as file:  # folders are named by the second, and two runs may start in one
            file.write("running\n")
    except FileExistsError:
        print(f"fl run: {folder} belongs to another run; set name= to tell them apart", file=sys.stderr)
        sys.exit(1)
    url = str(raw.chain.url or "")
    hide_key(folder / "hydra", url=url)
    if note := key_note(url):
        print(f"note: {note}", file=sys.stderr)
    live = None
    # Training needs torch, which takes seconds to import, and what was wrong with the arguments is told before.
    from fl.cli.terminal.progress import ProgressView  # noqa: PLC0415
    from fl.coordinator.run import run_federation  # noqa: PLC0415
    from fl.report.live import LiveSummary  # noqa: PLC0415
    from fl.report.page import write_page  # noqa: PLC0415
    from fl.report.summary import settings_of, write_summary  # noqa: PLC0415

    try:
        config = to_config(raw)  # of a sweep, only the first point was checked before
        live = LiveSummary(config, folder=folder)
        settings = settings_of(config)
        with (
            ProgressView(rounds=config.task.rounds) as view,
            logged(view.watcher(), loggers=config.loggers, folder=folder, settings=settings) as watcher,
        ):
            run_federation(config, folder=folder, watcher=live.watching(watcher))
        summary = live.finished()
        write_page(folder / "report.html", summary)
        write_summary(folder, summary)
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        reason = "interrupted" if stopped else f"{type(error).__name__}: {error}"
        with suppress(OSError):  # the disk may be what ended it
            status.write_text(f"failed: {reason}\n")
            if live is not None:
                live.failed(reason)
        log.error("the run failed\n%s", traceback.format_exc())
        refused = told(error) if isinstance(error, OSError) else None
        if refused or isinstance(error, FairshareError):
            print(f"fl run: {refused or error}\nlogs are in {folder}", file=sys.stderr)
            sys.exit(1)
        print(f"fl run: stopped; logs are in {folder}", file=sys.stderr)
        raise
    view.show_table(summary, folder=folder)


def hide_key(folder: Path, *, url: str) -> None:
    """Leave a node's key out of the settings that Hydra keeps beside a run.

    Args:
        folder: Of Hydra's files.
        url: Of the node, as it was given.
    """
    if not carries_key(url):
        return
    for path in folder.glob("*.yaml"):
        path.write_text(path.read_text().replace(url, shown(url)))


def _log_flower_to_file() -> None:
    # Flower's logger writes to the terminal by itself, from its import on; its lines belong into the run's log with ours.
    importlib.import_module("flwr.common.logger")
    flower = logging.getLogger("flwr")
    flower.handlers.clear()
    flower.propagate = True


def _help() -> str:
    lines = ["usage: fl run key=value …     (-m key=a,b,c sweeps)", "", "Choices:"]
    for group, choices in groups().items():
        lines.append("")
        for choice, line in choices.items():
            lines.append(f"  {group}={choice:<14} {line}")
    lines += ["", "Settings and their defaults:", ""]
    lines += [f"  {key}={'' if value is None else value}" for key, value in defaults().items()]
    return "\n".join(lines)
