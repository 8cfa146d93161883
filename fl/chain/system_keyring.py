"""Passwords of keystores in the system's keyring: the login keyring of a desktop, macOS's Keychain, Windows' Credential Manager.

The `keyring` package is an optional extra (`fairshare[keyring]`). Where it, or a keyring behind it, is missing, nothing here is
in the way: the password is asked for as ever.
"""

from __future__ import annotations

import importlib
import importlib.util
import secrets
from pathlib import Path
from typing import Any

from fl.chain.errors import ChainError
from fl.foreign.files import expanded
from fl.plain_text import printable

SERVICE = "fairshare"


class NoKeyring(ChainError):
    """The system's keyring cannot be used."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"this system's keyring cannot be used ({self.reason})"


def keyring_password(path: Path) -> str | None:
    """The password of a keystore, as the keyring has it; None where there is no keyring or nothing in it for this file."""
    if importlib.util.find_spec("keyring") is None:
        return None
    try:
        return _keyring().get_password(SERVICE, _user(path))
    except Exception:  # locked, denied, or of a backend's own kind: the owner is asked instead
        return None


def keep_password(path: Path, password: str) -> None:
    """Put the password of a keystore into the keyring. Raises: NoKeyring."""
    if importlib.util.find_spec("keyring") is None:
        raise NoKeyring(reason="the package is not installed; pip install 'fairshare[keyring]' brings it")
    try:
        _keyring().set_password(SERVICE, _user(path), password)
        kept = _keyring().get_password(SERVICE, _user(path))
    except Exception as error:  # of a backend's own kind
        words = printable(error, most=300).partition(". ")[0]  # what follows is for whoever installs backends
        raise NoKeyring(reason=f"{type(error).__name__}: {words}") from error
    if kept != password:  # the null backend takes everything and keeps nothing
        raise NoKeyring(reason="it kept nothing; see `keyring diagnose`")


def new_password() -> str:
    """A password that nobody has to remember: 256 bits."""
    return secrets.token_urlsafe(32)


def _keyring() -> Any:  # the package's module, where it is installed
    return importlib.import_module("keyring")


def _user(path: Path) -> str:
    return str(expanded(path).absolute())
