"""What a round takes of this machine, told before its owner joins: disk, memory and seconds, measured on one training step."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fl.errors import ConfigError

if TYPE_CHECKING:
    from fl.task.data import Dataset
    from fl.task.spec import TaskSpec

_SPARE = 64 << 20  # bytes that a machine keeps for everything else


class TooLittleMemory(ConfigError):
    """A task's model does not fit into what this machine has left."""

    def __init__(self, needed: int, free: int) -> None:
        super().__init__(needed, free)
        self.needed, self.free = needed, free

    def __str__(self) -> str:
        return (
            f"training takes about {size(self.needed)} of memory, and this machine has {size(self.free)} left; close other programs, or "
            "take part from a larger machine"
        )


@dataclass(frozen=True, kw_only=True)
class RoundCost:
    """Of one round on this machine."""

    seconds: float  # of training: its steps, each as long as the one that was measured
    memory: int  # bytes, the most that training took beyond what the process had
    disk: int  # bytes that the node keeps: the last update, and what rounding took
    received: int  # bytes: the model
    sent: int  # bytes: the update

    def lines(self) -> dict[str, str]:
        """What to tell the owner, by name."""
        return {
            "takes": f"about {_duration(self.seconds)} of training a round here, and {size(self.memory)} of memory",
            "keeps": f"{size(self.disk)} on this machine's disk",
            "moves": f"{size(self.received)} down and {size(self.sent)} up in each round",
        }


def measure_round(spec: TaskSpec, data: Dataset) -> RoundCost:
    """Train one step on a few of the owner's rows, after one that does not count, and multiply.

    Args:
        spec: The task's.
        data: The owner's rows.
    Raises: TooLittleMemory, before the model is built, if its values alone do not fit.
    """
    from clients.trainer import train  # noqa: PLC0415 - torch, for whoever measures only
    from clients.workbench import Tools  # noqa: PLC0415
    from fl.codec.blocks import BLOCK_BYTES, BLOCK_VALUES  # noqa: PLC0415
    from fl.codec.narrow import NARROW_BYTES  # noqa: PLC0415
    from fl.task.model_vector import sent_arrays, vector_of  # noqa: PLC0415

    check_memory(least_memory(spec))
    before = _forget_peak()
    model = spec.build_model()
    base = vector_of(model)
    tools = Tools(model, spec)
    rows = slice(0, max(1, min(len(data), spec.batch_size)))
    taken = 0.0
    for _ in range(2):
        started = time.perf_counter()
        train(
            tools,
            base,
            features=data.features[rows],
            labels=data.labels[rows],
            spec=replace(spec, steps=1),
            seed=0,
        )
        taken = time.perf_counter() - started
    blocks = -(-len(base) // BLOCK_VALUES)
    narrow = spec.block_bits == 8
    return RoundCost(
        seconds=taken * spec.steps,
        memory=max(0, _peak() - before),
        disk=blocks * BLOCK_BYTES + (4 * len(base) if narrow else 0),
        received=sum(array.nbytes for array in sent_arrays(model, whole=spec.frozen is None).values()),
        sent=blocks * (NARROW_BYTES if narrow else BLOCK_BYTES),
    )


def check_memory(needed: int) -> None:
    """Raises: TooLittleMemory if a number of bytes and a little more is not left on this machine, where that can be told."""
    free = _free_memory()
    if free is not None and needed + _SPARE > free:
        raise TooLittleMemory(needed=needed, free=free)


def size(count: int) -> str:
    """Bytes in words: 12 MB."""
    for unit, step in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= step:
            return f"{count / step:.1f} {unit}" if count < 10 * step else f"{count / step:.0f} {unit}"
    return f"{count} bytes"


def least_memory(spec: TaskSpec) -> int:
    """Bytes of the model's values as they are held, and of gradients and what the optimizer keeps at four bytes each."""
    import torch  # noqa: PLC0415

    from fl.task.models import build_model  # noqa: PLC0415

    try:
        with torch.device("meta"):  # shapes without values
            shapes = build_model(
                spec.model,
                spec.model_arguments,
                feature_shape=spec.feature_shape,
                num_classes=spec.build_loss().outputs(spec.num_classes),
                seed=spec.seed,
                trust=spec.trust,
            )
    except (ConfigError, NotImplementedError, RuntimeError):
        return 0  # a class that needs values to begin with, or cannot be built at all; building it says which
    held = sum(parameter.numel() * parameter.element_size() for parameter in shapes.parameters())
    kept = 2 if spec.optimizer == "adam" else bool(spec.momentum)
    # Of a frozen base nothing is kept but its values; how much of it is frozen shows when it is built.
    trained = sum(parameter.numel() for parameter in shapes.parameters()) if spec.trainable == "all" else 0
    return held + 4 * trained * (2 + kept)


def _free_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def _forget_peak() -> int:
    """Bytes that this process holds now; the most is counted from here on, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource  # noqa: PLC0415 - not on every system

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
