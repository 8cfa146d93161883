"""The folder of one node: which task and account it is for, and everything that has to outlive its process.

invite.json       the task that the owner accepted
node.json         account and shard
node_key          the Flower identity that is bound to the account on chain
last-update, receipts.json    see `clients.keys.ledger`
rounds/round-0001/...         header, manifest and leaves of each posted round
node.log, supernode.log
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clients.errors import FolderInUse, ForeignFolder
from fl.bundle.files import round_folder
from fl.chain.invite import Invite
from fl.chain.json_file import write_json
from fl.chain.node_key import create_node_key, open_node_key
from fl.chain.whole_file import private_folder
from fl.errors import ConfigError
from fl.foreign.files import Absent, Unreadable, read_file
from fl.foreign.json_text import BadJson, object_of, read_json, text_of

_MOST_BYTES = 1 << 16  # of node.json


@dataclass(frozen=True, kw_only=True)
class NodeFolder:
    """Where one node keeps what is its own."""

    path: Path

    @property
    def invite_path(self) -> Path:
        """The accepted invite."""
        return self.path / "invite.json"

    @property
    def node_key_path(self) -> Path:
        """The private key of the Flower node."""
        return self.path / "node_key"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, for its owner only, and keep it for this process. Raises: FolderInUse."""
        private_folder(self.path)
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise FolderInUse(folder=str(self.path)) from None
            yield
        finally:
            os.close(descriptor)  # which lets the lock go, as the end of the process does

    def in_use(self) -> bool:
        """Whether a node runs in it."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def check(self, *, invite: Invite, account: str) -> None:
        """Refuse a folder of another task or account. Raises: ForeignFolder; BadInvite."""
        if self.invite_path.exists() and (known := Invite.read(self.invite_path)).task_id != invite.task_id:
            raise ForeignFolder(folder=str(self.path), what="task", seen=known.task_id, expected=invite.task_id)
        if (own := self.account) not in ("", account):
            raise ForeignFolder(folder=str(self.path), what="account", seen=own, expected=account)

    def bind(self, *, invite: Invite, account: str) -> None:
        """Write down which task and account the folder is for; an invite may bring a new gateway or certificate."""
        self.check(invite=invite, account=account)
        invite.write(self.invite_path)
        write_json(self.path / "node.json", {"account": account}, mode=0o600)

    @property
    def account(self) -> str:
        """The account that the folder is for; "" before it was bound."""
        try:
            return text_of(
                object_of(read_json(read_file(self.path / "node.json", most=_MOST_BYTES)))["account"], most=42
            )
        except Absent:
            return ""
        except (Unreadable, BadJson, KeyError) as error:
            raise ConfigError(
                f"{self.path / 'node.json'} cannot be read ({error}); restore it or name another folder"
            ) from error

    def node_key(self) -> bytes:
        """The public node key as it stands on chain, made when it is first asked for. Raises: BadNodeKey."""
        if self.node_key_path.exists():
            return open_node_key(self.node_key_path)
        return create_node_key(self.node_key_path)

    def round_path(self, round_number: int) -> Path:
        """Where a posted round's header, manifest and leaves are kept."""
        return self.path / "rounds" / round_folder(round_number)
