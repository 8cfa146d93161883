"""What opens a task: the terms that a configuration comes to, and a salt that is free."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from fl.chain.escrow import Escrow
from fl.chain.task_state import Status, Terms
from fl.chain.tokens import tokens, wei
from fl.coordinator.config import TaskConfig
from fl.errors import ConfigError
from fl.task.spec import TaskSpec


def terms_of(
    task: TaskConfig,
    *,
    spec: TaskSpec,
    validation: bytes,
    base_model: bytes,
    token: str,
    coordinator: str,
    evaluators: Sequence[str],
    salt: bytes,
) -> Terms:
    """The terms that freeze a task.

    Args:
        task: The settings.
        spec: Its hash goes to the chain.
        validation: Hash of the validation set, 32 bytes.
        base_model: Hash of the initial model, 32 bytes.
        token: Address of the token that pays.
        coordinator: Its address.
        evaluators: Their addresses, in any order.
        salt: 32 bytes, which tell a sponsor's tasks apart.
    Raises: ConfigError for an amount that the contract cannot hold.
    """
    return Terms(
        token=token,
        coordinator=coordinator,
        evaluators=tuple(sorted(evaluators, key=lambda evaluator: int(evaluator, 16))),
        quorum=task.quorum,
        reveal_each_round=task.reveal == "round",
        attested=spec.attested,
        may_stop=task.may_stop,
        may_close_joining=task.may_close_joining,
        rounds=task.rounds,
        challenge_window=task.challenge_window,
        response_window=task.response_window,
        round_timeout=task.round_timeout,
        claim_period=task.claim_period,
        budget=wei(task.budget, setting="task.budget"),
        bond=wei(task.bond or task.budget, setting="task.bond"),
        min_stake=wei(task.stake_per_sample, setting="task.stake_per_sample"),
        max_stake=wei(task.max_stake, setting="task.max_stake"),
        evaluator_stake=wei(task.evaluator_stake, setting="task.evaluator_stake"),
        spec_hash=spec.hash(),
        validation_hash=validation,
        base_model=base_model,
        salt=salt,
    )


def salt_of(name: str, *, attempt: int = 0) -> bytes:
    """The salt of a task that is opened under a name: the same name finds the same task again.

    Args:
        name: Of the task, for its sponsor alone.
        attempt: How many tasks of this name were used up before.
    """
    return hashlib.sha256(f"{name}/{attempt}".encode() if attempt else name.encode()).digest()


def salt_under(escrow: Escrow, named: str, *, terms: Terms, sponsor: str) -> tuple[bytes, bool]:
    """The salt to open a task with under a name, and whether it is open with it already.

    A task that was opened under the name with the same terms, and that nobody joined, is the one that an earlier start opened
    and did not live to tell of. Any other was used, or is another's: a further salt is taken.

    Args:
        escrow: The contract.
        named: What the salts are bound to.
        terms: Of the task, with any salt.
        sponsor: Address of who opens it.
    """
    for attempt in range(1_000_000):
        salt = salt_of(named, attempt=attempt)
        task_id = escrow.task_id(sponsor, salt)
        if not escrow.has_task(task_id):
            return salt, False
        held, state = escrow.task(task_id)
        if state.status == Status.OPEN and not state.clients and held == replace(terms, salt=salt):
            return salt, True
    raise ConfigError(f"a million tasks of {named} are on this chain; name another folder")


def terms_that_differ(held: Terms, now: Terms) -> list[str]:
    """What a second start says otherwise than the first did, of what a person sets; a phrase each."""
    shown = {
        "token": (held.token, now.token),
        "evaluators": (", ".join(held.evaluators), ", ".join(now.evaluators)),
        "rounds": (held.rounds, now.rounds),
        "budget": (tokens(held.budget), tokens(now.budget)),
    }
    return [f"{name} was {before} and is {after} now" for name, (before, after) in shown.items() if before != after]


def free_salt(escrow: Escrow, *, sponsor: str, seed: int) -> bytes:
    """The first salt of a seed whose task is not on this chain yet: the same seed opens the same task on a fresh chain.

    Args:
        escrow: The contract.
        sponsor: Address of who opens the task.
        seed: Of the run.
    """
    for attempt in range(1_000_000):
        salt = salt_of(f"{seed}/{attempt}")
        if not escrow.has_task(escrow.task_id(sponsor, salt)):
            return salt
    raise ConfigError("a million tasks of this seed are open on this chain; set another seed")
