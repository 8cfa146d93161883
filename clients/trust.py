"""Which code a task's spec may name on an owner's machine.

A spec names its model and loss by import path and gives the arguments, and it is somebody else's text: without a check,
`subprocess:run` is a model too. A node builds what comes with Fairshare or torch.nn, and beyond that only what is in a
package that its owner allows by name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from clients.errors import UntrustedCode

_ALWAYS = ("fl.task.models", "torch.nn")


def check_trust(spec: Mapping[str, object], *, allowed: Collection[str] = ()) -> None:
    """Check the import paths of a spec (its parsed JSON) by name, before anything of them is imported.

    Args:
        allowed: Packages that the owner trusts, such as "my_package".
    Raises: UntrustedCode.
    """
    for setting in ("model", "loss"):
        path = str(spec.get(setting, ""))
        if ":" not in path and setting == "loss":
            continue  # one of the names in `fl.task.spec.LOSSES`
        if not _is_in(path, (*_ALWAYS, *allowed)):
            raise UntrustedCode(setting=setting, path=path)


def check_class(path: str, found: object, *, module_class: type, allowed: Collection[str] = ()) -> None:
    """Of Fairshare and torch.nn only classes of modules: a function there may do anything with its arguments.

    Raises: UntrustedCode.
    """
    if _is_in(path, tuple(allowed)) or (isinstance(found, type) and issubclass(found, module_class)):
        return
    raise UntrustedCode(setting="model", path=path)


def packages(text: str) -> tuple[str, ...]:
    """The packages of a setting such as `trust=my_package,other`."""
    return tuple(one.strip() for one in text.split(",") if one.strip())


def _is_in(path: str, packages: tuple[str, ...]) -> bool:
    module = path.partition(":")[0]
    return any(module == one or module.startswith(one + ".") for one in packages)
