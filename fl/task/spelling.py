"""By which names an app sends a model's arrays, where those are not the module's own.

peft leaves the adapter's name out of what it saves (`lora_A.weight` for `lora_A.default.weight`), a wrapper such as `torch.compile` puts
one in, and a file may hold tied weights under their second name alone. An app's clients read what they are sent by the app's names,
so that is how it goes out; everything else goes by the module's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from torch import nn

from fl.codec.layout import S

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """The app's names of a model's parameters."""

    told: Mapping[str, str] = field(default_factory=dict)  # the app's by the module's, where they differ
    tied: Mapping[str, str] = field(default_factory=dict)  # the first name of a parameter by each further one

    @classmethod
    def of(cls, model: nn.Module, arrays: Mapping[str, S]) -> Spelling:
        """How arrays spell the parameters that travel. What fits none, or more than one, is left as it is.

        Args:
            model: Of the task.
            arrays: As the app sends them.
        """
        every = dict(model.named_parameters(remove_duplicate=False))
        firsts = {id(parameter): name for name, parameter in model.named_parameters()}
        tied = {name: firsts[id(parameter)] for name, parameter in every.items() if firsts[id(parameter)] != name}
        known = set(model.state_dict())
        strange = {name: tuple(array.shape) for name, array in arrays.items() if name not in known}
        wanted = {
            name: tuple(parameter.shape)
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and name not in arrays
        }
        told = {first: name for name, first in tied.items() if name in arrays and first in wanted}
        for name in wanted.keys() - told.keys():
            near = _near(name, strange, shape=wanted[name])
            if len(near) == 1 and _near(near[0], wanted, shape=wanted[name]) == [name]:
                told[name] = near[0]
        return cls(told=told, tied=tied)

    def names(self, own: Iterable[str]) -> tuple[str, ...]:
        """The app's names of parameters."""
        return tuple(self.told.get(name, name) for name in own)

    def to_module(self, arrays: Mapping[str, T]) -> dict[str, T]:
        """Arrays of the app by the module's names, in their order."""
        own = {name: first for first, name in self.told.items()}
        return {own.get(name, name): array for name, array in arrays.items()}

    def to_app(self, arrays: Mapping[str, T]) -> dict[str, T]:
        """The module's arrays by the app's names, in their order; what is tied is the same under each of its names."""
        alike = {name: arrays.get(self.tied.get(name, name), array) for name, array in arrays.items()}
        return dict(zip(self.names(alike), alike.values(), strict=True))


def _near(name: str, others: Mapping[str, tuple[int, ...]], *, shape: tuple[int, ...]) -> list[str]:
    """Those of the other names that have this shape and differ by words that one of the two leaves out."""
    words = name.split(".")
    return [
        other
        for other, size in others.items()
        if size == shape and (_is_part(words, other.split(".")) or _is_part(other.split("."), words))
    ]


def _is_part(few: list[str], many: list[str]) -> bool:
    """Whether the words stand among the others in their order."""
    rest = iter(many)
    return all(word in rest for word in few)
