"""`fl status`: how a task stands and one's own part in it, whichever part that is, with amounts in tokens."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from clients.node.folder import NodeFolder
from clients.payments.book import NoLeaf, PayBook
from fl.bundle.files import BrokenBundle
from fl.bundle.http_client import ArchiveRefused, ArchiveUnreachable
from fl.chain.erc20 import Token
from fl.chain.escrow import Escrow
from fl.chain.evaluator_stake import can_go_home
from fl.chain.invite import Invite
from fl.chain.membership import read_task
from fl.chain.sender import ether_of
from fl.chain.task_state import Status, TaskState, Terms
from fl.chain.tokens import in_tokens, tokens
from fl.cli.arguments.key_value import parse
from fl.cli.arguments.node import FOLDER, account_of, by_place, folder_of, invite_of
from fl.plain_text import agreeing, plural, printable

KNOWN = {
    "folder": FOLDER,
    "invite": "the task's invite instead: a file, a link, or the line that begins with fairshare:",
    "account": "whose part; the folder's if not set",
}


def main(arguments: Sequence[str]) -> None:
    """Print the task and, for the account, what it is in it: sponsor, coordinator, evaluator, client."""
    values = parse(by_place(arguments, command="status"), known=KNOWN, command="status")
    folder = folder_of(values)
    invite = invite_of(values, folder)
    own = folder.invite_path.exists() and Invite.read(folder.invite_path).task_id == invite.task_id
    account = account_of(values, folder if own else NodeFolder(path=Path("/nonexistent")))
    coordinates = own and (folder.path / "settings.json").exists()
    escrow, token, terms, state = read_task(invite)
    for line in (*_task_lines(invite, terms, state), *_next_lines(invite, terms, state, escrow=escrow)):
        print(printable(line))
    if own:
        kind = "coordinator" if coordinates else "node"
        print(f"{kind}: {'runs' if folder.in_use() else 'does not run'}, folder {folder.path}")
    roles = {terms.coordinator, state.sponsor} if coordinates and not account else {account} - {""}
    for role in sorted(roles):
        for line in (
            *_office_lines(role, terms, state, escrow=escrow, token=token),
            *_evaluator_lines(role, invite, terms, state, escrow=escrow),
        ):
            print(printable(line))
    backs = {backer.payer for backer in escrow.backers(invite.id_bytes, terms.evaluators).values()}
    if account and (
        escrow.client(invite.id_bytes, account).first_round or account not in {*_officers(terms, state), *backs}
    ):
        _show_client(account, invite, state, escrow=escrow, token=token, folder=folder if own else None)


def _officers(terms: Terms, state: TaskState) -> set[str]:
    return {terms.coordinator, state.sponsor, *terms.evaluators}


def _task_lines(invite: Invite, terms: Terms, state: TaskState) -> Iterator[str]:
    name = f"“{printable(invite.name, most=60)}”, " if invite.name else ""
    yield (
        f"{name}task {invite.task_id} on chain {invite.chain_id}: {state.status.name.lower()}, {state.posted} of "
        f"{plural(state.rounds, 'round')} posted, {plural(state.clients, 'client')}, {tokens(state.cumulative)} of {in_tokens(state.budget)} "
        f"promised, {tokens(state.paid)} paid"
    )
    if state.stopping:
        yield f"its sponsor stopped it: round {state.rounds} is the last one, and pays the whole budget"
    if state.joining_closed:
        yield "its sponsor has closed the joining"
    if state.void_from:
        yield f"round {state.void_from} and all after it were proven wrong on chain"
    if state.held_from:
        yield f"round {state.held_from} and all after it wait for a challenge"
    if state.pool:
        yield f"{in_tokens(state.pool)} beside the pay are shared by the clients, because the task did not end as planned"


def _next_lines(invite: Invite, terms: Terms, state: TaskState, *, escrow: Escrow) -> Iterator[str]:
    """What lies ahead, with its times."""
    silent = escrow.overdue_at(invite.id_bytes, terms=terms, state=state)
    if state.posted:
        final = escrow.is_final(invite.id_bytes, state.posted)
        until = escrow.posted_at(invite.id_bytes, state.posted) + terms.challenge_window
        yield f"round {state.posted} is {'final' if final else f'not final before {_when(until)}'}"
    if state.status == Status.OPEN:
        yield f"it waits for clients; anybody may cancel it from {_when(silent)} on if it has not started"
    elif state.status == Status.STARTED and state.posted < state.rounds:
        yield f"the next round is due by {_when(silent)}; after that anybody may end the task, and the bond goes to the clients"
    elif state.status == Status.CLOSED and not state.swept:
        yield f"claims are open until {_when(state.since + terms.claim_period)}; what nobody claims then is the sponsor's"


def _office_lines(account: str, terms: Terms, state: TaskState, *, escrow: Escrow, token: Token) -> Iterator[str]:
    """What sponsor, coordinator or evaluator have at stake and are owed."""
    if account == state.sponsor:
        going_on = state.status in (Status.OPEN, Status.STARTED)
        rest = f": {in_tokens(state.budget - state.cumulative)} of the budget are not promised yet" if going_on else ""
        yield f"{account} is the sponsor{rest}"
    if account == terms.coordinator:
        back = ", back when the task is closed" if state.status in (Status.OPEN, Status.STARTED) else ""
        bond = (
            f"its bond of {in_tokens(state.bond)} is in the contract{back}"
            if state.bond
            else f"its bond of {in_tokens(terms.bond)} is due when the task starts"
            if state.status == Status.OPEN
            else "its bond is no longer in the contract"
        )
        yield f"{account} is the coordinator: {bond}"
    if account in terms.evaluators:
        yield (
            f"{account} is one of {len(terms.evaluators)} evaluators, {terms.quorum} of whom {agreeing(terms.quorum, 'signs', 'sign')} each round"
            if len(terms.evaluators) > 1
            else f"{account} is the only evaluator, and signs each round"
        )
    if account in _officers(terms, state):
        if credit := escrow.credit(token.address, account):
            yield f"to be withdrawn by {account}: {in_tokens(credit)}; `fl finish` fetches them"
        yield f"{account} holds {in_tokens(token.balance(account))} and {_ether(ether_of(escrow.w3, account))} ETH"


def _evaluator_lines(account: str, invite: Invite, terms: Terms, state: TaskState, *, escrow: Escrow) -> Iterator[str]:
    """What an account has at stake as an evaluator, or for one."""
    for evaluator, backer in escrow.backers(invite.id_bytes, terms.evaluators).items():
        if account not in (evaluator, backer.payer):
            continue
        who = f"evaluator {evaluator}"
        if not int(backer.payer, 16):
            if terms.evaluator_stake and state.status in (Status.OPEN, Status.STARTED):
                yield f"{who} has not staked {in_tokens(terms.evaluator_stake)}, so its signature does not count; `fl evaluator` stakes"
            continue
        if backer.payer != evaluator and escrow.is_contract(evaluator):
            yield f"{backer.payer} speaks for {who}, which is a contract"
        if not terms.evaluator_stake:
            continue
        paid = "" if backer.payer == evaluator else f", paid by {backer.payer}"
        if not backer.stake:
            yield f"no stake is behind {who} any more: it went home{paid}, or was taken for a round that was wrong"
        elif can_go_home(escrow, invite.id_bytes):
            yield f"{in_tokens(backer.stake)} are staked for {who}{paid}; the task is closed, `fl finish` fetches them"
        else:
            since = "is closed" if state.status != Status.CLOSED else f"has been closed for {terms.challenge_window} s"
            yield (
                f"{in_tokens(backer.stake)} are staked for {who}{paid}, back when the task {since}; lost if it signed what it "
                "could have seen to be wrong"
            )


def _show_client(
    account: str, invite: Invite, state: TaskState, *, escrow: Escrow, token: Token, folder: NodeFolder | None
) -> None:
    with tempfile.TemporaryDirectory() as passing:
        book = PayBook(invite, folder=folder or NodeFolder(path=Path(passing)), escrow=escrow, account=account)
        due = _rounds(book, state)
    client = escrow.client(invite.id_bytes, account)
    if not client.first_round:
        print(f"{account} has not joined")
        return
    left = f", left before round {client.left_round}" if client.left_round else ""
    print(f"{account} counts from round {client.first_round}{left}")
    print(f"staked now: {in_tokens(client.stake)}{_when_back(client.stake, client.left_round, state)}")
    print(f"paid so far: {in_tokens(client.claimed)}")
    payee = client.payee(account)
    if payee != account:
        print(f"pay and stake go to {payee}, its payee, which alone can change that (`fl recipient`)")
    if due is not None:
        claimable = max(0, state.due(due) - client.claimed)
        final = state.posted and escrow.is_final(invite.id_bytes, state.posted)
        when = (
            "; `fl finish` claims them, and so does a node at the end"
            if final
            else " once the last round above is final"
        )
        print(f"to be claimed: {in_tokens(claimable)}{when}" if claimable else "to be claimed: nothing")
    for owner in dict.fromkeys((account, payee)):
        if credit := escrow.credit(token.address, owner):
            whose = "" if owner == account else f" by {owner}"
            print(f"to be withdrawn{whose}: {in_tokens(credit)}; `fl finish` fetches them")
    print(f"holds {in_tokens(token.balance(account))} and {_ether(ether_of(escrow.w3, account))} ETH")


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
        print(printable(pay))
        due = pay.leaf.cumulative
    return due


def _when_back(stake: int, left_round: int, state: TaskState) -> str:
    if not stake:
        return ""
    if state.status == Status.CLOSED:
        return "; the task is closed, `fl finish` fetches them"
    if left_round and left_round <= state.rounds:
        return (
            f", back once round {left_round - 1} is final" if left_round > 1 else ", back now; `fl leave` fetches them"
        )
    return ", back when the task is closed"


def _ether(amount: int) -> str:
    """An amount of ETH in wei, in as many digits as tell something."""
    return f"{amount / 10**18:,.0f}" if amount >= 10**21 else f"{amount / 10**18:.4g}"


def _when(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
