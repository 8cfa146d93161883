"""What a node may put into the SuperLink's database: as much as answers to the messages that it was given can take.

The SuperLink stores what an enrolled node pushes before anybody looks at it. The coordinator refuses what is too large later,
when it is in the database already.
"""

from __future__ import annotations

from dataclasses import dataclass

ANSWERS = 3  # as large as they can be, for each message: lines break, and nodes push again
_KEPT = 2  # messages whose answers a node may still owe
_AGAIN = 4  # times over that what was not stored may be sent once more, until there are messages again


@dataclass(kw_only=True)
class _Left:
    size: int  # bytes
    announcements: int
    size_again: int  # bytes, and announcements, that are still given back if they are not stored
    announcements_again: int


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
        if messages:
            left.size_again, left.announcements_again = _AGAIN * ANSWERS * self._answer, _AGAIN * ANSWERS

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
        """It was not stored after all; given back so often, and no more: a push to a run that there is not is never stored.

        Args:
            key: Of the node.
            size: Bytes, as taken.
            announcements: As taken.
        """
        left = self._of(key)
        size, announcements = min(size, left.size_again), min(announcements, left.announcements_again)
        left.size_again -= size
        left.announcements_again -= announcements
        left.size += size
        left.announcements += announcements

    def _of(self, key: str) -> _Left:
        if key not in self._left:
            size = ANSWERS * self._answer
            self._left[key] = _Left(
                size=size, announcements=ANSWERS, size_again=_AGAIN * size, announcements_again=_AGAIN * ANSWERS
            )
        return self._left[key]
