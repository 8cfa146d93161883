"""What a client keeps and a round's bundle does not say: the coordinator's receipts, and updates that were signed twice."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fl.audit.disputes.proofs import Signed
from fl.chain.typed_data import Domain, InvalidSignature, Receipt, signer_of
from fl.codec.address import is_checksummed
from fl.errors import FairshareError
from fl.foreign.files import Unreadable, read_file
from fl.foreign.json_text import MOST_BYTES, BadJson, hex_of, list_of, object_of, read_json, shown, whole_of

_ROUND = re.compile(r"[1-9][0-9]{0,9}")
_MOST_ROUND = 2**32 - 1


class BadEvidence(FairshareError):
    """A file of receipts or signed updates is absent, or says something else."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path} {self.problem}; name a file that a node or a coordinator of this task wrote"


@dataclass(frozen=True, kw_only=True)
class KeptReceipt:
    """The coordinator's word that it took an account's update into a round."""

    update_root: bytes
    signature: bytes  # 65 bytes


def read_receipts(
    path: Path, *, account: str, task_id: bytes, domain: Domain, coordinators: Collection[str]
) -> dict[int, KeptReceipt]:
    """A node's `receipts.json`, or a coordinator's: an account's receipts by round, every signature checked.

    Args:
        path: Of the file, somebody else's.
        account: Whose receipts they have to be.
        task_id: 32 bytes.
        domain: Of the contract, which every signature is for.
        coordinators: Who may have signed: those whom the task has had.
    Raises: BadEvidence for a file that is none, or a receipt that is not a coordinator's for this account and
        task.
    """
    try:
        text = read_file(path, most=MOST_BYTES)
    except Unreadable as error:
        raise BadEvidence(path=str(path), problem=error.problem) from error
    return receipts_of(
        text, where=str(path), account=account, task_id=task_id, domain=domain, coordinators=coordinators
    )


def receipts_of(
    text: bytes, *, where: str, account: str, task_id: bytes, domain: Domain, coordinators: Collection[str]
) -> dict[int, KeptReceipt]:
    """As `read_receipts`, from the content of such a file.

    Args:
        text: The content.
        where: It came from, for messages.
        account: Whose receipts they have to be.
        task_id: 32 bytes.
        domain: Of the contract, which every signature is for.
        coordinators: Who may have signed: those whom the task has had.
    Raises: BadEvidence.
    """
    receipts = {}
    try:
        for number, raw in object_of(read_json(text)).items():
            entry = object_of(raw)
            kept = KeptReceipt(
                update_root=_hex(entry["update_root"], size=32), signature=_hex(entry["receipt"], size=65)
            )
            if not _ROUND.fullmatch(number) or int(number) > _MOST_ROUND:
                raise BadJson(problem=f"{shown(number)} is not a round")
            told = Receipt(task_id=task_id, round=int(number), client=account, update_root=kept.update_root)
            if (signer := signer_of(told, domain=domain, signature=kept.signature)) not in coordinators:
                raise BadEvidence(
                    path=where,
                    problem=f"has a receipt for round {number} that is signed by {signer}, not by {' or '.join(coordinators)} "
                    f"for {account}",
                )
            receipts[int(number)] = kept
    except (BadJson, KeyError, InvalidSignature) as error:
        raise BadEvidence(path=where, problem=f"is not a file of receipts ({type(error).__name__}: {error})") from error
    return receipts


@dataclass(frozen=True, kw_only=True)
class SeenUpdate:
    """A signed update, wherever it was seen."""

    round: int
    client: str
    signed: Signed


def seen_to_json(update: SeenUpdate) -> dict[str, object]:
    """As a line of a file of signed updates."""
    return {
        "round": update.round,
        "client": update.client,
        "base_model": update.signed.base_model.hex(),
        "update_root": update.signed.update_root.hex(),
        "signature": update.signed.signature.hex(),
    }


def read_seen(path: Path) -> list[SeenUpdate]:
    """A JSON list of signed updates. Raises: BadEvidence."""
    try:
        found = [
            SeenUpdate(
                round=whole_of(raw["round"], least=1, most=_MOST_ROUND),
                client=raw["client"],
                signed=Signed(
                    base_model=_hex(raw["base_model"], size=32),
                    update_root=_hex(raw["update_root"], size=32),
                    signature=_hex(raw["signature"], size=65),
                ),
            )
            for raw in map(object_of, list_of(read_json(read_file(path, most=MOST_BYTES))))
        ]
    except Unreadable as error:
        raise BadEvidence(path=str(path), problem=error.problem) from error
    except (BadJson, KeyError) as error:
        raise BadEvidence(
            path=str(path), problem=f"is not a list of signed updates ({type(error).__name__}: {error})"
        ) from error
    for finding in found:
        if not is_checksummed(finding.client):
            raise BadEvidence(path=str(path), problem=f"names {shown(finding.client)}, which is not an address")
    return found


def _hex(value: object, *, size: int) -> bytes:
    return hex_of(value.removeprefix("0x") if isinstance(value, str) else value, size=size)
