"""Why a node refuses to train or sign."""

from __future__ import annotations

from fl.errors import FairshareError


class NodeRefusal(FairshareError):
    """The node will not do what a message asks for."""


class ForeignTask(NodeRefusal):
    """A message asks to sign for a task that this node's owner did not accept."""

    def __init__(self, seen: bytes, accepted: bytes) -> None:
        super().__init__(seen, accepted)
        self.seen, self.accepted = seen, accepted

    def __str__(self) -> str:
        return f"asked to sign for task 0x{self.seen.hex()}, this node accepted 0x{self.accepted.hex()}; nothing was signed"


class SecondUpdate(NodeRefusal):
    """A message asks for another update to a round that was signed for: two would cost the client its stake."""

    def __init__(self, round_number: int) -> None:
        super().__init__(round_number)
        self.round_number = round_number

    def __str__(self) -> str:
        return (
            f"an update for round {self.round_number} from another base model was signed already; signing a second one "
            "would cost the stake, so nothing was signed"
        )


class PastRound(NodeRefusal):
    """A message asks to sign for a round before the last one that was signed for."""

    def __init__(self, seen: int, last: int) -> None:
        super().__init__(seen, last)
        self.seen, self.last = seen, last

    def __str__(self) -> str:
        return (
            f"asked to sign for round {self.seen} after round {self.last}; a second update to a round would cost the "
            "stake; nothing was signed"
        )


class UnreadableRequest(NodeRefusal):
    """A train message lacks the record that says what to sign for."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return (
            f"the train message has no fairshare record to sign for ({self.problem}); is its strategy a PayingStrategy?"
        )
