"""A coordinator that lies, a watcher of it, and what the watcher's command comes to."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from audit.liar import TOKENS, Liar
from cli.commands.watching import WATCHER

from fl.chain.task_state import Status


@pytest.fixture
def liar(new_world):
    """A task of three clients and three rounds whose first round is honest."""
    made = Liar(new_world(rounds=3, min_stake=TOKENS))
    made.first = made.post_honest(1)
    return made


@pytest.fixture
def watch(fl, tmp_path):
    """Looks at a liar's task once, as the watcher; returns exit status and output."""

    def look(liar, *arguments):
        done = fl(
            "watch", liar.world.folder, f"anvil={WATCHER}", "once=true", f"folder={tmp_path / 'watch'}", *arguments
        )
        assert done.err == ""
        return done

    return look


@pytest.fixture
def catches(watch, account):
    """The command finds fraud in round 2, says so, files the proof, and gets a least stake."""

    def run(liar, what, function, *arguments, bounty=1):
        done = watch(liar, *arguments)
        assert done.code == 1, done.out
        assert f"round 2 FRAUD: {what}" in done.out
        assert f"filed {function} in 0x" in done.out
        assert ("; 1 token came in" in done.out) == (bounty == 1)
        state = liar.task.state()
        assert (state.status, state.posted) == (Status.HALTED, 1)
        assert liar.world.token.balance(account(WATCHER).address) == bounty * TOKENS
        again = watch(liar)
        assert again.code == 0  # nothing is left to prove
        assert "FRAUD" not in again.out
        return done

    return run


@pytest.fixture
def evaluators(forked, environment, tmp_path):
    """Starts `fl evaluator` for one of Anvil's accounts; all of them are stopped at the end."""
    started = []

    def start(invite, number, *arguments):
        process = subprocess.Popen(
            [
                *forked, "evaluator", str(invite), f"anvil={number}",
                f"folder={tmp_path / f'evaluator-{number}'}", "every=0.05", *arguments,
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
