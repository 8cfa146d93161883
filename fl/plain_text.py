"""Text that somebody else wrote, made fit to be printed or logged; and lists as people read them."""

from __future__ import annotations

from collections.abc import Sequence


def printable(text: object, *, most: int = 1000) -> str:
    """One line of printable characters.

    A terminal obeys escape sequences: raw, a stranger's word could hide the line below it, or write another one over it. And
    a line feed would begin a line of a log that nobody wrote.

    Args:
        text: What came; anything but a string is taken as `str` gives it.
        most: Characters that are kept; what is cut off leaves "…".
    Returns: words with one space between them; "?" for each character that is not printable, such as controls, marks that
    turn the direction of writing, and halves of surrogate pairs.
    """
    words = " ".join(str(text).split())
    line = "".join(letter if letter.isprintable() else "?" for letter in words[: most + 1])
    return line if len(line) <= most else f"{line[: most - 1]}…"


def indented(line: str) -> str:
    """A line of ours with somebody else's words in it: as `printable` gives it, with the blanks that it begins with."""
    return " " * (len(line) - len(line.lstrip(" "))) + printable(line)


def plural(number: int, noun: str) -> str:
    """A count and its noun: 1 client, 1,000 clients."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def agreeing(number: int, one: str, more: str) -> str:
    """The verb that goes with a count: `agreeing(1, "has", "have")` gives has.

    Args:
        number: The count.
        one: The verb of one thing.
        more: That of several, or of none.
    """
    return one if number == 1 else more


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as people list them: 1–3, 5."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ", ".join("–".join(map(str, part)) for part in parts)
