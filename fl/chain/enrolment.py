"""Who takes part in a task: every join and leave, and the rolling hash by which a header names those that it was made for.

E_0 = 0, E' = keccak(E ‖ uint8 kind (1 join, 2 leave) ‖ account ‖ uint32 round ‖ uint128 stake) with its low 12 bytes zeroed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fl.codec.keccak import keccak

_KEPT = 20  # bytes of the hash, as many as the contract keeps
_JOIN, _LEAVE = 1, 2


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """One client of a task, as its `Joined` and `Left` events tell it."""

    account: str
    first_round: int
    left_round: int  # the first round it has no weight in any more, 0 while it takes part
    stake: int  # wei, as joined
    node_key: bytes
    dataset: bytes

    def counts_in(self, round_number: int) -> bool:
        """Whether the client has a leaf in the round."""
        return self.first_round <= round_number

    def weighs_in(self, round_number: int) -> bool:
        """Whether the client may take part in the round."""
        return self.counts_in(round_number) and not 0 < self.left_round <= round_number


@dataclass(frozen=True, kw_only=True)
class Joined:
    """An account staked."""

    enrolment: Enrolment  # as it was then


@dataclass(frozen=True, kw_only=True)
class Left:
    """An account ended its part; before the start of its task it never was there (round 1)."""

    account: str
    round: int  # the first one it has no weight in


@dataclass(frozen=True, kw_only=True)
class Slashed:
    """An account lost its stake for two updates in one round; its place it keeps."""

    account: str


Step = Joined | Left | Slashed


class Enrolments(dict[str, Enrolment]):
    """Everybody with a place in a task, by account, in the order of joining; and what the place rests on.

    Args:
        steps: Everything that happened to them, in its order on chain.
    """

    def __init__(self, steps: Iterable[Step] = ()) -> None:
        super().__init__()
        self._log: list[tuple[int, bytes]] = []  # round that a step first counts in, what it adds to the hash
        slashed: set[str] = set()
        for step in steps:
            if isinstance(step, Slashed):
                slashed.add(step.account)
                continue
            if isinstance(step, Joined):
                enrolment = step.enrolment
                self[enrolment.account] = enrolment
                self._note(_JOIN, enrolment.account, round_number=enrolment.first_round, stake=enrolment.stake)
                continue
            stake = 0 if step.account in slashed else self[step.account].stake
            if step.round > 1:
                self[step.account] = replace(self[step.account], left_round=step.round)
            else:
                del self[step.account]
            self._note(_LEAVE, step.account, round_number=step.round, stake=stake)

    def _note(self, kind: int, account: str, *, round_number: int, stake: int) -> None:
        told = bytes([kind]) + bytes.fromhex(account[2:]) + round_number.to_bytes(4, "big") + stake.to_bytes(16, "big")
        self._log.append((round_number, told))

    def hash(self, round_number: int) -> bytes:
        """What the header of a round names, 32 bytes: all joins and leaves that had happened when the round before was posted."""
        rolled = bytes(32)
        for first, told in self._log:
            if first <= round_number:
                rolled = keccak(rolled + told)[:_KEPT] + bytes(32 - _KEPT)
        return rolled
