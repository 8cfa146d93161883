"""What a model draws at random while it is scored: the same for everybody and each time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def drawing_alike(device: torch.device | str = "cpu", *, seed: int = 0) -> Iterator[None]:
    """Seed torch's, numpy's and Python's generators, and put them back as they were."""
    device = torch.device(device)
    ours, theirs = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed seeds four kinds of device, in 2 ms
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(ours)
            np.random.set_state(theirs)
