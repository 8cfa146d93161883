"""An evaluator in a process of its own, as where it matters, and what memory this process takes."""

from __future__ import annotations

import multiprocessing
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from eth_account.signers.local import LocalAccount

from fl.audit.evaluators.local import Evaluator
from fl.audit.recompute import ChainView
from fl.chain.accounts import anvil_account
from fl.chain.typed_data import Header
from fl.coordinator.training import game_on
from fl.task.data import Dataset
from fl.task.spec import TaskSpec


def evaluator() -> LocalAccount:
    """Its account."""
    return anvil_account(2, chain_id=31337)


@dataclass(frozen=True, kw_only=True, eq=False)
class Apart:
    """One evaluator, in a process of its own for each round."""

    spec: TaskSpec
    validation: Dataset
    seen: list[tuple[float, float]] = field(default_factory=list)  # MB before a round and at its peak

    @property
    def addresses(self) -> frozenset[str]:
        """Its account."""
        return frozenset({evaluator().address})

    def sign(self, folder: Path, header: Header, *, view: ChainView) -> list[bytes]:
        """Have the round checked."""
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            told = {"spec": self.spec, "validation": self.validation, "folder": folder, "header": header, "view": view}
            signature, before, peak = pool.apply(evaluated, kwds={**told, "threads": torch.get_num_threads()})
        self.seen.append((before, peak))
        return [signature]


def evaluated(
    *, spec: TaskSpec, validation: Dataset, folder: Path, header: Header, view: ChainView, threads: int
) -> tuple[bytes, float, float]:
    """An evaluator's round: its signature, and MB before it and at its peak."""
    torch.set_num_threads(threads)
    judge = Evaluator(account=evaluator(), spec=spec, game=game_on(validation, spec=spec))
    before = forget_peak()
    signature = judge.evaluate(folder, header, view=view)
    return signature, before, peak_mb()


def forget_peak() -> float:
    """Begin to measure anew; MB that are held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _mb("VmRSS")


def peak_mb() -> float:
    """The most that this process has held since."""
    return _mb("VmHWM")


def _mb(name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found, f"no {name} in /proc/self/status"
    return int(found[1]) / 1024
