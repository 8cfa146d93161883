"""What a finished task leaves in its folder for those who come later: models with their card, and the archive."""

from __future__ import annotations

from pathlib import Path

from eth_account.signers.local import LocalAccount

from fl.audit.archive import ARCHIVE, write_archive
from fl.bundle.files import BrokenBundle
from fl.bundle.store import BundleStore
from fl.chain.invite import Invite
from fl.errors import FairshareError
from fl.foreign.files import GivenFolder, Unreadable
from fl.foreign.json_text import BadJson, object_of, read_json
from fl.report.model_files import MODELS, write_models
from fl.report.summary import SUMMARY

_MOST_SUMMARY = 256 << 20  # bytes


class BadSummary(FairshareError):
    """A run's summary cannot be read, or is not as a run writes it."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path} is not as a run writes it ({self.problem}); put back the file that the run left"


def hand_over(folder: Path, *, account: LocalAccount | None, revealed: bool = True) -> list[str]:
    """Write models, card and archive into a run's folder; returns a line for each, and for what could not be written.

    Args:
        folder: With summary, invite and bundles.
        account: Signs the archive; None leaves it out.
        revealed: Whether the directions are everybody's to see, as they are once a task is over.
    Raises: BadSummary for a summary that no run has written.
    """
    invite = Invite.read(folder / "invite.json")
    try:
        summary = object_of(read_json(GivenFolder(folder).read(SUMMARY, most=_MOST_SUMMARY), most=_MOST_SUMMARY))
        elsewhere = summary["config"]["coordinator"].get("archive")
        written = write_models(folder, summary, spec=invite.spec, archive=elsewhere)
    except (Unreadable, BadJson, LookupError, TypeError, ValueError, AttributeError) as error:
        problem = error.problem if isinstance(error, (Unreadable, BadJson)) else type(error).__name__
        raise BadSummary(path=str(folder / SUMMARY), problem=problem) from error
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
