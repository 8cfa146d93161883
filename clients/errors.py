"""Why a node refuses to train or sign."""

from __future__ import annotations

from fl.errors import FairshareError
from fl.plain_text import printable


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


class UnfitAnswer(NodeRefusal):
    """The node's own app answers with something that is no update of the task's model."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the app's answer does not fit the task: {printable(self.problem, most=300)}"


class UnreadableRequest(NodeRefusal):
    """A train message lacks the record that says what to sign for."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return (
            f"the train message has no fairshare record to sign for ({self.problem}); is its strategy a PayingStrategy?"
        )


class BrokenLedger(NodeRefusal):
    """What the node signed is on disk and cannot be read, so that it may not sign."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return (
            f"{self.path} cannot be read ({self.problem}), and without it a second update for a round might be signed, which "
            "costs the stake; restore it, or delete it once the round that it was for is posted"
        )


class FolderInUse(FairshareError):
    """Another process runs a node in the same folder."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.folder = folder

    def __str__(self) -> str:
        return f"a node already runs in {self.folder}; stop it first, or name another folder=…"


class ForeignFolder(FairshareError):
    """A folder belongs to another task or account."""

    def __init__(self, folder: str, what: str, seen: str, expected: str) -> None:
        super().__init__(folder, what, seen, expected)
        self.folder, self.what, self.seen, self.expected = folder, what, seen, expected

    def __str__(self) -> str:
        return f"{self.folder} belongs to {self.what} {self.seen}, not {self.expected}; name another folder=…"


class JoinedElsewhere(FairshareError):
    """The account is a client of the task with another node key, or left it."""

    def __init__(self, account: str, how: str) -> None:
        super().__init__(account, how)
        self.account, self.how = account, how

    def __str__(self) -> str:
        return f"{self.account} {self.how}"


class GatewayUnreachable(FairshareError):
    """Nobody answers at the coordinator's gateway, or not the one that the invite names."""

    def __init__(self, gateway: str, reason: str) -> None:
        super().__init__(gateway, reason)
        self.gateway, self.reason = gateway, reason

    def __str__(self) -> str:
        return (
            f"the coordinator's gateway {printable(self.gateway, most=100)} cannot be reached ({self.reason}); check this machine's network and "
            "the invite, and whether the coordinator runs"
        )


class AnswerLost(FairshareError):
    """The SuperNode gave a message to its executor and did not take the answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the SuperNode took no answer ({self.reason}); it is restarted, and the coordinator asks again"
