"""What a finished task leaves in its folder for those who come later: models with their card, and the archive."""

from __future__ import annotations

import json
from pathlib import Path

from eth_account.signers.local import LocalAccount

from fl.audit.archive import ARCHIVE, write_archive
from fl.bundle.files import BrokenBundle
from fl.bundle.store import BundleStore
from fl.chain.invite import Invite
from fl.report.model_files import MODELS, write_models
from fl.report.summary import SUMMARY


def hand_over(folder: Path, *, account: LocalAccount | None, revealed: bool = True) -> list[str]:
    """Write models, card and archive into a run's folder; returns a line for each, and for what could not be written.

    Args:
        folder: With summary, invite and bundles.
        account: Signs the archive; None leaves it out.
        revealed: Whether the directions are everybody's to see, as they are once a task is over.
    """
    invite, summary = Invite.read(folder / "invite.json"), json.loads((folder / SUMMARY).read_text())
    elsewhere = summary["config"]["coordinator"].get("archive")
    written = write_models(folder, summary, spec=invite.spec, archive=elsewhere)
    lines = [f"models and their card: {folder / MODELS}"] if written else ["no round was posted, so there is no model"]
    store = BundleStore.at(str(folder / "bundles"))
    rounds = [number for number in store.rounds() if number <= summary["totals"]["rounds"]]
    if account is None:
        return [*lines, "no archive: the key that would sign it is not here"]
    try:
        size = write_archive(
            folder / ARCHIVE,
            invite=invite,
            bundles=store,
            rounds=rounds,
            receipts=folder / "receipts",
            revealed=revealed,
            account=account,
        )
    except BrokenBundle as error:
        return [*lines, f"no archive: {error}"]
    return [
        *lines,
        f"archive: {folder / ARCHIVE}, {size:,} bytes; `fl audit {folder / ARCHIVE}` needs nothing else but a chain",
    ]
