"""What the chain said before a round of a world was posted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl.audit.difference import ChainView

if TYPE_CHECKING:
    from world import World


def view_of(world: World, number: int) -> ChainView:
    """What an evaluator of round `number` sees, of a world that has reported the round before."""
    return ChainView(
        domain=world.task.domain,
        terms=world.task.terms,
        enrolments=world.task.enrolments(),
        schedule=world.task.schedule(),
        previous=world.reports[number - 2].header if number > 1 else None,
    )
