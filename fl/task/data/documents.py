"""Text as it lies on a disk, one document after the other, none of which has to fit into memory with the others.

Plain files (.txt, .md, .text) are a document each. JSON lines (.jsonl), Parquet and a folder that Hugging Face's `datasets` saved hold
many: each is a text in one field, or a conversation, a list of messages with role and content.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fl.foreign.json_text import BadJson, read_json
from fl.task.data.errors import DataError
from fl.task.data.extras import imported

PLAIN, LINES, PARQUET = (".txt", ".md", ".text"), (".jsonl", ".ndjson"), (".parquet",)
SUFFIXES = (*PLAIN, *LINES, *PARQUET)
_SAVED = "state.json"  # what `datasets` puts beside its files
_PIECE = 1 << 20  # bytes of a plain file that are read at once
_MOST_LINE = 16 << 20  # bytes of a line of JSON

OPTIONAL = ("prompt",)  # fields that a row may lack
_COLUMN = "a column"  # that a file has or has not, whatever stands in it
_DICT = "dataset_dict.json"  # what `datasets` puts beside the folders of several splits

# What other programs' files begin with: none of them is text, and a byte-level model would learn it all the same.
_FORMATS = {
    b"PK\x03\x04": "a zip archive, as .docx and .xlsx are",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "packed by gzip",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ": "packed by xz",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
}
_TABLES = (".csv", ".tsv", ".json")  # text that is a list of something, which plain text is not

Message = tuple[str, str]  # role, content


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder is one that `datasets` saved: a client's data, and not a folder of clients."""
    return (path / _SAVED).is_file()


def check_one_split(path: Path) -> None:
    """Raises: DataError for a folder of several splits, of which one may be the test set."""
    if (path / _DICT).is_file():
        splits = sorted(child.name for child in path.iterdir() if is_saved_dataset(child))
        raise DataError(
            seen=f"{path} holds several splits of a data set ({', '.join(splits) or 'none that can be read'})",
            expected="one of them",
            fix=f"name one, such as {path / (splits[-1] if splits else 'train')}",
        )


def check_plain(path: Path) -> None:
    """Read a plain file once, a piece at a time. Raises: DataError for what is no UTF-8 text, or is a list of something."""
    if (suffix := path.suffix.lower()) in _TABLES:
        raise DataError(
            seen=f"{path} is {'a list' if suffix == '.json' else 'a table'}",
            expected=f"plain text, or documents in {', '.join((*LINES, *PARQUET))}",
            fix="write a line of JSON for each document, with its text in one field, into a file ending in .jsonl",
        )
    try:
        with path.open("rb") as file:
            begin = file.read(8)
    except OSError as error:
        raise unreadable(path, error) from error
    if name := next((name for mark, name in _FORMATS.items() if begin.startswith(mark)), None):
        raise DataError(seen=f"{path} is {name}", expected="a text file", fix="save its text as UTF-8 (.txt), unpacked")
    for piece in _pieces(path):
        if "\0" in piece:
            raise DataError(seen=f"{path} holds null bytes", expected="a text file", fix=_saved_as(path))


def _saved_as(path: Path) -> str:
    """What to do about a file that is no UTF-8."""
    with suppress(OSError), path.open("rb") as file:
        begin = file.read(64)
        if begin[:2] in (b"\xff\xfe", b"\xfe\xff") or 2 * begin.count(0) >= len(begin) - 2 > 4:
            return f"save it as UTF-8, from UTF-16: iconv -f utf-16 -t utf-8 {path.name}"
    return f"save it as UTF-8, from Windows' older code if it is text of the West: iconv -f cp1252 -t utf-8 {path.name}"


def is_plain(path: Path) -> bool:
    """Whether a file is one document, whatever it is called, and not a list of them."""
    return not path.is_dir() and path.suffix.lower() not in (*LINES, *PARQUET)


def texts(path: Path, *, field: str) -> Iterator[str]:
    """A file's texts, in pieces that follow each other; documents are parted by a line break.

    Args:
        path: A file, or a folder that `datasets` saved.
        field: Of a line or a row, that holds the text.
    Raises: DataError for what cannot be read, or a row without text in that field.
    """
    if is_plain(path):
        yield from _pieces(path)
        return
    for number, row in enumerate(_rows(path, fields=(field,)), start=1):
        text = row.get(field)
        if not isinstance(text, str):
            raise _no_field(path, number, field=field, row=row, wanted="a text")
        yield text + "\n"


def records(path: Path, *, fields: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """A file's rows, counted from 1, each with all of some fields; one that may be absent is an empty text then.

    Args:
        path: Lines of JSON, Parquet, or a folder that `datasets` saved.
        fields: Of each row.
    Raises: DataError as `texts`, or for a row that lacks one of them.
    """
    if is_plain(path):
        raise DataError(
            seen=f"{path} is plain text",
            expected=f"rows with {' and '.join(fields)}, in {', '.join((*LINES, *PARQUET))} or a folder that datasets saved",
            fix="write a line of JSON for each",
        )
    for number, row in enumerate(_rows(path, fields=fields), start=1):
        found = {field: row.get(field, "" if field in OPTIONAL else None) for field in fields}
        if absent := [field for field, value in found.items() if value is None]:
            raise _no_field(path, number, field=absent[0], row=row, wanted="a value")
        yield number, found


def conversations(path: Path, *, field: str) -> Iterator[list[Message]]:
    """A file's conversations. Raises: DataError as `texts`, or for messages without role and content."""
    if is_plain(path):
        raise DataError(
            seen=f"{path} is plain text",
            expected=f"conversations, in {', '.join((*LINES, *PARQUET))} or a folder that datasets saved",
            fix="write a line of JSON for each, with messages of role and content, or leave data.form out",
        )
    for number, row in enumerate(_rows(path, fields=(field,)), start=1):
        messages = row.get(field)
        if not isinstance(messages, list) or not messages:
            raise _no_field(path, number, field=field, row=row, wanted="a list of messages")
        found = [_message(message) for message in messages]
        if None in found:
            raise DataError(
                seen=f"{path}, row {number} has a message {json.dumps(messages[found.index(None)], default=str)[:80]}",
                expected='messages such as {"role": "user", "content": "…"}, of text',
                fix="name the two so and write the content as text, or leave the row out",
            )
        yield [message for message in found if message is not None]


def _message(raw: Any) -> Message | None:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("role"), str) or not isinstance(raw.get("content"), str):
        return None
    return raw["role"], raw["content"]


def _pieces(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig", errors="strict", newline="") as file:
            while piece := file.read(_PIECE):
                yield piece
    except UnicodeDecodeError as error:
        raise DataError(
            seen=f"{path} is not UTF-8 text (near byte {error.start})", expected="a text file", fix=_saved_as(path)
        ) from None
    except OSError as error:
        raise unreadable(path, error) from error


def _rows(path: Path, *, fields: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    if path.is_dir():
        yield from _saved_rows(path)
    elif path.suffix.lower() in LINES:
        yield from _json_rows(path)
    else:
        yield from _parquet_rows(path, fields=fields)


def _json_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_MOST_LINE + 1):
                number += 1
                if not line.strip():
                    continue
                try:
                    row = read_json(line.removeprefix(b"\xef\xbb\xbf"), most=_MOST_LINE)
                except BadJson as error:
                    raise _bad_line(path, number, problem=error.problem) from None
                if not isinstance(row, dict):
                    raise _bad_line(path, number, problem=f"it is a {type(row).__name__}")
                yield row
    except OSError as error:
        raise unreadable(path, error) from error


def _parquet_rows(path: Path, *, fields: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    parquet = _arrow("pyarrow.parquet", path)
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if absent := [field for field in fields if field not in names and field not in OPTIONAL]:
                raise _no_field(path, 1, field=absent[0], row=dict.fromkeys(names), wanted=_COLUMN)
            for batch in file.iter_batches(columns=[field for field in fields if field in names]):
                yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def _saved_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    ipc, arrow = _arrow("pyarrow.ipc", path), _arrow("pyarrow", path)
    try:
        state = read_json((path / _SAVED).read_bytes(), most=_MOST_LINE)
        names = [str(entry["filename"]) for entry in state["_data_files"]]
        chosen = state.get("_indices_data_files")
    except (OSError, BadJson, KeyError, TypeError) as error:
        raise unreadable(path / _SAVED, error) from error
    if chosen:  # which rows of the files are meant: those that were filtered out are in them too
        raise DataError(
            seen=f"{path} holds a choice of rows beside its rows",
            expected="rows that are all meant",
            fix="call flatten_indices() and save_to_disk again",
        )
    for name in names:
        if Path(name).name != name:  # a folder of somebody else's, whose files are in it
            raise DataError(
                seen=f"{path / _SAVED} names {name!r}", expected="a file of that folder", fix="save it again"
            )
        try:
            with arrow.memory_map(str(path / name)) as source, ipc.open_stream(source) as reader:
                for batch in reader:
                    yield from batch.to_pylist()
        except (OSError, ValueError) as error:
            raise unreadable(path / name, error) from error


def _arrow(module: str, path: Path) -> Any:
    fix = "run pip install 'fairshare[tables]', or write it as .jsonl"
    return imported(module, path=path, package="pyarrow", expected="the extra for such files", fix=fix)


def _bad_line(path: Path, number: int, *, problem: str) -> DataError:
    return DataError(
        seen=f"{path}, line {number} is not a JSON object ({problem})",
        expected="one object a line",
        fix="mend that line",
    )


def _no_field(path: Path, number: int, *, field: str, row: Mapping[str, Any], wanted: str) -> DataError:
    if field in row and wanted != _COLUMN:
        held, fix = f"but {_kind_of(row[field])}", "mend the row, or leave it out"
    else:
        held = f"(it has {', '.join(map(str, list(row)[:6])) or 'nothing'})"
        fix = "name the field with data.field, or leave the row out"
    return DataError(
        seen=f"{path}, row {number} has not {wanted} in {field!r} {held}",
        expected=f"{wanted} in every row",
        fix=fix,
    )


def _kind_of(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
        bytes: "bytes",
        str: "a text",
    }
    return names.get(type(value), f"a {type(value).__name__}")


def unreadable(path: Path, error: BaseException) -> DataError:
    """The refusal of a file that the system, or its format, does not give."""
    reason = getattr(error, "strerror", None) or str(error)[:120] or type(error).__name__
    return DataError(
        seen=f"{path} cannot be read ({reason})", expected="a file of text", fix="check path and permissions"
    )
