"""Which code a task's spec may name on the machine of somebody who did not write it.

A spec names its model and loss by import path and gives the arguments, and it is somebody else's text: without a check,
`subprocess:run` is a model too. Nodes, evaluators and auditors build what comes with Fairshare or torch.nn, and beyond that
only what is in a package that they allow by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping

from fl.errors import FairshareError

_ALWAYS = ("fl.task.models", "torch.nn")


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


def check_names(spec: Mapping[str, object], *, allowed: Collection[str] = ()) -> None:
    """Check the import paths of a spec (its parsed JSON) by name, before anything of them is imported.

    Args:
        allowed: Packages that the owner trusts, such as "my_package".
    Raises: UntrustedCode.
    """
    for setting, path in _paths(spec):
        if not _is_in(path, (*_ALWAYS, *allowed)):
            raise UntrustedCode(setting=setting, path=path)


def check_trust(spec: Mapping[str, object], *, allowed: Collection[str] = ()) -> None:
    """As `check_names`, and of Fairshare and torch.nn only classes of modules: a function may do anything with its arguments.

    Raises: UntrustedCode; ConfigError for a path that leads nowhere.
    """
    check_names(spec, allowed=allowed)
    models = importlib.import_module("fl.task.models")  # brings torch, which names can be checked without
    for setting, path in _paths(spec):
        if _is_in(path, tuple(allowed)):
            continue
        found = models.import_object(path, setting=f"task.{setting}")
        if not (isinstance(found, type) and issubclass(found, models.nn.Module)):
            raise UntrustedCode(setting=setting, path=path)


def packages(text: str) -> tuple[str, ...]:
    """The packages of a setting such as `trust=my_package,other`."""
    return tuple(one.strip() for one in text.split(",") if one.strip())


def _paths(spec: Mapping[str, object]) -> list[tuple[str, str]]:
    loss = str(spec.get("loss", ""))
    # A loss without a colon is one of the names in `fl.task.spec.LOSSES`.
    return [("model", str(spec.get("model", ""))), *([("loss", loss)] if ":" in loss else [])]


def _is_in(path: str, packages: tuple[str, ...]) -> bool:
    module = path.partition(":")[0]
    return any(module == one or module.startswith(one + ".") for one in packages)
