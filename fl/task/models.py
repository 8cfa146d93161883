"""The models that come with the project, and any other by import path.

Normalisation, where wanted, is GroupNorm: batch statistics of one client's shard say nothing about another's, and their
running averages would travel with every update (Hsieh et al. 2020, arXiv:1910.00189).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from fl.errors import ConfigError, FairshareError
from fl.task.bounds import MOST_BASE, MOST_MODEL, check_arguments
from fl.task.model_size import ModelTooLarge, check_size, counted
from fl.task.trust import OWN, Trust


class LogisticRegression(nn.Module):
    """One linear layer over the flattened input: softmax regression."""

    def __init__(self, feature_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(prod(feature_shape), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (N, classes) for inputs of shape (N, *feature_shape)."""
        return self.linear(x.flatten(1))


class MLP(nn.Module):
    """Fully connected ReLU layers over the flattened input."""

    def __init__(self, feature_shape: tuple[int, ...], num_classes: int, hidden: tuple[int, ...] = (64,)) -> None:
        super().__init__()
        sizes = [prod(feature_shape), *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (N, classes) for inputs of shape (N, *feature_shape)."""
        return self.layers(x.flatten(1))


class LeNet(nn.Module):
    """LeNet-5 with ReLU and max pooling for square images of at least 8 × 8.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition". `group_norm` puts a GroupNorm
    behind each convolution.
    """

    def __init__(self, feature_shape: tuple[int, ...], num_classes: int, group_norm: bool = False) -> None:
        super().__init__()
        if len(feature_shape) != 3 or min(feature_shape[1:]) < 8:
            raise ConfigError(
                f"LeNet takes images of shape (channels, height, width) of at least 8 by 8, the data is {feature_shape}; "
                "choose model=mlp or model=logistic"
            )
        channels, height, width = feature_shape
        # 28 × 28 digits keep LeNet-5's own 5 × 5 kernels; smaller images keep two poolings with 3 × 3.
        kernel = 5 if min(height, width) >= 20 else 3

        def stage(inward: int, outward: int) -> list[nn.Module]:
            convolution = nn.Conv2d(inward, outward, kernel, padding=kernel // 2)
            norm = [nn.GroupNorm(2, outward)] if group_norm else []
            return [convolution, *norm, nn.ReLU(), nn.MaxPool2d(2)]

        self.features = nn.Sequential(*stage(channels, 6), *stage(6, 16))
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * (height // 4) * (width // 4), 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (N, classes) for images of shape (N, channels, height, width)."""
        return self.classifier(self.features(x))


def build_model(
    path: str,
    arguments: Mapping[str, Any],
    *,
    feature_shape: tuple[int, ...],
    num_classes: int,
    seed: int,
    trust: Trust = OWN,
) -> nn.Module:
    """Build a model by import path, with the same initial weights for the same seed.

    Args:
        path: `package.module:Class`. A class that takes `feature_shape` and `num_classes` is given them; any other is
            built from `arguments` alone.
        arguments: Further keyword arguments of the class.
        trust: What a spec of somebody else's may name; a path from this machine's own settings is meant.
    Raises: UntrustedCode, before anything is imported; ModelTooLarge, of somebody else's before its values are there; ConfigError
        if the path leads nowhere, the class refuses the arguments, or it makes no `nn.Module`.
    """
    check_arguments(arguments, setting="model.arguments")
    cls = trust.load(path, setting="model")
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    if hasattr(cls, "load_libraries"):  # an import is no part of the work of building, which is bounded
        cls.load_libraries(arguments)
    shaped = {"feature_shape": feature_shape, "num_classes": num_classes}
    wanted = {name: value for name, value in shaped.items() if name in _parameters_of(cls)}
    # What its owner put on this machine's disk may be as large as it is; what travels of it is bounded by the spec.
    read = getattr(cls, "read_from", None)
    most = MOST_BASE if read is not None and arguments.get(read) is not None else MOST_MODEL
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed seeds four kinds of device, in 2 ms
        try:
            given = {**wanted, **arguments}
            model = cls(**given) if trust.own else _bounded(cls, given, path=path, most=most)
        except TypeError as error:
            raise ConfigError(
                f"{path} cannot be built: {error}; set model.arguments to what the class takes"
            ) from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{path} makes a {type(model).__name__}; model.path has to name a torch.nn.Module")
    values = sum(tensor.numel() for tensor in model.state_dict().values() if not nn.parameter.is_lazy(tensor))
    if values > most:
        raise ModelTooLarge(path=path, problem=f"has {values:,} values, {most:,} are the most")
    return model


def _bounded(cls: Any, arguments: Mapping[str, Any], *, path: str, most: int) -> Any:
    """Build what somebody else's text names, once its size is known."""
    try:
        # A class that needs values to begin with: they are counted as they come.
        with suppress(NotImplementedError, RuntimeError):
            check_size(lambda: cls(**arguments), path=path, most=most)
        with counted(path, most=most):
            return cls(**arguments)
    except (FairshareError, TypeError):
        raise
    except Exception as error:  # whatever a class says to arguments that it was not written for
        raise ConfigError(
            f"{path} cannot be built: {type(error).__name__}: {str(error)[:300]}; set model.arguments to what the class takes"
        ) from error


def _parameters_of(cls: Any) -> frozenset[str]:
    code = getattr(getattr(cls, "__init__", None), "__code__", None) or getattr(cls, "__code__", None)
    return frozenset(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]) if code else frozenset()
