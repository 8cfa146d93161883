"""Hold rows back, with the same share of every stratum: of every client's file, or of every class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.plain_text import plural
from fl.task.data.errors import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Row indices, ascending; no row is in two of them."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64] | None  # None if it comes from a file of its own
    test: NDArray[np.int64] | None


def split_rows(
    strata: NDArray[np.int64],
    *,
    validation: int | float | str,
    test: int | float | str,
    limit: int | None,
    rng: np.random.Generator,
) -> Split:
    """Draw the rows in use, then the test rows, then the validation rows; the clients get the rest.

    Args:
        strata: A number per row, shape (N,); each draw takes its share of every stratum.
        validation: A share of the rows in use if a float, a number of rows if an integer; a string holds nothing
            back here.
        test: Likewise.
        limit: Rows in use; None for all.
        rng: Draws the rows.
    Raises: DataError if too few rows are left for the clients.
    """
    rows = np.arange(len(strata))
    if limit is not None and limit < len(rows):
        rows = draw_stratified(strata, count=limit, rng=rng)
    total = len(rows)
    counts = {"validation": _count(validation, total=total), "test": _count(test, total=total)}
    if sum(counts.values()) >= total:
        raise DataError(
            seen=f"{plural(counts['validation'], 'row')} for validation and {counts['test']} for test out of {plural(total, 'row')}",
            expected="some rows left for the clients",
            fix="lower data.validation and data.test, or raise data.limit",
        )
    held: dict[str, NDArray[np.int64] | None] = {}
    for key in ("test", "validation"):
        if not counts[key]:
            held[key] = None
            continue
        drawn = draw_stratified(strata[rows], count=counts[key], rng=rng)
        held[key] = rows[drawn]
        rows = np.delete(rows, drawn)
    return Split(train=rows, validation=held["validation"], test=held["test"])


def draw_apart(
    strata: NDArray[np.int64], *, test: int | float | str, rng: np.random.Generator
) -> tuple[NDArray[np.int64] | None, NDArray[np.int64]]:
    """The test rows (None if they come from a file of their own), and the rest, which validates.

    Args:
        strata: A number per row, shape (N,).
        test: As of `split_rows`.
        rng: Draws the rows.
    Raises: DataError if no row is left to validate on.
    """
    count = _count(test, total=len(strata))
    if count >= len(strata):
        raise DataError(
            seen=f"{plural(count, 'row')} for test out of {len(strata)}",
            expected="some rows left to validate on",
            fix="lower data.test, or set it to a file",
        )
    drawn = draw_stratified(strata, count=count, rng=rng) if count else None
    return drawn, np.arange(len(strata)) if drawn is None else np.delete(np.arange(len(strata)), drawn)


def draw_stratified(strata: NDArray[np.int64], *, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of `count` rows, ascending, with each stratum's share by largest remainder.

    Args:
        strata: A number per row, shape (N,).
        count: Rows to draw, at most N.
        rng: Draws them within each stratum.
    """
    _, members, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    shares = apportion(count, weights=sizes.astype(np.float64))
    drawn = [
        rng.choice(np.flatnonzero(members == stratum), size=share, replace=False)
        for stratum, share in enumerate(shares)
    ]
    return np.sort(np.concatenate(drawn))


def apportion(count: int, *, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers in proportion to the weights that add up to `count`; largest remainder, ties to the first.

    Args:
        count: What to share out, 0 or more.
        weights: Shape (C,), above 0.
    """
    exact = count * (weights / weights.sum())
    shares = np.floor(exact).astype(np.int64)
    order = np.argsort(shares - exact, kind="stable")
    shares[order[: count - shares.sum()]] += 1
    return shares


def _count(held_out: int | float | str, *, total: int) -> int:
    if isinstance(held_out, str):
        return 0
    return max(1, round(held_out * total)) if isinstance(held_out, float) else held_out
