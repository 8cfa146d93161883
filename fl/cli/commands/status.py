"""`fl status`: how a task stands, and one's own part in it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from clients.node.folder import NodeFolder
from clients.payments.follower import NoLeaf, PayBook
from fl.bundle.format import BrokenBundle
from fl.bundle.http_client import ArchiveRefused, ArchiveUnreachable
from fl.chain.escrow import Escrow, Status, TaskState, Terms
from fl.chain.invite import Invite
from fl.chain.membership import read_task
from fl.chain.tokens import WEI
from fl.cli.arguments.key_value import parse
from fl.cli.arguments.node import FOLDER, account_of, folder_of, invite_of
from fl.plain_text import printable

KNOWN = {
    "folder": FOLDER,
    "invite": "the task's invite instead: a file, or the line that begins with fairshare:",
    "account": "whose part; the folder's if not set",
}


def main(arguments: Sequence[str]) -> None:
    """Print the task, the rounds as they went for the account, and what is due to it."""
    values = parse(arguments, known=KNOWN, command="status")
    folder = folder_of(values)
    invite = invite_of(values, folder)
    own = folder.invite_path.exists() and Invite.read(folder.invite_path).task_id == invite.task_id
    account = account_of(values, folder if own else NodeFolder(path=Path("/nonexistent")))
    escrow, token, terms, state = read_task(invite)
    for line in _task_lines(invite, terms, state, escrow=escrow):
        print(printable(line))
    if own:
        print(f"node: {'runs' if folder.in_use() else 'does not run'}, folder {folder.path}")
    if not account:
        return
    with tempfile.TemporaryDirectory() as passing:
        book = PayBook(invite, folder=folder if own else NodeFolder(path=Path(passing)), escrow=escrow, account=account)
        due = _rounds(book, state)
    client = escrow.client(invite.id_bytes, account)
    if not client.first_round:
        print(f"{account} has not joined")
        return
    left = f", left before round {client.left_round}" if client.left_round else ""
    print(f"{account} counts from round {client.first_round}{left}")
    print(f"staked now: {client.stake / WEI:,.2f} tokens{_when_back(client.stake, client.left_round, state)}")
    print(f"paid so far: {client.claimed / WEI:,.2f} tokens")
    if due is not None:
        print(f"to be claimed: {max(0, due - client.claimed) / WEI:,.2f} tokens once the last round above is final")
    if credit := escrow.credit(token.address, account):
        print(f"to be withdrawn: {credit / WEI:,.2f} tokens; `fl leave` fetches them")


def _task_lines(invite: Invite, terms: Terms, state: TaskState, *, escrow: Escrow) -> list[str]:
    lines = [
        f"task {invite.task_id} on chain {invite.chain_id}: {state.status.name.lower()}, {state.posted} of {terms.rounds} "
        f"rounds posted, {state.clients} clients, {state.cumulative / WEI:,.2f} of {terms.budget / WEI:,.2f} tokens promised, "
        f"{state.paid / WEI:,.2f} paid"
    ]
    if state.posted:
        final = escrow.is_final(invite.id_bytes, state.posted)
        _, posted_at = escrow.posted(invite.id_bytes, state.posted)
        until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(posted_at + terms.challenge_window))
        lines.append(f"round {state.posted} is {'final' if final else f'not final before {until}'}")
    if state.void_from:
        lines.append(f"round {state.void_from} and all after it were proven wrong on chain")
    if state.held_from:
        lines.append(f"round {state.held_from} and all after it wait for a challenge")
    return lines


def _rounds(book: PayBook, state: TaskState) -> int | None:
    """Print each round; returns what all of them promise the account, None where it is not known."""
    due = 0
    for number in range(1, state.posted + 1):
        try:
            pay = book.round(number)
        except NoLeaf:
            continue
        except (ArchiveUnreachable, ArchiveRefused, BrokenBundle) as error:
            print(f"round {number}: {printable(error)}")
            return None
        print(pay)
        due = pay.leaf.cumulative
    return due


def _when_back(stake: int, left_round: int, state: TaskState) -> str:
    if not stake:
        return ""
    if state.status == Status.CLOSED:
        return "; the task is closed, `fl leave` fetches them"
    if left_round:
        return (
            f", back once round {left_round - 1} is final" if left_round > 1 else ", back now; `fl leave` fetches them"
        )
    return ", back when the task is closed"
