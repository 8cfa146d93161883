"""What can go wrong between this machine and the chain, each with what to do."""

from __future__ import annotations

import re

from fl.chain.rpc_url import is_loopback, shown, with_scheme
from fl.chain.tokens import eth, in_tokens, tokens
from fl.errors import FairshareError

# Of the contract's errors.
_AMOUNTS = frozenset({"stake", "pay", "bond", "amount", "balance", "needed", "allowance", "least", "most"})
_WORD = re.compile(r"0x(?:[2-7][0-9a-f])+(?:00)*")
_LARGE = 10**12  # wei; below it a number may be a count


class ChainError(FairshareError):
    """Root of the errors of talking to a chain."""


class ChainUnreachable(ChainError):
    """No node answers at the RPC URL."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        what = (
            "start it there (`fl devnet` does), or name the machine that it runs on"
            if is_loopback(self.url)
            else "check this machine's network and the address, and try again"
        )
        return f"no chain answers at {shown(self.url)} ({self.reason}); {what}"


class NotAnRpcUrl(ChainUnreachable):
    """What was named cannot be the URL of a node."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "not the URL of a node")
        self.args = (url,)

    def __str__(self) -> str:
        if meant := with_scheme(self.url):
            return f"the chain's URL has no http:// or https:// in front; write {shown(meant)}"
        return f"{shown(self.url)} is not the URL of a node; write one such as http://127.0.0.1:8545 (http, https, ws or wss)"


class AnswerTooLarge(ChainUnreachable):
    """A node answers with more than there can be."""

    def __str__(self) -> str:
        return f"the answer of {shown(self.url)} cannot be used: {self.reason}; name another node"


class UnusableAnswerOfNode(ChainUnreachable):
    """A node answers with what no node of this chain says."""

    def __init__(self, url: str, method: str, reason: str) -> None:
        super().__init__(url, reason)
        self.args, self.method = (url, method, reason), method

    def __str__(self) -> str:
        return f"{shown(self.url)} answers {self.method} with what cannot be used ({self.reason}); name another node"


class WrongChain(ChainError):
    """The node at the URL belongs to another chain than the one that was asked for."""

    def __init__(self, url: str, seen: int, expected: int) -> None:
        super().__init__(url, seen, expected)
        self.url, self.seen, self.expected = url, seen, expected

    def __str__(self) -> str:
        return (
            f"{shown(self.url)} is chain {self.seen}, chain {self.expected} is expected; name a node of chain {self.expected}, or the id "
            "that is meant"
        )


class NoContract(ChainError):
    """There is no code at an address where the contract should be."""

    def __init__(self, address: str, chain_id: int, what: str) -> None:
        super().__init__(address, chain_id, what)
        self.address, self.chain_id, self.what = address, chain_id, what

    def __str__(self) -> str:
        return (
            f"no {self.what} at {self.address} on chain {self.chain_id}; a devnet that was reset has lost it, and who runs it "
            "deploys again with `fl deploy`"
        )


class NoTask(ChainError):
    """The contract knows no task of this id."""

    def __init__(self, task_id: bytes, address: str) -> None:
        super().__init__(task_id, address)
        self.task_id, self.address = task_id, address

    def __str__(self) -> str:
        return f"no task 0x{self.task_id.hex()} in the contract at {self.address}; check the invite and its chain"


class NoFunds(ChainError):
    """An account cannot pay for its transaction.

    Args:
        held: Wei of ETH that it has.
        needed: Wei of ETH that it takes, where that is known.
    """

    def __init__(
        self, address: str, chain_id: int, held: int = 0, needed: int = 0, purpose: str = "to pay for gas"
    ) -> None:
        super().__init__(address, chain_id, held, needed, purpose)
        self.address, self.chain_id, self.held, self.needed, self.purpose = address, chain_id, held, needed, purpose

    def __str__(self) -> str:
        if not self.held:
            return f"{self.address} has no ETH on chain {self.chain_id} to pay for gas; send it some and try again"
        needed = (
            f"and {self.purpose} takes up to {eth(self.needed)} ETH" if self.needed else f"too little {self.purpose}"
        )
        return (
            f"{self.address} has {eth(self.held)} ETH on chain {self.chain_id}, {needed}; nothing was sent; send it more and "
            "try again"
        )


class NotPosted(ChainError):
    """A round is not on chain."""

    def __init__(self, task_id: bytes, round_number: int) -> None:
        super().__init__(task_id, round_number)
        self.task_id, self.round_number = task_id, round_number

    def __str__(self) -> str:
        return (
            f"round {self.round_number} of task 0x{self.task_id.hex()} is not on chain; `fl status` shows how far it is"
        )


class TokenTooLow(ChainError):
    """An account holds fewer tokens than it wants to put in."""

    def __init__(self, address: str, balance: int, needed: int, purpose: str) -> None:
        super().__init__(address, balance, needed, purpose)
        self.address, self.balance, self.needed, self.purpose = address, balance, needed, purpose

    def __str__(self) -> str:
        return (
            f"{self.address} holds {in_tokens(self.balance)} and the {self.purpose} takes {tokens(self.needed)}; get "
            "tokens first (on a devnet anybody may mint: `fl mint`)"
        )


class Refused(ChainError):
    """The contract refused a call; `name` and `values` are its custom error."""

    def __init__(self, call: str, name: str, values: dict[str, object]) -> None:
        super().__init__(call, name, values)
        self.call, self.name, self.values = call, name, values

    def number(self, key: str) -> int:
        """A value of the contract's error that is a number. Raises: KeyError; TypeError for one of another kind."""
        value = self.values[key]
        if not isinstance(value, int):
            raise TypeError(f"{key} of {self.name} is {value!r}, and no number")
        return value

    def __str__(self) -> str:
        details = ", ".join(f"{key}={_amount(key, value)}" for key, value in self.values.items())
        told = f"the contract refused {self.call}: {self.name}({details})"
        # A large one would be wei, and settings are in tokens.
        if self.name != "TermOutOfRange" or self.number("most") >= _LARGE:
            return told
        # The contract's name of a term is that of its setting but for the capitals.
        setting = re.sub("(?=[A-Z])", "_", str(_amount("term", self.values["term"]))).lower()
        return f"{told}; set {setting} from {self.values['least']} to {self.values['most']}"


def _amount(name: str, value: object) -> object:
    # Rounds, seconds and counts are never that large.
    if isinstance(value, int) and value >= _LARGE and name in _AMOUNTS:
        return in_tokens(value)
    # A term is named by its words in 32 bytes.
    if name == "term" and isinstance(value, str) and _WORD.fullmatch(value):
        return bytes.fromhex(value[2:]).rstrip(b"\0").decode()
    return value


class AnvilMissing(ChainError):
    """There is no Anvil to start."""

    def __str__(self) -> str:
        return (
            "a chain on this machine needs Anvil, which is neither on PATH nor in a checkout's contracts/node_modules; run "
            "`npm install -g @foundry-rs/anvil` (in a checkout, `npm ci` in contracts/), or name a chain that runs"
        )


class AnvilFailed(ChainError):
    """Anvil ended, or did not say where it listens."""

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self.output = output

    def __str__(self) -> str:
        return f"Anvil did not start; its last words: {self.output.strip() or 'none'}"


class KeystoreError(ChainError):
    """A keystore is absent, unreadable, or the password is wrong."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"keystore {self.path}: {self.problem}"
