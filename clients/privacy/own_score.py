"""The score that a client's own update has to get in a masked round, noted when it is told the direction and held against the leaf.

Others see no update, and a client needs nobody's word for its own: it knows what it encoded, the noise of its pairs, and the rest is public.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clients.errors import BrokenLedger
from fl.chain.json_file import write_json
from fl.chain.whole_file import private_folder
from fl.foreign.files import Absent, Unreadable, read_file
from fl.foreign.json_text import BadJson, decimal_of, hex_of, object_of, read_json

_MOST_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class OwnScore:
    """What an own update comes to along the direction that this client was asked about."""

    score: int  # units of 2^−40 of loss
    direction_root: bytes


class OwnScores:
    """By round, in `signed/<task id>/own-scores.json` of a node's folder."""

    def __init__(self, folder: Path, *, task_id: bytes) -> None:
        self._path = folder / "signed" / task_id.hex() / "own-scores.json"

    def note(self, round_number: int, own: OwnScore) -> None:
        """Keep one."""
        private_folder(self._path.parent)
        entry = {"score": str(own.score), "direction": own.direction_root.hex()}
        write_json(self._path, {**self._raw(), str(round_number): entry}, mode=0o600)

    def of(self, round_number: int) -> OwnScore | None:
        """That of a round, None where none was noted. Raises: BrokenLedger."""
        if (entry := self._raw().get(str(round_number))) is None:
            return None
        try:
            return OwnScore(
                score=decimal_of(entry["score"], bits=128, signed=True),
                direction_root=hex_of(entry["direction"], size=32),
            )
        except (BadJson, KeyError, TypeError) as error:
            raise BrokenLedger(path=str(self._path), problem=f"round {round_number} cannot be read") from error

    def _raw(self) -> dict[str, dict[str, str]]:
        try:
            return dict(object_of(read_json(read_file(self._path, most=_MOST_BYTES), most=_MOST_BYTES)))
        except Absent:
            return {}
        except (Unreadable, BadJson) as error:
            raise BrokenLedger(path=str(self._path), problem=error.problem) from error
