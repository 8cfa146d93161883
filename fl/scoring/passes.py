"""Passes over the batches of a data set, by as many threads as there are cores where that changes no bit.

Torch lets go of Python's lock while it computes, so threads share out batches well. Each batch's result is what it would be
alone, and results are handed on in the order of the batches, so that a sum over them has the same bits for any number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch
from torch import nn

# Packages whose modules, in evaluation mode, neither draw random numbers nor keep anything of a forward pass.
_KNOWN = ("torch.nn.modules.", "fl.task.", "fl.scoring.", "transformers.", "peft.")
_MOST = 8  # threads: each holds the activations of a batch

Given = TypeVar("Given")
Made = TypeVar("Made")


def threads_for(*modules: nn.Module) -> int:
    """How many threads may pass batches through modules: 1 where one of them is somebody's own, or torch has threads itself."""
    if torch.get_num_threads() > 1:
        return 1
    for module in (part for whole in modules for part in whole.modules()):
        if not f"{type(module).__module__}.".startswith(_KNOWN) or getattr(module, "gradient_checkpointing", False):
            return 1
        if getattr(module, "alone", False):
            return 1
        if next(module.parameters(recurse=False), torch.empty(0)).device.type != "cpu":
            return 1
    return min(_cores(), _MOST)


def each(do: Callable[[Given], Made], batches: Iterable[Given], *, threads: int) -> Iterator[Made]:
    """`do` of each batch, in their order; no more batches are held at once than there are threads.

    Threads end with the passes, because a process that forks may have none.

    Args:
        do: What is done with a batch.
        batches: Taken one after the other.
        threads: How many work at the same time.
    """
    waiting = iter(batches)
    if threads < 2:
        yield from map(do, waiting)
        return
    first = list(islice(waiting, threads))
    if len(first) < 2:
        yield from map(do, first)
        return
    # Until a thread says so itself, its matrix products take as many threads as there are cores, and have other last bits.
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        while first:
            yield from pool.map(do, first)
            first = list(islice(waiting, threads))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
