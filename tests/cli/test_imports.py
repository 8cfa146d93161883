"""What a command loads before it does anything: nothing for the help, and no torch where none is needed."""

import json
import subprocess

import pytest

from fl.cli.main import COMMANDS

# Who trains, scores or reads a model has to have it; a client's own process leaves it to the first round.
_WITH_TORCH = {"run", "coordinator", "score", "evaluator", "audit", "predict", "shards", "completion"}
_HEAVY = ("torch", "flwr", "web3", "hydra", "numpy", "sklearn", "matplotlib")


@pytest.fixture(scope="module")
def loaded(python, environment):
    """By command, what its module has loaded; all in one process, which takes them one after the other from a clean slate."""
    light = [command for command in COMMANDS if command not in _WITH_TORCH]
    program = f"""
import importlib, json, sys
import fl.cli.main as main
found = {{"": [name for name in {_HEAVY!r} if name in sys.modules]}}
for command in {light!r}:
    importlib.import_module(main.COMMANDS[command][0])
    found[command] = "torch" in sys.modules
print(json.dumps(found))
"""
    done = subprocess.run(
        [python, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=240
    )
    return json.loads(done.stdout)


def test_the_help_loads_nothing_that_is_heavy(loaded):
    assert loaded[""] == []


def test_commands_that_need_no_torch_do_not_load_it(loaded):
    assert [command for command, torch in loaded.items() if command and torch] == []
