"""What a round's scores say beside themselves: how sure they are, and what each client was paid for.

Nothing here moves weight or money. It is told to people, by the report and by `fl score`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fl.scoring.analysis.explanation import names_of
from fl.scoring.inputs import RoundInputs
from fl.scoring.rules.direction import Direction
from fl.scoring.scores import Scores, untold_pairs


@dataclass(frozen=True, kw_only=True)
class ScoreReading:
    """Standard errors, pairs that are not told apart, and scores by class; all in units of the utility, by account."""

    errors: dict[str, float]
    untold: tuple[tuple[str, str], ...]  # pairs of accounts that 95 % confidence does not tell apart
    by_class: dict[str, tuple[float, ...]]  # parts of each score, in the order of `classes`; empty for a regression
    classes: tuple[str, ...]
    over: str = "over validation samples"  # what the errors are over


def read_scores(
    inputs: RoundInputs, *, accounts: Sequence[str], class_names: Sequence[str] = (), nodes: int = 3
) -> ScoreReading:
    """Read one round.

    Args:
        inputs: The round as it was scored.
        accounts: Whose the updates are, in their order.
        class_names: Names of the labels; their numbers where there are none.
        nodes: Gauss–Legendre nodes of the round's direction.
    """
    found = Direction(nodes=nodes, explain=True).score(inputs, rng=np.random.default_rng(0))
    assert found.errors is not None, "confidence is on"
    groups = np.array([int(name) for name in found.group_names], dtype=np.int64)
    parts = found.by_group if found.by_group is not None else np.zeros((len(accounts), 0))
    return ScoreReading(
        errors=dict(zip(accounts, found.errors.tolist(), strict=True)),
        untold=tuple((accounts[first], accounts[other]) for first, other in untold_pairs(found)),
        by_class={account: tuple(row) for account, row in zip(accounts, parts.tolist(), strict=True)},
        classes=names_of(groups, class_names),
    )


def read_attested(found: Scores | None, *, accounts: Sequence[str]) -> ScoreReading | None:
    """What a rule other than the direction said of its own doubts; None for one that states none."""
    if found is None or found.errors is None:
        return None
    return ScoreReading(
        errors=dict(zip(accounts, found.errors.tolist(), strict=True)),
        untold=tuple((accounts[first], accounts[other]) for first, other in untold_pairs(found)),
        by_class=dict.fromkeys(accounts, ()),
        classes=(),
        over=str(found.diagnostics.get("error", "as the rule states them")),
    )
