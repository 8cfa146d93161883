"""What a task would train, and what one round of it makes of the owner's rows: found out in a process of its own.

The node itself needs no torch before its first round, and a model that fills the memory ends the child alone. The child is
started while its owner still types a password: torch takes seconds to import. `clients.joining.trial` is the child.
"""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from clients.joining.cost import RoundCost
from fl.chain.accounts import without_secrets
from fl.errors import ConfigError
from fl.foreign.json_text import read_json
from fl.plain_text import printable
from fl.task.bounds import read_spec
from fl.task.data import Dataset
from fl.task.trust import Trust

_TIMEOUT_S = 300  # the first import of torch on a slow disk
_MOST_BYTES = 64 << 20  # of the rows that a trial takes


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One round on most of the owner's rows, and what it was worth on those that were held out of it."""

    trained: int  # rows
    held_out: int  # rows; 0 where there are too few to hold any out
    steps: int  # that were trained: fewer than a round's where a round takes long
    round_s: float  # seconds that a whole round takes, as measured
    score: float | None = None  # ⟨update, direction⟩ on the held-out rows, in units of loss
    loss_before: float | None = None
    loss_after: float | None = None
    accuracy_before: float | None = None  # None where nothing is right or wrong
    accuracy_after: float | None = None


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A task's model as this machine builds it."""

    parameters: int  # values that travel
    update_bytes: int  # of one signed update
    base_model: bytes  # hash of the initial model, 32 bytes
    steps: int  # of a round
    batch_size: int  # rows of a step
    strategy: str
    doubts: tuple[str, ...] = ()  # what works with the model and its loss and is seldom meant
    trial: Trial | None = None  # None without rows, or with an app of the owner's own
    cost: RoundCost | None = None  # of a round here; None without rows to measure on


class Previewing:
    """A child process that has torch loaded by the time that the rows are there. A context: no child outlives it.

    Args:
        spec: The spec's JSON.
        trust: Packages whose models and losses the owner allows.
        threads: Of training.
    Raises: UntrustedCode, before anything is imported, for a model or loss that the owner did not allow; ConfigError for a spec
        beyond `fl.task.bounds`.
    """

    def __init__(self, spec: str, *, trust: str = "", threads: int = 1) -> None:
        Trust.of(trust).check_names(read_spec(spec))
        self._spec = spec
        self._child = subprocess.Popen(
            # -P: the folder that the node was started in is no place to import from.
            [sys.executable, "-P", "-m", "clients.joining.trial", trust, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=without_secrets(),
            start_new_session=True,  # Ctrl-C at the question is for the question
        )

    def __enter__(self) -> Previewing:
        return self

    def __exit__(self, *error: object) -> None:
        if self._child.poll() is None:
            self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe and not pipe.closed:
                pipe.close()
        self._child.wait()

    def of(self, rows: Dataset | None = None) -> Preview:
        """Build the spec's model, try it on the owner's rows, and train one round on most of them.

        Raises: ConfigError with the child's own words if the model cannot be built here, or is too large.
        """
        told = {"spec": np.array(self._spec)} | ({} if rows is None else _most_of(rows))
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **told)
        try:
            out, said = self._child.communicate(buffer.getvalue(), timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise ConfigError(
                f"the task's model was not built within {_TIMEOUT_S} s; see whether this machine has memory left"
            ) from None
        if self._child.returncode:
            words = said.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise ConfigError(f"the task's model cannot be built on this machine: {printable(words[0])}")
        return _read(read_json(out.decode()))


def preview(spec: str, *, trust: str = "", rows: Dataset | None = None, threads: int = 1) -> Preview:
    """What `Previewing` finds, in one call.

    Args:
        spec: Of the task.
        trust: What may be imported.
        rows: Of the shard.
        threads: That torch may use.
    """
    with Previewing(spec, trust=trust, threads=threads) as previewing:
        return previewing.of(rows)


def _most_of(rows: Dataset) -> dict[str, np.ndarray]:
    """As many rows as a trial needs, from all over a shard."""
    most = max(1, _MOST_BYTES // max(1, rows.features[:1].nbytes + rows.labels[:1].nbytes))
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(np.int64))
    return {"features": rows.features[places], "labels": rows.labels[places]}


def _read(raw: Any) -> Preview:  # Any: parsed JSON
    trial = raw["trial"]
    return Preview(
        parameters=raw["parameters"],
        update_bytes=raw["update_bytes"],
        base_model=bytes.fromhex(raw["base_model"]),
        steps=raw["steps"],
        batch_size=raw["batch_size"],
        strategy=raw["strategy"],
        doubts=tuple(raw["doubts"]),
        trial=None if trial is None else Trial(**trial),
        cost=None if raw["cost"] is None else RoundCost(**raw["cost"]),
    )
