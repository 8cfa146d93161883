"""Gets one transaction into one block, once: through outages, restarts of the node and fees that turn out too low.

All attempts share one nonce, and an account's nonce is used up by the first transaction that has it: so it is never paid twice,
whichever attempt it is that gets in. What this process did not sign is not its own, however like it is: of two processes with one
key that make the same call, each has made one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import BlockNotFound, TransactionNotFound, Web3RPCError
from web3.types import TxData, TxReceipt

from fl.chain.errors import ChainError
from fl.chain.provider import Patience

log = logging.getLogger(__name__)

_FIRST_POLL_S, _LAST_POLL_S = 0.02, 1.0  # a devnet answers at once
_BUMP_PERCENT = 125  # nodes want 10 % more for a transaction that takes another's place
_LOOK_BACK = 256  # blocks in which the transaction that has our nonce is looked for
_FEES = ("gasPrice", "maxFeePerGas", "maxPriorityFeePerGas")
MOST_TIP = 100 * 10**9  # wei a gas, 100 gwei: a node that names more may be in league with who is paid it


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


def free_nonce(w3: Web3, address: ChecksumAddress, *, name: str) -> tuple[int, bool]:
    """The nonce of an account's next transaction, and whether it is to take the place of one that is stuck.

    What another program of the account has under way is waited for; what does not get on is replaced: one of the two happens, not
    both.

    Args:
        w3: The chain.
        address: Of the account.
        name: Of the call, for messages.
    """
    patience = _patience(w3)
    end = time.monotonic() + 3 * patience.stuck_s
    wait, told, before = _FIRST_POLL_S, False, -1
    while (pending := w3.eth.get_transaction_count(address, "pending")) > (
        mined := w3.eth.get_transaction_count(address, "latest")
    ):
        if mined != before:  # whoever else uses the account gets on: none of theirs is stuck
            before, end = mined, time.monotonic() + 3 * patience.stuck_s
        if time.monotonic() > end:
            log.warning("%s takes the place of a transaction of %s that is stuck at nonce %d", name, address, mined)
            return mined, True
        if not told and wait > 1:
            told = True
            log.info("%d transactions of %s are in no block yet; waiting for them", pending - mined, address)
        time.sleep(wait)
        wait = min(2 * wait, 2.0)
    return max(pending, mined), False  # of two nodes of a service, the one asked for what is pending may be behind


def include(
    w3: Web3, transaction: Mapping[str, Any], *, account: LocalAccount, name: str, outbid: bool = False
) -> TxReceipt:
    """Send a transaction until it is in a block, and return its receipt.

    Args:
        outbid: Whether another one with its nonce, which waits for a block, is to be replaced; else that one is left alone.
    Raises: TransactionTaken; NotIncluded; ChainUnreachable; Web3RPCError if the node refuses it.
    """
    patience, transaction = _patience(w3), _with_a_tip_in_reason(transaction)
    started_at_block = w3.eth.block_number
    started = sent_at = looked = time.monotonic()
    first = _broadcast(w3, transaction, account=account, outbid=outbid)
    if first is None:
        raise TransactionTaken(name=name, nonce=transaction["nonce"], address=account.address)
    attempts = [first.hash]
    if first.late:
        looked -= patience.look_s  # whose it is, is to be seen at once
    wait = _FIRST_POLL_S
    while True:
        if (receipt := _receipt_of_any(w3, attempts)) is not None:
            _saw(w3, receipt)
            return receipt
        now = time.monotonic()
        if now - looked >= patience.look_s:
            looked = now
            if w3.eth.get_transaction_count(account.address, "latest") > transaction["nonce"]:
                receipt = _settled(w3, transaction, attempts, since=started_at_block, name=name)
                if receipt is not None:
                    return receipt
            elif not _known(w3, attempts[-1]):
                log.warning("%s is unknown to the node and is sent again", name)
                _broadcast(w3, transaction, account=account, outbid=False)
        if now - started > patience.give_up_s:
            raise NotIncluded(name=name, transaction=attempts[-1].to_0x_hex(), waited_s=now - started)
        if now - sent_at > patience.stuck_s:
            sent_at = now
            higher = _with_higher_fee(w3, transaction)
            try:
                if (again := _broadcast(w3, higher, account=account, outbid=True)) is not None:
                    attempts.append(again.hash)
                log.warning("%s is in no block yet; sent again at nonce %d with a higher fee", name, higher["nonce"])
                transaction = higher
            except Web3RPCError as error:  # the account cannot pay more: the attempt that is out may still get in
                log.warning("%s is in no block, and a higher fee was refused: %s", name, error)
        time.sleep(wait)
        wait = min(1.5 * wait, _LAST_POLL_S)


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """What was sent."""

    hash: HexBytes
    late: bool  # its nonce was used up by then: by this very transaction, whose answer was lost, or by another


def _broadcast(w3: Web3, transaction: dict[str, Any], *, account: LocalAccount, outbid: bool) -> _Attempt | None:
    """Send one attempt, also where the node has it or its nonce is used up; None if another one waits in its place.

    Args:
        outbid: Raise the fee until it takes that place.
    """
    while True:
        signed = account.sign_transaction(transaction)
        late = False
        try:
            w3.eth.send_raw_transaction(signed.raw_transaction)
        except Web3RPCError as error:
            message = str(error).lower()
            if "underpriced" in message and "replacement" in message:
                if not outbid:
                    return None
                if transaction.get("maxPriorityFeePerGas", 0) >= MOST_TIP:
                    raise  # or a node that always says so would be outbid without end
                transaction.update(_with_higher_fee(w3, transaction))
                continue
            late = "nonce too low" in message
            if not late and not any(
                words in message for words in ("already known", "already imported", "known transaction")
            ):
                raise
        return _Attempt(hash=signed.hash, late=late)


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


def _settled(
    w3: Web3, transaction: Mapping[str, Any], attempts: list[HexBytes], *, since: int, name: str
) -> TxReceipt | None:
    """The nonce is used up: the receipt if by one of ours; None while the node that answers does not show by what.

    Raises: TransactionTaken if by another transaction, the same call or not.
    """
    if (receipt := _receipt_of_any(w3, attempts)) is not None:
        return receipt
    sender, nonce = transaction["from"], transaction["nonce"]
    if w3.eth.get_transaction_count(sender, since) > nonce:  # before anything of ours was sent
        raise TransactionTaken(name=name, nonce=nonce, address=sender)
    latest = w3.eth.block_number
    for number in range(latest, max(since - 1, latest - _LOOK_BACK), -1):
        try:
            block = w3.eth.get_block(number, full_transactions=True)
        except BlockNotFound:
            continue
        for found in cast(Sequence[TxData], block["transactions"]):  # in full, as asked for
            if found["from"] == sender and found["nonce"] == nonce:
                if found["hash"] in attempts:
                    return w3.eth.get_transaction_receipt(found["hash"])
                raise TransactionTaken(name=name, nonce=nonce, address=sender)
    return None  # it would be sent twice on a guess


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
    return _with_a_tip_in_reason(higher)


def _with_a_tip_in_reason(transaction: Mapping[str, Any]) -> dict[str, Any]:
    """The transaction with a tip of at most `MOST_TIP`: the rest of a fee is burned, and is the chain's to say, not the node's."""
    above = transaction.get("maxPriorityFeePerGas", 0) - MOST_TIP
    if above <= 0:
        return dict(transaction)
    log.warning(
        "the node asks for a tip of %d gwei a gas; %d are offered", (MOST_TIP + above) // 10**9, MOST_TIP // 10**9
    )
    most = max(MOST_TIP, transaction["maxFeePerGas"] - above)
    return {**transaction, "maxPriorityFeePerGas": MOST_TIP, "maxFeePerGas": most}


def _patience(w3: Web3) -> Patience:
    return getattr(w3.provider, "patience", None) or Patience()
