"""The one interface of every scoring rule, and how a rule is found by its name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fl.errors import ConfigError, FairshareError
from fl.scoring.inputs import RoundInputs
from fl.scoring.scores import Scores
from fl.task.trust import import_object

ENTRY_POINTS = "fairshare.scorers"

# Named, not imported: a run that scores by direction waits for no other rule.
BUILT_IN = {
    "direction": "fl.scoring.rules.direction:Direction",
    "shapley": "fl.scoring.rules.exact:ExactShapley",
    "leverage": "fl.scoring.rules.leverage:LeverageShapley",
    "permutation": "fl.scoring.rules.permutation:PermutationShapley",
    "gtg": "fl.scoring.rules.gtg:GuidedTruncation",
    "banzhaf": "fl.scoring.rules.banzhaf:Banzhaf",
    "loo": "fl.scoring.rules.leave_one_out:LeaveOneOut",
    "cosine": "fl.scoring.rules.cosine:Cosine",
    "median": "fl.scoring.rules.robust:MedianShare",
    "trimmed_mean": "fl.scoring.rules.robust:TrimmedMeanShare",
    "bulyan": "fl.scoring.rules.robust:BulyanShare",
}
# Rules whose cost does not double with every client.
SCALING = ("direction", "leverage", "permutation", "gtg", "loo", "cosine")


@runtime_checkable
class Scorer(Protocol):
    """A scoring rule with its settings: built once, used for every round.

    The same inputs and the same generator give the same scores. A rule that cannot value a round of any size says so with
    `most_clients`, an attribute of the class.
    """

    def score(self, inputs: RoundInputs, *, rng: np.random.Generator) -> Scores:
        """Score every client of a round; a round without clients has scores of shape (0,)."""
        ...


class TooManyClients(FairshareError):
    """An exact rule was asked for more clients than it can enumerate."""

    def __init__(self, scorer: str, clients: int, most: int) -> None:
        super().__init__(scorer, clients, most)
        self.scorer, self.clients, self.most = scorer, clients, most

    def __str__(self) -> str:
        return (
            f"scorer={self.scorer} values 2^N coalitions, and the round has N = {self.clients} clients where {self.most} are "
            f"the most; use scorer={SCALING[0]} (3 gradients for any number), or to sample the same value "
            f"scorer={', scorer='.join(SCALING[1:4])}"
        )


@cache
def known_scorers() -> Mapping[str, str]:
    """Names of all rules with their import paths: those that come with the project, then those of other packages.

    A package adds one with an entry point in the group `fairshare.scorers`, whose name is the rule's and whose object is a
    class (a dataclass of its settings) with a `score` method; it cannot take the name of a rule that is here.
    """
    found = {entry.name: entry.value for entry in entry_points(group=ENTRY_POINTS)}
    return {**found, **BUILT_IN}


def build_scorer(name: str, arguments: Mapping[str, Any] | None = None) -> Scorer:
    """A rule by its name.

    Args:
        name: One of `known_scorers()`.
        arguments: The rule's settings.
    Raises: ConfigError for an unknown name (with the nearest), or a setting that the rule does not have.
    """
    known = known_scorers()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f", the nearest is {near[0]}" if near else ""
        raise ConfigError(f"scorer={name} is unknown{hint}; there are {', '.join(known)}")
    cls = import_object(known[name], setting=f"scorer={name}")
    arguments = dict(arguments or {})
    if is_dataclass(cls) and (strange := [key for key in arguments if key not in settings_of(name)]):
        settings = ", ".join(settings_of(name)) or "none"
        raise ConfigError(f"scorer={name} has no setting {strange[0]}; its settings: {settings}")
    try:
        scorer = cls(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"scorer={name} cannot be built: {error}") from error
    if not isinstance(scorer, Scorer):
        raise ConfigError(f"{known[name]} has no method score(inputs, *, rng); scorer={name} is no scoring rule")
    return scorer


def settings_of(name: str) -> dict[str, Any]:
    """Settings of a rule with their defaults; empty for a rule that is no dataclass."""
    cls = import_object(known_scorers()[name], setting=f"scorer={name}")
    return {field.name: field.default for field in fields(cls)} if is_dataclass(cls) else {}
