"""Which task a command is about: an invite in any of its forms, the folder of a run, or an archive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from eth_account.signers.local import LocalAccount

from fl.audit.archive import Archive, is_archive
from fl.bundle.http_client import ArchiveClient, HttpBundles
from fl.bundle.invite_link import load_invite
from fl.bundle.store import BundleSource, BundleStore
from fl.chain.anvil import CHAIN_STATE, running_anvil
from fl.chain.errors import ChainUnreachable, NoContract, NoTask, WrongChain
from fl.chain.invite import Invite
from fl.chain.record import TaskRecord
from fl.chain.typed_data import Domain
from fl.errors import ConfigError
from fl.foreign.files import GivenFolder, expanded
from fl.plain_text import printable

_MOST_STATE = 1 << 30  # bytes of a chain that a run kept
_INVITE = "fairshare:"  # how the one-line form begins; it may end in =
_TEXTS = (_INVITE, "https://", "http://")


@dataclass(frozen=True, kw_only=True)
class NamedTask:
    """A task and, where it ran on this machine, its folder."""

    invite: Invite
    folder: Path | None = None
    archive: Archive | None = None


def split(arguments: Sequence[str], *, command: str) -> tuple[str, list[str]]:
    """The TASK among the arguments, and the others. Raises: ConfigError unless there is one."""
    places = [
        argument
        for argument in arguments
        if argument.startswith(_TEXTS) or ("=" not in argument and not argument.startswith("-"))
    ]
    rest = [argument for argument in arguments if argument not in places]
    if len(places) > 1:
        raise ConfigError(f"fl {command} is about one task, and {' and '.join(places)} are named; name one")
    if not places and not any(argument in ("-h", "--help") for argument in rest):
        raise ConfigError(f"no task is named; write fl {command} TASK, with an invite, a run's folder, or an archive")
    return (places or [""])[0], rest


def open_task(text: str) -> NamedTask:
    """The task that a text names. Raises: BadInvite; BadArchive; ConfigError for a folder without an invite."""
    path = expanded(text)
    if not text.startswith(_TEXTS) and is_archive(path):
        archive = Archive.open(path)
        return NamedTask(invite=archive.invite, archive=archive)
    if not text.startswith(_TEXTS) and path.is_dir():
        if not (path / "invite.json").exists():
            raise ConfigError(f"{text} has no invite.json; name the folder of a run or of a coordinator")
        return NamedTask(invite=Invite.read("invite.json", inside=GivenFolder(path)), folder=path)
    if not text.startswith(_TEXTS) and not path.exists():
        raise ConfigError(
            f"there is no file or folder {printable(text, most=100)}; name an invite, a run's or a coordinator's folder, or an archive"
        )
    invite = load_invite(text)
    beside = path.parent if not text.startswith(_TEXTS) and (path.parent / "bundles").is_dir() else None
    return NamedTask(invite=invite, folder=beside)


@contextmanager
def record_of(task: NamedTask) -> Iterator[TaskRecord]:
    """The task on chain; where a run's own Anvil has ended with it, from the state that it kept, on an Anvil that ends here.

    Raises: ChainError with what to do.
    """
    own = task.folder
    try:
        record = TaskRecord(task.invite)
    except (ChainUnreachable, WrongChain, NoContract, NoTask):  # nobody is there, or another chain got the port
        if own is None or not (own / CHAIN_STATE).exists():
            raise
    else:
        yield record
        return
    with TemporaryDirectory() as folder:
        kept = Path(folder) / CHAIN_STATE
        # The folder may be somebody else's: a link or a pipe in it is not followed.
        kept.write_bytes(GivenFolder(own).read(CHAIN_STATE, most=_MOST_STATE))
        with running_anvil(log=Path(folder) / "anvil.log", state=kept) as url:
            yield TaskRecord(replace(task.invite, url=url))


def bundles_of(task: NamedTask, *, where: str | None, account: LocalAccount | None) -> BundleSource:
    """Where the task's bundles are: as told, beside its invite, or at its gateway.

    Args:
        task: As named.
        where: A folder or URL; None to look.
        account: Signs for what only some may read.
    Raises: ConfigError.
    """
    invite = task.invite
    if where is None and task.archive is not None:
        return task.archive
    if where is None and task.folder is not None:
        where = str(task.folder / "bundles")
    if where is None:
        if not invite.gateway:
            raise ConfigError("the invite has no gateway; say where the bundles are: bundles=FOLDER or a URL")
        return HttpBundles(ArchiveClient.of_gateway(invite, account=account), "bundles")
    if where.startswith(("http://", "https://")):
        domain = Domain(chain_id=invite.chain_id, contract=invite.contract)
        own = bool(invite.gateway) and where.startswith(f"{invite.gateway}/")
        # Nobody but the gateway is told who asks.
        asking = ArchiveClient(
            where, ca=invite.ca if own else "", account=account if own else None, domain=domain, task_id=invite.id_bytes
        )
        return HttpBundles(asking)
    if "://" not in where and not expanded(where).is_dir():
        raise ConfigError(f"bundles is {where}, which is not a folder; name the folder that holds round-0001, or a URL")
    return BundleStore.at(where if "://" in where else str(expanded(where)))
