"""Training of many clients at once: the same steps on the same batches as `clients.trainer`, in batched matrix products.

For stacks of linear layers with ReLU between them (MLP, logistic regression) and the cross-entropy. In the first step all clients have
the base's weights, so that forward and backward are one product for everybody; from then on each has its own. Sums run in another
order than one client at a time, so the last bits of a float differ.

Every batch has the spec's size, since a shard that is smaller is gone through again; unequal shards therefore need no masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clients.trainer import batches_of
from fl.task.models import MLP, LogisticRegression
from fl.task.objectives import ModuleObjective
from fl.task.spec import TaskSpec

_CHUNK_BYTES = 8 << 20  # of weights that are trained together: beyond a core's cache nothing is won


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """What one client trains on."""

    features: NDArray[np.float32]  # shape (N, ...)
    labels: NDArray[Any]  # class or number of each row, shape (N, ...)
    seed: int  # draws the batches


def why_not(spec: TaskSpec) -> str | None:
    """Why clients of a spec cannot be trained together here; None if they can."""
    model, loss = spec.build_model(), spec.build_loss()
    module = loss.loss if isinstance(loss, ModuleObjective) else None
    if type(model) not in (MLP, LogisticRegression):
        return f"the model is {spec.model}, and only fl.task.models:MLP and LogisticRegression are trained in one batch"
    if not isinstance(module, nn.CrossEntropyLoss) or not _is_plain(module):
        return f"the loss is {spec.loss}, and only the plain cross-entropy is trained in one batch"
    if spec.private.noise == "rows":
        return "the task has noise on rows, whose gradients are taken row by row"
    if spec.optimizer != "sgd":
        return f"the optimizer is {spec.optimizer}, and only SGD is done in one batch"
    if not all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in model.parameters()):
        return "a part of the model is frozen or not float32"
    return None


def _is_plain(loss: nn.CrossEntropyLoss) -> bool:
    changed = type(loss) is not nn.CrossEntropyLoss or loss.weight is not None or loss.label_smoothing
    return not changed and loss.reduction == "mean" and loss.ignore_index < 0


def train_together(
    spec: TaskSpec, base: NDArray[np.float32], jobs: Sequence[Job], *, proximal_mu: float = 0.0
) -> list[tuple[NDArray[np.float32], float]]:
    """Train clients from one base; the trained vector, shape (P,), and the mean loss over the steps of each.

    Args:
        spec: One that `why_not` has nothing against.
        base: The round's base model, shape (P,).
        jobs: One a client.
        proximal_mu: FedProx's μ, as in `clients.trainer.train`.
    """
    shapes = _shapes(spec)
    at_once = max(1, _CHUNK_BYTES // (4 * len(base)))
    done = []
    for start in range(0, len(jobs), at_once):
        done += _train_chunk(spec, base, jobs[start : start + at_once], shapes=shapes, mu=proximal_mu)
    return done


_last_shapes: tuple[TaskSpec, list[tuple[int, int]]] | None = None


def _shapes(spec: TaskSpec) -> list[tuple[int, int]]:
    """(outward, inward) of each layer; of the spec that was asked for last they are known."""
    global _last_shapes  # noqa: PLW0603 - one slot, replaced whole
    last = _last_shapes
    if last is not None and last[0] is spec:
        return last[1]
    layers = [layer for layer in spec.build_model().modules() if isinstance(layer, nn.Linear)]
    _last_shapes = spec, [(layer.out_features, layer.in_features) for layer in layers]
    return _last_shapes[1]


def _train_chunk(
    spec: TaskSpec, base: NDArray[np.float32], jobs: Sequence[Job], *, shapes: Sequence[tuple[int, int]], mu: float
) -> list[tuple[NDArray[np.float32], float]]:
    clients, size, rate = len(jobs), spec.batch_size, spec.learning_rate
    flat = torch.from_numpy(np.array(base))
    shared = _split(flat[None], shapes)  # of everybody, a batch of one
    trained = torch.empty(clients, len(base))
    own = _split(trained, shapes)  # of each, once they differ; what is written to them is in `trained`
    speeds: list[tuple[Tensor, Tensor]] | None = None
    inputs = torch.empty(clients, size, shapes[0][1])
    targets = torch.empty(clients, size, dtype=torch.int64)
    rows_in, labels_in = inputs.numpy(), targets.numpy()  # the same memory
    order = [list(batches_of(len(job.labels), size=size, steps=spec.steps, seed=job.seed)) for job in jobs]
    data = [(job.features.reshape(len(job.labels), -1), job.labels) for job in jobs]
    losses = torch.zeros(clients)
    plain = not mu and not spec.momentum
    with torch.no_grad():
        for step in range(spec.steps):
            for client, (features, labels) in enumerate(data):
                rows = order[client][step]
                # With another mode numpy would fill a buffer first, and copy that.
                np.take(features, rows, axis=0, out=rows_in[client], mode="clip")
                np.take(labels, rows, out=labels_in[client], mode="clip")
            before = own if step else shared
            slopes, layers = _backward(before, inputs, targets, losses)
            if plain:
                # Gradient and step in one product: weights − rate · slopeᵀ · inputs.
                for (w, b), (w0, b0), slope, layer in zip(own, before, slopes, layers, strict=True):
                    torch.baddbmm(w0.expand_as(w), slope.transpose(1, 2), layer, alpha=-rate, out=w)
                    torch.sub(b0, slope.sum(dim=1), alpha=rate, out=b)
                continue
            gradients = [
                (torch.bmm(slope.transpose(1, 2), layer), slope.sum(dim=1))
                for slope, layer in zip(slopes, layers, strict=True)
            ]
            if mu and step:
                gradients = [
                    (dw.add_(w - w0, alpha=mu), db.add_(b - b0, alpha=mu))
                    for (dw, db), (w, b), (w0, b0) in zip(gradients, own, shared, strict=True)
                ]
            if spec.momentum:
                if speeds is None:
                    speeds = [(dw.clone(), db.clone()) for dw, db in gradients]
                else:
                    for (vw, vb), (dw, db) in zip(speeds, gradients, strict=True):
                        vw.mul_(spec.momentum).add_(dw)
                        vb.mul_(spec.momentum).add_(db)
                gradients = speeds
            for (w, b), (w0, b0), (dw, db) in zip(own, before, gradients, strict=True):
                torch.sub(w0, dw, alpha=rate, out=w)
                torch.sub(b0, db, alpha=rate, out=b)
    vectors, means = trained.numpy(), (losses / spec.steps).tolist()
    return list(zip(vectors, means, strict=True))


def _backward(
    weights: Sequence[tuple[Tensor, Tensor]], inputs: Tensor, targets: Tensor, losses: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """What the gradients of each client's mean loss are products of; the losses are added to `losses`.

    Returns: for each layer the slope at what it gives, shape (clients, size, outward), and what it is given, (clients, size, inward).
    """
    clients, size, _ = inputs.shape
    together = weights[0][0].shape[0] == 1 < clients  # one set of weights for all
    layers = [inputs]
    for place, (weight, bias) in enumerate(weights):
        made = _through(layers[-1], weight.transpose(1, 2), bias, together=together)
        layers.append(made.relu_() if place < len(weights) - 1 else made)
    logits = layers.pop()
    ceiling = logits.logsumexp(dim=2, keepdim=True)
    picked = logits.gather(2, targets[:, :, None])
    losses += (ceiling - picked).squeeze(2).mean(dim=1)
    slope = torch.exp(logits.sub_(ceiling)).div_(size)
    slope.scatter_add_(2, targets[:, :, None], torch.full_like(picked, -1 / size))
    found: list[Tensor] = []
    for place in reversed(range(len(weights))):
        found.append(slope)
        if place:
            slope = _through(slope, weights[place][0], None, together=together)
            slope.masked_fill_(layers[place] <= 0, 0.0)
    return found[::-1], layers


def _through(rows: Tensor, weight: Tensor, bias: Tensor | None, *, together: bool) -> Tensor:
    """rows · weight + bias, for each client."""
    if together:
        clients, size, inward = rows.shape
        flat = rows.reshape(clients * size, inward)
        made = flat @ weight[0] if bias is None else torch.addmm(bias[0], flat, weight[0])
        return made.view(clients, size, -1)
    return torch.bmm(rows, weight) if bias is None else torch.baddbmm(bias[:, None], rows, weight)


def _split(flat: Tensor, shapes: Sequence[tuple[int, int]]) -> list[tuple[Tensor, Tensor]]:
    """Vectors of shape (clients, P) as weights (clients, outward, inward) and biases (clients, outward) by layer."""
    layers, start = [], 0
    for outward, inward in shapes:
        middle = start + outward * inward
        layers.append((flat[:, start:middle].view(-1, outward, inward), flat[:, middle : middle + outward]))
        start = middle + outward
    return layers
