"""Asks for events in ranges of blocks that a node takes: public ones refuse wide ranges, each in words of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from web3 import Web3
from web3.exceptions import Web3Exception

from fl.chain.errors import AnswerTooLarge, ChainError
from fl.chain.rpc_answers import MOST_BLOCKS
from fl.plain_text import printable

_FIRST = 1 << 20  # blocks, until a node says that it is too many
_Found = TypeVar("_Found")


class HistoryUnread(ChainError):
    """The node does not hand out the logs of some blocks."""

    def __init__(self, first: int, last: int, reason: str) -> None:
        super().__init__(first, last, reason)
        self.first, self.last, self.reason = first, last, reason

    def __str__(self) -> str:
        return (
            f"the node returns no logs for blocks {self.first} to {self.last} ({self.reason}); use one that keeps the logs of "
            "these blocks, an archive node for example"
        )


@dataclass
class LogSpan:
    """How many blocks a node was asked for at once, and from how many on it refused: kept for the whole connection."""

    blocks: int = _FIRST
    refused: int = MOST_BLOCKS  # none: a chain of as many blocks as there can be is looked through in a few steps

    def taken(self, blocks: int) -> None:
        """The node answered; the next question may be wider, but not as wide as one that it refused."""
        if blocks >= self.blocks:
            self.blocks = min(2 * self.blocks, self.refused - 1)

    def was_refused(self, blocks: int) -> None:
        """It did not."""
        self.refused = min(self.refused, blocks)
        self.blocks = max(1, blocks // 4)


def in_ranges(w3: Web3, read: Callable[[int, int], _Found], *, first: int, last: int) -> Iterator[_Found]:
    """What `read` gives for ranges of blocks, one after the other, as wide as the node allows.

    Args:
        read: Asks for the logs of the blocks from its first to its second argument.
        first: Block.
        last: Block; nothing is read where it is before the first.
    Raises: HistoryUnread where the node refuses a single block.
    """
    span: LogSpan = getattr(w3.provider, "log_span", None) or LogSpan()
    while first <= last:
        until = min(first + span.blocks - 1, last)
        try:
            found = read(first, until)
        except (Web3Exception, ValueError, AnswerTooLarge) as error:
            if until == first:
                raise HistoryUnread(first=first, last=until, reason=_words(error)) from error
            span.was_refused(until - first + 1)
            continue
        span.taken(until - first + 1)
        yield found
        first = until + 1


def _words(error: Exception) -> str:
    """The node's own, where it has any."""
    answer = getattr(error, "rpc_response", None) or {}
    told = answer.get("error")
    return printable(told.get("message", told) if isinstance(told, dict) else error, most=300)
