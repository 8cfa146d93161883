"""Text with something beside it: a class, a class for each word, or two answers of which one is better.

| data.form | a row of JSON lines, Parquet or a saved data set | a row of the shard |
|---|---|---|
| labels | `text`, `label` | tokens (t), a class |
| tags | `tokens`, a list of words, and `tags`, one for each | tokens (t), a class at the first token of each word |
| pairs | `prompt` (may be absent), `chosen`, `rejected` | tokens (2, t), the next tokens of the answers |

What is longer than the task's context is cut off, and said; behind the end of a text stands −1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl.plain_text import agreeing, plural, printable
from fl.task.data.dataset import Dataset
from fl.task.data.documents import records
from fl.task.data.errors import DataError
from fl.task.data.number import by_size
from fl.task.data.token_file import kept
from fl.task.data.tokens import Tokens

LABELS, TAGS, PAIRS = "labels", "tags", "pairs"
CLASSED = (LABELS, TAGS)  # forms whose rows have classes
PADDING = -1  # a place behind the end of a text, which holds no token
IGNORED = -100  # a target that counts for nothing, as in torch and transformers
_MOST_CLASSES = 1000
_MOST_NAME = 200  # characters of a class


@dataclass(kw_only=True)
class Counts:
    """What was not taken as it stands."""

    rows: int = 0
    cut: int = 0  # longer than a row
    lost: int = 0  # of which nothing is left to learn from

    def notes(self, *, context: int) -> tuple[str, ...]:
        """In words, for whoever owns the rows."""
        found = []
        if self.cut:
            found.append(
                f"{self.cut} of {plural(self.rows, 'text')} {agreeing(self.cut, 'is', 'are')} longer than {context} tokens and cut off"
            )
        if self.lost:
            found.append(
                f"{plural(self.lost, 'text')} {agreeing(self.lost, 'has', 'have')} nothing to learn from within {context} tokens, and "
                f"{agreeing(self.lost, 'is', 'are')} left out"
            )
        return tuple(found)


def read_labelled(
    files: Sequence[Path], tokens: Tokens, *, form: str, context: int, field: str, classes: Sequence[str]
) -> tuple[Dataset, tuple[str, ...]]:
    """All rows of the files, and what their owner should know.

    Args:
        files: Of one client.
        tokens: What makes tokens.
        form: labels, tags or pairs.
        context: Tokens of a row.
        field: That holds the text, or the words.
        classes: Names in the order of their numbers; none for pairs.
    Raises: DataError.
    """
    counts = Counts()
    numbers = {name: number for number, name in enumerate(classes)}
    shape = {LABELS: (context + 1,), TAGS: (2, context), PAIRS: (2, 2, context)}[form]

    def rows() -> Iterator[NDArray[np.int32]]:
        for path in files:
            if form == LABELS:
                yield from _of_labels(path, tokens, context=context, field=field, numbers=numbers, counts=counts)
            elif form == TAGS:
                yield from _of_tags(path, tokens, context=context, field=field, numbers=numbers, counts=counts)
            else:
                yield from _of_pairs(path, tokens, context=context, counts=counts)

    values = kept(rows(), dtype=np.int32).reshape(-1, *shape)
    if not len(values):
        raise DataError(
            seen=f"{files[0].parent if len(files) > 1 else files[0]} has no row to learn from within {context} tokens",
            expected="one at least",
            fix="add rows, or ask for a task with a longer data.context",
        )
    notes = counts.notes(context=context)
    if form == LABELS:
        return Dataset(features=values[:, :-1], labels=values[:, -1]), notes
    return Dataset(features=values[:, 0], labels=values[:, 1]), notes


def read_unclassed(path: Path, tokens: Tokens, *, context: int, field: str) -> tuple[NDArray[np.int64], list[str]]:
    """Texts whose class nobody knows yet, shape (n, context), and notes about them.

    Args:
        path: Of the file.
        tokens: What makes tokens.
        context: Tokens of a row.
        field: That holds the text.
    Raises: DataError.
    """
    made = [
        tokens.encode(_text(row[field], path, number, name=field)) for number, row in records(path, fields=(field,))
    ]
    counts = Counts(rows=len(made), cut=sum(len(each) > context for each in made))
    if not made:
        raise DataError(seen=f"{path} has no row", expected="one at least", fix="write a line of JSON for each text")
    return np.stack([_padded(each, context) for each in made]).astype(np.int64), list(counts.notes(context=context))


def classes_in(files: Sequence[Path], *, form: str, field: str) -> tuple[str, ...]:
    """All classes that occur, numbers by size and then words.

    Args:
        files: Of all clients.
        form: labels or tags.
        field: That holds the text, or the words.
    Raises: DataError for a label that is none, fewer than two of them, or more than there are classes of anything.
    """
    found: set[str] = set()
    for path in files:
        for number, row in records(path, fields=(field, "label" if form == LABELS else "tags")):
            told = [row["label"]] if form == LABELS else _list(row["tags"], path, number, name="tags")
            found |= {_class(value, path, number) for value in told}
        if len(found) > _MOST_CLASSES:
            raise DataError(
                seen=f"{path} and what is beside it have more than {_MOST_CLASSES} classes",
                expected="a class that many rows share",
                fix="look whether the label is a number to predict or the name of a row",
            )
    if len(found) < 2:
        raise DataError(
            seen=f"every label is {', '.join(found) or 'absent'}",
            expected="2 classes or more",
            fix="add rows of another class, or name all in data.classes",
        )
    return tuple(sorted(found, key=by_size))


def _of_labels(
    path: Path, tokens: Tokens, *, context: int, field: str, numbers: dict[str, int], counts: Counts
) -> Iterator[NDArray[np.int32]]:
    for number, row in records(path, fields=(field, "label")):
        made = tokens.encode(_text(row[field], path, number, name=field))
        counts.rows += 1
        counts.cut += len(made) > context
        if not len(made):
            counts.lost += 1
            continue
        told = _number(_class(row["label"], path, number), path, number, numbers=numbers)
        yield np.append(_padded(made, context), np.int32(told))


def _of_tags(
    path: Path, tokens: Tokens, *, context: int, field: str, numbers: dict[str, int], counts: Counts
) -> Iterator[NDArray[np.int32]]:
    for number, row in records(path, fields=(field, "tags")):
        words, tags = (_list(row[name], path, number, name=name) for name in (field, "tags"))
        if len(words) != len(tags):
            raise DataError(
                seen=f"{path}, row {number} has {plural(len(words), 'word')} and {plural(len(tags), 'tag')}",
                expected="a tag for each word",
                fix="mend the row, or leave it out",
            )
        told: list[int] = []
        classes: list[int] = []
        for place, (word, tag) in enumerate(zip(words, tags, strict=True)):
            made = tokens.encode((" " if place else "") + _text(word, path, number, name=field)).tolist()
            own = _number(_class(tag, path, number), path, number, numbers=numbers)
            # A word counts once, at its first letter or piece, and not at the blank before it.
            first = 1 if place and len(made) > 1 and made[:1] == tokens.encode(" ").tolist() else 0
            classes += [own if piece == first else IGNORED for piece in range(len(made))]
            told += made
        counts.rows += 1
        counts.cut += len(told) > context
        targets = np.full(context, IGNORED, dtype=np.int32)
        targets[: len(classes)] = classes[:context]
        if not (targets != IGNORED).any():
            counts.lost += 1
            continue
        yield np.stack([_padded(np.array(told, dtype=np.int32), context), targets])


def _of_pairs(path: Path, tokens: Tokens, *, context: int, counts: Counts) -> Iterator[NDArray[np.int32]]:
    for number, row in records(path, fields=("prompt", "chosen", "rejected")):
        prompt = tokens.encode(_text(row["prompt"], path, number, name="prompt"))
        sides = [_text(row[name], path, number, name=name) for name in ("chosen", "rejected")]
        if empty := [name for name, side in zip(("chosen", "rejected"), sides, strict=True) if not side.strip()]:
            raise DataError(
                seen=f"{path}, row {number} has an empty {empty[0]!r}",
                expected="two answers",
                fix="write what was answered, or leave the row out",
            )
        if sides[0] == sides[1]:
            raise DataError(
                seen=f"{path}, row {number} has the same text as 'chosen' and 'rejected'",
                expected="two answers of which one is better",
                fix="leave the row out",
            )
        made = [np.concatenate([prompt, tokens.encode(side)]) for side in sides]
        counts.rows += 1
        counts.cut += max(map(len, made)) > context + 1
        pair = np.zeros((2, 2, context), dtype=np.int32)
        pair[1] = IGNORED
        for place, whole in enumerate(made):
            pair[0, place, : len(whole) - 1] = whole[:-1][:context]
            begin = max(0, len(prompt) - 1)  # the answer's first token is told at the last place of the prompt
            pair[1, place, begin : len(whole) - 1] = whole[1:][begin:context]
        if (pair[:, 0] == pair[:, 1]).all() or not all((pair[1, side] != IGNORED).any() for side in (0, 1)):
            counts.lost += 1
            continue
        yield pair


def _padded(made: NDArray[np.int32], context: int) -> NDArray[np.int32]:
    row = np.full(context, PADDING, dtype=np.int32)
    row[: len(made)] = made[:context]
    return row


def _text(value: Any, path: Path, number: int, *, name: str) -> str:
    _check_kind(value, str, seen=f"{path}, row {number}", name=name, expected="a text")
    return value


def _list(value: Any, path: Path, number: int, *, name: str) -> list[Any]:
    _check_kind(value, list, seen=f"{path}, row {number}", name=name, expected="a list, with one entry for each word")
    return value


def _check_kind(value: Any, kind: type, *, seen: str, name: str, expected: str) -> None:
    if not isinstance(value, kind):
        raise DataError(
            seen=f"{seen} has a {type(value).__name__} in {name!r}",
            expected=expected,
            fix="mend the row, or leave it out",
        )


def _class(value: Any, path: Path, number: int) -> str:
    if not isinstance(value, str | int) or not (name := str(value).strip()) or len(name) > _MOST_NAME:
        raise DataError(
            seen=f"{path}, row {number} has the label {printable(value, most=40)!r}",
            expected=f"a word or a whole number of at most {_MOST_NAME} characters",
            fix="mend the row, or leave it out",
        )
    return name


def _number(name: str, path: Path, number: int, *, numbers: dict[str, int]) -> int:
    if name not in numbers:
        folded = {known.casefold(): known for known in numbers}
        near = folded.get(name.casefold()) or next(iter(difflib.get_close_matches(name, numbers, n=1)), None)
        raise DataError(
            seen=f"{path}, row {number} has the label {printable(name, most=40)!r}",
            expected=f"one of the task's: {', '.join(printable(known, most=40) for known in list(numbers)[:12])}",
            fix=f"write it as {near!r} if that is meant" if near else "write it as the task does, or leave the row out",
        )
    return numbers[name]
