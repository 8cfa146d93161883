"""What the contract holds of a task, as frozen values: its terms, how it stands, its clients, and the challenges of its scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum

from fl.chain.sender import Sent
from fl.chain.typed_data import Header


class Status(IntEnum):
    """What a task's life has come to."""

    NONE = 0
    OPEN = 1
    STARTED = 2
    HALTED = 3
    CLOSED = 4


@dataclass(frozen=True, kw_only=True)
class Terms:
    """All that a sponsor promises, frozen by `open`; the fields of the Solidity struct, in its order."""

    token: str
    coordinator: str
    evaluators: tuple[str, ...]  # strictly ascending
    quorum: int
    reveal_each_round: bool = False
    attested: bool = False  # the chain cannot recompute the scores; nobody can challenge one
    may_stop: bool = False  # the sponsor may make the round under way the last one, which then pays the whole budget
    may_close_joining: bool = False  # the sponsor may close the joining, and open it again
    rounds: int
    challenge_window: int  # s
    response_window: int  # s
    round_timeout: int  # s
    claim_period: int  # s
    budget: int  # wei
    bond: int  # wei, the coordinator's own
    min_stake: int  # wei
    max_stake: int  # wei
    evaluator_stake: int = 0  # wei; an evaluator's signature counts once so much stands behind it
    members: bytes = bytes(32)  # root over the accounts that may join; zeros for anyone
    spec_hash: bytes
    validation_hash: bytes
    base_model: bytes
    salt: bytes

    def as_tuple(self) -> tuple[object, ...]:
        """Values in the order of the Solidity struct."""
        return tuple(asdict(self).values())


@dataclass(frozen=True, kw_only=True)
class TaskState:
    """Where a task stands; the fields of the Solidity struct, in its order."""

    sponsor: str
    status: Status
    swept: bool
    stopping: bool  # the sponsor stopped the task: `rounds` is sooner than the terms say
    joining_closed: bool
    rounds: int  # the last round
    posted: int
    void_from: int
    held_from: int
    clients: int
    open_challenges: int  # of scores, and requests for a leaf
    since: int  # s
    budget: int  # wei, that the schedule pays out
    added: int  # wei, to the budget, from the round after the one under way
    bond: int  # wei, held now
    cumulative: int  # wei
    paid: int  # wei
    pool: int  # wei, shared by the clients because the task did not end as planned
    pool_base: int  # what the pool is shared by: cumulative or, if that is 0, the stakes
    enrolment: bytes  # what the next header has to carry

    def due(self, cumulative: int) -> int:
        """Wei that an account with this cumulative in the last valid round has to have been paid in the end."""
        if self.status != Status.CLOSED or not self.pool or not self.cumulative:
            return cumulative
        return cumulative + self.pool * cumulative // self.cumulative


@dataclass(frozen=True, kw_only=True)
class Client:
    """What the contract holds of one account; the fields of the Solidity struct, in its order."""

    stake: int  # wei, held now: 0 before joining, after the release and after being slashed
    claimed: int  # wei
    first_round: int  # 0 if it never joined
    left_round: int  # 0 while it takes part
    recipient: str  # its standing payee, the zero address for itself

    def payee(self, account: str) -> str:
        """Who is paid for the account: its standing payee, or itself."""
        return self.recipient if int(self.recipient, 16) else account


@dataclass(frozen=True, kw_only=True)
class Backer:
    """What stands behind an evaluator; the fields of the Solidity struct, in its order."""

    payer: str  # staked for it and gets the stake back, the zero address if nobody did; speaks for it if that is a contract
    stake: int  # wei, held now


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """A challenge of one score, which every further step of it repeats; the fields of the Solidity struct, in its order."""

    task_id: bytes
    round: int
    account: str  # whose score
    challenger: str
    update_root: bytes  # of the leaf
    direction_root: bytes  # of the header
    blocks: int  # of the update, and so of the direction
    sums_root: bytes  # of the tree of the challenger's sums
    opened_at: int  # s

    def as_tuple(self) -> tuple[object, ...]:
        """Values in the order of the Solidity struct."""
        return tuple(asdict(self).values())


@dataclass(frozen=True, kw_only=True)
class OpenedChallenge:
    """A challenge as its `Challenged` event tells it."""

    id: bytes
    challenge: Challenge
    sums: tuple[int, ...]  # the challenger's


@dataclass(frozen=True, kw_only=True)
class Posting:
    """How a round came onto the chain, as its `Posted` event tells it."""

    header: Header
    cover: bytes  # what the next post has to give back
    time: int  # s, of its block
    sent: Sent
