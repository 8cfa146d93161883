"""What a node may put into the SuperLink's database: as much as answers to the messages that it was given can take.

The SuperLink stores what an enrolled node pushes before anybody looks at it. The coordinator refuses what is too large later,
when it is in the database already.
"""

from __future__ import annotations

from dataclasses import dataclass

ANSWERS = 3  # as large as they can be, for each message: lines break, and nodes push again
_KEPT = 2  # messages whose answers a node may still owe


@dataclass(kw_only=True)
class _Left:
    size: int  # bytes
    announcements: int


class Allowances:
    """By node key; each node begins with what answers one message, so that a coordinator may start again in a round.

    Args:
        answer: Bytes that an answer may have.
    """

    def __init__(self, answer: int) -> None:
        self._answer = answer
        self._left: dict[str, _Left] = {}

    def grant(self, key: str, *, messages: int) -> None:
        """A node was given messages."""
        left = self._of(key)
        left.size = min(left.size + messages * ANSWERS * self._answer, _KEPT * ANSWERS * self._answer)
        left.announcements = min(left.announcements + messages * ANSWERS, _KEPT * ANSWERS)

    def has(self, key: str, *, size: int) -> bool:
        """Whether a node may push so many bytes."""
        return size <= self._of(key).size

    def take(self, key: str, *, size: int = 0, announcements: int = 0) -> bool:
        """Use some of what a node has; False, and nothing is used, where it has too little.

        Args:
            key: Of the node.
            size: Bytes that it sends.
            announcements: Objects that it names.
        """
        left = self._of(key)
        if size > left.size or announcements > left.announcements:
            return False
        left.size -= size
        left.announcements -= announcements
        return True

    def give_back(self, key: str, *, size: int = 0, announcements: int = 0) -> None:
        """It was not stored after all.

        Args:
            key: Of the node.
            size: Bytes, as taken.
            announcements: As taken.
        """
        left = self._of(key)
        left.size += size
        left.announcements += announcements

    def _of(self, key: str) -> _Left:
        return self._left.setdefault(key, _Left(size=ANSWERS * self._answer, announcements=ANSWERS))
