"""All 2^N coalitions of a linear head or an MLP, with the first layer computed once per client instead of once per coalition.

The first layer is linear in its weights, so X·(W + Σ_{k∈S} V_k) = X·W + Σ_{k∈S} X·V_k: N + 1 products instead of 2^N. X and the weights
are rounded to integers small enough that their products and sums are exact in float64 (53 bits: about 21 each for X and W, as fine as
float32's rounding of W itself), so any BLAS on any number of threads gives the same bits; sums over clients are integers too. The rest runs in
`fl.scoring.coalition.kernel`. Numbers of right answers are the same on every machine; losses differ by their last bits only where a C
library's logarithm does.
"""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil, log2
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl.scoring.coalition.evaluate import Standings
from fl.scoring.game import ValidationGame
from fl.task.objectives import ModuleObjective, Objective
from fl.task.rows import PAIR

_PASSIVE = (nn.Flatten, nn.Identity, nn.Dropout)  # in evaluation mode they change nothing but the shape
BLOCK_BYTES = 24 << 20  # of first layers held at once: what a last-level cache holds
_PROBE = 64  # samples that show what a model is
LOW_CLIENTS = 10  # coalitions of so many clients share one pass: 1,024 tails are held at once


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearLayers:
    """A model that is nothing but linear layers with ReLU between them, over its flattened input."""

    weights: tuple[str, ...]  # names in the layout, first layer first
    biases: tuple[str | None, ...]
    widths: tuple[int, ...]  # outputs of each layer


def fast_path(game: ValidationGame, *, utility: str) -> LinearLayers | None:
    """The layers, if the game can be evaluated here: numba is there, the model is of the kind, and so is the loss."""
    if importlib.util.find_spec("numba") is None or game.rows.form != PAIR:
        return None
    if game.labels.ndim != 1 or game.labels.is_floating_point() or not game.features.is_floating_point():
        return None
    if utility == "loss" and not _is_cross_entropy(game.objective):
        return None
    layers = layers_of(game)
    if layers is None or int(game.labels.min()) < 0 or int(game.labels.max()) >= layers.widths[-1]:
        return None
    return layers if bool(torch.isfinite(game.features).all()) else None


def layers_of(game: ValidationGame) -> LinearLayers | None:
    """What the model turns out to be when one batch goes through it; None if it is anything else.

    Each layer has to be given the very output of the one before, unwritten since, and the layers multiplied out have to give what the
    model gave. So a model with a branch, a function, an operation in place or a constant in between is not taken for what it is not.
    """
    calls: list[tuple[nn.Module, _Seen | None, _Seen | None]] = []
    given: list[_Seen | None] = []

    def enter(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        given.append(_seen(arguments[0]) if len(arguments) == 1 else None)

    def leave(module: nn.Module, arguments: tuple[Tensor, ...], made: object) -> None:
        calls.append((module, given.pop(), _seen(made)))

    x = game.features[:_PROBE].to(game.device, copy=True)  # a copy: the model may write into what it is given
    last, features = _seen(x), x.clone()
    hooks = []
    for module in game.model.modules():
        if not list(module.children()):
            hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        with torch.no_grad():
            output = game.model(x)
    finally:
        for hook in hooks:
            hook.remove()
    found: list[nn.Linear] = []
    due_relu = False
    for module, entered, made in calls:
        if not _same(entered, last):
            return None
        # By its very class: one that is derived from it may compute anything.
        if type(module) is nn.Linear and not due_relu:
            found.append(module)
            due_relu = True
        elif type(module) is nn.ReLU and due_relu:
            due_relu = False
        elif type(module) not in _PASSIVE:
            return None
        last = made
    if not found or not due_relu or not _same(_seen(output), last) or not _gives(found, features, output):
        return None
    names = {id(parameter): name for name, parameter in game.model.named_parameters()}
    if any(id(tensor) not in names for layer in found for tensor in (layer.weight, layer.bias) if tensor is not None):
        return None  # computed from other parameters: pruned, normalised
    weights = tuple(names[id(layer.weight)] for layer in found)
    biases = tuple(names[id(layer.bias)] if layer.bias is not None else None for layer in found)
    if set(game.layout.names) != {*weights, *(bias for bias in biases if bias)} or len(set(weights)) != len(weights):
        return None
    return LinearLayers(weights=weights, biases=biases, widths=tuple(layer.out_features for layer in found))


def all_standings(
    game: ValidationGame,
    layers: LinearLayers,
    *,
    base: NDArray[np.float32],
    parts: NDArray[np.float64],
    scales: NDArray[np.float64],
    want_loss: bool,
    workers: int = 1,
) -> Standings:
    """Standings of every coalition by its number, shape (2^N,).

    Args:
        game: Model and data.
        layers: What `fast_path` found.
        base: Shape (P,).
        parts: a_k Δ_k, shape (N, P).
        scales: What a coalition's parts are multiplied by, shape (2^N,).
        want_loss: Whether losses are wanted; they are 0 otherwise.
        workers: Threads.
    """
    from fl.scoring.coalition import kernel  # noqa: PLC0415 - numba is optional, and takes half a second to import

    players = len(parts)
    low = min(players, LOW_CLIENTS)
    rows = [_named(game, np.asarray(base, dtype=np.float64)), *(_named(game, part) for part in parts)]
    first = [_with_bias(row, layers.weights[0], layers.biases[0]) for row in rows]
    x = _with_ones(game.features.reshape(len(game.features), -1).cpu().numpy(), lanes=kernel.LANES)
    x_bits, w_bits = _bits(x.shape[1])
    x, x_shift = _integers(x, bits=x_bits)
    stacked, w_shift = _integers(np.concatenate(first), bits=w_bits)
    widths = np.array(layers.widths, dtype=np.int64)
    tails = [np.concatenate([_with_bias_last(row, w, b) for w, b in _rest(layers)] or [np.zeros(0)]) for row in rows]
    labels = game.labels.cpu().numpy().astype(np.int64)

    losses, correct = np.zeros(1 << players), np.zeros(1 << players, dtype=np.int64)
    block = max(kernel.LANES, BLOCK_BYTES // (16 * len(stacked)) // kernel.LANES * kernel.LANES)
    unit_shift = _unit_shift(x, stacked, players)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for start in range(0, len(x), block):
            product = x[start : start + block] @ stacked.T  # exact: integers below 2^53
            base_layer, added = _tiles(product, players, layers.widths[0], kernel.LANES, unit_shift)
            base_layer = (base_layer * 2.0 ** -(x_shift + w_shift)).astype(np.float32)
            told = _padded(labels[start : start + block], kernel.LANES)
            count = len(told)
            for high in range(0, 1 << players, 1 << low):
                numbers = slice(high, high + (1 << low))
                scale = scales[numbers]
                factors = (scale * 2.0 ** (unit_shift - x_shift - w_shift)).astype(np.float32)
                tail = _coalition_tails(tails, high=high, low=low, scales=scale)
                right = np.zeros((count, 1 << low), dtype=np.int64)
                cross = np.zeros((count, 1 << low) if want_loss else (1, 1))
                share = -(-count // max(1, workers))

                def work(begin: int, args: Any = (base_layer, added, high, factors, tail, widths, told, want_loss, right, cross),
                         share: int = share, count: int = count) -> None:  # fmt: skip
                    kernel.tiles(begin, min(begin + share, count), *args)

                list(pool.map(work, range(0, count, share)))
                correct[numbers] += right.sum(axis=0)
                if want_loss:
                    losses[numbers] += cross.sum(axis=0)
    return Standings(losses=losses / len(labels), correct=correct)


def _is_cross_entropy(objective: Objective) -> bool:
    loss = objective.loss if isinstance(objective, ModuleObjective) else None
    return (
        type(loss) is nn.CrossEntropyLoss
        and loss.weight is None
        and loss.reduction == "mean"
        and loss.label_smoothing == 0
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """An array at one moment, and how often it had been written to in place by then."""

    values: Tensor
    writes: int


def _seen(values: object) -> _Seen | None:
    return _Seen(values=values, writes=values._version) if isinstance(values, Tensor) else None


def _same(seen: _Seen | None, other: _Seen | None) -> bool:
    """Whether it is the same memory, unwritten in between: a function on the way makes new memory, or writes."""
    return (
        seen is not None
        and other is not None
        and seen.values.numel() == other.values.numel()
        and seen.values.data_ptr() == other.values.data_ptr()
        and seen.writes == other.writes
    )


def _gives(layers: list[nn.Linear], features: Tensor, output: Tensor) -> bool:
    """Whether the layers with ReLU between them give this output, to what float32 leaves of it."""
    values = features.reshape(len(features), -1).cpu().double()
    with torch.no_grad():
        for layer in layers:
            if values.shape[1] != layer.in_features:
                return False
            values = values.clamp(min=0) if layer is not layers[0] else values
            values = nn.functional.linear(
                values, layer.weight.cpu().double(), None if layer.bias is None else layer.bias.cpu().double()
            )
    reach = float(values.abs().max())
    return values.shape == output.shape and bool(((output.cpu().double() - values).abs() <= 1e-4 * reach).all())


def _named(game: ValidationGame, vector: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return game.layout.unflatten(vector)


def _rest(layers: LinearLayers) -> list[tuple[str, str | None]]:
    return list(zip(layers.weights[1:], layers.biases[1:], strict=True))


def _with_bias(row: dict[str, NDArray[np.float64]], weight: str, bias: str | None) -> NDArray[np.float64]:
    column = row[bias] if bias else np.zeros(len(row[weight]))
    return np.concatenate([row[weight], column[:, None]], axis=1)


def _with_bias_last(row: dict[str, NDArray[np.float64]], weight: str, bias: str | None) -> NDArray[np.float64]:
    return np.concatenate([row[weight].ravel(), row[bias] if bias else np.zeros(len(row[weight]))])


def _with_ones(features: NDArray[np.float32], *, lanes: int) -> NDArray[np.float64]:
    """Rows with a 1 for the bias behind them, and rows of zeros up to whole tiles."""
    rows, columns = features.shape
    x = np.zeros((-(-rows // lanes) * lanes, columns + 1))
    x[:rows, :columns] = features
    x[:rows, columns] = 1
    return x


def _bits(columns: int) -> tuple[int, int]:
    """Bits of X and of the weights whose products, `columns` of them summed, stay below 2^53."""
    room = 53 - ceil(log2(columns + 1))
    return room // 2, room - room // 2


def _integers(values: NDArray[np.float64], *, bits: int) -> tuple[NDArray[np.float64], int]:
    """Values times 2^shift, rounded to integers of at most `bits` bits, and the shift."""
    peak = float(np.abs(values).max(initial=0))
    shift = bits - 1 - int(np.frexp(peak)[1]) if peak else 0
    return np.rint(np.ldexp(values, shift)), shift


def _unit_shift(x: NDArray[np.float64], stacked: NDArray[np.float64], players: int) -> int:
    """By how many bits products are shortened, so that N of them sum within 30 bits."""
    units = len(stacked) // (players + 1)
    if players == 0:
        return 0
    # A bound, not the maximum: it needs no product, and both of its factors are exact.
    reach = np.abs(x).max(axis=0) @ np.abs(stacked[units:].reshape(players, units, -1)).sum(axis=0).T
    return max(0, int(np.frexp(float(reach.max(initial=0)))[1]) - 30)


def _tiles(
    product: NDArray[np.float64], players: int, units: int, lanes: int, shift: int
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Products of shape (n, (N+1)·H) as tiles: the base's (tiles, H·lanes), the clients' (tiles, N, H·lanes)."""
    count = len(product) // lanes
    product = product.reshape(count, lanes, players + 1, units).transpose(0, 2, 3, 1)
    added = np.rint(np.ldexp(product[:, 1:], -shift)).astype(np.int32)
    base = np.ascontiguousarray(product[:, 0]).reshape(count, -1)
    return base, np.ascontiguousarray(added).reshape(count, players, units * lanes)


def _padded(labels: NDArray[np.int64], lanes: int) -> NDArray[np.int64]:
    count = -(-len(labels) // lanes)
    return np.pad(labels, (0, count * lanes - len(labels)), constant_values=-1).reshape(count, lanes)


def _coalition_tails(
    tails: list[NDArray[np.float64]], *, high: int, low: int, scales: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Further layers of 2^low coalitions, summed one client after the other: the order is part of the result."""
    table = np.zeros((1 << low, len(tails[0])))
    for client in range(low, len(tails) - 1):
        if high >> client & 1:
            table[0] += tails[client + 1]
    for client in range(low):
        table[1 << client : 2 << client] = table[: 1 << client] + tails[client + 1]
    return (tails[0] + scales[:, None] * table).astype(np.float32)
