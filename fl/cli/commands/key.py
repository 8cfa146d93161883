"""`fl key`: make an encrypted keystore."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fl.chain.accounts import PASSWORD_VARIABLE, ask_password, create_keystore
from fl.cli.arguments.key_value import parse

KNOWN = {"path": f"file to write; its password is asked for, or read from {PASSWORD_VARIABLE}"}


def main(arguments: Sequence[str]) -> None:
    """Make a key, write it encrypted, print its address and nothing else of it."""
    path = Path(parse(arguments, known=KNOWN, command="key", required=["path"])["path"])
    account = create_keystore(path, password=ask_password(path, confirm=True))
    print(f"{account.address} is in {path}; keep the file and its password, nobody can restore them")
