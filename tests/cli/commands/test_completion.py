"""Completion as a person has it: real interactive shells on a terminal, a Tab, Return, and the words that `fl` then gets."""

import fcntl
import os
import pty
import select
import shutil
import signal
import subprocess
import termios
import time

import pytest

from fl.cli.arguments.overrides import defaults, groups
from fl.cli.commands import completion
from fl.cli.commands.completion import vocabulary
from fl.cli.main import COMMANDS

# What a shell is started with, told first, and uses to show what it would have run.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "", "fl() { echo \"<$*>\"; }"),
    "zsh": (["zsh", "-f", "-i"], "autoload -U compinit; compinit -u -D", "fl() { echo \"<$*>\" }"),
    "fish": (["fish", "--no-config", "-i"], "", "function fl; echo \"<$argv>\"; end"),
}  # fmt: skip
# What is typed before the Tab, and what has to come of it.
TYPED = {
    "fl doc": "doctor",
    "fl run partition=nat": "run partition=natural",
    "fl run task.mom": "run task.momentum=",
    "fl claim invite=inv": "claim invite=invite.json",
    "fl doctor deploy": "doctor deployment=",
    "fl completion fi": "completion fish",
}
BASH_ONLY = {
    "fl score x scorer=direction,shap": "score x scorer=direction,shapley",
    "fl events inv": "events invite.json",
    "fl evaluator invite.": "evaluator invite.json",
}


@pytest.fixture(scope="module")
def scripts():
    words = vocabulary()
    return {shell: getattr(completion, shell)(words) for shell in SHELLS}


def type_into(shell, script, typed, folder):
    """Types each line and Tab into a shell on a terminal; returns what `fl` was called with."""
    command, first, echo = SHELLS[shell]
    (folder / "invite.json").touch()
    (folder / "script").write_text("\n".join([first, script, echo, ""]))
    master, slave = pty.openpty()
    environment = {**os.environ, "HOME": str(folder), "TERM": "dumb", "PS1": "$ "}
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=folder,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 (one system call)
    )
    os.close(slave)
    seen = ""

    def until(text, *, count=1):
        nonlocal seen
        deadline = time.monotonic() + 60
        while seen.count(text) < count:
            assert time.monotonic() < deadline, f"{shell} never said {text!r}: {seen!r}"
            if select.select([master], [], [], 0.2)[0]:
                seen += os.read(master, 65536).decode(errors="replace")

    try:
        os.write(master, b"source ./script\nfl ready\n")
        until("<ready>")
        for number, line in enumerate(typed, start=1):
            os.write(master, line.encode() + b"\t")
            time.sleep(0.3)  # fish and zsh take a Return that follows at once for part of the pasted text
            os.write(master, b"\n")
            until("<", count=seen.count("<") + 1)
            os.write(master, f"fl done{number}\n".encode())
            until(f"<done{number}>")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(master)
    return [part.partition(">")[0].strip() for part in seen.split("<")[1:]]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_tab_completes_in_a_real_shell(shell, scripts, tmp_path):
    if shutil.which(shell) is None:
        assert shell != "bash"
        pytest.skip(f"{shell} is not on this machine")
    typed = TYPED | (BASH_ONLY if shell == "bash" else {})
    called = type_into(shell, scripts[shell], typed, tmp_path)
    for line, words in typed.items():
        assert words in called, (line, called)


def test_every_command_setting_and_choice_is_known():
    words = vocabulary()
    assert set(words) == set(COMMANDS)
    assert set(defaults()) <= set(words["run"].keys)
    for group, choices in groups().items():
        assert set(words["run"].keys[group]) == set(choices)
    assert words["join"].keys["accept"] == ["true", "false"]


def test_the_command_prints_the_script(fl, refuses):
    done = fl("completion", "bash")
    assert done.code == 0
    assert done.out.endswith("complete -F _fl fl\n")
    refuses("completion", "tcsh", saying="the shell is tcsh; choose bash, zsh, fish, as in `fl completion bash`")
    refuses("completion", saying="the shell is nothing; choose bash, zsh, fish")
