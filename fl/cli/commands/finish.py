"""`fl finish FOLDER`: bring back what a task still holds for its owner; of a coordinator or a run, leave model, card and archive."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount

from clients.node.folder import NodeFolder
from clients.payments.book import NoLeaf, PayBook, RoundPay
from clients.payments.homecoming import Homecoming
from clients.payments.receipt import receipt
from fl.bundle.files import BrokenBundle
from fl.bundle.http_client import ArchiveRefused, ArchiveUnreachable
from fl.chain.accounts import ANVIL_CHAIN, anvil_account
from fl.chain.anvil import CHAIN_STATE
from fl.chain.errors import ChainError, KeystoreError
from fl.chain.escrow import Escrow
from fl.chain.evaluator_stake import release_stakes
from fl.chain.invite import Invite
from fl.chain.membership import read_task
from fl.chain.paid_task import NotCoordinator, PaidTask
from fl.chain.task_state import Status, TaskState
from fl.chain.tokens import in_tokens, tokens
from fl.cli.arguments.key_value import named, parse
from fl.cli.arguments.office import keystore_of
from fl.cli.arguments.signer import signer
from fl.cli.arguments.values import whole
from fl.coordinator.lifecycle.bring_back import BringBack
from fl.errors import ConfigError
from fl.foreign.files import GivenFolder, expanded
from fl.foreign.json_text import object_of, read_json, text_of
from fl.plain_text import indented, printable

KNOWN = {
    "folder": "of a coordinator, of a run, of a node, or of an evaluator (default coordinator, or else node)",
    "key": "keystore of the account whose folder it is; what the coordinator was started with, or wallet.json, by default",
    "anvil": "index of one of Anvil's published test accounts instead, on chain 31337 only",
}
_COORDINATOR = 1  # index of Anvil's account that is the coordinator where no keystore is named
_WALLET = "wallet.json"
_EVALUATOR = "evaluator.json"  # that `fl evaluator` leaves in the folder of each task


def main(arguments: Sequence[str]) -> None:
    """Do what can be done now, and say what has to wait and until when."""
    values = parse(named(arguments, "folder", command="finish"), known=KNOWN, command="finish FOLDER")
    folder = _folder(values)
    if evaluated := _evaluated(folder):
        for task in evaluated:
            _finish_evaluator(task, values)
    elif (folder / "node.json").exists():
        _finish_node(NodeFolder(path=folder), values)
    else:
        _finish_task(folder, values)


def _folder(values: dict[str, str]) -> Path:
    named = [values["folder"]] if values.get("folder") else ["coordinator", "node"]
    for name in named:
        path = expanded(name).absolute()
        if (path / "invite.json").exists() or _evaluated(path):
            return path
    seen = (
        f"{named[0]} has no invite.json" if len(named) == 1 else "there is neither a coordinator nor a node folder here"
    )
    raise ConfigError(f"{seen}; write fl finish FOLDER, with that of a coordinator, a run or a node")


def _evaluated(folder: Path) -> list[Path]:
    """The folders of tasks that an evaluator's folder holds, or it is one."""
    return sorted(path.parent for path in (*folder.glob(_EVALUATOR), *folder.glob(f"*/{_EVALUATOR}")))


# ---- an evaluator ----------------------------------------------------------------------------------------------------


def _finish_evaluator(folder: Path, values: dict[str, str]) -> None:
    invite = Invite.read("invite.json", inside=GivenFolder(folder))
    told = object_of(read_json((folder / _EVALUATOR).read_text()))
    evaluator, payer = text_of(told["evaluator"], most=42), text_of(told["account"], most=42)
    if not values.get("key") and "anvil" not in values:
        raise ConfigError(
            f"add key=KEYSTORE of {payer}, which signs for evaluator {evaluator}; its stake comes home to who paid it"
        )
    index = whole(values.get("anvil", "0"), setting="anvil", least=0)
    account = signer(values.get("key"), chain_id=invite.chain_id, anvil_index=index)
    escrow, token, terms, state = read_task(invite)
    for sent in release_stakes(escrow, invite.id_bytes, account=account, payers=[payer]):
        print(f"released the stake of evaluator {evaluator} in {sent.hash}")
    if credit := escrow.credit(token.address, payer):
        escrow.withdraw_for(token.address, payer, account=account)
        print(f"{payer} got {in_tokens(credit)} back")
    if stake := escrow.backer(invite.id_bytes, evaluator).stake:
        when = (
            "the task is closed"
            if state.status != Status.CLOSED
            else f"it has been closed for {terms.challenge_window} s"
        )
        print(
            f"a stake of {in_tokens(stake)} stays with evaluator {evaluator} until {when}; run `fl finish` again then"
        )
    elif not credit:
        print(f"the contract owes {payer} nothing")


# ---- a coordinator, or a run -----------------------------------------------------------------------------------------


def _finish_task(folder: Path, values: dict[str, str]) -> None:
    handover = importlib.import_module("fl.report.handover")
    coordinator = importlib.import_module("fl.cli.commands.coordinator")
    invite = Invite.read("invite.json", inside=GivenFolder(folder))
    account = _coordinator_key(folder, values, invite=invite)
    with coordinator.held(folder) if (folder / "settings.json").exists() else nullcontext():
        over, revealed = _bring_back(folder, invite, account)
        if not (folder / "summary.json").exists():
            print("there is no summary, so no round was played: no model, no archive")
            return
        for line in handover.hand_over(folder, account=account, revealed=revealed):
            print(line)
        if not over:
            print("the task goes on: what was written is of the rounds so far")


def _coordinator_key(folder: Path, values: dict[str, str], *, invite: Invite) -> LocalAccount | None:
    if values.get("key") or "anvil" in values:
        index = whole(values.get("anvil", "0"), setting="anvil", least=0)
        return signer(values.get("key"), chain_id=invite.chain_id, anvil_index=index)
    if key := keystore_of(folder):
        return signer(key, chain_id=invite.chain_id)
    if invite.chain_id == ANVIL_CHAIN:
        account = anvil_account(_COORDINATOR, chain_id=ANVIL_CHAIN)
        return account if account.address == invite.coordinator else None
    raise KeystoreError(path=str(folder), problem="does not say whose task it is; add key=KEYSTORE of the coordinator")


def _bring_back(folder: Path, invite: Invite, account: LocalAccount | None) -> tuple[bool, bool]:
    """Fetch the money; returns whether the task is over, and whether its directions are revealed."""
    if account is None:
        raise NotCoordinator(seen="another account", expected=invite.coordinator)
    try:
        task = PaidTask.from_invite(folder / "invite.json", coordinator=account)
    except ChainError as error:
        if not (folder / CHAIN_STATE).exists():
            raise
        print(f"the run's own chain has ended with it ({type(error).__name__}), and everybody was paid then")
        return True, True
    for line in BringBack(task=task, bundles=folder / "bundles").lines():
        print(printable(line))
    state = task.state()
    over = state.status in (Status.HALTED, Status.CLOSED) or state.posted >= state.rounds
    return over, over or task.terms.reveal_each_round


# ---- a client --------------------------------------------------------------------------------------------------------


def _finish_node(folder: NodeFolder, values: dict[str, str]) -> None:
    invite = Invite.read(folder.invite_path)
    wallet = values.get("key") or (_WALLET if "anvil" not in values else None)
    if wallet is not None and "key" not in values and not Path(wallet).exists():
        raise ConfigError(f"there is no {wallet} here; add key=KEYSTORE of {folder.account}")
    with folder.held():
        escrow, _, _, state = read_task(invite)
        index = whole(values.get("anvil", "0"), setting="anvil", least=0)
        account = signer(wallet, chain_id=invite.chain_id, anvil_index=index)
        folder.check(invite=invite, account=account.address)
        book = PayBook(invite, folder=folder, escrow=escrow, account=account.address)
        rounds = _rounds(book, state)
        home = Homecoming(
            invite=invite, escrow=escrow, account=account, say=lambda line: print(indented(line)), grace_s=0
        )
        client = escrow.client(invite.id_bytes, account.address)
        done = _homeward(home, escrow, invite, pay=rounds.get(state.posted), left=bool(client.left_round))
        for line in receipt(
            list(rounds.values()),
            invite=invite,
            account=account.address,
            paid=home.paid(),
            returned=home.returned,
            slashed=done and client.first_round > 0 and not client.stake,
            wallet=wallet or "",
            payee=client.payee(account.address),
        ):
            print(indented(line))
        if not done:
            staked = tokens(escrow.client(invite.id_bytes, account.address).stake)
            print(f"not everything can come yet: {staked} tokens are staked; `fl status` says what is waited for")


def _homeward(home: Homecoming, escrow: Escrow, invite: Invite, *, pay: RoundPay | None, left: bool) -> bool:
    for _ in range(3):  # an ending is one step, what it pays out another
        terms, state = escrow.task(invite.id_bytes)
        if home.step(terms, state, pay=pay):
            return True
    return left and home.leave(terms, state, pay=pay)


def _rounds(book: PayBook, state: TaskState) -> dict[int, Any]:
    found = {}
    for number in range(1, state.posted + 1):
        try:
            found[number] = book.round(number)
        except NoLeaf:
            continue
        except (ArchiveUnreachable, ArchiveRefused, BrokenBundle) as error:
            print(f"round {number} is not here, so nothing can be claimed from it: {printable(error)}")
    return found
