"""The receipts that clients fetch: for each account the coordinator's signature under each of its updates."""

from __future__ import annotations

import logging
from pathlib import Path

from fl.bundle.files import BrokenBundle, round_folder
from fl.bundle.format import read_leaves
from fl.chain.json_file import write_json
from fl.chain.paid_task import PaidTask
from fl.chain.whole_file import set_aside
from fl.coordinator.round.report import RoundReport
from fl.foreign.files import Absent, Unreadable, read_file
from fl.foreign.json_text import MOST_BYTES, BadJson, object_of, read_json
from fl.rewards.tree import NO_UPDATE

log = logging.getLogger(__name__)


def keep_receipts(report: RoundReport, *, folder: Path, task: PaidTask) -> None:
    """Add a round's receipts to the files of its clients.

    Args:
        report: Of the round.
        folder: The coordinator's.
        task: Signs anew what a damaged file had.
    """
    roots = {leaf.account: leaf.update_root for leaf in report.leaves}
    for account, receipt in report.receipts.items():
        _keep(account, report.round, roots[account], receipt, folder=folder, task=task)


def _keep(account: str, number: int, root: bytes, receipt: bytes, *, folder: Path, task: PaidTask) -> None:
    path = folder / "receipts" / f"{account}.json"
    try:
        known = dict(object_of(read_json(read_file(path, most=MOST_BYTES))))
    except Absent:
        known = {}
    except (Unreadable, BadJson) as error:
        log.warning(
            "%s cannot be read (%s); it is now %s, and rewritten from the bundles",
            path,
            error.problem,
            set_aside(path),
        )
        known = _written_anew(account, before=number, bundles=folder / "bundles", task=task)
    known[str(number)] = {"update_root": root.hex(), "receipt": receipt.hex()}
    write_json(path, known, mode=0o600)


def _written_anew(account: str, *, before: int, bundles: Path, task: PaidTask) -> dict[str, object]:
    """The receipts of earlier rounds once more: what was taken into a round is in its leaves, and the signature is the same."""
    found: dict[str, object] = {}
    for past in range(1, before):
        try:
            leaves = read_leaves(bundles / round_folder(past))
        except BrokenBundle as error:
            log.warning("the receipts of round %d cannot be rewritten: %s", past, error)
            continue
        for leaf in leaves:
            if leaf.account == account and leaf.update_root != NO_UPDATE:
                receipt = task.receipt(round_number=past, client=account, update_root=leaf.update_root)
                found[str(past)] = {"update_root": leaf.update_root.hex(), "receipt": receipt.hex()}
    return found
