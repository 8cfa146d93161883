"""What a node's answers have to look like before anything reads them: whoever answers may be anybody.

web3 turns an answer's hex into numbers and bytes without a look at what is there, and fails with whatever its conversions fail
with. Here each answer is held against its method's form: what this project reads is there and is of its kind and size, and what
it does not read is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fl.errors import FairshareError
from fl.foreign.json_text import shown
from fl.plain_text import printable

MOST_BLOCKS = 1 << 34  # a chain with ten blocks a second has as many in 54 years
_MOST_TIME = 1 << 40  # s
_MOST_GAS = 1 << 50
_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_NUMBER = re.compile(r"0x[0-9a-fA-F]{1,64}")
_MOST_ENTRIES = 1 << 20  # of a list
_MOST_TOPICS = 4
_MOST_WORDS = 1000  # characters of a node's own
_MOST_ERROR_DATA = 1 << 16  # characters
_CODES = range(-(2**31), 2**31)
# Selectors of errors that web3 would act on: one names addresses to fetch from (EIP-3668), the other a code that it looks up.
_ACTED_ON = ("0x556f1830", "0x4e487b71")
_OF_A_TRANSACTION = "transaction not found"

Form = Callable[[object], Any]  # gives the value, or raises Misshapen


class Misshapen(FairshareError, ValueError):
    """An answer has not the form of its method. Who asked says which node it is, and what to do."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.problem}; name another node"


def checked_result(method: str, params: Sequence[object], result: object) -> Any:
    """The result of a method, without what is not read.

    Args:
        method: Such as eth_call; of one that is not known here, any result is let through.
        params: What it was asked with.
        result: As JSON gave it.
    Raises: Misshapen.
    """
    if method == "eth_getBlockByNumber" and params[:1] == ["pending"]:
        return _perhaps(_BLOCK)(result)
    return _RESULTS.get(method, _anything)(result)


def checked_error(params: Sequence[object], error: object) -> dict[str, Any]:
    """An error as web3 takes it: a code, a message of a line, and the contract's own words where they are hex.

    Args:
        params: What it was asked with.
        error: As JSON gave it.
    Raises: Misshapen for what is no error of JSON-RPC.
    """
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict):
        raise Misshapen(problem=f"its error is {shown(error)}")
    code, message, data = error.get("code"), error.get("message"), error.get("data")
    told: dict[str, Any] = {
        "code": code if type(code) is int and code in _CODES else -32000,
        "message": printable(message if isinstance(message, str) else shown(message), most=_MOST_WORDS),
    }
    if not params and told["message"] == _OF_A_TRANSACTION:  # which web3 then looks for in vain
        told["message"] += " (none was asked for)"
    if isinstance(data, str) and len(data) <= _MOST_ERROR_DATA and _HEX.fullmatch(data) and data[:10] not in _ACTED_ON:
        told["data"] = data
    return told


# ---- forms -----------------------------------------------------------------------------------------------------------


def _number(below: int = 1 << 256) -> Form:
    def form(value: object) -> Any:
        if isinstance(value, str) and _NUMBER.fullmatch(value) and int(value, 16) < below:
            return value
        raise Misshapen(problem=f"{shown(value)} is not a number below {below:,} in hex")

    return form


def _bytes(size: int | None = None) -> Form:
    def form(value: object) -> Any:
        if isinstance(value, str) and _HEX.fullmatch(value) and (size is None or len(value) == 2 + 2 * size):
            return value
        raise Misshapen(problem=f"{shown(value)} is not the hex of {'' if size is None else f'{size} '}bytes")

    return form


def _list(entry: Form, most: int = _MOST_ENTRIES) -> Form:
    def form(value: object) -> Any:
        if not isinstance(value, list) or len(value) > most:
            raise Misshapen(problem=f"{shown(value)} is not a list of at most {most:,}")
        return [entry(item) for item in value]

    return form


def _perhaps(inner: Form) -> Form:
    return lambda value: None if value is None else inner(value)


def _either(first: Form, second: Form) -> Form:
    return lambda value: first(value) if isinstance(value, str) else second(value)


def _anything(value: object) -> Any:
    return value


@dataclass(frozen=True, kw_only=True)
class _Object:
    """An object's fields: those that have to be there, and those that may be there, or be null."""

    needed: Mapping[str, Form]
    optional: Mapping[str, Form] = field(default_factory=dict)

    def __call__(self, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Misshapen(problem=f"{shown(value)} is not an object")
        found: dict[str, Any] = {}
        for name, form in {**self.needed, **self.optional}.items():
            if name in self.optional and value.get(name) is None:
                if name in value:
                    found[name] = None
                continue
            try:
                found[name] = form(value.get(name))
            except Misshapen as error:
                raise Misshapen(problem=f"{name}: {error.problem}") from None
        return found


_WEI, _GAS, _BLOCK_NUMBER, _WORD, _ADDRESS = _number(), _number(_MOST_GAS), _number(MOST_BLOCKS), _bytes(32), _bytes(20)
_TRANSACTION = _Object(
    needed={"hash": _WORD, "from": _ADDRESS, "nonce": _number(1 << 64)},
    optional={
        "to": _ADDRESS, "input": _bytes(), "value": _WEI, "gas": _GAS, "gasPrice": _WEI, "maxFeePerGas": _WEI,
        "maxPriorityFeePerGas": _WEI, "blockNumber": _BLOCK_NUMBER, "blockHash": _WORD, "chainId": _WEI,
    },
)  # fmt: skip
_BLOCK = _Object(
    needed={"timestamp": _number(_MOST_TIME)},
    # A block that is not made yet has no hash, and with some no number.
    optional={
        "number": _BLOCK_NUMBER, "hash": _WORD, "parentHash": _WORD, "baseFeePerGas": _WEI, "gasLimit": _GAS, "gasUsed": _GAS,
        "transactions": _list(_either(_WORD, _TRANSACTION)),
    },
)  # fmt: skip
_MADE = ("number", "hash")
_MADE_BLOCK = _Object(
    needed={**_BLOCK.needed, **{name: _BLOCK.optional[name] for name in _MADE}},
    optional={name: form for name, form in _BLOCK.optional.items() if name not in _MADE},
)
_RECEIPT = _Object(
    needed={"transactionHash": _WORD, "status": _number(2), "gasUsed": _GAS, "blockNumber": _BLOCK_NUMBER},
    optional={"contractAddress": _ADDRESS, "effectiveGasPrice": _WEI, "blockHash": _WORD, "from": _ADDRESS, "to": _ADDRESS},
)  # fmt: skip
_LOG = _Object(
    needed={
        "address": _ADDRESS, "topics": _list(_WORD, _MOST_TOPICS), "data": _bytes(), "blockNumber": _BLOCK_NUMBER,
        "logIndex": _number(1 << 40), "transactionHash": _WORD, "blockHash": _WORD, "transactionIndex": _number(1 << 40),
    },
)  # fmt: skip
_FEES = _Object(
    needed={"reward": _list(lambda value: _some(_list(_WEI, 100)(value)), 1024)},
    optional={"oldestBlock": _BLOCK_NUMBER, "baseFeePerGas": _list(_WEI, 1025)},
)  # fmt: skip
_RESULTS: dict[str, Form] = {
    **dict.fromkeys(("eth_chainId", "eth_getBalance", "eth_gasPrice", "eth_maxPriorityFeePerGas"), _WEI),
    "eth_blockNumber": _BLOCK_NUMBER,
    "eth_getTransactionCount": _number(1 << 64),
    "eth_estimateGas": _GAS,
    **dict.fromkeys(("eth_call", "eth_getCode"), _bytes()),
    "eth_sendRawTransaction": _WORD,
    "eth_getBlockByNumber": _perhaps(_MADE_BLOCK),
    "eth_getTransactionByHash": _perhaps(_TRANSACTION),
    "eth_getTransactionReceipt": _perhaps(_RECEIPT),
    "eth_getLogs": _list(_LOG),
    "eth_feeHistory": _FEES,
}


def _some(value: list[Any]) -> list[Any]:
    if not value:
        raise Misshapen(problem="a block's fees are an empty list")
    return value
