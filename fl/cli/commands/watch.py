"""`fl watch`: look at a task as it goes on, and tell the chain what is wrong with it."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from eth_account.signers.local import LocalAccount

from fl.audit.disputes.evidence import BadEvidence, KeptReceipt, read_receipts, read_seen, seen_to_json
from fl.audit.disputes.findings import Finding, Look
from fl.audit.disputes.submit import Filings, take_reward
from fl.audit.disputes.watch import Watch
from fl.chain.errors import ChainError, ChainUnreachable, Refused
from fl.chain.record import TaskRecord
from fl.chain.tokens import in_tokens
from fl.cli.arguments.key_value import parse
from fl.cli.arguments.signer import signer
from fl.cli.arguments.task import bundles_of, open_task, split
from fl.cli.arguments.values import address_of, number_of, whole
from fl.errors import ConfigError
from fl.foreign.files import expanded
from fl.plain_text import printable

KNOWN = {
    "key": "keystore that pays the gas and the bonds and gets the rewards; on chain 31337 anvil=INDEX does instead",
    "anvil": "index of one of Anvil's published test accounts, on chain 31337 only",
    "dry": "true says what would be filed, and files nothing; it needs no key",
    "bundles": "folder or URL of the bundles; those beside the invite, or of its gateway, by default",
    "receipts": "receipts.json of the account: an update that has one and was left out is proven",
    "account": "whose receipts they are, if not the key's",
    "updates": "a file of signed updates that were seen elsewhere: a client's second one for a round is proven",
    "folder": "remembers the signed updates that were seen, watch/ by default",
    "every": "seconds between two looks, 5 by default",
    "once": "true looks once and ends: status 0 if all was read and nothing is wrong, else 1",
}
_LONGEST_PAUSE_S = 60.0


def main(arguments: Sequence[str]) -> None:
    """Watch until the task is over."""
    text, rest = split(arguments, command="watch")
    values = parse(rest, known=KNOWN, command="watch TASK")
    logging.getLogger("flwr").setLevel(logging.ERROR)
    every, dry = number_of(values.get("every", "5"), setting="every"), values.get("dry") == "true"
    task = open_task(text)
    account = _account(values, chain_id=task.invite.chain_id, dry=dry)
    record = TaskRecord(task.invite)
    owner, receipts = _receipts(values, record, account)
    notes = expanded(values.get("folder", "watch")) / task.invite.task_id[2:] / "updates.json"
    watch = Watch(
        record,
        bundles_of(task, where=values.get("bundles"), account=account),
        account=owner,
        receipts=receipts,
        seen=[update for path in _evidence(values, notes) for update in read_seen(path)],
        challenger=account.address if account and not dry else "",
    )
    told = f"as {account.address}" if account else "without filing anything"
    once = values.get("once") == "true"
    ends = "looking once" if once else "Ctrl-C ends it"
    print(f"watching task {task.invite.task_id} {told}; {ends}", flush=True)
    watcher = _Watcher(watch, account=None if dry else account, notes=notes, look_s=every)
    if once:
        over = watcher.pass_once()
        if over:
            print(watcher.ending())
        elif not (watcher.fraud or watcher.unread or watcher.told):
            print("no round is posted whose challenge window is open, so there was nothing to look at")
        if watcher.unread:
            print("not everything could be read, so this look says nothing about the rest")
        sys.exit(1 if watcher.fraud or watcher.unread else 0)
    watcher.run(every=every)


class _Watcher:
    """Prints what a watch finds, and files it."""

    def __init__(self, watch: Watch, *, account: LocalAccount | None, notes: Path, look_s: float) -> None:
        self.watch, self.account, self.notes = watch, account, notes
        self.fraud = False
        self._filings = Filings(watch.record, account=account, look_s=look_s) if account else None
        self.unread = False  # whether the last look left something unread
        self._told: set[str] = set()

    def run(self, *, every: float) -> None:
        """Look again and again; an absent chain is waited for, and said once."""
        pause = every
        while True:
            try:
                over, pause = self.pass_once(), every
            except (ChainUnreachable, OSError) as error:
                self._say_once(f"waiting: {printable(error)}")
                over, pause = False, min(2 * pause, _LONGEST_PAUSE_S)
            if over:
                print(self.ending())
                return
            time.sleep(pause)

    def ending(self) -> str:
        """Why there is nothing left to watch."""
        state = self.watch.record.state()
        return f"the task is {state.status.name.lower()} at round {state.posted}; nothing is left to watch"

    @property
    def told(self) -> bool:
        """Whether anything was said of a round."""
        return bool(self._told)

    def pass_once(self) -> bool:
        """Look, and file what was found, until a look finds nothing new; returns whether the task is over."""
        while True:
            look = self.watch.look()
            self._show(look)
            self._remember()
            # One at a time: what is proven first can void what comes after it.
            if not any(self._handle(finding) for finding in look.findings):
                return look.over and all(self._is_settled(finding) for finding in look.findings)

    def _show(self, look: Look) -> None:
        self.unread = bool(look.unread)
        for problem in look.unread:
            self._say_once(f"not read: {printable(problem)}; looked at again later")
        for number in look.fine:
            self._say_once(f"round {number} is fine")
        for number, what in look.unchecked.items():
            self._say_once(f"round {number}: nothing wrong was found; not checked: {printable('; '.join(what))}")

    def _handle(self, finding: Finding) -> bool:
        """Tell of a finding and file it; returns whether the chain took it."""
        if not self._is_ours(finding) or (self._filings and not self._filings.is_due(finding)):
            return False
        if finding.fraud:
            self.fraud = True
            self._say_once(f"round {finding.round} FRAUD: {finding.what}")
        else:
            self._say_once(f"round {finding.round}: {finding.what}")
        if self._filings is None:
            bond = f" with a bond of {in_tokens(finding.bond)}" if finding.bond else ""
            self._say_once(f"  would file {finding.call.function}{bond} about round {finding.round}: {finding.what}")
            return False
        try:
            sent = self._filings.file(finding)
        except Refused as error:
            if error.name != "TooEarly":
                self._say_once(f"  not filed: {error}; tried again for as long as the chain lets it stand")
            return False
        except ChainUnreachable:
            raise
        except ChainError as error:  # no gas, too few tokens for the bond: the owner can still help
            self._say_once(f"  not filed yet: {error}")
            return False
        print(f"  filed {finding.call.function} in {sent.hash}, {sent.gas} gas{self._reward()}", flush=True)
        return True

    def _is_ours(self, finding: Finding) -> bool:
        return not finding.by or self.account is None or finding.by == self.account.address

    def _is_settled(self, finding: Finding) -> bool:
        """Whether the watch may end though a look still finds this."""
        return self._filings is None or not self._is_ours(finding) or self._filings.is_settled(finding)

    def _reward(self) -> str:
        came = take_reward(self.watch.record, account=self.account) if self.account else 0
        return f"; {in_tokens(came)} came in" if came else ""

    def _remember(self) -> None:
        found = [seen_to_json(update) for update in self.watch.seen]
        if found:
            self.notes.parent.mkdir(parents=True, exist_ok=True)
            partial = self.notes.with_name(self.notes.name + ".partial")
            partial.write_text(json.dumps(found, indent=1) + "\n")
            partial.replace(self.notes)

    def _say_once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            print(line, flush=True)


def _account(values: dict[str, str], *, chain_id: int, dry: bool) -> LocalAccount | None:
    if not values.get("key") and "anvil" not in values:
        if dry:
            return None
        raise ConfigError("key is not set; add key=KEYSTORE (`fl key` makes one), or dry=true to file nothing")
    index = whole(values.get("anvil", "0"), setting="anvil", least=0)
    return signer(values.get("key"), chain_id=chain_id, anvil_index=index)


def _receipts(
    values: dict[str, str], record: TaskRecord, account: LocalAccount | None
) -> tuple[str, dict[int, KeptReceipt]]:
    owner = address_of(values["account"], setting="account") if values.get("account") else ""
    owner = owner or (account.address if account else "")
    if "receipts" not in values:
        return owner, {}
    if not owner:
        raise ConfigError("receipts are an account's; add key=KEYSTORE or account=0x…")
    return owner, read_receipts(
        Path(values["receipts"]),
        account=owner,
        task_id=record.task_id,
        domain=record.domain,
        coordinators=record.coordinators(),
    )


def _evidence(values: dict[str, str], notes: Path) -> list[Path]:
    named = [expanded(values["updates"])] if "updates" in values else []
    if named and not named[0].exists():
        raise BadEvidence(path=str(named[0]), problem="is not there")
    return [*named, *([notes] if notes.exists() else [])]
