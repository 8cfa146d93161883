"""Sends transactions from local accounts and says in words what went wrong."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import requests
from eth_abi import decode
from eth_account.signers.local import LocalAccount
from eth_hash.auto import keccak
from eth_utils import to_checksum_address
from web3 import HTTPProvider, Web3
from web3.contract.contract import ContractConstructor, ContractFunction
from web3.exceptions import ContractCustomError, ContractLogicError, TransactionNotFound, Web3Exception, Web3RPCError

from fl.chain.artifacts import artifact
from fl.chain.errors import ChainError, ChainUnreachable, NoFunds, Refused, WrongChain

log = logging.getLogger(__name__)

_POLL_S = 0.02  # a devnet answers at once; on a public chain the node's own rate limit is far above this
_TIMEOUT_S = 180


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A transaction that is in a block."""

    hash: str  # 0x
    gas: int  # gas used, calldata included
    block: int
    contract: str | None  # address of a contract that it created


def connect(url: str, *, chain_id: int | None = None) -> Web3:
    """Connect to a node. Raises: ChainUnreachable; WrongChain if `chain_id` is given and is not the node's."""
    w3 = Web3(HTTPProvider(url, request_kwargs={"timeout": 20}))
    try:
        seen = w3.eth.chain_id
    except (requests.RequestException, Web3Exception, ValueError) as error:
        raise ChainUnreachable(url=url, reason=type(error).__name__) from error
    if chain_id is not None and seen != chain_id:
        raise WrongChain(url=url, seen=seen, expected=chain_id)
    return w3


def send(
    w3: Web3, call: ContractFunction | ContractConstructor, *, account: LocalAccount, name: str, value: int = 0
) -> Sent:
    """Sign a call with a local account, send it, and wait until it is in a block.

    Raises: Refused with the contract's own error; NoFunds if the account cannot pay for gas; ChainError if the
    transaction is in no block after three minutes.
    """
    chain_id = w3.eth.chain_id
    try:
        nonce = w3.eth.get_transaction_count(account.address, "pending")
        transaction = call.build_transaction(
            {"from": account.address, "nonce": nonce, "chainId": chain_id, "value": value}
        )
        # The node estimated on the latest block. In the next one a time that is stored may differ from the one that is
        # there, which takes up to 2,800 gas more a word; what is not used costs nothing.
        transaction["gas"] += transaction["gas"] // 5 + 5_000
        return _submit(w3, transaction, account=account, name=name)
    except ContractCustomError as error:
        raise _refused(name, error) from error
    except ContractLogicError as error:
        raise Refused(call=name, name=str(error.message or "reverted"), values={}) from error
    except Web3RPCError as error:
        raise _said_no(error, account=account, chain_id=chain_id, name=name) from error


def transfer_ether(w3: Web3, *, account: LocalAccount, to: str, amount: int) -> Sent:
    """Send ETH for gas. Raises: NoFunds; ChainError."""
    chain_id = w3.eth.chain_id
    tip = w3.eth.max_priority_fee
    transaction = {
        "from": account.address,
        "to": to,
        "value": amount,
        "gas": 21_000,
        "nonce": w3.eth.get_transaction_count(account.address, "pending"),
        "chainId": chain_id,
        "maxPriorityFeePerGas": tip,
        "maxFeePerGas": 2 * w3.eth.gas_price + tip,
    }
    try:
        return _submit(w3, transaction, account=account, name="a transfer of ETH")
    except Web3RPCError as error:
        raise _said_no(error, account=account, chain_id=chain_id, name="a transfer of ETH") from error


def _submit(w3: Web3, transaction: dict[str, Any], *, account: LocalAccount, name: str) -> Sent:
    signed = account.sign_transaction(transaction)
    tx_hash = w3.eth.send_raw_transaction(signed.raw_transaction)
    try:
        receipt = w3.eth.wait_for_transaction_receipt(tx_hash, timeout=_TIMEOUT_S, poll_latency=_POLL_S)
    except (TransactionNotFound, Web3Exception) as error:
        raise ChainError(
            f"{name} was sent as {tx_hash.to_0x_hex()} and is in no block after {_TIMEOUT_S} s; look it up before "
            "sending it again"
        ) from error
    if receipt["status"] != 1:
        raise Refused(call=name, name="reverted in its block", values={"transaction": tx_hash.to_0x_hex()})
    log.info("%s: %d gas, block %d, %s", name, receipt["gasUsed"], receipt["blockNumber"], tx_hash.to_0x_hex())
    return Sent(
        hash=tx_hash.to_0x_hex(),
        gas=receipt["gasUsed"],
        block=receipt["blockNumber"],
        contract=receipt["contractAddress"],
    )


def _said_no(error: Web3RPCError, *, account: LocalAccount, chain_id: int, name: str) -> ChainError:
    message = str(error).lower()
    if "insufficient funds" in message or "gas required exceeds allowance" in message:
        return NoFunds(address=account.address, chain_id=chain_id)
    return ChainError(f"the node refused {name}: {error}; see its own log")


def _refused(call: str, error: ContractCustomError) -> Refused:
    data = bytes.fromhex(str(error.data or error.message).removeprefix("0x"))
    known = _custom_errors().get(data[:4])
    if known is None:
        return Refused(call=call, name=f"error 0x{data[:4].hex()}", values={})
    values = decode([one["type"] for one in known["inputs"]], data[4:])
    shown = {one["name"]: _shown(value, kind=one["type"]) for one, value in zip(known["inputs"], values, strict=True)}
    return Refused(call=call, name=known["name"], values=shown)


def _shown(value: object, *, kind: str) -> object:
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    return to_checksum_address(value) if kind == "address" else value


def _custom_errors() -> dict[bytes, dict]:
    # Our own errors, and those of OpenZeppelin's ERC-20 and ECDSA, which the artifacts' ABIs hold too.
    found = {}
    for name in ("Fairshare", "DevToken"):
        for entry in artifact(name).abi:
            if entry["type"] == "error":
                signature = f"{entry['name']}({','.join(one['type'] for one in entry['inputs'])})"
                found[keccak(signature.encode())[:4]] = entry
    return found
