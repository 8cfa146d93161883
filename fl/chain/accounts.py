"""Keys: encrypted keystores everywhere, Anvil's published test keys on chain 31337 only.

A key is held by an eth-account `LocalAccount`, whose repr shows the address; nothing here prints, logs or returns the
key itself.
"""

from __future__ import annotations

import json
import os
from getpass import getpass
from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount

from fl.chain.errors import ChainError, KeystoreError
from fl.chain.rpc_url import RPC_URL_VARIABLE
from fl.chain.whole_file import write_new

ANVIL_CHAIN = 31337
# Published by Foundry: everybody knows these keys, which is why `anvil_account` wants the chain id.
_ANVIL_MNEMONIC = "test test test test test test test test test test test junk"
PASSWORD_VARIABLE = "FAIRSHARE_PASSWORD"
PASSWORD_FILE_VARIABLE = "FAIRSHARE_PASSWORD_FILE"  # systemd and containers hand secrets over as files
SECRETS = (PASSWORD_VARIABLE, PASSWORD_FILE_VARIABLE, RPC_URL_VARIABLE)  # that no child process is given


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
        path.parent.mkdir(parents=True, exist_ok=True)
        write_new(path, encrypted, mode=0o600)
    except OSError as error:
        if path.exists():
            raise taken from None
        problem = f"cannot be written ({error.strerror}); choose another path"
        raise KeystoreError(path=str(path), problem=problem) from None
    return account


def open_keystore(path: Path, *, password: str) -> LocalAccount:
    """Decrypt a keystore. Raises: KeystoreError for a missing or broken file, or a wrong password."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise KeystoreError(path=str(path), problem=f"no such file; make one with `fl key path={path}`") from None
    except ValueError:  # neither JSON nor text
        raise KeystoreError(path=str(path), problem="is not a JSON keystore; pass the file `fl key` wrote") from None
    except OSError as error:
        raise KeystoreError(path=str(path), problem=f"cannot be read ({type(error).__name__})") from None
    try:
        return Account.from_key(Account.decrypt(content, password))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # eth-keyfile says "MAC mismatch" for a wrong password; the cause is dropped, as it may hold key material.
        known = isinstance(error, ValueError) and "MAC" in str(error)
        problem = f"wrong password; set {PASSWORD_VARIABLE} or type it again" if known else "is not a v3 keystore"
        raise KeystoreError(path=str(path), problem=problem) from None


def ask_password(path: Path, *, confirm: bool = False) -> str:
    """The password from the environment, from the file that it names, or typed without echo.

    Raises: KeystoreError if it is empty, or the file cannot be read.
    """
    password, file = os.environ.get(PASSWORD_VARIABLE), os.environ.get(PASSWORD_FILE_VARIABLE)
    if password is None and file:
        try:
            password = Path(file).read_text().rstrip("\r\n")
        except (OSError, ValueError) as error:
            problem = (
                f"its password file {file} cannot be read ({type(error).__name__}); check {PASSWORD_FILE_VARIABLE}"
            )
            raise KeystoreError(path=str(path), problem=problem) from None
    if password is None:
        password = getpass(f"Password of {path}: ")
        if confirm and getpass("Once more: ") != password:
            raise KeystoreError(path=str(path), problem="the two passwords differ; start again")
    if not password:
        raise KeystoreError(path=str(path), problem=f"the password is empty; type one or set {PASSWORD_VARIABLE}")
    return password
