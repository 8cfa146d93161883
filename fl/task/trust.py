"""The one gate that a task's spec passes before any code that it names is imported.

A spec names its model and loss by import path and gives the arguments, and it is somebody else's text: without a check,
`subprocess:run` is a model too. A spec that was read from an invite, a run folder or an archive may name what comes with
Fairshare or torch.nn, and beyond that only what is in a package that this machine's owner allows by name. Whatever builds a
model or a loss gets it through `Trust.load`, so there is no way round.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from fl.errors import ConfigError, FairshareError
from fl.foreign.json_text import BadJson, read_json

# Losses by the names that settings use, in `fl.task.objectives` but for torch's own.
LOSSES = {
    "cross_entropy": "torch.nn:CrossEntropyLoss",
    "mse": "fl.task.objectives:SquaredError",
    "huber": "fl.task.objectives:Huber",
    "binary": "fl.task.objectives:Binary",
    "multi_label": "fl.task.objectives:MultiLabel",
    "language_modelling": "fl.task.objectives:LanguageModelling",
    "token_classification": "fl.task.objectives:TokenClassification",
    "preference": "fl.task.objectives:Preference",
}
_KEYS = {"model": "model.path", "loss": "task.loss"}  # as a person sets them
_ALWAYS = ("fl.task.models", "fl.task.language", "fl.task.objectives", "torch.nn")
_LOSSES_IN = ("torch.nn.modules.loss", "fl.task.objectives", "fl.task.language")  # modules of losses among them
_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_LONGEST_PATH = 256  # characters


class UntrustedCode(FairshareError):
    """A task's spec names code that this machine's owner did not allow to run."""

    def __init__(self, setting: str, path: str) -> None:
        super().__init__(setting, path)
        self.setting, self.path = setting, path

    def __str__(self) -> str:
        package = self.path.partition(":")[0].partition(".")[0]
        return (
            f"the task's {self.setting} is {self.path}, which is neither Fairshare's nor a torch.nn module; if you know and "
            f"installed that package, allow it with trust={package}"
        )


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Whose code a spec may name on this machine."""

    own: bool = False  # the spec is this machine's owner's own, so whatever it names is meant
    packages: tuple[str, ...] = ()  # allowed beyond Fairshare and torch.nn

    @classmethod
    def of(cls, text: str) -> Trust:
        """The packages of a setting such as `trust=my_package,other`."""
        return cls(packages=tuple(name.strip() for name in text.split(",") if name.strip()))

    def check_path(self, path: object, *, setting: str) -> None:
        """Check an import path by its text alone, which imports nothing.

        Raises: ConfigError for what is no import path; UntrustedCode.
        """
        if not is_path(path):
            raise ConfigError(
                f"{_KEYS[setting]} is {str(path)[:_LONGEST_PATH]!r}; write it as package.module:Name, importable from here"
                + (f", or choose {', '.join(LOSSES)}" if setting == "loss" else "")
            )
        if not self.own and not _is_in(path, (*_ALWAYS, *self.packages)):
            raise UntrustedCode(setting=setting, path=path)

    def check_text(self, spec: str) -> None:
        """Check every import path of a spec (its JSON) by its text alone: what a node does before it starts torch.

        Raises: ConfigError for text that is not a spec; UntrustedCode.
        """
        try:
            raw = read_json(spec)
        except BadJson as error:
            raise ConfigError(
                f"the task spec is not JSON that can be used ({error.problem}); fetch it again from the coordinator"
            ) from error
        if not isinstance(raw, Mapping):
            raise ConfigError(f"the task spec is a {type(raw).__name__}; fetch it again from the coordinator")
        self.check_names(raw)

    def check_names(self, spec: Mapping[str, Any]) -> None:
        """As `check_text`, for a spec whose JSON is parsed; what it leaves out names nothing."""
        for setting, path in _paths_of({"loss": "cross_entropy", **spec}):
            self.check_path(path, setting=setting)

    def load(self, path: str, *, setting: str) -> Any:
        """Import what a spec names.

        Of Fairshare and torch.nn only classes of modules are taken: a function may do anything with its arguments.

        Raises: ConfigError for what is no import path, leads nowhere, or is not a loss where one is meant; UntrustedCode, before
            anything is imported.
        """
        self.check_path(path, setting=setting)
        found = import_object(path, setting=_KEYS[setting])
        if self.own or _is_in(path, self.packages):
            return found
        module = importlib.import_module("torch.nn").Module  # late: names are checked in processes without torch
        if not (isinstance(found, type) and issubclass(found, module)):
            raise UntrustedCode(setting=setting, path=path)
        if setting == "loss" and not found.__module__.startswith(_LOSSES_IN):
            # Others are layers, some of millions of weights, which nothing bounds in a loss.
            raise ConfigError(
                f"{_KEYS[setting]} is {path!r}, which is not a loss; choose {', '.join(LOSSES)}, or a loss of torch.nn such as "
                "torch.nn:SmoothL1Loss"
            )
        return found


OWN = Trust(own=True)


def is_path(path: object) -> TypeGuard[str]:
    """Whether something is an import path by its form."""
    return isinstance(path, str) and len(path) <= _LONGEST_PATH and _PATH.fullmatch(path) is not None


def import_object(path: str, *, setting: str) -> Any:
    """What `package.module:name` names: for this machine's own settings; a spec's go through `Trust.load`.

    Raises: ConfigError that names the setting.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{setting} is {path!r}: {error}; write it as package.module:Name, importable from here"
        ) from error


def _paths_of(spec: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        (key, LOSSES.get(spec[key], spec[key]) if key == "loss" and isinstance(spec[key], str) else spec[key])
        for key in _KEYS
        if key in spec
    ]


def _is_in(path: str, packages: tuple[str, ...]) -> bool:
    module = path.partition(":")[0]
    return any(module == package or module.startswith(package + ".") for package in packages)
