"""Gets one transaction into one block, once: through outages, restarts of the node and fees that turn out too low.

All attempts share one nonce, and an account's nonce is used up by the first transaction that has it: so it is never paid twice,
whichever attempt it is that gets in.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import BlockNotFound, TransactionNotFound, Web3RPCError
from web3.types import TxReceipt

from fl.chain.errors import ChainError
from fl.chain.provider import Patience

log = logging.getLogger(__name__)

_FIRST_POLL_S, _LAST_POLL_S = 0.02, 1.0  # a devnet answers at once
_BUMP_PERCENT = 125  # nodes want 10 % more for a transaction that takes another's place
_LOOK_BACK = 256  # blocks in which a transaction of another wallet with our nonce is looked for
_FEES = ("gasPrice", "maxFeePerGas", "maxPriorityFeePerGas")


class TransactionTaken(ChainError):
    """Another transaction of the same account used up the nonce."""

    def __init__(self, name: str, nonce: int, address: str) -> None:
        super().__init__(name, nonce, address)
        self.name, self.nonce, self.address = name, nonce, address

    def __str__(self) -> str:
        return (
            f"{self.name} did not happen: another transaction of {self.address} took its nonce {self.nonce}; use the account "
            "in one program at a time, and try again"
        )


class NotIncluded(ChainError):
    """A transaction is in no block after a long time; it may still get into one."""

    def __init__(self, name: str, transaction: str, waited_s: float) -> None:
        super().__init__(name, transaction, waited_s)
        self.name, self.transaction, self.waited_s = name, transaction, waited_s

    def __str__(self) -> str:
        return (
            f"{self.name} was sent as {self.transaction} and is in no block after {self.waited_s:.0f} s; look it up before "
            "sending it again"
        )


def free_nonce(w3: Web3, address: ChecksumAddress, *, name: str) -> int:
    """The nonce of an account's next transaction.

    What an earlier program of the account left unconfirmed is waited for, and then replaced: one of the two happens, not both.
    """
    patience = _patience(w3)
    end = time.monotonic() + 3 * patience.stuck_s
    wait, told = _FIRST_POLL_S, False
    while (pending := w3.eth.get_transaction_count(address, "pending")) > (
        mined := w3.eth.get_transaction_count(address, "latest")
    ):
        if time.monotonic() > end:
            log.warning("%s takes the place of a transaction of %s that is stuck at nonce %d", name, address, mined)
            return mined
        if not told and wait > 1:
            told = True
            log.info("%d transactions of %s are in no block yet; waiting for them", pending - mined, address)
        time.sleep(wait)
        wait = min(2 * wait, 2.0)
    return max(pending, mined)  # of two nodes of a service, the one asked for what is pending may be behind


def include(w3: Web3, transaction: Mapping[str, Any], *, account: LocalAccount, name: str) -> TxReceipt:
    """Send a transaction until it is in a block, and return its receipt.

    Raises: TransactionTaken; NotIncluded; ChainUnreachable; Web3RPCError if the node refuses it.
    """
    patience, transaction = _patience(w3), dict(transaction)
    started_at_block = w3.eth.block_number
    started = sent_at = looked = time.monotonic()
    attempts = [_broadcast(w3, transaction, account=account)]
    wait = _FIRST_POLL_S
    while True:
        if (receipt := _receipt_of_any(w3, attempts)) is not None:
            _saw(w3, receipt)
            return receipt
        now = time.monotonic()
        if now - looked >= patience.look_s:
            looked = now
            if w3.eth.get_transaction_count(account.address, "latest") > transaction["nonce"]:
                return _settled_elsewhere(w3, transaction, attempts, since=started_at_block, name=name)
            if not _known(w3, attempts[-1]):
                log.warning("%s is unknown to the node and is sent again", name)
                _broadcast(w3, transaction, account=account)
        if now - started > patience.give_up_s:
            raise NotIncluded(name=name, transaction=attempts[-1].to_0x_hex(), waited_s=now - started)
        if now - sent_at > patience.stuck_s:
            sent_at = now
            higher = _with_higher_fee(w3, transaction)
            try:
                attempts.append(_broadcast(w3, higher, account=account))
                log.warning("%s is in no block yet; sent again at nonce %d with a higher fee", name, higher["nonce"])
                transaction = higher
            except Web3RPCError as error:  # the account cannot pay more: the attempt that is out may still get in
                log.warning("%s is in no block, and a higher fee was refused: %s", name, error)
        time.sleep(wait)
        wait = min(1.5 * wait, _LAST_POLL_S)


def _broadcast(w3: Web3, transaction: dict[str, Any], *, account: LocalAccount) -> HexBytes:
    """Send one attempt; returns its hash, also where the node has it or its nonce is used up."""
    while True:
        signed = account.sign_transaction(transaction)
        try:
            w3.eth.send_raw_transaction(signed.raw_transaction)
        except Web3RPCError as error:
            message = str(error).lower()
            if "underpriced" in message and "replacement" in message:
                # Of a program before this one, whose fee is not known here.
                transaction.update(_with_higher_fee(w3, transaction))
                continue
            if not any(
                words in message
                for words in ("already known", "already imported", "known transaction", "nonce too low")
            ):
                raise
        return signed.hash


def _receipt_of_any(w3: Web3, attempts: list[HexBytes]) -> TxReceipt | None:
    for tx_hash in reversed(attempts):
        try:
            return w3.eth.get_transaction_receipt(tx_hash)
        except TransactionNotFound:
            continue
    return None


def _saw(w3: Web3, receipt: TxReceipt) -> None:
    """Have whatever is read from now on be of that block or a later one, whichever node of a service answers."""
    if saw := getattr(w3.provider, "saw", None):
        saw(receipt["blockNumber"])


def _known(w3: Web3, tx_hash: HexBytes) -> bool:
    try:
        w3.eth.get_transaction(tx_hash)
    except TransactionNotFound:
        return False
    return True


def _settled_elsewhere(
    w3: Web3, transaction: Mapping[str, Any], attempts: list[HexBytes], *, since: int, name: str
) -> TxReceipt:
    """The nonce is used up: by one of ours, by the same call sent by another wallet, or by something else."""
    if (receipt := _receipt_of_any(w3, attempts)) is not None:
        return receipt
    sender = transaction["from"]
    latest = w3.eth.block_number
    for number in range(latest, max(since - 1, latest - _LOOK_BACK), -1):
        try:
            block = w3.eth.get_block(number, full_transactions=True)
        except BlockNotFound:
            continue
        for found in block["transactions"]:
            if found["from"] == sender and found["nonce"] == transaction["nonce"]:
                if _same_call(found, transaction):
                    log.info("%s was replaced by the same call, %s", name, found["hash"].to_0x_hex())
                    return w3.eth.get_transaction_receipt(found["hash"])
                raise TransactionTaken(name=name, nonce=transaction["nonce"], address=sender)
    raise TransactionTaken(name=name, nonce=transaction["nonce"], address=sender)


def _same_call(found: Mapping[str, Any], transaction: Mapping[str, Any]) -> bool:
    return (
        HexBytes(found["input"]) == HexBytes(transaction.get("data") or b"")
        and (found.get("to") or None) == (transaction.get("to") or None)
        and found["value"] == transaction["value"]
    )


def _with_higher_fee(w3: Web3, transaction: Mapping[str, Any]) -> dict[str, Any]:
    """The same transaction, at the same nonce, for a quarter more or for what the network asks now."""
    higher = {
        name: -(-value * _BUMP_PERCENT // 100) + 1 if name in _FEES else value for name, value in transaction.items()
    }
    if "gasPrice" in higher:
        higher["gasPrice"] = max(higher["gasPrice"], w3.eth.gas_price)
    else:
        tip = max(higher["maxPriorityFeePerGas"], w3.eth.max_priority_fee)
        base = w3.eth.get_block("latest").get("baseFeePerGas", 0)
        higher["maxPriorityFeePerGas"] = tip
        higher["maxFeePerGas"] = max(higher["maxFeePerGas"], 2 * base + tip)
    return higher


def _patience(w3: Web3) -> Patience:
    return getattr(w3.provider, "patience", None) or Patience()
