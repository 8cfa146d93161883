"""`fl handover`: a coordinator names the key that may take its place, and that key takes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fl.chain.invite import Invite
from fl.chain.membership import TaskOnChain, read_task
from fl.chain.task_state import Status, TaskState, Terms
from fl.chain.tokens import in_tokens
from fl.cli.arguments.key_value import named, parse
from fl.cli.arguments.office import ANVIL, KEY, TASK, office_of, office_signer, require_office
from fl.cli.arguments.signer import signer
from fl.cli.arguments.values import address_of, whole
from fl.cli.commands.join import accepted
from fl.errors import ConfigError

KNOWN = {
    **TASK,
    "to": "address that may take the coordinator's place, or none to take an offer back",
    "take": "true takes what was offered to the key",
    "key": f"{KEY}: the coordinator's to offer, the new coordinator's to take",
    "anvil": ANVIL,
    "accept": "true does it without asking",
}
_NOBODY = "0x" + "00" * 20


def main(arguments: Sequence[str]) -> None:
    """Offer, take an offer back, or take what was offered."""
    values = parse(named(arguments, "folder", command="handover"), known=KNOWN, command="handover FOLDER")
    if values.get("take", "true") != "true" or ("take" in values) == bool(values.get("to")):
        raise ConfigError("write to=0x… to offer the place, to=none to take the offer back, or take=true to take it")
    folder, invite = office_of(values)
    task = read_task(invite)
    state = task.state
    if state.status not in (Status.OPEN, Status.STARTED):
        raise ConfigError(
            f"task {invite.task_id} is {state.status.name.lower()}: there is nothing to hand over any more"
        )
    offered = task.escrow.offered_to(invite.id_bytes, from_block=invite.block)
    act = _take if "take" in values else _offer
    act(values, folder, invite, task, offered=offered)


def _offer(values: dict[str, str], folder: Path, invite: Invite, task: TaskOnChain, *, offered: str) -> None:
    escrow, _, terms, state = task
    to = _NOBODY if values["to"] == "none" else _address(values["to"])
    if to == terms.coordinator:
        raise ConfigError(f"{to} is the coordinator of task {invite.task_id} already")
    if to in (escrow.address, terms.token):
        raise ConfigError(f"to is {to}, a contract that could never take the place; name an account whose key you hold")
    if to == (offered or _NOBODY):
        print(f"the place is offered to {offered} already" if offered else "the place is offered to nobody")
        return
    account = office_signer(values, folder=folder, invite=invite, owner=terms.coordinator, office="coordinator")
    require_office(account, owner=terms.coordinator, office="coordinator")
    if to == _NOBODY:
        print(
            f"the offer to {offered} is taken back, and {account.address} stays the coordinator of task {invite.task_id}"
        )
    else:
        print(f"{to} may take the place of {account.address} as the coordinator of task {invite.task_id}")
        print(_bond(terms, state, of="whoever takes it"))
        print("nothing changes before it does; to=none takes the offer back until then")
        if offered:
            print(f"the offer to {offered} lapses")
    if not accepted("offer it? [y/N] " if to != _NOBODY else "take it back? [y/N] ", values):
        print("nothing was signed or sent")
        return
    sent = escrow.offer_coordinator(invite.id_bytes, to, account=account)
    if to == _NOBODY:
        print(f"the place is offered to nobody any more, by transaction {sent.hash}")
    else:
        print(
            f"offered in transaction {sent.hash}; give it the folder, where it runs `fl handover take=true key=KEYSTORE`"
        )


def _take(values: dict[str, str], folder: Path, invite: Invite, task: TaskOnChain, *, offered: str) -> None:
    escrow, _, terms, state = task
    if not values.get("key") and "anvil" not in values:
        raise ConfigError("key is not set; add key=KEYSTORE of the account that takes the place")
    if not offered:
        raise ConfigError(
            f"the place of {terms.coordinator} is offered to nobody; it runs `fl handover to=0x…` for your account first"
        )
    index = whole(values.get("anvil", "0"), setting="anvil", least=0)
    account = signer(values.get("key"), chain_id=invite.chain_id, anvil_index=index)
    if account.address != offered:
        raise ConfigError(
            f"the place is offered to {offered} and the key is of {account.address}; name the other's key"
        )
    for line in _what_it_takes(invite, terms, state, account=account.address):
        print(line)
    if not accepted("take it? [y/N] ", values):
        print("nothing was signed or sent")
        return
    sent = escrow.take_coordinator(invite.id_bytes, account=account)
    print(f"{account.address} is the coordinator, by transaction {sent.hash}")
    if (folder / "invite.json").exists():
        own = Invite.read(folder / "invite.json")
        if own.task_id == invite.task_id:
            replace(own, coordinator=account.address).write(folder / "invite.json")
    how = f"chain.key={values['key']}" if values.get("key") else "its key"
    print(
        f"stop the coordinator that still runs, and start it with the folder and {how}; invites that are out stay good"
    )


def _what_it_takes(invite: Invite, terms: Terms, state: TaskState, *, account: str) -> Iterator[str]:
    yield f"{account} becomes the coordinator of task {invite.task_id} in the place of {terms.coordinator}"
    yield _bond(terms, state, of=account)
    if state.status == Status.STARTED:
        yield (
            f"receipts that {terms.coordinator} signed count up to round {state.posted + 1}, which is under way: who has its key can "
            "still have that round voided, and the bond lost, until it is final"
        )
        yield f"the next round is due as before; {state.posted} of {state.rounds} are posted"


def _bond(terms: Terms, state: TaskState, *, of: str) -> str:
    if state.status == Status.OPEN:
        return f"the bond of {in_tokens(terms.bond)} is due from {of} when the task starts"
    return f"the bond of {in_tokens(state.bond)} in the contract is of {of} from then on: back when the task is closed, or lost"


def _address(told: str) -> str:
    return address_of(told, setting="to")
