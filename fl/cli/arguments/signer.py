"""Which key a command signs with."""

from __future__ import annotations

from pathlib import Path

from eth_account.signers.local import LocalAccount

from fl.chain.accounts import anvil_account, ask_password, open_keystore
from fl.cli.arguments.values import is_whole
from fl.errors import ConfigError

WALLET = "wallet.json"  # what `fl client` makes


def signer(key: str | None, *, chain_id: int, anvil_index: int = 0) -> LocalAccount:
    """The keystore's key or, on chain 31337 only, one of Anvil's published test keys.

    Args:
        key: File of the keystore; None for a test key.
        chain_id: Of the chain that is signed for.
        anvil_index: Of the test key.
    Raises: KeystoreError; TestKeysElsewhere if no keystore is named on another chain.
    """
    if key:
        return open_keystore(Path(key), password=ask_password(Path(key)))
    return anvil_account(anvil_index, chain_id=chain_id)


def wallet_signer(values: dict[str, str], *, chain_id: int) -> LocalAccount:
    """What `key=` or `anvil=` names or, where neither does, the wallet that `fl client` made here.

    Raises: ConfigError if there is none; as `signer`.
    """
    key = values.get("key")
    if not key and not is_whole(values.get("anvil", "")):
        if not Path(WALLET).exists():
            raise ConfigError(f"key is not set and there is no {WALLET} here; add key=KEYSTORE")
        key = WALLET
    return signer(key, chain_id=chain_id, anvil_index=int(values.get("anvil") or 0))
