"""What a scorer is given: a round's base model, updates and weights, and the game that says what a model is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fl.codec import Blocks
from fl.errors import FairshareError
from fl.scoring.game import ValidationGame
from fl.scoring.public_vectors import PublicVector


class UnscorableUpdate(FairshareError):
    """An update holds a value that is no number."""

    def __init__(self, client: int) -> None:
        super().__init__(client)
        self.client = client

    def __str__(self) -> str:
        return f"update {self.client} holds NaN or infinity; refuse it before the round is scored"


class Updates(Protocol):
    """Updates by number, each a vector of shape (P,); reading one may cost its decoding."""

    def __len__(self) -> int: ...

    def __getitem__(self, client: int) -> NDArray[np.floating]: ...

    def __iter__(self) -> Iterator[NDArray[np.floating]]: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockUpdates:
    """Updates as the blocks that were signed, decoded one at a time: 2 bytes a value are held, not 4."""

    blocks: Sequence[Blocks]

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, client: int) -> NDArray[np.float32]:
        return self.blocks[client].decode()

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (blocks.decode() for blocks in self.blocks)


@dataclass(frozen=True, kw_only=True, eq=False)
class RoundInputs:
    """One round, as every scorer sees it.

    Raises: ValueError if there are not as many weights as updates, or a weight is negative or no number.
    """

    game: ValidationGame  # model, loss and validation data
    base: NDArray[np.float32]  # the model before the round, shape (P,)
    updates: Updates | Sequence[NDArray[np.floating]]  # Δ_k, N of shape (P,)
    weights: NDArray[np.float64]  # a_k, with what the norm cap took; shape (N,), together 1 at most
    # U of every coalition by number, shape (2^N,), where the fixed game of the loss was valued before: it is read, not valued anew.
    table: NDArray[np.float64] | None = None
    # What the norm cap leaves of each update, shape (N,); it is in `weights` already, for rules that go without them.
    clips: NDArray[np.floating] | None = None
    # The round's direction, shape (P,), where it is known: it is read, not computed anew.
    direction: NDArray[np.floating] | None = None
    # An orthonormal basis of what everybody knew before the round: nobody is paid for going along it.
    public: Sequence[PublicVector] = ()

    def __post_init__(self) -> None:
        if len(self.updates) != len(self.weights):
            raise ValueError(
                f"there are {len(self.updates)} updates and {len(self.weights)} weights; give one for each"
            )
        if not (np.isfinite(self.weights).all() and (np.asarray(self.weights) >= 0).all()):
            raise ValueError(f"the weights are {list(self.weights)}; each has to be a number of 0 or more")

    def __len__(self) -> int:
        return len(self.updates)

    def weighted(self, client: int) -> NDArray[np.float64]:
        """a_k Δ_k of one client, shape (P,). Raises: UnscorableUpdate for a value that is no number."""
        part = self.weights[client] * np.asarray(self.updates[client], dtype=np.float64)
        if not np.isfinite(part).all():
            raise UnscorableUpdate(client=client)
        return part

    def clipped(self, client: int) -> NDArray[np.float64]:
        """Δ_k of one client as the norm cap leaves it, shape (P,)."""
        update = np.asarray(self.updates[client], dtype=np.float64)
        return update if self.clips is None else self.clips[client] * update

    def step(self) -> NDArray[np.float64]:
        """Σ_k a_k Δ_k, shape (P,); one pass over the updates."""
        total = np.zeros(len(self.base))
        for client in range(len(self)):
            total += self.weighted(client)
        return total

    def matrix(self) -> NDArray[np.float64]:
        """a_k Δ_k of all clients, shape (N, P): for rules that add up many coalitions."""
        rows = np.zeros((len(self), len(self.base)))
        for client in range(len(self)):
            rows[client] = self.weighted(client)
        return rows
