"""`fl joining`: the sponsor lets nobody join its task any more, or opens it again."""

from __future__ import annotations

from collections.abc import Sequence

from fl.chain.membership import read_task
from fl.chain.task_state import Status
from fl.cli.arguments.key_value import named, parse
from fl.cli.arguments.office import ANVIL, KEY, TASK, office_of, office_signer, require_office
from fl.cli.commands.join import accepted
from fl.errors import ConfigError
from fl.plain_text import plural

KNOWN = {
    **TASK,
    "open": "false closes the task to new clients; true lets in those whom the terms allow",
    "key": f"{KEY}: the sponsor's",
    "anvil": ANVIL,
    "accept": "true does it without asking",
}


def main(arguments: Sequence[str]) -> None:
    """Say what it means, ask, and do it."""
    values = parse(
        named(arguments, "folder", command="joining"), known=KNOWN, command="joining FOLDER", required=["open"]
    )
    if values["open"] not in ("true", "false"):
        raise ConfigError(f"open is {values['open']!r}; write open=true or open=false")
    closed = values["open"] == "false"
    folder, invite = office_of(values)
    escrow, _, terms, state = read_task(invite)
    if state.status not in (Status.OPEN, Status.STARTED):
        raise ConfigError(f"task {invite.task_id} is {state.status.name.lower()} and takes no more clients")
    if not terms.may_close_joining:
        raise ConfigError(
            f"the terms of task {invite.task_id} do not let its sponsor close the joining, and nobody can change them"
        )
    if state.joining_closed == closed:
        print(f"the joining of task {invite.task_id} is {'closed' if closed else 'open'} already")
        return
    account = office_signer(values, folder=folder, invite=invite, owner=state.sponsor, office="sponsor")
    require_office(account, owner=state.sponsor, office="sponsor")
    clients = plural(state.clients, "client")
    if closed:
        print(f"nobody can join task {invite.task_id} any more; its {clients} and what they earn stay as they are")
        if not state.clients:
            print("it has no clients: a coordinator cannot start it before you open the joining again")
    else:
        who = f"whoever is on its list (root 0x{terms.members.hex()})" if any(terms.members) else "anybody"
        print(f"{who} can join task {invite.task_id}, which has {clients}")
    print("you can undo it as long as the task runs")
    if not accepted(f"{'close' if closed else 'open'} the joining? [y/N] ", values):
        print("nothing was signed or sent")
        return
    sent = escrow.set_joining(invite.id_bytes, closed=closed, account=account)
    print(f"the joining is {'closed' if closed else 'open'}, by transaction {sent.hash}")
