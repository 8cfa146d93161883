"""A task ends before its last round when the loss has not fallen for a while: its sponsor stops it on chain.

The round under way then is the last one and pays the whole budget, so nobody who worked for it is cheated of anything.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fl.errors import ConfigError, FairshareError

if TYPE_CHECKING:  # settings are read by commands that need no chain
    from eth_account.signers.local import LocalAccount

    from fl.chain.paid_task import PaidTask

log = logging.getLogger(__name__)

_KIND = "patience:"


def patience_of(setting: str) -> int:
    """Rounds without a lower loss after which a task ends: `patience:5` is 5, and "" is 0, never. Raises: ConfigError."""
    if not setting:
        return 0
    count = setting.removeprefix(_KIND)
    if not setting.startswith(_KIND) or not count.isdecimal() or not 1 <= int(count) <= 10**6:
        raise ConfigError(
            f"task.stop is {setting!r}; write patience:N, as in patience:5, to end the task when the validation loss has not "
            "fallen for N rounds"
        )
    return int(count)


def losses_of(rounds: Iterable[tuple[int, float, float]]) -> list[float]:
    """The losses of a task: of its initial model, and after each round; from number, loss before and loss after of each."""
    known = sorted({number: (before, after) for number, before, after in rounds}.items())
    return [known[0][1][0], *(after for _, (_, after) in known)] if known else []


def has_stalled(losses: Sequence[float], *, patience: int) -> bool:
    """Whether none of the last `patience` losses is below the best of those before them."""
    return 0 < patience < len(losses) and min(losses[-patience:]) >= min(losses[:-patience])


def stop_when_stalled(task: PaidTask, losses: Sequence[float], *, patience: int, sponsor: LocalAccount) -> int | None:
    """Stop the task on chain if its loss has stalled; returns the last round, None where it goes on as planned.

    Args:
        losses: On the validation rows: of the initial model, and after each round.
    """
    state = task.state()
    if not has_stalled(losses, patience=patience) or state.stopping or state.posted >= state.rounds - 1:
        return None
    try:
        task.escrow.stop(task.task_id, account=sponsor)
    except FairshareError as error:  # it is tried again after the next round
        log.warning("the loss has stalled, and the task could not be stopped: %s", error)
        return None
    return task.state().rounds
