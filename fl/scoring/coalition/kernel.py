"""The fused kernel of `fl.scoring.coalition.linear_layers`: all coalitions of one tile of samples, first layer to verdict, in a core's cache.

Needs numba (`pip install fairshare[fast]`). Lanes are samples and no sum runs across lanes, every float sum runs in one written order,
and nothing here allows the compiler to reorder or to fuse a multiplication with an addition: the same bits for any number of
threads and any vector width.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

LANES = 64  # samples of one tile; their first layer's sums are 16 KB for 64 units
LOG_LANES = 16  # samples that share a logarithm: their product is within float64 for any number of classes below 2^63


@njit(nogil=True, cache=True, error_model="numpy")
def _two_rows(  # noqa: PLR0917
    w: NDArray[np.float32],
    place: int,
    inward: int,
    before: NDArray[np.float32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
) -> None:
    # Eight sources a turn and two outputs: a load for two products, where one source a turn would store as often as it multiplies.
    source = 0
    while source + 8 <= inward:
        a, b = place + source, place + inward + source
        a0, a1, a2, a3, a4, a5, a6, a7 = w[a], w[a + 1], w[a + 2], w[a + 3], w[a + 4], w[a + 5], w[a + 6], w[a + 7]
        b0, b1, b2, b3, b4, b5, b6, b7 = w[b], w[b + 1], w[b + 2], w[b + 3], w[b + 4], w[b + 5], w[b + 6], w[b + 7]
        rows = before[source * LANES : (source + 8) * LANES]
        for lane in range(LANES):
            x0, x1, x2, x3 = rows[lane], rows[LANES + lane], rows[2 * LANES + lane], rows[3 * LANES + lane]
            x4, x5, x6, x7 = (
                rows[4 * LANES + lane],
                rows[5 * LANES + lane],
                rows[6 * LANES + lane],
                rows[7 * LANES + lane],
            )
            first[lane] = first[lane] + a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3 + a4 * x4 + a5 * x5 + a6 * x6 + a7 * x7
            second[lane] = second[lane] + b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3 + b4 * x4 + b5 * x5 + b6 * x6 + b7 * x7
        source += 8
    while source < inward:
        for lane in range(LANES):
            first[lane] = first[lane] + w[place + source] * before[source * LANES + lane]
            second[lane] = second[lane] + w[place + inward + source] * before[source * LANES + lane]
        source += 1


@njit(nogil=True, cache=True, error_model="numpy")
def _one_row(
    w: NDArray[np.float32], place: int, inward: int, before: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    for source in range(inward):
        weight = w[place + source]
        for lane in range(LANES):
            out[lane] = out[lane] + weight * before[source * LANES + lane]


@njit(nogil=True, cache=True, error_model="numpy")
def tiles(  # noqa: PLR0912, PLR0915, PLR0917
    first: int,
    last: int,
    start: NDArray[np.float32],
    parts: NDArray[np.int32],
    high: int,
    factors: NDArray[np.float32],
    tails: NDArray[np.float32],
    widths: NDArray[np.int64],
    labels: NDArray[np.int64],
    want_loss: bool,
    correct: NDArray[np.int64],
    losses: NDArray[np.float64],
) -> None:
    """Evaluate 2^K coalitions on tiles first to last.

    Args:
        first, last: Tiles to do.
        start: First layer at the base model, float32 (tiles, H·LANES).
        parts: What each client adds to it, in integer units, int32 (tiles, N, H·LANES).
        high: Number of the clients beyond the first K that take part, as bits from K on.
        factors: Unit times scale of each coalition, float32 (2^K,).
        tails: Further layers' weights and biases of each coalition, float32 (2^K, Q).
        widths: H, and the widths of the further layers, int64 (D,).
        labels: int64 (tiles, LANES); −1 pads.
        want_loss: Whether to sum cross-entropies.
        correct, losses: Results by tile and coalition, int64 and float64 (tiles, 2^K).
    """
    count, players, cells = len(factors), parts.shape[1], parts.shape[2]
    low = 0
    while 1 << low < count:
        low += 1
    widest = 0
    for width in widths:
        widest = max(widest, width)
    sums = np.empty(cells, dtype=np.int32)
    before = np.empty(widest * LANES, dtype=np.float32)
    after = np.empty(widest * LANES, dtype=np.float32)
    peak = np.empty(LANES, dtype=np.float32)
    winner = np.empty(LANES, dtype=np.int64)
    total = np.empty(LANES, dtype=np.float64)
    depth = len(widths)
    for tile in range(first, last):
        sums[:] = 0
        for player in range(low, players):
            if high >> player & 1:
                for place in range(cells):
                    sums[place] += parts[tile, player, place]
        for turn in range(count):
            # Gray's order: one client comes or goes at each turn. Integers, so that the sums come back to what they were.
            coalition = turn ^ (turn >> 1)
            factor = factors[coalition]
            floor = np.float32(-np.inf) if depth == 1 else np.float32(0)
            here = start[tile]
            # One long loop over units and lanes: a loop of a few vectors would spend its time checking for overlaps.
            if not turn:
                for place in range(cells):
                    before[place] = max(here[place] + factor * np.float32(sums[place]), floor)
            else:
                player = 0
                while not turn >> player & 1:
                    player += 1
                moved = parts[tile, player]
                if coalition >> player & 1:
                    for place in range(cells):
                        total_units = sums[place] + moved[place]
                        sums[place] = total_units
                        before[place] = max(here[place] + factor * np.float32(total_units), floor)
                else:
                    for place in range(cells):
                        total_units = sums[place] - moved[place]
                        sums[place] = total_units
                        before[place] = max(here[place] + factor * np.float32(total_units), floor)
            place = 0
            for layer in range(1, depth):
                inward, outward = widths[layer - 1], widths[layer]
                bias = place + inward * outward
                for unit in range(outward):
                    for lane in range(LANES):
                        after[unit * LANES + lane] = tails[coalition, bias + unit]
                unit = 0
                while unit + 2 <= outward:
                    _two_rows(
                        tails[coalition],
                        place + unit * inward,
                        inward,
                        before,
                        after[unit * LANES : (unit + 1) * LANES],
                        after[(unit + 1) * LANES : (unit + 2) * LANES],
                    )
                    unit += 2
                if unit < outward:
                    _one_row(
                        tails[coalition],
                        place + unit * inward,
                        inward,
                        before,
                        after[unit * LANES : (unit + 1) * LANES],
                    )
                if layer < depth - 1:
                    for unit in range(outward):
                        for lane in range(LANES):
                            after[unit * LANES + lane] = (
                                after[unit * LANES + lane] if after[unit * LANES + lane] > 0 else np.float32(0)
                            )
                place = bias + outward
                before, after = after, before
            classes = widths[depth - 1]
            for lane in range(LANES):
                peak[lane] = before[lane]
                winner[lane] = 0
            for unit in range(1, classes):
                for lane in range(LANES):
                    if before[unit * LANES + lane] > peak[lane]:  # of equal logits the first one wins, as in torch
                        peak[lane] = before[unit * LANES + lane]
                        winner[lane] = unit
            right = 0
            for lane in range(LANES):
                right += winner[lane] == labels[tile, lane]
            correct[tile, coalition] = right
            if want_loss:
                total[:] = 0.0
                for unit in range(classes):
                    for lane in range(LANES):
                        # exp of a number of 0 or less, where e^-64 is nothing beside the 1 of the peak: a polynomial for a 256th of
                        # it, squared eight times, is right to 2^-40.
                        y = max(np.float64(before[unit * LANES + lane]) - np.float64(peak[lane]), -64.0) * 0.00390625
                        power = 1 + y * (1 + y * (0.5 + y * (1 / 6 + y * (1 / 24 + y * (1 / 120)))))
                        power *= power
                        power *= power
                        power *= power
                        power *= power
                        power *= power
                        power *= power
                        power *= power
                        power *= power
                        total[lane] += power
                cross = 0.0
                for group in range(0, LANES, LOG_LANES):
                    # A sum of logarithms is the logarithm of a product, and one logarithm costs as much as twenty products.
                    product = 1.0
                    for lane in range(group, group + LOG_LANES):
                        label = labels[tile, lane]
                        if label >= 0:
                            product *= total[lane]
                            cross += np.float64(peak[lane]) - np.float64(before[label * LANES + lane])
                    cross += math.log(product)
                losses[tile, coalition] = cross
