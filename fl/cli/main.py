"""The `fl` command: finds the command's module and turns every error of ours into one line and exit status 1."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from importlib.metadata import version

from fl.cli.terminal.interrupts import ask_again_when_dropped
from fl.errors import FairshareError
from fl.machine_errors import told
from fl.plain_text import printable

# command -> (module, one line for the help). A module is imported when its command runs: `fl --help` waits for no torch.
COMMANDS = {
    "run": ("fl.cli.commands.run", "train, score, pay and claim: a whole paid federation on this machine"),
    "dashboard": ("fl.cli.commands.dashboard", "the page of a run on this machine, live: fl dashboard run=runs/latest"),
    "shards": ("fl.cli.commands.shards", "deal data into one file per client: fl shards out=FOLDER data=… partition=…"),
    "coordinator": ("fl.cli.commands.coordinator", "open a task and serve it to clients on machines of their own"),
    "devnet": (
        "fl.cli.commands.devnet",
        "run a chain on this machine that is kept across restarts: fl devnet folder=devnet",
    ),
    "deploy": ("fl.cli.commands.deploy", "put token and contract on a devnet and write the deployment file"),
    "client": ("fl.cli.commands.client", "join a task, train, be paid: fl client INVITE FILE"),
    "status": ("fl.cli.commands.status", "how a task and your part in it stand: fl status FOLDER"),
    "recipient": (
        "fl.cli.commands.recipient",
        "have your pay go to another account: fl recipient FOLDER to=0x… key=KEYSTORE",
    ),
    "leave": ("fl.cli.commands.leave", "leave a task: fl leave FOLDER"),
    "budget": ("fl.cli.commands.budget", "add to a running task's budget: fl budget FOLDER add=TOKENS"),
    "joining": (
        "fl.cli.commands.joining",
        "close a task to new clients, or open it again: fl joining FOLDER open=false",
    ),
    "handover": (
        "fl.cli.commands.handover",
        "give a task's coordination to another key: fl handover FOLDER to=0x…, then take=true",
    ),
    "finish": (
        "fl.cli.commands.finish",
        "bring back what a task still holds, and write model, card and archive: fl finish FOLDER",
    ),
    "predict": ("fl.cli.commands.predict", "apply a trained model to new rows: fl predict MODEL TABLE"),
    "join": ("fl.cli.commands.join", "stake for a task as a client: fl join INVITE key=KEYSTORE stake=TOKENS"),
    "score": (
        "fl.cli.commands.score",
        "score a stored round by any rules, side by side: fl score BUNDLE scorer=direction,shapley",
    ),
    "claim": (
        "fl.cli.commands.claim",
        "pay out what an account earned: fl claim INVITE bundles=FOLDER account=0x…",
    ),
    "events": ("fl.cli.commands.events", "a task's history on chain as CSV and Parquet: fl events INVITE out=FOLDER"),
    "evaluator": (
        "fl.cli.commands.evaluator",
        "check rounds on your own machine and sign them: fl evaluator INVITE key=KEYSTORE",
    ),
    "audit": (
        "fl.cli.commands.audit",
        "recompute a task from the chain and its bundles: fl audit INVITE|FOLDER|ARCHIVE",
    ),
    "watch": (
        "fl.cli.commands.watch",
        "watch a task and prove on chain what is wrong with it: fl watch INVITE|FOLDER key=…",
    ),
    "mint": ("fl.cli.commands.mint", "make devnet tokens: fl mint INVITE to=0x… tokens=100"),
    "doctor": ("fl.cli.commands.doctor", "look at this machine, a keystore, a chain and a gateway, and say what to do"),
    "key": ("fl.cli.commands.key", "make an encrypted keystore: fl key path=FILE"),
    "completion": (
        "fl.cli.commands.completion",
        "complete commands and settings in your shell: fl completion bash|zsh|fish",
    ),
    "compile": ("fl.cli.commands.compile", "compile the contracts of a checkout into the shipped artifacts"),
}


_NOBODY_READS = 141  # as a shell has it of a program that SIGPIPE ended


def main() -> None:
    """Run `fl <command> key=value …`."""
    try:
        try:
            _run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read what is printed, as `head` does, has had enough. What is left would be tried again at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_NOBODY_READS)


def _run() -> None:
    # Flower reads these when it is imported: no telemetry, no look for newer versions.
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return
    if arguments[0] == "--version":
        print(f"fairshare {version('fairshare')}")
        return
    if arguments[0] not in COMMANDS:
        near = difflib.get_close_matches(arguments[0], COMMANDS, n=1)
        hint = f", the nearest is {near[0]}" if near else ""
        print(f"fl: there is no command {arguments[0]!r}{hint}\n\n{_help()}", file=sys.stderr)
        sys.exit(2)
    ask_again_when_dropped()
    try:
        importlib.import_module(COMMANDS[arguments[0]][0]).main(arguments[1:])
    except FairshareError as error:
        # Some of the words may be a coordinator's or a node's.
        words = "\n".join(printable(line, most=4000) for line in str(error).splitlines())
        print(f"fl {arguments[0]}: {words}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        raise
    except OSError as error:  # of a disk, a folder, a number of open files
        if (refused := told(error)) is None:
            raise
        print(f"fl {arguments[0]}: {printable(refused, most=4000)}", file=sys.stderr)
        sys.exit(1)
    except EOFError:
        print(
            f"fl {arguments[0]}: a question was asked and nobody is there to answer; set FAIRSHARE_PASSWORD for a password, and "
            "accept=true where a command asks for a yes",
            file=sys.stderr,
        )
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"\nfl {arguments[0]}: interrupted; what it had started is stopped", file=sys.stderr)
        sys.exit(130)


def _help() -> str:
    lines = [f"  {name:<11} {line}" for name, (_, line) in COMMANDS.items()]
    begin = [
        "To see it all on this machine: fl run, then fl dashboard runs/latest.",
        "To take part in somebody's task: fl client INVITE FILE.",
        "fl COMMAND --help tells more.",
    ]
    return "\n".join(["usage: fl COMMAND key=value …", "", *lines, "", *begin])


if __name__ == "__main__":
    main()
