"""data=text: one file of text per client, read as bytes and cut into rows of one length.

A byte is a token, so there is no vocabulary to agree on. A row's inputs are `context` bytes and its targets the bytes one place
further on; what is left at the end of a file is too short for a row and is not used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.task.data.dataset import Dataset, Federation, Shard
from fl.task.data.errors import DataError
from fl.task.data.holdout import split_rows

SUFFIXES = (".txt", ".md", ".text")
BYTES = "bytes"


@dataclass(frozen=True, kw_only=True)
class TextSchema:
    """How every node of a task reads its text."""

    context: int  # tokens of one row
    tokens: str = BYTES  # what a token is

    def to_json(self) -> str:
        """One line of JSON with sorted keys."""
        return json.dumps({"context": self.context, "tokens": self.tokens}, sort_keys=True, separators=(",", ":"))


def is_text_schema(raw: object) -> bool:
    """Whether a spec's schema, as parsed JSON, is one of text."""
    return isinstance(raw, Mapping) and "tokens" in raw


def text_schema(raw: Mapping[str, object]) -> TextSchema:
    """A spec's schema. Raises: DataError for tokens that this version does not know, or a context of no length."""
    context = raw.get("context")
    if raw.get("tokens") != BYTES or type(context) is not int or not 1 <= context <= 1 << 20:
        raise DataError(
            seen=f"a task whose tokens are {raw.get('tokens')!r} in rows of {context!r}",
            expected=f"tokens that are {BYTES}, in rows of 1 to {1 << 20}",
            fix="update fairshare on this machine, or ask the coordinator",
        )
    return TextSchema(context=context)


def read_text_shard(path: Path | str, *, schema: TextSchema, name: str | None = None) -> Shard:
    """One file, or all files of a folder one after the other, as rows.

    Args:
        path: The file or folder.
        schema: From the task's spec.
        name: Of the shard, for reports; None takes the file's stem.
    Raises: DataError if it cannot be read or is too short for one row.
    """
    path = Path(path).expanduser()
    files = _files(path) if path.is_dir() else [path]
    return Shard(
        name=name or path.stem, data=_encoded(_rows(b"\n".join(map(_read, files)), schema=schema, source=str(path)))
    )


def load_texts(
    folder: Path | str,
    *,
    context: int,
    validation: int | float | str,
    test: int | float | str,
    limit: int | None,
    rng: np.random.Generator,
) -> Federation:
    """A folder with one file per client; of every file a share of the rows is held back.

    Args:
        folder: Of the files.
        context: Tokens of one row.
        validation: A share of every client's rows, or a number of rows from all together; a string names a file instead.
        test: Likewise.
        limit: Use at most so many rows of all together.
        rng: Draws which rows are held back.
    Raises: DataError if there are no files, or one is too short to hold rows back.
    """
    folder, schema = Path(folder).expanduser(), TextSchema(context=context)
    if not folder.is_dir():
        raise DataError(
            seen=f"{folder} is {'a file' if folder.exists() else 'not there'}",
            expected="a folder with one file of text for each client",
            fix="set data.path to that folder",
        )
    separate = {
        key: read_text_shard(value, schema=schema).data
        for key, value in (("validation", validation), ("test", test))
        if isinstance(value, str)
    }
    aside = {Path(value).expanduser().resolve() for value in (validation, test) if isinstance(value, str)}
    files = [path for path in _files(folder) if path.resolve() not in aside]
    texts = [_rows(_read(path), schema=schema, source=str(path)) for path in files]
    owners = np.repeat(np.arange(len(files)), [len(rows) for rows in texts])
    rows = np.concatenate(texts)
    split = split_rows(owners, validation=validation, test=test, limit=limit, rng=rng)
    shards = []
    for place, path in enumerate(files):
        own = split.train[owners[split.train] == place]
        if not len(own):
            raise DataError(
                seen=f"{path} has {len(texts[place])} rows of {context} bytes, and all are held back",
                expected="a file with rows left to train on",
                fix="lower data.context, data.validation or data.test, or leave the file out",
            )
        shards.append(Shard(name=path.stem, data=_encoded(rows[own])))
    return Federation(
        shards=tuple(shards),
        validation=separate["validation"] if split.validation is None else _encoded(rows[split.validation]),
        test=separate["test"] if split.test is None else _encoded(rows[split.test]),
        class_names=(),
        schema=schema,
    )


def _files(folder: Path) -> list[Path]:
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    if not found:
        here = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            seen=f"{folder} holds no text (it holds {here})",
            expected=f"one file per client, ending in {', '.join(SUFFIXES)}",
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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf")  # a byte-order mark is no text
    except OSError as error:
        raise DataError(
            seen=f"{path} cannot be read ({error.strerror})",
            expected="a file of text",
            fix="check path and permissions",
        ) from error


def _rows(text: bytes, *, schema: TextSchema, source: str) -> NDArray[np.uint8]:
    """Rows of context + 1 bytes, which overlap by one: shape (N, context + 1)."""
    values = np.frombuffer(text, dtype=np.uint8)
    count = (len(values) - 1) // schema.context if len(values) else 0
    if count < 1:
        raise DataError(
            seen=f"{source} holds {len(values)} bytes",
            expected=f"at least {schema.context + 1}, one row",
            fix="add text, or ask for a task with a shorter data.context",
        )
    starts = np.arange(count)[:, None] * schema.context
    return values[starts + np.arange(schema.context + 1)]


def _encoded(rows: NDArray[np.uint8]) -> Dataset:
    return Dataset(features=rows[:, :-1].astype(np.int64), labels=rows[:, 1:].astype(np.int64))
