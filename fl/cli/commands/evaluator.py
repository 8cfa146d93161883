"""`fl evaluator`: check each round of a task on a machine of one's own, and sign it or say why not."""

from __future__ import annotations

import fcntl
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
from eth_account.signers.local import LocalAccount

from fl.audit.disputes.submit import take_reward
from fl.audit.evaluators.remote import CACHE, EvaluatedRound, NotEvaluator, RemoteEvaluator
from fl.bundle.files import most_bytes
from fl.bundle.http_client import ArchiveClient, ArchiveUnreachable
from fl.bundle.invite_link import load_invite
from fl.bundle.validation_set import VALIDATION, read_validation
from fl.chain.errors import ChainUnreachable, TokenTooLow
from fl.chain.evaluator_stake import can_go_home, release_stakes, stake_due, stake_evaluator
from fl.chain.json_file import write_json
from fl.chain.membership import check_gateway
from fl.chain.record import TaskRecord
from fl.chain.task_state import Status
from fl.chain.tokens import in_tokens, tokens
from fl.chain.whole_file import private_folder
from fl.cli.arguments.key_value import named, parse
from fl.cli.arguments.signer import signer
from fl.cli.arguments.values import number_of, whole
from fl.cli.commands.join import accepted
from fl.codec.address import is_checksummed
from fl.coordinator.lifecycle.refuter import refuting_challenges
from fl.errors import ConfigError, FairshareError
from fl.foreign.files import Unreadable, expanded, read_file
from fl.plain_text import printable
from fl.task.data import Dataset
from fl.task.spec import TaskSpec
from fl.task.trust import Trust

KNOWN = {
    "invite": "the coordinator's invite: a file, a link, or the line that begins with fairshare:",
    "key": "keystore of the evaluator; on chain 31337 anvil=INDEX does instead",
    "anvil": "index of one of Anvil's published test accounts, on chain 31337 only",
    "contract": "address of the evaluator, if it is a contract (ERC-1271) that takes the key's signatures for its own",
    "folder": "keeps what was signed, evaluator/ by default: never sign for one task from two folders",
    "validation": "a file with the validation set; fetched from the coordinator by default",
    "every": "seconds between two looks for a round, 1 by default",
    "once": "true ends after one round: status 0 if it was signed, 1 if it was refused",
    "threads": "threads of torch, 1 by default",
    "accept": "true stakes without the question where the terms ask for a stake",
    "trust": "packages, with commas, whose models and losses a task may name on this machine",
}
ROLE = "evaluator.json"  # in the task's folder: for whom it signs, which `fl finish` reads
_LONGEST_PAUSE_S = 30.0


def main(arguments: Sequence[str]) -> None:
    """Check rounds until the task is over."""
    values = parse(
        named(arguments, "invite", command="evaluator"), known=KNOWN, command="evaluator INVITE", required=["invite"]
    )
    if not values.get("key") and "anvil" not in values:
        raise ConfigError("key is not set; add key=KEYSTORE (`fl key` makes one), or anvil=INDEX on a local Anvil")
    every = number_of(values.get("every", "1"), setting="every")
    logging.getLogger("flwr").setLevel(logging.ERROR)  # its strategies talk of training, which nobody does here
    torch.set_num_threads(whole(values.get("threads", "1"), setting="threads"))
    invite = load_invite(values["invite"])
    account = signer(
        values.get("key"),
        chain_id=invite.chain_id,
        anvil_index=whole(values.get("anvil", "0"), setting="anvil", least=0),
    )
    spec = TaskSpec.from_json(invite.spec, trust=Trust.of(values.get("trust", "")))
    record = TaskRecord(invite)
    check_gateway(invite, record.terms, escrow=record.escrow)
    own = _evaluator_of(values.get("contract", ""), record=record, account=account)
    _stake(record, own=own, account=account, values=values)
    with _own_folder(expanded(values.get("folder", "evaluator")) / invite.task_id[2:]) as folder:
        invite.write(folder / "invite.json")
        write_json(folder / ROLE, {"evaluator": own, "account": account.address})
        with _defended(record, folder, account=account):
            if not _over(record):  # else its coordinator may be gone, and has nothing to give
                evaluator = RemoteEvaluator(
                    record,
                    ArchiveClient.of_gateway(invite, account=account),
                    spec=spec,
                    account=account,
                    folder=folder,
                    validation=_validation(values.get("validation"), record),
                    contract=own if own != account.address else "",
                )
                print(
                    f"evaluator {own} of task {invite.task_id}, which takes {record.terms.quorum} of "
                    f"{len(record.terms.evaluators)}; Ctrl-C ends it",
                    flush=True,
                )
                for evaluation in _evaluations(evaluator, every=every):
                    print(_line(evaluation), flush=True)
                    if values.get("once") == "true":
                        sys.exit(1 if evaluation.refusal else 0)
            _bring_home(record, own=own, account=account, every=every)
        print("the task is over")


def _defended(record: TaskRecord, folder: Path, *, account: LocalAccount) -> AbstractContextManager[None]:
    """Refute false challenges of what was signed: with a stake, they would cost the evaluator as if they were right."""
    if not record.terms.evaluator_stake:
        return nullcontext()
    return refuting_challenges(record.invite, bundles=folder / CACHE, account=account)


def _evaluator_of(contract: str, *, record: TaskRecord, account: LocalAccount) -> str:
    """The evaluator that the key signs for: its own account, or a contract."""
    if contract and not is_checksummed(contract):
        raise ConfigError(f"contract is {contract!r}; write its address with the capitals of its checksum")
    own = contract or account.address
    if own not in record.terms.evaluators:
        raise NotEvaluator(account=own, evaluators=record.terms.evaluators)
    if contract and not record.escrow.is_contract(contract):
        raise ConfigError(
            f"there is no contract at {contract} on chain {record.invite.chain_id}; leave contract= out for a key of its own"
        )
    return own


def _stake(record: TaskRecord, *, own: str, account: LocalAccount, values: dict[str, str]) -> None:
    """Say what is at stake, and put it there, if that is not done."""
    terms, state = record.terms, record.state()
    if state.status not in (Status.OPEN, Status.STARTED):
        return
    if not stake_due(record.escrow, record.task_id, own, payer=account.address):
        return
    stake = tokens(terms.evaluator_stake)
    if terms.evaluator_stake:
        held = record.token.balance(account.address)
        print(
            f"this task takes an evaluator's signature only with {stake} tokens behind it. They come back to {account.address}, which "
            f"holds {tokens(held)}, when the task is closed. They are lost for a signature under a round that is proven wrong in what its "
            "files show: scores, totals, accounts, the tree, the model before. Keep this command running until then: it answers "
            "false challenges of what it signed",
            flush=True,
        )
        if held < terms.evaluator_stake:
            raise TokenTooLow(
                address=account.address, balance=held, needed=terms.evaluator_stake, purpose="evaluator's stake"
            )
        if not accepted("stake them? [y/N] ", values):
            raise ConfigError(
                "nothing was staked or signed; answer y, or add accept=true where nobody is there to answer"
            )
    sent = stake_evaluator(
        record.escrow, record.token, task_id=record.task_id, evaluator=own, payer=account, key=account
    )
    if sent is not None:
        print(
            f"staked {stake} tokens for {own} in {sent.hash}" if terms.evaluator_stake else f"speaks for {own}",
            flush=True,
        )


def _bring_home(record: TaskRecord, *, own: str, account: LocalAccount, every: float) -> None:
    """Wait until the stake can go home, if there is one, and fetch it."""
    told = False
    while record.terms.evaluator_stake and (backer := record.escrow.backer(record.task_id, own)).stake:
        if can_go_home(record.escrow, record.task_id):
            release_stakes(record.escrow, record.task_id, account=account, payers=[backer.payer])
            break
        if not told:
            print(
                f"all rounds are in; the stake of {in_tokens(backer.stake)} stays until the task is closed. Ctrl-C leaves them there, and "
                "`fl finish` fetches them then",
                flush=True,
            )
            told = True
        time.sleep(max(every, 0.2))
    came = take_reward(record, account=account)
    if came:
        print(f"{in_tokens(came)} came back to {account.address}", flush=True)


def _evaluations(evaluator: RemoteEvaluator, *, every: float) -> Iterator[EvaluatedRound]:
    """Each round as it comes, until the task is over. An absent coordinator or chain is waited for, and said once."""
    pause, told = every, ""
    while True:
        try:
            evaluation = evaluator.evaluate_waiting()
            if evaluation is None and _over(evaluator.record):
                return
        except (ArchiveUnreachable, ChainUnreachable, OSError) as error:
            if _seen_over(evaluator.record):  # a coordinator that is done may be gone for good
                return
            if type(error).__name__ != told:
                print(f"waiting: {printable(error)}", file=sys.stderr, flush=True)
            told, pause = type(error).__name__, min(2 * pause, _LONGEST_PAUSE_S)
            evaluation = None
        else:
            told, pause = "", every
        if evaluation is None:
            time.sleep(pause)
        else:
            yield evaluation


def _over(record: TaskRecord) -> bool:
    state = record.state()
    return state.status in (Status.HALTED, Status.CLOSED) or state.posted >= record.terms.rounds


def _seen_over(record: TaskRecord) -> bool:
    try:
        return _over(record)
    except (ChainUnreachable, OSError):
        return False


def _line(evaluation: EvaluatedRound) -> str:
    late = "" if evaluation.accepted else " (not needed: others were faster)"
    if evaluation.refusal:
        return f"round {evaluation.round} REFUSED{late}: {printable(evaluation.refusal)}"
    distance = "" if evaluation.distance is None else f", direction within {evaluation.distance:.1e}"
    return f"round {evaluation.round} signed{late}{distance}, {evaluation.seconds:.1f} s"


def _validation(named: str | None, record: TaskRecord) -> Dataset | None:
    if named is None:
        return None
    path = expanded(named)
    try:
        data = read_file(path, most=most_bytes(VALIDATION))
    except Unreadable as error:
        raise ConfigError(
            f"validation is {path}, which {error.problem}; name the file that the task was opened with"
        ) from error
    return read_validation(data, where=str(path), expected=record.terms.validation_hash)


class FolderTaken(FairshareError):
    """Another evaluator works in the folder."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.folder = folder

    def __str__(self) -> str:
        return f"another `fl evaluator` works in {self.folder}; stop it, or name another folder for another key"


@contextmanager
def _own_folder(folder: Path) -> Iterator[Path]:
    private_folder(folder)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FolderTaken(folder=str(folder)) from None
        yield folder
