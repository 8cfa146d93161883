"""Which key a command signs with."""

from __future__ import annotations

from pathlib import Path

from eth_account.signers.local import LocalAccount

from fl.chain.accounts import anvil_account, ask_password, open_keystore


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
