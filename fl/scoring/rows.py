"""Which validation rows steer the public step, and which ones set its length: on the rows it fits, a search always seems to help.

The rows are ordered by sha256(validationHash ‖ uint64 row). The first half steers, as many as 192 of it (of text, as many as have 2,048
tokens, or 32), and the second half is held out from the search, so that everybody who has the committed set splits it alike and nobody
chooses the halves. All of them score.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from fl.errors import ConfigError
from fl.scoring.game import ValidationGame

FEW = 40  # rows below which they say little
MOST_STEERING = 192  # rows: the search asks for many gradients, and its length is set on all rows of the other half
MOST_STEERING_TOKENS, LEAST_STEERING = 2048, 32  # of text, where each token is a target


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitRows:
    """One validation set as two games."""

    steering: ValidationGame
    held_out: ValidationGame


def split_rows(game: ValidationGame) -> SplitRows:
    """Split a game's validation set into its halves; an odd row is held out.

    Raises: ConfigError for a single row, which has no halves.
    """
    count = len(game)
    if count < 2:
        raise ConfigError(
            "the validation set has 1 row, and half of the rows steer the public step; bring more rows, or set "
            "scorer.public_rounds=0"
        )
    order = sorted(range(count), key=lambda row: hashlib.sha256(game.validation_hash + row.to_bytes(8, "big")).digest())
    steers = torch.zeros(count, dtype=torch.bool)
    held_out = torch.zeros(count, dtype=torch.bool)
    steers[order[: min(count // 2, most_steering(game))]] = True
    held_out[order[count // 2 :]] = True
    steering = game.subset(steers)
    # Two batches at least, so that the search's many short passes keep two cores busy; the same ones on every machine.
    steering.batch_size = min(steering.batch_size, -(-len(steering) // 2))
    return SplitRows(steering=steering, held_out=game.subset(held_out))


def most_steering(game: ValidationGame) -> int:
    """How many rows steer at most: 192, or of text as many as have 2,048 tokens, but 32 at least."""
    if game.objective.metric != "perplexity":
        return MOST_STEERING
    tokens = max(1, game.labels[0].numel())
    return min(MOST_STEERING, max(LEAST_STEERING, MOST_STEERING_TOKENS // tokens))


def few_rows(count: int) -> str | None:
    """A warning in words for a validation set that is too small to say much; None for any other."""
    if count >= FEW:
        return None
    return (
        f"the validation set has {count} rows, and all scores rest on them; with fewer than {FEW} a score is mostly chance, so bring "
        "more rows"
    )
