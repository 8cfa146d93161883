"""The invite: one file that holds all a client needs to find, check and join a task."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from eth_utils import is_checksum_address

from fl.chain.errors import ChainError
from fl.chain.json_file import write_json


class BadInvite(ChainError):
    """An invite file is absent, or says something else than an invite."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"invite {self.path} {self.problem}; ask the coordinator for it"


@dataclass(frozen=True, kw_only=True)
class Invite:
    """Where a task is and what it trains. The owner of a node accepts a task by naming its invite."""

    chain_id: int
    url: str  # of the RPC node
    contract: str
    token: str
    block: int
    task_id: str  # 0x hex
    coordinator: str  # whose receipts count
    spec: str  # canonical JSON; its sha256 is the contract's specHash

    @property
    def id_bytes(self) -> bytes:
        """The task id, 32 bytes."""
        return bytes.fromhex(self.task_id.removeprefix("0x"))

    @property
    def spec_hash(self) -> bytes:
        """sha256 of the spec's text."""
        return hashlib.sha256(self.spec.encode()).digest()

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Invite:
        """Read the file. Raises: BadInvite if it is not there, or a value in it has another form."""
        try:
            raw = json.loads(path.read_text())
            invite = cls(**{one.name: raw[one.name] for one in fields(cls)})
        except FileNotFoundError:
            raise BadInvite(path=str(path), problem="is not there") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInvite(path=str(path), problem=f"is not one ({type(error).__name__}: {error})") from error
        # Somebody else wrote it, and everything behind trusts the object.
        for name, fits in {
            **dict.fromkeys(("chain_id", "block"), lambda value: type(value) is int),
            **dict.fromkeys(("url", "spec"), lambda value: isinstance(value, str)),
            **dict.fromkeys(("contract", "token", "coordinator"), is_checksum_address),
            "task_id": lambda value: isinstance(value, str) and re.fullmatch(r"0x[0-9a-f]{64}", value),
        }.items():
            if not fits(value := getattr(invite, name)):
                raise BadInvite(path=str(path), problem=f"is not one ({name} is {value!r})")
        return invite
