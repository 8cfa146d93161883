"""Reads the vectors that the Solidity tests read too; `scripts/vectors` writes them."""

import json
from pathlib import Path


def cases(name: str) -> list[dict]:
    """The cases of tests/vectors/<name>.json."""
    return document(name)["cases"]


def document(name: str) -> dict:
    """The whole of tests/vectors/<name>.json."""
    return json.loads((Path(__file__).parent / "vectors" / f"{name}.json").read_text())


def unhex(text: str) -> bytes:
    """Bytes of a 0x string."""
    return bytes.fromhex(text[2:])
