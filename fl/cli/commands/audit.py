"""`fl audit`: recompute a task from the chain and its bundles, one line a round, exit status 0 if all of it was checked and nothing differs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from eth_account.signers.local import LocalAccount

from fl.audit.archive import Archive
from fl.audit.disputes.evidence import read_receipts, receipts_of
from fl.audit.task_audit import RoundVerdict, TaskAudit
from fl.bundle.files import most_bytes
from fl.bundle.http_client import ArchiveClient, ArchiveRefused
from fl.bundle.validation_set import VALIDATION, read_validation
from fl.chain.record import TaskRecord
from fl.chain.tokens import in_tokens, tokens
from fl.cli.arguments.key_value import parse
from fl.cli.arguments.signer import signer
from fl.cli.arguments.task import NamedTask, bundles_of, open_task, record_of, split
from fl.cli.arguments.values import address_of, whole
from fl.errors import ConfigError
from fl.foreign.files import GivenFolder, Unreadable, expanded, read_file
from fl.plain_text import agreeing, plural, printable, ranges
from fl.scoring.game import ValidationGame
from fl.task.spec import TaskSpec, rows_of_dataset
from fl.task.trust import Trust

KNOWN = {
    "bundles": "folder or URL of the bundles; those beside the invite, or of its gateway, by default",
    "key": "keystore of a client or an evaluator, to be given what is theirs",
    "anvil": "index of one of Anvil's published test accounts instead, on chain 31337 only",
    "account": "whose own part to check, where no key is named",
    "receipts": "the account's receipts.json: was every update that has one counted?",
    "validation": "the task's validation set, which the direction is recomputed on",
    "url": "RPC URL of the chain, the invite's by default",
    "threads": "threads of torch, 1 by default",
    "partial": "true also ends with status 0 where nothing differs but this auditor lacks what some checks need",
    "trust": "packages, with commas, whose models and losses a task may name on this machine",
}


def main(arguments: Sequence[str]) -> None:
    """Audit every posted round; exits with 1 if anything differs or could not be checked, as far as `partial=` says."""
    text, rest = split(arguments, command="audit")
    values = parse(rest, known=KNOWN, command="audit TASK")
    if (partial := values.get("partial", "false")) not in {"true", "false"}:
        raise ConfigError(f"partial is {printable(partial, most=60)!r}; write true or false")
    logging.getLogger("flwr").setLevel(logging.ERROR)  # its strategies talk of training, which nobody does here
    torch.set_num_threads(whole(values.get("threads", "1"), setting="threads"))
    task = open_task(text)
    if "url" in values:
        task = replace(task, invite=replace(task.invite, url=values["url"]))
    spec = TaskSpec.from_json(task.invite.spec, trust=Trust.of(values.get("trust", "")))
    account = key_of(values, chain_id=task.invite.chain_id)
    own = account.address if account else _named(values)
    source = bundles_of(task, where=values.get("bundles"), account=account)
    with record_of(task) as record:
        audit = TaskAudit(
            record=record,
            source=source,
            spec=spec,
            game=game_of(record, spec=spec, task=task, named=values.get("validation"), account=account),
            account=own,
            receipts=_receipts(values, record, own),
            receipts_of_all=_archived_receipts(task.archive, record) if task.archive else {},
        )
        if task.archive:
            whose = (
                "the task's coordinator" if task.archive.signer == record.terms.coordinator else "nobody of the task"
            )
            print(f"archive {task.archive.path}, signed by {task.archive.signer}: {whose}")
        if not _audited(audit, partial=partial == "true"):
            sys.exit(1)


def _audited(audit: TaskAudit, *, partial: bool) -> bool:
    """Print the audit; whether nothing differs and everything was checked, or with `partial` every round was looked at."""
    record, state = audit.record, audit.record.state()
    print(
        f"task {record.invite.task_id} on chain {record.invite.chain_id}: {state.status.name.lower()}, {state.posted} of "
        f"{plural(record.terms.rounds, 'round')}, {tokens(state.cumulative)} of {in_tokens(record.terms.budget)} earned"
    )
    verdicts = []
    for verdict in audit.rounds():
        verdicts.append(verdict)
        print(_line(verdict), flush=True)
    unchecked = _unchecked(verdicts)
    for what, rounds in unchecked.items():
        print(f"not checked in {rounds}: {printable(what)}")
    privacy = audit.spec.private
    if privacy.noise == "rows" and verdicts:
        print(
            f"privacy spent is that of each row of a client with {plural(privacy.rows, 'row')}, by the spec's steps, batch, clip and noise; that "
            "its node drew, clipped and added noise like that is its own word, and no file of the task shows it"
        )
    if audit.account and verdicts:
        _show_pay(audit)
    wrong = [verdict.number for verdict in verdicts if verdict.differences]
    if wrong:
        print(
            f"{len(wrong)} of {plural(len(verdicts), 'round')} {agreeing(len(wrong), 'differs', 'differ')}: {ranges(wrong)}"
        )
    if missed := [verdict.number for verdict in verdicts if verdict.interrupted]:
        print(
            f"{len(missed)} of {plural(len(verdicts), 'round')} could not be looked at to the end: {ranges(missed)}; run it again"
        )
    if wrong or missed:
        return False
    if unchecked and not partial:
        print("nothing differs, but not everything could be checked, so the status is 1; partial=true makes it 0")
    return partial or not unchecked


def _receipts(values: dict[str, str], record: TaskRecord, account: str) -> dict[int, bytes]:
    if "receipts" not in values:
        return {}
    if not account:
        raise ConfigError("receipts are an account's; add key=KEYSTORE or account=0x…")
    receipts = read_receipts(
        Path(values["receipts"]),
        account=account,
        task_id=record.task_id,
        domain=record.domain,
        coordinators=record.coordinators(),
    )
    return {number: receipt.update_root for number, receipt in receipts.items()}


def _archived_receipts(archive: Archive, record: TaskRecord) -> dict[str, dict[int, bytes]]:
    coordinators = record.coordinators()
    return {
        account: {
            number: kept.update_root
            for number, kept in receipts_of(
                text,
                where=f"{archive.path}/receipts/{account}.json",
                account=account,
                task_id=record.task_id,
                domain=record.domain,
                coordinators=coordinators,
            ).items()
        }
        for account, text in archive.receipts().items()
    }


def _named(values: dict[str, str]) -> str:
    return address_of(values["account"], setting="account") if values.get("account") else ""


def key_of(values: dict[str, str], *, chain_id: int) -> LocalAccount | None:
    """The account of `key=` or `anvil=`, None if neither is set. Raises: ConfigError, KeystoreError, TestKeysElsewhere."""
    if "key" not in values and "anvil" not in values:
        return None
    return signer(
        values.get("key"), chain_id=chain_id, anvil_index=whole(values.get("anvil", "0"), setting="anvil", least=0)
    )


def game_of(
    record: TaskRecord, *, spec: TaskSpec, task: NamedTask, named: str | None, account: LocalAccount | None
) -> ValidationGame | None:
    """The loss on the task's validation set, where it is to be had: as named, in the run's folder, or for evaluators.

    Args:
        record: Of the task on chain.
        spec: Of the task.
        task: What was named on the command line.
        named: The validation set that was named.
        account: Whose folder it may be in.
    Raises: ConfigError for a file that cannot be read; OtherValidation.
    """
    folder = task.folder if not named and task.folder and (task.folder / VALIDATION).exists() else None
    where = expanded(named) if named else (folder or Path()) / VALIDATION
    if named or folder:
        try:
            if folder is None:
                data = read_file(where, most=most_bytes(VALIDATION))
            else:
                data = GivenFolder(folder).read(VALIDATION, most=most_bytes(VALIDATION))
        except Unreadable as error:
            raise ConfigError(
                f"validation is {where}, which {error.problem}; name another with validation=FILE"
            ) from error
        told = str(where)
    elif account is not None and account.address in record.terms.evaluators and task.invite.gateway:
        try:
            data, told = ArchiveClient.of_gateway(task.invite, account=account).get("validation"), task.invite.gateway
        except ArchiveRefused:
            return None
    else:
        return None
    validation = read_validation(data, where=told, expected=record.terms.validation_hash)
    return ValidationGame(spec.build_model(), loss=spec.build_loss(), rows=rows_of_dataset(validation))


def _line(verdict: RoundVerdict) -> str:
    name = f"round {verdict.number:<4}"
    void = " (void: proven wrong before)" if verdict.void else ""
    if verdict.differences:
        return f"{name} DIFFERS{void}  {printable('; '.join(verdict.differences), most=100_000)}"
    if verdict.interrupted:
        return f"{name} NOT CHECKED{void}  {printable(verdict.interrupted)}"
    told = "" if verdict.distance is None else f"  direction within {verdict.distance:.1e}"
    spent = "" if verdict.epsilon is None else f"  privacy spent: ε {verdict.epsilon:.2f}"
    return f"{name} ok{void}{told}{spent}"


def _unchecked(verdicts: Sequence[RoundVerdict]) -> dict[str, str]:
    rounds: dict[str, list[int]] = {}
    for verdict in verdicts:
        for what in verdict.unchecked:
            rounds.setdefault(what, []).append(verdict.number)
    return {what: f"round{'s' if len(numbers) > 1 else ''} {ranges(numbers)}" for what, numbers in rounds.items()}


def _show_pay(audit: TaskAudit) -> None:
    account, earned = audit.account, audit.earned(audit.account)
    claimed = audit.record.escrow.claimed(audit.record.task_id, account)
    told = f"{in_tokens(earned[1])} up to round {earned[0]}" if earned else "nothing that could be read"
    print(f"{account} has earned {told}, and {in_tokens(claimed)} are claimed")
