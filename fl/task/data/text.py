"""data=text: the text of each client, as rows of so many tokens and what follows each of them.

Plain text is cut into rows of `context` tokens, whose targets are the tokens one place further on; what is left at the end is too short
for a row. A conversation is a row of its own: only what the assistant says is a target, and what does not fit is cut off.

Tokens are kept in files that the system pages in, so that a shard larger than memory trains.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from fl.foreign.files import expanded
from fl.plain_text import agreeing, plural, printable
from fl.task.data.dataset import Dataset, Federation, Shard
from fl.task.data.documents import (
    SUFFIXES,
    Message,
    check_one_split,
    check_plain,
    conversations,
    is_plain,
    is_saved_dataset,
    texts,
    unreadable,
)
from fl.task.data.errors import DataError
from fl.task.data.holdout import split_rows
from fl.task.data.labelled_text import CLASSED, IGNORED, LABELS, PAIRS, TAGS, classes_in, read_labelled
from fl.task.data.text_file import absent
from fl.task.data.token_file import kept
from fl.task.data.tokens import BYTES, Tokens, tokens_named

FORMS = ("text", "chat", LABELS, TAGS, PAIRS)
FIELDS = {
    "text": "text",
    "chat": "messages",
    LABELS: "text",
    TAGS: "tokens",
    PAIRS: "chosen",
}  # where documents of many are, unless data.field names another
_ANSWERS = "assistant"  # whose words are trained on
_MOST_NAME = 256  # characters of a field or a tokeniser


@dataclass(frozen=True, kw_only=True)
class TextSchema:
    """How every node of a task reads its text."""

    context: int  # tokens of one row
    tokens: str = BYTES  # what a token is: bytes, or the base whose tokeniser says
    sha256: str | None = None  # of that tokeniser
    form: str = "text"  # or chat
    field: str = ""  # of a line or row that holds text or messages; empty: text, messages

    def to_json(self) -> str:
        """One line of JSON with sorted keys."""
        return json.dumps(vars(self), sort_keys=True, separators=(",", ":"))

    def reader(self) -> Tokens:
        """What makes tokens of text here. Raises: DataError if this machine has it not, or another one."""
        return tokens_named(self.tokens, sha256=self.sha256)

    @property
    def source(self) -> str:
        """The field that is read."""
        return self.field or FIELDS[self.form]


@dataclass(frozen=True, kw_only=True, eq=False)
class TextShard(Shard):
    """A shard of text, and what its owner should know of how it was read."""

    notes: tuple[str, ...] = ()


def is_text_schema(raw: object) -> bool:
    """Whether a spec's schema, as parsed JSON, is one of text."""
    return isinstance(raw, Mapping) and "tokens" in raw


def text_schema(raw: Mapping[str, object]) -> TextSchema:
    """A spec's schema. Raises: DataError for what this version does not know, or a context of no length."""
    context, form = raw.get("context"), raw.get("form", "text")
    named = {key: raw.get(key, "") for key in ("tokens", "field")}
    fits = (
        type(context) is int
        and 1 <= context <= 1 << 20
        and form in FORMS
        and all(isinstance(name, str) and len(name) <= _MOST_NAME for name in named.values())
        and isinstance(raw.get("sha256"), str | None)
        and (raw.get("tokens") == BYTES) == (raw.get("sha256") is None)
        and set(raw) <= {"context", "tokens", "sha256", "form", "field"}
    )
    if not fits:
        raise DataError(
            seen=f"a task whose tokens are {raw.get('tokens')!r} in rows of {context!r}, form {form!r}",
            expected=f"tokens that are {BYTES} or a tokeniser with its hash, in rows of 1 to {1 << 20}, form {' or '.join(FORMS)}",
            fix="update fairshare on this machine, or ask the coordinator",
        )
    return TextSchema(
        context=int(str(context)),
        form=str(form),
        sha256=None if raw.get("sha256") is None else str(raw["sha256"]),
        **{key: str(value) for key, value in named.items()},
    )


def read_text_shard(
    path: Path | str, *, schema: TextSchema, name: str | None = None, classes: Sequence[str] = ()
) -> TextShard:
    """One file, all files of a folder one after the other, or a folder that `datasets` saved, as rows.

    Args:
        path: The file or folder.
        schema: From the task's spec.
        name: Of the shard, for reports; None takes the file's stem.
        classes: The task's, where its text has any.
    Raises: DataError if it cannot be read or is too short for one row.
    """
    path = expanded(path)
    if not path.exists():
        raise absent(path)
    files = _files(path) if path.is_dir() and not is_saved_dataset(path) else [path]
    data, notes = _read(files, schema=schema, source=str(path), classes=classes)
    return TextShard(name=name or path.stem, data=data, notes=notes)


def load_texts(
    folder: Path | str,
    *,
    schema: TextSchema,
    validation: int | float | str,
    test: int | float | str,
    limit: int | None,
    rng: np.random.Generator,
    classes: Sequence[str] = (),
) -> Federation:
    """A folder with one file per client; of every file a share of the rows is held back.

    Args:
        folder: Of the files.
        schema: How they are read; the hash of its tokeniser is filled in.
        validation: A share of every client's rows, or a number of rows from all together; a string names a file instead.
        test: Likewise.
        limit: Use at most so many rows of all together.
        rng: Draws which rows are held back.
        classes: Names in the order of their numbers; none: all that occur.
    Raises: DataError if there are no files, or one is too short to hold rows back.
    """
    folder = expanded(folder)
    if not folder.is_dir():
        raise DataError(
            seen=f"{folder} is {'a file' if folder.exists() else 'not there'}",
            expected="a folder with one file of text for each client",
            fix="set data.path to that folder",
        )
    schema = TextSchema(**{**vars(schema), "sha256": tokens_named(schema.tokens).sha256})
    aside = {expanded(value).resolve() for value in (validation, test) if isinstance(value, str)}
    files = [path for path in _files(folder) if path.resolve() not in aside]
    if schema.form in CLASSED:
        classes = tuple(classes) or classes_in(files, form=schema.form, field=schema.source)
    elif classes:
        raise DataError(
            seen=f"data.classes is set, and data.form={schema.form} has none", expected="no classes", fix="leave it out"
        )
    separate = {
        key: read_text_shard(value, schema=schema, classes=classes).data
        for key, value in (("validation", validation), ("test", test))
        if isinstance(value, str)
    }
    found = [_read([path], schema=schema, source=str(path), classes=classes)[0] for path in files]
    owners = np.repeat(np.arange(len(files)), [len(data) for data in found])
    split = split_rows(owners, validation=validation, test=test, limit=limit, rng=rng)
    starts = np.cumsum([0, *(len(data) for data in found)])

    def taken(rows: NDArray[np.int64]) -> Dataset:
        parts = [
            (data, rows[owners[rows] == place] - starts[place]) for place, data in enumerate(found)
        ]  # in the order of the files, as `rows` is
        return _whole(
            np.concatenate([data.features[own] for data, own in parts]),
            np.concatenate([data.labels[own] for data, own in parts]),
        )

    shards = []
    for place, path in enumerate(files):
        own = split.train[owners[split.train] == place]
        if not len(own):
            raise DataError(
                seen=f"{path} has {len(found[place])} rows of {schema.context} {schema.tokens}, and all are held back",
                expected="a file with rows left to train on",
                fix="lower data.context, data.validation or data.test, or leave the file out",
            )
        shards.append(Shard(name=path.stem, data=taken(own)))
    return Federation(
        shards=tuple(shards),
        validation=separate["validation"] if split.validation is None else taken(np.sort(split.validation)),
        test=separate["test"] if split.test is None else taken(np.sort(split.test)),
        class_names=tuple(classes),
        schema=schema,
    )


def _files(folder: Path) -> list[Path]:
    check_one_split(folder)
    found = [
        path
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
        and ((path.is_file() and path.suffix.lower() in SUFFIXES) or is_saved_dataset(path))
    ]
    if not found:
        here = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            seen=f"{folder} has no text (it holds {here})",
            expected=f"one file per client, ending in {', '.join(SUFFIXES)}, or a folder that datasets saved",
            fix="put them there, or point data.path at their folder",
        )
    stems = [path.stem for path in found]
    if twice := [stem for stem in stems if stems.count(stem) > 1]:
        raise DataError(
            seen=f"{folder} holds two files called {twice[0]}",
            expected="one name for each client",
            fix="rename one of them",
        )
    return found


def _read(
    files: list[Path], *, schema: TextSchema, source: str, classes: Sequence[str]
) -> tuple[Dataset, tuple[str, ...]]:
    tokens = schema.reader()
    for path in filter(is_plain, files):
        check_plain(path)
    if schema.form == "chat":
        return _talks(files, tokens, schema=schema, source=source)
    if schema.form != "text":
        return read_labelled(
            files, tokens, form=schema.form, context=schema.context, field=schema.source, classes=classes
        )
    values = _stream(files, tokens, schema=schema)
    count = (len(values) - 1) // schema.context if len(values) else 0
    if count < 1:
        raise DataError(
            seen=f"{source} holds {len(values)} {schema.tokens if schema.tokens == BYTES else 'tokens'}",
            expected=f"at least {schema.context + 1}, one row",
            fix="add text, or ask for a task with a shorter data.context",
        )
    # Rows of context + 1 tokens overlap by one; they are views, nothing is read yet.
    rows = sliding_window_view(values, schema.context + 1)[:: schema.context][:count]
    return Dataset(features=rows[:, :-1], labels=rows[:, 1:]), ()


def _stream(files: list[Path], tokens: Tokens, *, schema: TextSchema) -> NDArray[Any]:
    """All tokens of the files, one after the other."""
    if tokens.name == BYTES and all(map(is_plain, files)):
        if len(files) == 1:
            return _bytes_of(files[0])
        return kept((part for path in files for part in (_NEWLINE, _bytes_of(path))), dtype=np.uint8)[1:]
    pieces = (
        piece for path in files for document in texts(path, field=schema.source) for piece in [tokens.encode(document)]
    )
    return kept(pieces, dtype=np.int32)


_NEWLINE = np.frombuffer(b"\n", dtype=np.uint8)


def _bytes_of(path: Path) -> NDArray[np.uint8]:
    """A file's bytes, paged in as they are read; a byte-order mark is not text."""
    try:
        if not path.stat().st_size:
            return np.zeros(0, dtype=np.uint8)
        values = np.memmap(path, dtype=np.uint8, mode="r")
    except OSError as error:
        raise unreadable(path, error) from error
    return values[3:] if bytes(values[:3]) == b"\xef\xbb\xbf" else values


def _talks(files: list[Path], tokens: Tokens, *, schema: TextSchema, source: str) -> tuple[Dataset, tuple[str, ...]]:
    cut, silent, roles = 0, 0, set[str]()

    def rows() -> Iterator[NDArray[np.int32]]:
        nonlocal cut, silent
        for path in files:
            for talk in conversations(path, field=schema.source):
                roles.update(role for role, _ in talk)
                row, whole = _talk(talk, tokens, context=schema.context)
                if row is None:
                    silent += 1
                    continue
                cut += not whole
                yield row

    values = kept(rows(), dtype=np.int32).reshape(-1, 2, schema.context)
    if not len(values):
        spoken = (
            f" (its roles are {', '.join(sorted(map(printable, roles))[:6])})"
            if roles and _ANSWERS not in roles
            else ""
        )
        raise DataError(
            seen=f"{source} has no conversation with a word of the {_ANSWERS} within {schema.context} tokens{spoken}",
            expected="one at least",
            fix=f"call those whose words are to be learnt {_ANSWERS!r}"
            + ("" if spoken else ", or ask for a task with a longer data.context"),
        )
    notes = (
        [
            f"{cut} of {plural(len(values), 'conversation')} {agreeing(cut, 'is', 'are')} longer than {schema.context} tokens and cut off"
        ]
        if cut
        else []
    )
    notes += (
        [
            f"{plural(silent, 'conversation')} {agreeing(silent, 'has', 'have')} no word of the {_ANSWERS} in that, and {agreeing(silent, 'is', 'are')} left out"
        ]
        if silent
        else []
    )
    return Dataset(features=values[:, 0], labels=values[:, 1]), tuple(notes)


def _talk(talk: list[Message], tokens: Tokens, *, context: int) -> tuple[NDArray[np.int32] | None, bool]:
    """A conversation's inputs and targets, shape (2, context), and whether all of it is there; None if nothing is a target."""
    told: list[int] = []
    learnt: list[bool] = []
    for role, content in talk:
        for text, counts in ((f"<|{role}|>\n", False), (f"{content}\n", role == _ANSWERS and bool(content.strip()))):
            made = tokens.encode(text).tolist()
            told += made
            learnt += [counts] * len(made)
        if len(told) > context:
            break
    row = np.zeros((2, context), dtype=np.int32)
    row[1] = IGNORED
    inputs, targets = told[:-1][:context], told[1:][:context]
    row[0, : len(inputs)] = inputs
    row[1, : len(targets)] = np.where(learnt[1:][:context], targets, IGNORED)
    return (row if (row[1] != IGNORED).any() else None), len(told) - 1 <= context


def _whole(features: NDArray[Any], labels: NDArray[Any]) -> Dataset:
    return Dataset(features=features.astype(np.int64), labels=labels.astype(np.int64))
