"""Sends transactions from local accounts and says in words what went wrong."""

from __future__ import annotations

import logging
import random
import re
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from eth_abi import decode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_account.signers.local import LocalAccount
from eth_utils import to_checksum_address
from eth_utils.abi import collapse_if_tuple, function_abi_to_4byte_selector
from web3 import Web3
from web3.contract.contract import ContractConstructor, ContractFunction
from web3.exceptions import ContractCustomError, ContractLogicError, Web3Exception, Web3RPCError
from web3.types import Nonce, RPCEndpoint, TxParams, TxReceipt, Wei

from fl.chain.artifacts import artifact
from fl.chain.checked_requests import BadCallOutput, CheckedRequests
from fl.chain.errors import ChainError, ChainUnreachable, NoFunds, Refused, WrongChain
from fl.chain.inclusion import TransactionTaken, free_nonce, include
from fl.chain.provider import Patience, PatientProvider, words_of
from fl.chain.rpc_url import with_key
from fl.codec.keccak import keccak

log = logging.getLogger(__name__)

_APART = 1 << 20  # wei of the largest fee a unit of gas, by which two processes that sign the same call are told apart
_SHUFFLE_S = 0.1  # before another try, so that processes do not stay in step
_PLAIN = re.compile(r"(u?int\d+|bytes\d*|bool|address)(\[\])?")
_MISREAD = (Web3Exception, DecodingError, ValueError, TypeError, OverflowError)  # what decoding fails with
_turns: defaultdict[tuple[int, str], threading.Lock] = defaultdict(threading.Lock)  # by chain and account


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A transaction that is in a block."""

    hash: str  # 0x
    gas: int  # gas used, calldata included
    block: int
    contract: str | None  # address of a contract that it created
    fee: int = 0  # wei of ETH that its gas came to

    @property
    def created(self) -> str:
        """Address of the contract that it created. Raises: ValueError if it created none."""
        if self.contract is None:
            raise ValueError(f"{self.hash} created no contract")
        return self.contract


class _CheckedWeb3(Web3):
    """web3 with errors of our family."""

    RequestManager = CheckedRequests


def connect(url: str, *, chain_id: int | None = None, patience: Patience | None = None) -> Web3:
    """Connect to a node, which has to answer at once; later calls wait out an outage as `patience` says.

    Args:
        url: Of the node.
        chain_id: That it has to have, None for any.
        patience: How long an outage is waited out.
    Raises: ChainUnreachable, here and from later calls; WrongChain if `chain_id` is given and is not the node's.
    """
    url = with_key(url)
    provider = PatientProvider(url, patience=replace(patience or Patience(), outage_s=0))
    w3 = _CheckedWeb3(provider)
    try:
        seen = w3.eth.chain_id
    except (Web3Exception, ValueError, TypeError) as error:
        said = error.rpc_response if isinstance(error, Web3RPCError) else None
        raise ChainUnreachable(url=url, reason=words_of(said) if said else type(error).__name__) from error
    if chain_id is not None and seen != chain_id:
        raise WrongChain(url=url, seen=seen, expected=chain_id)
    provider.patience = patience or Patience()
    return w3


def send(
    w3: Web3, call: ContractFunction | ContractConstructor, *, account: LocalAccount, name: str, value: int = 0
) -> Sent:
    """Sign a call with a local account, send it, and wait until it is in a block.

    It is in one block at most, whatever happens on the way: what is sent again is the same transaction, or has the same nonce
    and a higher fee. Transactions of one account go one after the other.

    Args:
        w3: The chain.
        call: A function of a contract with its arguments, or a constructor.
        account: Signs and pays.
        name: Of the call, for messages.
        value: Wei of the chain's own coin that go along.
    Raises: Refused with the contract's own error; NoFunds if the account cannot pay for gas; ChainUnreachable;
    NotIncluded if it is in no block after a quarter of an hour; TransactionTaken if other programs keep using the account.
    """

    def build(nonce: int) -> dict[str, Any]:
        transaction: dict[str, Any] = dict(
            call.build_transaction(
                {"from": account.address, "nonce": Nonce(nonce), "chainId": w3.eth.chain_id, "value": Wei(value)}
            )
        )
        # The node estimated on the latest block. In the next one a time that is stored may differ from the one that is
        # there, which takes up to 2,800 gas more a word; what is not used costs nothing.
        transaction["gas"] += transaction["gas"] // 5 + 5_000
        return transaction

    return _in_turn(w3, build, account=account, name=name)


def url_of(w3: Web3) -> str:
    """Of the node behind a connection."""
    return getattr(w3.provider, "endpoint_uri", None) or "the chain's node"


def ask(call: ContractFunction, *, block: int | None = None) -> Any:
    """What a reading call returns, now or at a block.

    Raises: BadCallOutput for what the contract cannot have returned; Reverted; ChainUnreachable.
    """
    return _plainly(call, _form_of(call), block=block)


def ask_all(calls: Sequence[ContractFunction]) -> list[Any]:
    """What many reading calls of one function return. Raises: as `ask`."""
    form = _form_of(calls[0]) if calls else None
    return [_plainly(call, form, block=None) for call in calls]


@dataclass(frozen=True, kw_only=True)
class _Form:
    """What a reading call is encoded by, and its answer decoded, where both are plain values."""

    selector: bytes
    given: tuple[str, ...]  # types
    returned: tuple[Mapping[str, Any], ...]  # as the ABI has them


def _form_of(call: ContractFunction) -> _Form | None:
    """None of a function that is given structs or words, which web3 has ways of its own to take."""
    inputs: Any = call.abi.get("inputs", ())
    given = tuple(part["type"] for part in inputs)
    if not all(map(_PLAIN.fullmatch, given)):
        return None
    return _Form(selector=function_abi_to_4byte_selector(call.abi), given=given, returned=tuple(call.abi["outputs"]))


def _plainly(call: ContractFunction, form: _Form | None, *, block: int | None) -> Any:
    """Ask past web3, which finds and checks the function anew for every call: longer than the call takes."""
    if form is not None:
        codec, provider = call.w3.codec, cast(PatientProvider, call.w3.provider)
        try:
            data = "0x" + (form.selector + codec.encode(form.given, call.arguments)).hex()
            at = "latest" if block is None else hex(block)
            answer = provider.make_request(RPCEndpoint("eth_call"), [{"to": call.address, "data": data}, at])
            kinds = [collapse_if_tuple(dict(part)) for part in form.returned]
            found = codec.decode(kinds, bytes.fromhex(answer["result"][2:]))
            values = [_as_web3_has_it(value, part) for value, part in zip(found, form.returned, strict=True)]
            return values[0] if len(values) == 1 else values
        except ChainError:
            raise
        except (KeyError, EncodingError, *_MISREAD):
            pass  # web3 says what is wrong
    try:
        return call.call(block_identifier="latest" if block is None else block)
    except ChainError:
        raise
    except _MISREAD as error:
        raise BadCallOutput(url=url_of(call.w3), method=call.fn_name, reason=type(error).__name__) from error


def _as_web3_has_it(value: Any, part: Mapping[str, Any]) -> Any:
    """A decoded value with its addresses in their checksum form, structs as tuples and arrays as lists."""
    kind = part["type"]
    if kind.endswith("]"):
        inner = {**part, "type": kind[: kind.rindex("[")]}
        return [_as_web3_has_it(item, inner) for item in value]
    if kind == "tuple":
        return tuple(_as_web3_has_it(item, own) for item, own in zip(value, part["components"], strict=True))
    return to_checksum_address(value) if kind == "address" else value


def send_all(w3: Web3, calls: Sequence[ContractFunction], *, account: LocalAccount, name: str) -> list[Sent]:
    """As `send`, for many calls of one kind on a devnet of one's own: each is sent without waiting for the one before.

    The gas of all is that of the first and half as much again. Raises: as `send`, before anything is sent if the first is refused.

    Args:
        w3: The chain.
        calls: Of one kind.
        account: Signs and pays.
        name: Of the calls, for messages.
    """
    if not calls:
        return []
    hashes = []
    with _turns[w3.eth.chain_id, account.address]:
        first = calls[0].build_transaction({"from": account.address, "chainId": w3.eth.chain_id})
        nonce, _ = free_nonce(w3, account.address, name=name)
        shared: dict[str, Any] = {key: value for key, value in first.items() if key not in ("data", "to", "nonce")}
        shared["gas"] += shared["gas"] // 2
        for place, call in enumerate(calls):
            filled = {**shared, "to": call.address, "data": call._encode_transaction_data(), "nonce": nonce + place}
            hashes.append(w3.eth.send_raw_transaction(account.sign_transaction(filled).raw_transaction))
        return [_sent(w3.eth.wait_for_transaction_receipt(transaction), name=name) for transaction in hashes]


def ether_of(w3: Web3, account: str) -> int:
    """Wei of ETH that an account holds, for gas."""
    return w3.eth.get_balance(to_checksum_address(account))


def transfer_ether(w3: Web3, *, account: LocalAccount, to: str, amount: int) -> Sent:
    """Send ETH for gas.

    Args:
        w3: The chain.
        account: That pays.
        to: That is paid.
        amount: Wei.
    Raises: NoFunds, and as `send`.
    """

    def build(nonce: int) -> dict[str, Any]:
        tip = w3.eth.max_priority_fee
        return {
            "from": account.address,
            "to": to,
            "value": amount,
            "gas": 21_000,
            "nonce": nonce,
            "chainId": w3.eth.chain_id,
            "maxPriorityFeePerGas": tip,
            "maxFeePerGas": 2 * w3.eth.gas_price + tip,
        }

    return _in_turn(w3, build, account=account, name="a transfer of ETH")


def _in_turn(w3: Web3, build: Callable[[int], dict[str, Any]], *, account: LocalAccount, name: str) -> Sent:
    chain_id = w3.eth.chain_id
    patience = getattr(w3.provider, "patience", None) or Patience()
    end = time.monotonic() + patience.give_up_s
    with _turns[chain_id, account.address]:
        while True:
            try:
                nonce, outbid = free_nonce(w3, account.address, name=name)
                transaction = build(nonce)
                # Another process that makes the same call with this key at this nonce would sign the very same bytes, and
                # each would take the one transaction for its own.
                fee = "maxFeePerGas" if "maxFeePerGas" in transaction else "gasPrice"
                transaction[fee] += secrets.randbelow(_APART)
                receipt = include(w3, transaction, account=account, name=name, outbid=outbid)
                if receipt["status"] != 1:  # asked once more, the node says why
                    asked = {key: transaction[key] for key in ("from", "to", "data", "value") if key in transaction}
                    w3.eth.call(cast(TxParams, asked), receipt["blockNumber"])
                return _sent(receipt, name=name)
            except ContractCustomError as error:
                raise _refused(name, error) from error
            except ContractLogicError as error:
                raise Refused(call=name, name=str(error.message or "reverted"), values={}) from error
            except Web3RPCError as error:
                raise _said_no(w3, error, account=account, chain_id=chain_id, name=name) from error
            except TransactionTaken:
                # Its nonce is another's, so it can never happen; made anew, it is held against the chain as it is now. As many
                # processes as use the account may be before this one.
                if time.monotonic() > end:
                    raise
                time.sleep(random.uniform(0, _SHUFFLE_S))


def _sent(receipt: TxReceipt, *, name: str) -> Sent:
    tx_hash = receipt["transactionHash"].to_0x_hex()
    if receipt["status"] != 1:
        raise Refused(call=name, name="reverted in its block", values={"transaction": tx_hash})
    log.info("%s: %d gas, block %d, %s", name, receipt["gasUsed"], receipt["blockNumber"], tx_hash)
    return Sent(
        hash=tx_hash,
        gas=receipt["gasUsed"],
        block=receipt["blockNumber"],
        contract=receipt["contractAddress"],
        fee=receipt["gasUsed"] * receipt.get("effectiveGasPrice", 0),
    )


def _said_no(w3: Web3, error: Web3RPCError, *, account: LocalAccount, chain_id: int, name: str) -> ChainError:
    message = str(error).lower()
    if "insufficient funds" in message or "gas required exceeds allowance" in message:
        return NoFunds(address=account.address, chain_id=chain_id, held=w3.eth.get_balance(account.address))
    return ChainError(f"the node refused {name}: {error}; see its own log")


def _refused(call: str, error: ContractCustomError) -> Refused:
    data = bytes.fromhex(str(error.data or error.message).removeprefix("0x"))
    known = _custom_errors().get(data[:4])
    try:
        values = decode([parameter["type"] for parameter in known["inputs"]], data[4:]) if known else ()
    except (DecodingError, ValueError, OverflowError):
        known = None
    if known is None:
        return Refused(call=call, name=f"error 0x{data[:4].hex()}", values={})
    shown = {
        parameter["name"]: _shown(value, kind=parameter["type"])
        for parameter, value in zip(known["inputs"], values, strict=True)
    }
    return Refused(call=call, name=known["name"], values=shown)


def _shown(value: Any, *, kind: str) -> object:  # Any: what the ABI says it is
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    return to_checksum_address(value) if kind == "address" else value


def _custom_errors() -> dict[bytes, dict[str, Any]]:
    # Our own errors, and those of OpenZeppelin's ERC-20 and ECDSA, which the artifacts' ABIs hold too.
    found = {}
    for name in ("Fairshare", "DevToken"):
        for entry in artifact(name).abi:
            if entry["type"] == "error":
                signature = f"{entry['name']}({','.join(parameter['type'] for parameter in entry['inputs'])})"
                found[keccak(signature.encode())[:4]] = entry
    return found
