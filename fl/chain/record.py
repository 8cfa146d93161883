"""What the chain says of a task, for whoever checks it: terms, enrolments, every posted header, and what claims have shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from web3.exceptions import Web3Exception
from web3.types import EventData

from fl.chain.enrolment import Enrolments
from fl.chain.erc20 import Token
from fl.chain.errors import NoTask
from fl.chain.escrow import Escrow
from fl.chain.invite import Invite
from fl.chain.membership import of_today
from fl.chain.provider import depth_of
from fl.chain.schedule import Schedule
from fl.chain.sender import connect
from fl.chain.task_state import Status, TaskState
from fl.chain.typed_data import Domain, Header
from fl.rewards.tree import Leaf, Sibling, unpacked


@dataclass(frozen=True, kw_only=True)
class PostedRound:
    """A round as its `Posted` event tells it."""

    header: Header
    block: int
    transaction: str  # 0x


@dataclass(frozen=True, kw_only=True)
class ShownLeaves:
    """Neighbouring leaves and what led from them to the root, as somebody showed them to the contract."""

    start: int  # number of the first leaf
    leaves: tuple[Leaf, ...]
    siblings: tuple[Sibling, ...]  # level by level, left before right, as `RoundTree.range_proof` gives them


@dataclass(frozen=True, kw_only=True)
class LeafRequest:
    """A leaf that somebody wants to see on chain, since the round's bundle is withheld from it."""

    round: int
    account: str  # whose leaf
    deadline: int  # s: unanswered then, the round is void


@dataclass(frozen=True, kw_only=True)
class SumStep:
    """A sum of a challenge that somebody wants to see broken down, or that was."""

    sum: int
    partials: tuple[int, ...] | None  # None while it is only demanded


class TaskRecord:
    """One task on chain, read anew at each call but for what never changes.

    Args:
        invite: Where the task is; held against the terms on chain.
    Raises: ChainUnreachable, WrongChain, NoContract, NoTask; InviteDiffers if coordinator, token or spec are not the task's.
    """

    def __init__(self, invite: Invite) -> None:
        self.task_id = invite.id_bytes
        self.w3 = connect(invite.url, chain_id=invite.chain_id)
        self.escrow = Escrow(self.w3, invite.contract)
        self.terms, _ = self.escrow.task(self.task_id)
        self.invite = of_today(invite, self.terms, escrow=self.escrow)

    @property
    def domain(self) -> Domain:
        """What signatures of this task are bound to."""
        return self.escrow.domain

    @cached_property
    def token(self) -> Token:
        """The task's token."""
        return Token(self.w3, self.invite.token)

    def coordinators(self) -> list[str]:
        """Who has coordinated the task so far: receipts of all of them count."""
        return self.escrow.coordinators(self.task_id, from_block=self.invite.block)

    def state(self) -> TaskState:
        """Where the task stands."""
        return self.escrow.task(self.task_id)[1]

    def enrolments(self) -> Enrolments:
        """Everybody with a place in the task, by account."""
        return self.escrow.enrolments(self.task_id, from_block=self.invite.block)

    def schedule(self) -> Schedule:
        """What the rounds may pay by and by."""
        return self.escrow.schedule(self.task_id, from_block=self.invite.block)

    def posted(self) -> dict[int, PostedRound]:
        """Every round that was posted, by number, void ones included."""
        posted = self.escrow.posted_headers(self.task_id, from_block=self.invite.block)
        return {
            number: PostedRound(
                header=header, block=event["blockNumber"], transaction=event["transactionHash"].to_0x_hex()
            )
            for number, (header, event) in posted.items()
        }

    def shown_leaves(self, round_number: int) -> Iterator[ShownLeaves]:
        """Leaves of a round with their proofs, as they were shown to those who asked for them on chain."""
        for event in self._events("LeafShown", round=round_number):
            leaf, proof = event["args"]["leaf"], event["args"]["proof"]
            yield ShownLeaves(
                start=proof["index"],
                leaves=(_leaf(leaf),),
                siblings=unpacked(proof["siblings"]),
            )

    def leaf_requests(self) -> list[LeafRequest]:
        """Every leaf that was asked for on chain and not shown there."""
        shown = {(event["args"]["round"], event["args"]["account"]) for event in self._events("LeafShown")}
        return [
            LeafRequest(round=args["round"], account=args["account"], deadline=args["deadline"])
            for args in (event["args"] for event in self._events("LeafRequested"))
            if (args["round"], args["account"]) not in shown
        ]

    def steps(self, challenge_id: bytes) -> dict[int, SumStep]:
        """What was demanded of a challenge and what was answered, by the sum's number."""
        steps = {}
        for event in self._events("Demanded", id=challenge_id):
            number = event["args"]["sum"]
            steps[number] = SumStep(sum=number, partials=None)
        for event in self._events("Answered", id=challenge_id):
            number, data = event["args"]["sum"], event["args"]["partials"]
            partials = (int.from_bytes(data[at : at + 16], "big", signed=True) for at in range(0, len(data), 16))
            steps[number] = SumStep(sum=number, partials=tuple(partials))
        return steps

    def slashed(self) -> set[str]:
        """Accounts that lost their stake for two updates in one round."""
        return {event["args"]["account"] for event in self._events("Slashed")}

    def is_deep(self, status: Status) -> bool:
        """Whether the task has had this status for so many blocks that no reorganisation takes it back."""
        if not (depth := depth_of(self.w3)):
            return True
        try:
            return self.escrow.task(self.task_id, block=max(0, self.w3.eth.block_number - depth))[1].status == status
        except (NoTask, Web3Exception):  # it was not there yet
            return False

    def now(self) -> int:
        """The latest block's time, seconds."""
        return self.w3.eth.get_block("latest")["timestamp"]

    def _events(self, name: str, **filters: object) -> list[EventData]:
        return self.escrow.events(name, self.task_id, from_block=self.invite.block, **filters)


def _leaf(told: Mapping[str, object]) -> Leaf:
    values: dict[str, Any] = dict(zip((field.name for field in fields(Leaf)), told.values(), strict=True))
    return Leaf(**values)
