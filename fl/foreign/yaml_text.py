"""YAML that came with a run's folder: values and nothing else, and no more of them than are written out."""

from __future__ import annotations

from typing import Any

import yaml

from fl.errors import FairshareError


class BadYaml(FairshareError):
    """A text is not plain YAML."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"it is not plain YAML ({self.problem}); write it as key: value"


class _Plain(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        # An alias repeats what stands elsewhere: nine lines of nine aliases each are a billion values.
        if self.check_event(yaml.AliasEvent):
            raise BadYaml(problem="it has an alias")
        return super().compose_node(parent, index)


def read_yaml(text: bytes | str) -> Any:
    """Parse a text of somebody else's, of bounded size. Raises: BadYaml."""
    try:
        return yaml.load(text, Loader=_Plain)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        words = str(error).split("\n")[0][:200]
        raise BadYaml(problem=words) from None
