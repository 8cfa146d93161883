"""`fl budget`: add to the budget of a task that is open or under way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fl.chain.membership import read_task
from fl.chain.payment import pay
from fl.chain.task_state import Status, TaskState, Terms
from fl.chain.tokens import in_tokens, tokens, wei
from fl.cli.arguments.key_value import named, parse
from fl.cli.arguments.office import ANVIL, KEY, TASK, office_of, office_signer
from fl.cli.commands.join import accepted
from fl.errors import ConfigError
from fl.plain_text import plural, printable
from fl.rewards.price import allowed_by

KNOWN = {
    **TASK,
    "add": "tokens to add; anybody may add some, and they do not come back before the task's end",
    "key": KEY,
    "anvil": ANVIL,
    "accept": "true adds without asking",
}


def main(arguments: Sequence[str]) -> None:
    """Show what the rounds that are left will pay, ask, and add."""
    values = parse(named(arguments, "folder", command="budget"), known=KNOWN, command="budget FOLDER", required=["add"])
    amount = wei(values["add"], setting="add")
    folder, invite = office_of(values)
    escrow, token, terms, state = read_task(invite)
    if state.status not in (Status.OPEN, Status.STARTED):
        raise ConfigError(f"task {invite.task_id} is {state.status.name.lower()}: nothing can be added any more")
    first = _first_round(state)
    if first > state.rounds:
        raise ConfigError(
            f"what is added counts from the round after the one under way, and round {state.rounds} of task {invite.task_id} is the "
            "last: nothing can be added any more"
        )
    if amount < terms.min_stake:
        raise ConfigError(f"add is {values['add']}; the contract takes {in_tokens(terms.min_stake)} at the least")
    account = office_signer(values, folder=folder, invite=invite, owner=state.sponsor, office="sponsor")
    for line in _preview(invite.task_id, terms, state, amount=amount, by=account.address):
        print(printable(line))
    if not accepted("add them? [y/N] ", values):
        print("nothing was signed or sent")
        return
    _, sent = pay(
        escrow,
        token,
        function="addBudget",
        arguments=[invite.id_bytes, amount],
        amount=amount,
        purpose="addition to the budget",
        account=account,
    )
    _, state = escrow.task(invite.id_bytes)
    print(f"added in transaction {sent.hash}; the budget is {in_tokens(state.budget + state.added)} in all")


def _first_round(state: TaskState) -> int:
    """The first round that counts with what is added now."""
    return 1 if state.status == Status.OPEN else state.posted + 2


def _preview(task_id: str, terms: Terms, state: TaskState, *, amount: int, by: str) -> Iterator[str]:
    before, first = state.budget + state.added, _first_round(state)
    after = before + amount
    yield (
        f"task {task_id}: {in_tokens(before)} over {plural(state.rounds, 'round')}, {state.posted} posted, "
        f"{in_tokens(state.cumulative)} promised"
    )
    yield f"adds {in_tokens(amount)} of {by}, which makes {tokens(after)}"
    # The round before pays by the budget of today; so the first that counts with the new one catches up.
    paid = allowed_by(first - 1, budget=state.budget, rounds=state.rounds) if first > 1 else 0
    catches_up = allowed_by(first, budget=after, rounds=state.rounds) - paid
    if first == state.rounds:
        yield f"round {first}, the last, then pays up to {in_tokens(catches_up)} instead of {tokens(before - paid)}"
    else:
        each = after // state.rounds
        what = "" if first == 1 else f", and round {first} up to {tokens(catches_up)}, since it catches up"
        yield (
            f"each round from {first} on then pays up to {in_tokens(each)} instead of {tokens(before // state.rounds)}{what}"
        )
    if after - state.cumulative > terms.bond:
        yield (
            f"what is not promised yet is then more than the coordinator's bond of {in_tokens(terms.bond)} covers: where rounds come "
            "faster than they become final, one waits for those before"
        )
    yield "they are the clients' then: if the task does not end as planned, they are shared as the rest of the budget is"
