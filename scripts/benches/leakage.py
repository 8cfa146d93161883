"""What somebody who sees what coordinator and evaluators see reads out of it: rows, by inverting gradients, and who was trained on.

Ten clients of digits, an MLP, one round, and what each mode shows of the first client: its update, or the round's sum, with noise for
ε = 8 at δ = 10^−5 over ten rounds or without. The attacker knows the model, the settings and the labels.

Gradient inversion (Zhu et al. 2019, "Deep leakage from gradients"; the cosine loss, signed steps and total variation of Geiping et al.
2020, "Inverting gradients"): images are sought whose gradient points where the update does, as many as are in what is seen. The round is
the attack's best case, one step over four rows. A row counts as read if one of the found images correlates with it by 0.9 or more; as
a base line, so do as many rows of strangers with the same labels.

Membership inference (Yeom et al. 2018, "Privacy risk in machine learning"): a row whose loss falls by more is said to be a member's.
The round is one of 30 steps over 60 rows a client. Told are the area under the curve (0.5 is a guess) and how many members are found
where 5 % of strangers are called one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor
from torch.func import functional_call

from clients.trainer import train
from fl.privacy.budget import Sampling, multiplier_for
from fl.privacy.noise import noised
from fl.privacy.terms import PrivacyTerms
from fl.privacy.transcript import noise_parts
from fl.task.data import DataConfig, PartitionConfig, load_federation
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec

CLIENTS, ROWS, FEW = 10, 60, 4
ROUNDS, EPSILON = 10, 8.0
READ = 0.9  # correlation of a found image with a row
_TURNS = 400  # of the search for images
MODES = ("open", "masked", "dp", "dp masked", "dpsgd", "dpsgd masked")
Array = NDArray[Any]


def leakage(seeds: int) -> dict[str, dict[str, list[float]]]:
    """Success of both attacks by mode: means over seeds, and their standard deviations."""
    torch.set_num_threads(1)
    found: dict[str, list[list[float]]] = {}
    for seed in range(seeds):
        x, y = _rows(seed)
        for mode in MODES:
            read, alike = _inverted(mode, x, y, seed=seed)
            area, caught = _members(mode, x, y, seed=seed)
            found.setdefault(mode, []).append([read, alike, area, caught])
        found.setdefault("strangers", []).append([*_strangers(x, y), 0.5, 0.05])
    names = ("rows_read", "correlation", "auc", "members_found")
    return {
        mode: {
            name: [round(float(column.mean()), 3), round(float(column.std()), 3)]
            for name, column in zip(names, np.array(runs).T, strict=True)
        }
        for mode, runs in found.items()
    }


def _rows(seed: int) -> tuple[Array, Array]:
    data = load_federation(DataConfig(), PartitionConfig(name="iid", clients=1), seed=seed)
    shard = data.shards[0].data
    order = np.random.default_rng(seed).permutation(len(shard))
    return shard.features[order], shard.labels[order]


def spec_for(mode: str, *, rows: int, steps: int, batch: int, clip: str) -> TaskSpec:
    """The task of a mode, with the noise that ε asks for over ten rounds."""
    terms = PrivacyTerms(masked="masked" in mode)
    plain = TaskSpec(
        model="fl.task.models:MLP",
        feature_shape=(1, 8, 8),
        num_classes=10,
        model_arguments={"hidden": [32]},
        steps=steps,
        batch_size=batch,
        learning_rate=0.3,
    )
    if mode in ("open", "masked"):
        return replace(plain, privacy=terms.to_spec())
    by_row = mode.startswith("dpsgd")
    terms = PrivacyTerms(
        masked=terms.masked,
        noise="rows" if by_row else "client",
        multiplier="1",
        clip=clip,
        rows=rows if by_row else 0,
        projections=0 if terms.masked and not by_row else terms.projections,
    )
    sampling = Sampling(steps=steps, batch=batch, rows=rows) if by_row else None
    found = multiplier_for(EPSILON, rounds=ROUNDS, terms=terms, sampling=sampling)
    return replace(plain, length="capped", privacy=replace(terms, multiplier=found).to_spec())


def _shown(spec: TaskSpec, base: Array, shards: Sequence[tuple[Array, Array]], *, seed: int) -> Array:
    """What is seen of the first client's part in a round: its update, or the mean of everybody's, shape (P,)."""
    terms, clip = spec.private, float(spec.private.clip)
    updates = []
    for number, (features, labels) in enumerate(shards if terms.masked else shards[:1]):
        made, _ = train(
            spec.build_model(), base, features=features, labels=labels, spec=spec, seed=1000 * seed + number
        )
        update = made.astype(np.float64) - base
        if terms.noise == "client":
            # Under masks each adds its part of the noise to its share of the sum; alone each hides by itself.
            parts = noise_parts(len(shards)) if terms.masked else 1
            update = noised(update, clip=clip, deviation=clip * terms.sigma / parts**0.5)
        updates.append(update)
    return np.mean(updates, axis=0)


def _inverted(mode: str, x: Array, y: Array, *, seed: int) -> tuple[float, float]:
    # Each client has four rows, and one step takes all of them; with noise on rows too, at a chance of one.
    spec = spec_for(mode, rows=FEW, steps=1, batch=FEW, clip="0.3")
    base = vector_of(spec.build_model())
    shards = [(x[place : place + FEW], y[place : place + FEW]) for place in range(0, CLIENTS * FEW, FEW)]
    seen = _shown(spec, base, shards, seed=seed)
    labels = np.concatenate([part for _, part in (shards if spec.private.masked else shards[:1])])
    images = invert(spec, base, -seen, labels=labels, seed=seed)
    return _alike(shards[0][0], images)


def invert(spec: TaskSpec, base: Array, gradient: Array, *, labels: Array, seed: int) -> Array:
    """Images, one a label, whose mean gradient at the base points where a gradient does, shape (N, 1, 8, 8)."""
    model = spec.build_model()
    parameters = dict(model.named_parameters())
    sizes = [parameter.numel() for parameter in parameters.values()]
    values = {
        name: part.view_as(parameter).requires_grad_()
        for (name, parameter), part in zip(parameters.items(), torch.from_numpy(base.copy()).split(sizes), strict=True)
    }
    wanted = torch.from_numpy(gradient.astype(np.float32))
    targets = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    draws = torch.Generator().manual_seed(seed)
    images = torch.rand(len(targets), *spec.feature_shape, generator=draws).requires_grad_()
    optimizer = torch.optim.Adam([images], lr=0.05)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _TURNS)
    for _ in range(_TURNS):
        loss = torch.nn.functional.cross_entropy(functional_call(model, values, (images,)), targets)
        slopes = torch.autograd.grad(loss, list(values.values()), create_graph=True)
        own = torch.cat([part.ravel() for part in slopes])
        apart = 1 - torch.nn.functional.cosine_similarity(own, wanted, dim=0)
        (slope,) = torch.autograd.grad(apart + 1e-4 * _variation(images), images)
        images.grad = slope.sign()
        optimizer.step()
        falling.step()
        with torch.no_grad():
            images.clamp_(0, 1)
    return images.detach().numpy()


def _variation(images: Tensor) -> Tensor:
    return images.diff(dim=-1).abs().mean() + images.diff(dim=-2).abs().mean()


def _alike(rows: Array, images: Array) -> tuple[float, float]:
    """Which part of rows some image correlates with by `READ`, and the mean of each row's best correlation."""
    both = np.corrcoef(rows.reshape(len(rows), -1), images.reshape(len(images), -1))
    best = np.nan_to_num(both[: len(rows), len(rows) :]).max(axis=1)
    return float((best >= READ).mean()), float(best.mean())


def _strangers(x: Array, y: Array) -> tuple[float, float]:
    own, others, classes = x[:FEW], x[len(x) // 2 :], y[len(x) // 2 :]
    return _alike(own, np.stack([others[np.flatnonzero(classes == label)[0]] for label in y[:FEW]]))


def _members(mode: str, x: Array, y: Array, *, seed: int) -> tuple[float, float]:
    spec = spec_for(mode, rows=ROWS, steps=30, batch=10, clip="1")
    base = vector_of(spec.build_model())
    shards = [(x[place : place + ROWS], y[place : place + ROWS]) for place in range(0, CLIENTS * ROWS, ROWS)]
    after = base + _shown(spec, base, shards, seed=seed)
    rest = slice(CLIENTS * ROWS, None)
    fallen = _losses(spec, base, x, y) - _losses(spec, after, x, y)
    members, strangers = fallen[:ROWS], fallen[rest]
    ranks = rankdata(np.concatenate([members, strangers]))[: len(members)]
    area = (ranks.sum() - len(members) * (len(members) + 1) / 2) / (len(members) * len(strangers))
    return float(area), float((members > np.quantile(strangers, 0.95)).mean())


def _losses(spec: TaskSpec, vector: Array, x: Array, y: Array) -> Array:
    model = spec.build_model()
    torch.nn.utils.vector_to_parameters(torch.from_numpy(vector.astype(np.float32)), model.parameters())
    with torch.no_grad():
        targets = torch.from_numpy(np.asarray(y, dtype=np.int64))
        return torch.nn.functional.cross_entropy(model(torch.from_numpy(x)), targets, reduction="none").numpy()
