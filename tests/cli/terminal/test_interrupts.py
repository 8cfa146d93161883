"""Signals that Python drops in a finalizer still end the process, once it is back in code that can end."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, signal, sys, time, weakref
from fl.cli.terminal.interrupts import ask_again_when_dropped

ask_again_when_dropped()
ask_again_when_dropped()
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))

class Held: ...

def last_words(number):
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # the signal's exception is raised here, where nobody can catch it

held = Held()
weakref.finalize(held, last_words, signal.{name})
try:
    del held
    print("went on", flush=True)
    time.sleep(60)
except BaseException as error:
    print(type(error).__name__, flush=True)
    raise
"""


@pytest.mark.parametrize(
    ("name", "raised", "code"), [("SIGINT", "KeyboardInterrupt", -2), ("SIGTERM", "SystemExit", 143)]
)
def test_a_signal_that_falls_into_a_finalizer_is_not_lost(environment, name, raised, code):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("{name}", name)],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout.split("\n")[:2] == ["went on", raised]
    assert done.returncode == code
    assert "Exception ignored" not in done.stderr


def test_other_dropped_exceptions_are_shown_as_before(environment):
    script = SCRIPT.replace("os.kill(os.getpid(), number)", "raise ValueError('a finalizer of ours')").replace(
        "time.sleep(60)", ""
    )
    done = subprocess.run(
        [sys.executable, "-c", script.replace("{name}", "SIGINT")],
        env=environment, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout == "went on\n"
    assert "ValueError: a finalizer of ours" in done.stderr
