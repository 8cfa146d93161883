"""`fl key`: make an encrypted keystore."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fl.chain.accounts import PASSWORD_VARIABLE, ask_password, create_keystore
from fl.cli.arguments.key_value import named, parse

KNOWN = {"path": f"file to write; its password is asked for, or read from {PASSWORD_VARIABLE}"}


def main(arguments: Sequence[str]) -> None:
    """Make a key, write it encrypted, print its address and nothing else of it."""
    values = parse(named(arguments, "path", command="key"), known=KNOWN, command="key PATH", required=["path"])
    path = Path(values["path"])
    account = create_keystore(path, password=ask_password(path, confirm=True))
    print(f"{account.address} is in {path}; keep the file and its password, nobody can restore them")
