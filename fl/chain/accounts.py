"""Keys: encrypted keystores everywhere, Anvil's published test keys on chain 31337 only.

A key is held by an eth-account `LocalAccount`, whose repr shows the address; nothing here prints, logs or returns the
key itself.
"""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from getpass import GetPassWarning, getpass
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from fl.chain.errors import ChainError, KeystoreError
from fl.chain.rpc_url import RPC_URL_VARIABLE
from fl.chain.system_keyring import keyring_password
from fl.chain.whole_file import write_new
from fl.foreign.files import Absent, Unreadable, read_file
from fl.foreign.json_text import BadJson, read_json

ANVIL_CHAIN = 31337
# Published by Foundry: everybody knows these keys, which is why `anvil_account` wants the chain id.
_ANVIL_MNEMONIC = "test test test test test test test test test test test junk"
PASSWORD_VARIABLE = "FAIRSHARE_PASSWORD"
PASSWORD_FILE_VARIABLE = "FAIRSHARE_PASSWORD_FILE"  # systemd and containers hand secrets over as files
_MOST_BYTES = 1 << 16  # of a keystore, or a file with a password
# What the key derivation of a keystore may cost: `fl key` asks for n = 2^18, r = 8, p = 1, which takes 256 MiB and a second.
_MOST_COST = {"n": 1 << 20, "r": 16, "p": 16, "c": 10_000_000, "dklen": 64}
_MOST_MEMORY = 1 << 30  # bytes: 128 · n · r
PASSWORDS = (PASSWORD_VARIABLE, PASSWORD_FILE_VARIABLE)
# What a variable of the environment is called that holds a secret: of an archive, a tracker, a paid RPC node.
_SECRET = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|MNEMONIC|(API|ACCESS|PRIVATE)_?KEY", re.IGNORECASE
)


def without_secrets(*, but: tuple[str, ...] = ()) -> dict[str, str]:
    """This process's environment as a child is given it: without what unlocks anything.

    Args:
        but: Variables that this child needs all the same.
    """
    return {
        key: value
        for key, value in os.environ.items()
        if key in but or not (key == RPC_URL_VARIABLE or _SECRET.search(key))
    }


class TestKeysElsewhere(ChainError):
    """Somebody wants to use published keys where money may be real."""

    __test__ = False  # not a pytest class, for all its name

    def __init__(self, chain_id: int) -> None:
        super().__init__(chain_id)
        self.chain_id = chain_id

    def __str__(self) -> str:
        return (
            f"Anvil's test keys are published and only used on chain {ANVIL_CHAIN}, this is chain {self.chain_id}; make a "
            "keystore with `fl key path=FILE` and pass key=FILE"
        )


def anvil_account(index: int, *, chain_id: int) -> LocalAccount:
    """Account `index` of Anvil's published mnemonic. Raises: TestKeysElsewhere unless the chain is 31337."""
    if chain_id != ANVIL_CHAIN:
        raise TestKeysElsewhere(chain_id=chain_id)
    Account.enable_unaudited_hdwallet_features()
    return Account.from_mnemonic(_ANVIL_MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}")


def create_keystore(path: Path, *, password: str) -> LocalAccount:
    """Make a new key and write it encrypted (Web3 secret storage v3, scrypt), readable by its owner only.

    Raises: KeystoreError if the file is there already, as a key is never overwritten, or cannot be written.
    """
    taken = KeystoreError(path=str(path), problem="is there already; choose another path, keys are kept")
    if path.exists():
        raise taken
    account = Account.create()
    # scrypt takes a second; whoever is interrupted in it has made nothing.
    encrypted = json.dumps(account.encrypt(password)).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_new(path, encrypted, mode=0o600)
    except OSError as error:
        if path.exists():
            raise taken from None
        problem = f"cannot be written ({error.strerror}); choose another path"
        raise KeystoreError(path=str(path), problem=problem) from None
    return account


def open_keystore(path: Path, *, password: str) -> LocalAccount:
    """Decrypt a keystore. Raises: KeystoreError for a missing or broken file, or a wrong password."""
    content = _read_keystore(path)
    try:
        return Account.from_key(Account.decrypt(content, password))
    except Exception as error:  # the libraries' own, of whatever kind; it may hold key material, so none of it is told
        # eth-keyfile says "MAC mismatch" for a wrong password.
        known = isinstance(error, ValueError) and "MAC" in str(error)
        problem = f"wrong password; set {PASSWORD_VARIABLE} or type it again" if known else "is not a v3 keystore"
        raise KeystoreError(path=str(path), problem=problem) from None


def _read_keystore(path: Path) -> dict[str, Any]:
    try:
        content = read_json(read_file(path, most=_MOST_BYTES))
    except Absent:
        raise KeystoreError(path=str(path), problem=f"no such file; make one with `fl key path={path}`") from None
    except BadJson:
        raise KeystoreError(path=str(path), problem="is not a JSON keystore; pass the file `fl key` wrote") from None
    except Unreadable as error:
        raise KeystoreError(path=str(path), problem=f"{error.problem}; pass the file `fl key` wrote") from None
    if not _is_bearable(content):
        raise KeystoreError(path=str(path), problem="is not a v3 keystore")
    keystore: dict[str, Any] = content
    return keystore


def _is_bearable(content: object) -> bool:
    """Whether a keystore's numbers are in their places and ask for no more memory and time than keystores do."""
    crypto = content.get("crypto", content.get("Crypto")) if isinstance(content, dict) else None
    if not isinstance(crypto, dict):
        return False
    costs = crypto.get("kdfparams")
    if not isinstance(costs, dict):
        return False
    told = {name: costs[name] for name in _MOST_COST if name in costs}
    return (
        all(type(value) is int and 0 < value <= _MOST_COST[name] for name, value in told.items())
        and 128 * told.get("n", 1) * told.get("r", 1) <= _MOST_MEMORY
    )


def read_password(path: Path) -> str:
    """The password in a file, without the end of its line. Raises: Unreadable."""
    try:
        return read_file(path, most=_MOST_BYTES).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise Unreadable(path=str(path), problem="is not UTF-8 text") from None


def ask_password(path: Path, *, confirm: bool = False) -> str:
    """The password from the environment, from the file that it names, from the system's keyring, or typed without echo.

    Raises: KeystoreError if it is empty, or the file cannot be read; EOFError if nobody is there to type it.
    """
    password, file = os.environ.get(PASSWORD_VARIABLE), os.environ.get(PASSWORD_FILE_VARIABLE)
    if password is None and file:
        try:
            password = read_password(Path(file))
        except Unreadable as error:
            problem = f"its password file {file} {error.problem}; check {PASSWORD_FILE_VARIABLE}"
            raise KeystoreError(path=str(path), problem=problem) from None
    if password is None and not confirm:
        password = keyring_password(path)
    if password is None:
        if not confirm:
            _read_keystore(path)  # nobody types a password for a file that is none
        password = _typed(f"Password of {path}{', which is new: choose one' if confirm else ''}: ")
        if confirm and _typed("Once more: ") != password:
            raise KeystoreError(path=str(path), problem="the two passwords differ; start again")
    if not password:
        raise KeystoreError(path=str(path), problem=f"the password is empty; type one or set {PASSWORD_VARIABLE}")
    return password


def _typed(prompt: str) -> str:
    """What somebody types without echo; where there is no terminal, the next line of the input. Raises: EOFError."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", GetPassWarning)
        try:
            return getpass(prompt)
        except GetPassWarning:  # it would warn of an echo that a pipe does not have
            line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")
