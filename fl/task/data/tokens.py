"""What a token is: a byte, or a word of a tokeniser that everybody has on disk and that the task names by its hash."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl.foreign.files import expanded
from fl.task.data.errors import DataError

BYTES = "bytes"
BASES = "FAIRSHARE_BASES"  # a folder of base models, by name
_FILE = "tokenizer.json"  # as transformers saves a fast tokeniser
NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")  # a spec is somebody else's text: a name, never a path


@dataclass(frozen=True, kw_only=True, eq=False)
class Tokens:
    """Turns text into numbers."""

    name: str  # bytes, or of a base
    sha256: str | None  # of the tokeniser's file, in hex; None for bytes
    count: int  # numbers are below it
    _held: Any = None

    def encode(self, text: str) -> NDArray[np.int32]:
        """Numbers of a text, shape (T,); nothing is put around it."""
        if self._held is None:
            return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int32)
        return np.array(self._held.encode(text, add_special_tokens=False).ids, dtype=np.int32)

    def decode(self, tokens: NDArray[np.integer[Any]]) -> str:
        """Text of numbers, shape (T,); what is no text reads as a replacement mark."""
        if self._held is None:
            return bytes(int(token) & 0xFF for token in tokens).decode(errors="replace")
        return self._held.decode([int(token) for token in tokens], skip_special_tokens=False)


def tokens_named(name: str, *, sha256: str | None = None) -> Tokens:
    """Bytes, or the tokeniser of a base on this machine: a folder in $FAIRSHARE_BASES, or a model of the local hub cache.

    Args:
        name: bytes, or the base's.
        sha256: What its file has to be; None takes what is there.
    Raises: DataError if it is not here, is another one, or the library is not.
    """
    if name == BYTES:
        return Tokens(name=BYTES, sha256=None, count=256)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise DataError(
            seen=f"a tokeniser called {str(name)[:60]!r}",
            expected=f"{BYTES}, or the name of a folder in ${BASES} or of a hub model such as org/name",
            fix="set data.tokens to one",
        )
    path = _path(name)
    if path is None:
        raise DataError(
            seen=f"the tokeniser of {name} is not on this machine",
            expected=f"its {_FILE} in a folder of that name in ${BASES}, or in the hub cache",
            fix="put it there",
        )
    found = _read(path, path.stat().st_mtime_ns)
    if sha256 is not None and found.sha256 != sha256:
        raise DataError(
            seen=f"the tokeniser of {name} has sha256 {str(found.sha256)[:16]}… here",
            expected=f"{sha256[:16]}…, as in the task",
            fix="get the one that the coordinator names",
        )
    return Tokens(name=name, sha256=found.sha256, count=found.count, _held=found._held)


def _path(name: str) -> Path | None:
    own = os.environ.get(BASES)
    if own and (found := expanded(own) / name / _FILE).is_file():
        return found
    try:
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    cached = try_to_load_from_cache(name, _FILE)
    return Path(cached) if isinstance(cached, str) else None


@lru_cache(maxsize=4)
def _read(path: Path, written: int) -> Tokens:
    """One file as it stood when it was written, which is told by its time."""
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415 - an extra
    except ImportError:
        raise DataError(
            seen="tokenizers is not installed, which a tokeniser needs",
            expected="the extra for language models",
            fix="run pip install 'fairshare[llm]', or leave data.tokens at bytes",
        ) from None
    try:
        content = path.read_bytes()
        held = Tokenizer.from_str(content.decode())
    except Exception as error:  # whatever the library makes of somebody else's file
        raise DataError(
            seen=f"{path} is not a tokeniser ({str(error)[:80]})",
            expected="what transformers saves",
            fix="fetch it again",
        ) from None
    held.no_truncation()
    held.no_padding()
    return Tokens(name=str(path), sha256=hashlib.sha256(content).hexdigest(), count=held.get_vocab_size(), _held=held)
