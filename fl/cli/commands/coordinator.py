"""`fl coordinator`: serve a paid task to clients on machines of their own."""

from __future__ import annotations

import errno
import fcntl
import importlib
import logging
import os
import signal
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path

from eth_account.signers.local import LocalAccount
from rich.console import Console

from fl.audit.archive import ARCHIVE
from fl.chain.invite import Invite
from fl.chain.json_file import write_json
from fl.chain.tokens import two_places
from fl.chain.whole_file import private_folder
from fl.cli.arguments.explained import explained
from fl.cli.arguments.frozen import check_frozen
from fl.cli.arguments.overrides import check, groups, spell_out
from fl.cli.terminal.data_table import print_reading
from fl.coordinator.config import CoordinatorConfig, RunConfig, TaskConfig
from fl.coordinator.round.report import RoundReport
from fl.coordinator.serve import ServiceWatcher, Surfaces, run_coordinator
from fl.coordinator.serve_again import serve_again
from fl.dashboard.app import WAITING, dashboard_app
from fl.errors import ConfigError, FairshareError
from fl.foreign.files import Unreadable, expanded, read_file
from fl.foreign.json_text import BadJson, list_of, object_of, read_json, text_of
from fl.machine_errors import LogFile
from fl.plain_text import plural
from fl.report.handover import hand_over
from fl.report.live import LiveSummary
from fl.report.loggers import check_loggers, logged
from fl.report.model_files import MODELS
from fl.report.page import write_page
from fl.report.quality import told
from fl.report.summary import STATUS, SUMMARY, is_finished, settings_of
from fl.scoring.game import Evaluation

log = logging.getLogger(__name__)

_MOST_BYTES = 1 << 20  # of the settings
_SETTINGS = "settings.json"  # in the folder: what the task was opened with
_CHOICES = ("data", "model", "strategy", "scorer")  # each has settings that no other choice of it takes
_WORDS = ("name", "description")  # settings that are text for people


class NoRoom(FairshareError):
    """The disk of the coordinator's folder is full."""

    def __init__(self, folder: str, reason: str) -> None:
        super().__init__(folder, reason)
        self.folder, self.reason = folder, reason

    def __str__(self) -> str:
        return (
            f"{self.folder} cannot be written to ({self.reason}); make room there and start again, nothing that was written "
            "before is lost"
        )


def main(arguments: Sequence[str]) -> None:
    """Open or resume the folder's task, and serve it until it is over."""
    if any(argument in ("-h", "--help") for argument in arguments):
        print(_help())
        return
    given = spell_out(_dotted(arguments))
    folder = expanded(check(given).coordinator.folder)
    # A coordinator that is started again needs no more than its folder; what is said again counts more.
    before = _told_before(folder)
    told = list({_key(argument): argument for argument in (*_still_meant(before, given), *given)}.values())
    # Nobody expects settings of a start that opened no task to apply. A chain's may hold a key.
    kept = [setting for setting in told if setting not in given and not setting.startswith("chain")]
    if kept and not (folder / "invite.json").exists():
        _say(
            f"{folder} has settings of an earlier start that opened no task, and they still apply: {' '.join(kept)}; give one again to "
            f"change it, or delete {folder / _SETTINGS} to start afresh"
        )
    config = check(told)
    if told != before and (folder / "invite.json").exists():
        check_frozen(check(before), config, folder=str(folder))
    check_loggers(config.loggers)
    # systemd and containers stop with SIGTERM: the same orderly end as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _room_in(folder), held(folder):
        _log_to(folder / "run.log")
        write_json(folder / _SETTINGS, {"settings": told})
        _serve(config, folder=folder)


def _serve(config: RunConfig, *, folder: Path) -> None:
    if is_finished(folder):
        _serve_again(config, folder=folder)
        return
    live = LiveSummary(config, folder=folder)
    (folder / STATUS).write_text("running\n")
    watcher = ServiceWatcher(
        on_setup=_say,
        on_round=lambda report, test: _say_round(report, test, rounds=config.task.rounds),
        on_invite=_say_invite,
        on_data=lambda reading: print_reading(reading, console=Console()),
        on_doubt=lambda told: _say(f"note: {told}"),
        on_waiting=lambda told: write_json(folder / WAITING, told),
        on_nodes=live.show_nodes,
        earlier_rounds=live.earlier_rounds,
        on_end=lambda account: _write_end(live, folder=folder, account=account),
    )
    page = dashboard_app(folder)
    try:
        with logged(
            live.watching(watcher), loggers=config.loggers, folder=folder, settings=settings_of(config)
        ) as watching:
            run_coordinator(
                config,
                folder=folder,
                watcher=watching,
                surfaces=Surfaces(pages=page, on_close=page.state.closing.set),
            )
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        reason = "interrupted" if stopped else f"{type(error).__name__}: {error}"
        if not live.over:
            with suppress(OSError):  # the disk may be what ended it
                (folder / STATUS).write_text(f"failed: {reason}\n")
        live.failed(reason)
        log.exception("the coordinator ended")
        if stopped:
            _say(f"stopped; `fl coordinator folder={folder}` goes on where it was")
        raise
    _say(f"the task is over; report: {folder / 'report.html'}, model: {folder / MODELS}, archive: {folder / ARCHIVE}")


def _serve_again(config: RunConfig, *, folder: Path) -> None:
    """A finished task's gateway, with its report and archive as they are."""
    page = dashboard_app(folder)
    watcher = ServiceWatcher(on_setup=_say, on_invite=lambda invite, _: _say(f"page: {invite.gateway}/"))
    surfaces = Surfaces(pages=page, on_close=page.state.closing.set)
    try:
        serve_again(config.coordinator, folder=folder, watcher=watcher, surfaces=surfaces)
    except KeyboardInterrupt:
        _say("stopped; the task was over before")


def _write_end(live: LiveSummary, *, folder: Path, account: LocalAccount) -> None:
    summary = live.finished()
    write_json(folder / SUMMARY, summary)
    write_page(folder / "report.html", summary)
    for line in hand_over(folder, account=account):
        _say(line)
    (folder / STATUS).write_text("finished\n")


def _dotted(arguments: Sequence[str]) -> list[str]:
    """`budget=100 port=8443` → `task.budget=100 coordinator.port=8443`: the settings that every coordinator has to think of."""
    own = {field.name: f"coordinator.{field.name}" for field in fields(CoordinatorConfig) if field.name != "evaluators"}
    short = {**{field.name: f"task.{field.name}" for field in fields(TaskConfig)}, **own}
    known = groups()
    dotted = []
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if key in _WORDS:
            value = _quoted(value)
        dotted.append(f"{short[key]}{sign}{value}" if key in short and key not in known else f"{key}{sign}{value}")
    return dotted


def _quoted(text: str) -> str:
    """Words as Hydra takes them: its grammar has commas, colons and brackets of its own."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _told_before(folder: Path) -> list[str]:
    path = folder / _SETTINGS
    if not path.exists():
        return []
    try:
        return [
            text_of(setting, most=10_000)
            for setting in list_of(object_of(read_json(read_file(path, most=_MOST_BYTES)))["settings"])
        ]
    except (Unreadable, BadJson, KeyError) as error:
        raise ConfigError(
            f"{path} cannot be read ({type(error).__name__}); remove it and say all settings again"
        ) from error


def _still_meant(before: Sequence[str], given: Sequence[str]) -> list[str]:
    """What was told before and counts: not the settings of a choice that another one takes the place of."""
    chosen = {_key(setting): setting for setting in before if _key(setting) in _CHOICES}
    others = tuple(f"{_key(setting)}." for setting in given if chosen.get(_key(setting), setting) != setting)
    return [setting for setting in before if not (others and _key(setting).startswith(others))]


def _key(setting: str) -> str:
    return setting.partition("=")[0].lstrip("+")


@contextmanager
def _room_in(folder: Path) -> Iterator[None]:
    """Say what to do when the disk is full. Raises: NoRoom."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoRoom(folder=str(folder), reason=error.strerror or str(error)) from error


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make the folder, for its owner only, and keep it for this process. Raises: ConfigError if another one has it."""
    private_folder(folder)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"another coordinator works in {folder}; stop it, or set another folder with folder=NAME"
            ) from None
        yield
    finally:
        os.close(descriptor)


def _log_to(path: Path) -> None:
    path.touch(mode=0o600)
    handler = LogFile(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    # Flower's logger writes to the terminal by itself, from its import on; its lines belong into the log with ours.
    importlib.import_module("flwr.common.logger")
    flower = logging.getLogger("flwr")
    flower.handlers.clear()
    flower.propagate = True


def _say(line: str) -> None:
    print(line, flush=True)
    log.info("%s", line)


def _say_invite(invite: Invite, path: Path) -> None:
    print(f"task {invite.task_id} on chain {invite.chain_id}, contract {invite.contract}", flush=True)
    warned = (
        " (its certificate is of this coordinator's own authority, so a browser asks once; nodes know it)"
        if invite.ca
        else ""
    )
    print(f"page: {invite.gateway}/{warned}", flush=True)
    print(f"invite for clients: {path}, or as a link: {invite.link}", flush=True)
    print(f"each of them runs: fl client {invite.link} FILE", flush=True)
    print(f"or, with all of it in one line:\n{invite.to_string()}", flush=True)


def _say_round(report: RoundReport, test: Evaluation, *, rounds: int) -> None:
    refused = f", {len(report.refusals)} refused" if report.refusals else ""
    _say(
        f"round {report.round:>2}/{rounds}: {told(test)}, loss {report.loss_before:.3f} → "
        f"{report.loss_after:.3f}, paid {two_places(sum(report.pays.values()))} to {plural(len(report.scores), 'client')}{refused}"
    )
    for refusal in report.refusals:
        _say(f"  refused {refusal.account or 'node ' + str(refusal.node_id)}: {refusal.reason}")


def _help() -> str:
    lines = [
        "usage: fl coordinator key=value …",
        "",
        "Opens a task and serves it to the nodes of its clients (`fl client`); in a folder that has a task, goes on with it.",
        "",
        f"  {'name=':<18} the task's name, as clients and the page show it",
    ]
    for title, settings in (
        ("where it is reached and what it keeps (times in seconds)", CoordinatorConfig),
        ("the task (amounts in tokens, times in seconds)", TaskConfig),
    ):
        lines += ["", f"{title}:"]
        for setting in explained(settings):
            # Both have evaluators: how many there are is the short name's.
            name = (
                f"coordinator.{setting.name}"
                if settings is CoordinatorConfig and setting.name == "evaluators"
                else setting.name
            )
            about = setting.about.rstrip(".")
            if about[1:2].islower():  # and no acronym
                about = about[:1].lower() + about[1:]
            default = f"; {_shown(setting.default)} by default" if setting.default not in (None, "", []) else ""
            lines += textwrap.wrap(
                f"{about or setting.name.replace('_', ' ')}{default}",
                110,
                initial_indent=f"  {name + '=':<18} ",
                subsequent_indent=" " * 21,
                break_long_words=False,
                break_on_hyphens=False,
            )
    lines += [
        "",
        "and the settings of `fl run` by their full names (`fl run --help`): model, data, strategy, scorer and chain, as in",
        "fl coordinator data=holdout data.path=shards/coordinator budget=1000 rounds=10 clients=4",
    ]
    return "\n".join(lines)


def _shown(default: object) -> str:
    """A default as it is written on a command line."""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) and default < 10**6 else str(default)


if __name__ == "__main__":
    main(sys.argv[1:])
