"""The connection to a chain's node, which may be a paid service, a load balancer, or nobody's friend.

Every answer has a last moment, a largest size and its method's form, and a redirect is not followed. An outage is waited out, and said once. A limit
that is told, in whatever words, is waited for. Behind a load balancer stand nodes that are some blocks apart: what this process
has seen in a block is read from that block or a later one, or asked for again.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from typing import Any, cast

from web3 import Web3
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from fl.bounded_http import NoAnswer, UnusableAnswer
from fl.chain.accounts import ANVIL_CHAIN
from fl.chain.errors import AnswerTooLarge, ChainUnreachable, NotAnRpcUrl, UnusableAnswerOfNode, WrongChain
from fl.chain.log_ranges import LogSpan
from fl.chain.rpc_answers import Misshapen, checked_error, checked_result
from fl.chain.rpc_transport import MOST_BYTES, transport_to
from fl.chain.rpc_url import shown, usable
from fl.foreign.json_text import BadJson, read_json
from fl.plain_text import printable

log = logging.getLogger(__name__)

_BUSY_STATUSES = (408, 425, 429, 500, 502, 503, 504)  # that a node, or a proxy before it, gives in passing
_BUSY_CODES = (429, -32005, -32029, -32090, -32097)
_BUSY = re.compile(
    r"rate.?limit|too many|request (count|rate|limit)|requests? (per|exceed)|per second|throttl|quota|capacity|compute unit|"
    r"\bcus?\b|credit|slow down|back.?off|try again|retry|temporar|busy|overload|limit (reached|exceeded|hit)|unavailable|"
    r"tim(ed|e) ?out",
    re.IGNORECASE,
)
_OF_A_CALL = re.compile(r"revert|gas|nonce|underpriced|insufficient|invalid opcode|out of funds", re.IGNORECASE)
_OF_RANGES = re.compile(r"range|block|result|log|size|larg|wide|narrow", re.IGNORECASE)
_OF_RATES = re.compile(r"rate|request|per second|throttl|quota|capacity|compute|credit|too many calls", re.IGNORECASE)
# Said of a block that another node of the same service knows.
_UNKNOWN_BLOCK = re.compile(
    r"header not found|(unknown|missing|no such|not find|invalid|future) block|block.{0,40}(not found|not available|out of range)|"
    r"missing trie node|BlockOutOfRange|not been synced",
    re.IGNORECASE,
)
# Where the block of a call stands among its parameters.
_BLOCK_AT = {
    "eth_call": 1,
    "eth_estimateGas": 1,
    "eth_getBalance": 1,
    "eth_getCode": 1,
    "eth_getTransactionCount": 1,
    "eth_getStorageAt": 2,
    "eth_getBlockByNumber": 0,
}
_DEEP = 12  # blocks: no reorganisation of a public chain has gone deeper since it is one of stake
_REWRITES = ("evm_revert", "anvil_reset", "anvil_reorg", "anvil_rollback", "anvil_setChainId", "hardhat_reset")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to go on when a chain does not do what it was asked."""

    outage_s: float = 120.0  # the node gives no answer: reads and sending are tried again for so long
    limit_s: float = 120.0  # the node says that it is asked too often
    lag_s: float = (
        30.0  # it does not know a block that this process has seen: another node is behind, or the block is gone
    )
    stuck_s: float = 45.0  # a transaction is in no block: it is replaced by itself with a higher fee
    give_up_s: float = 900.0  # it is still in none
    look_s: float = 5.0  # between looks at whether the node still knows it
    depth: int | None = None  # blocks after which what happened counts as done; None for 12, or 0 on a devnet


_TELL_S = 30.0  # between two lines on the same trouble


def depth_of(w3: Web3) -> int:
    """Blocks after which what happened on this chain counts as done."""
    patience = getattr(w3.provider, "patience", None) or Patience()
    if patience.depth is not None:
        return patience.depth
    return 0 if w3.eth.chain_id == ANVIL_CHAIN else _DEEP


@dataclass
class _Highest:
    """The highest block that something of this process's was seen in, and when."""

    block: int = 0
    seen_at: float = float("-inf")  # monotonic


# By URL: what one connection has seen holds for all others of this process, and so does that a devnet was put back.
_HIGHEST: dict[str, _Highest] = {}


class _Passing(Exception):
    """No answer, for a reason that may pass."""

    def __init__(
        self, reason: str, *, limited: bool = False, wait_s: float = 0.0, answer: RPCResponse | None = None
    ) -> None:
        super().__init__(reason)
        self.reason, self.limited, self.wait_s, self.answer = reason, limited, wait_s, answer


class PatientProvider(JSONBaseProvider):
    """A provider that tries again while the node does not answer; every call of ours may be repeated.

    A raw transaction is the same one however often it is sent. A node stays on the chain that it was on at first: what is signed
    is signed for that one.
    """

    global_ccip_read_enabled = (
        False  # or a node's answer would have this machine fetch from addresses that it names (EIP-3668)
    )

    def __init__(self, url: str, *, patience: Patience, timeout_s: float = 20.0) -> None:
        super().__init__()
        if not usable(url):
            raise NotAnRpcUrl(url=url)
        self.endpoint_uri, self.patience, self.timeout_s = url, patience, timeout_s
        self.log_span = LogSpan()
        self._transport = transport_to(url, wait_s=timeout_s)
        self._highest = _HIGHEST.setdefault(url, _Highest())
        self._chain: str | None = None  # in hex
        self._told_at = float("-inf")  # when it was last said that there is no answer, monotonic

    def saw(self, block: int) -> None:
        """Something that matters stands in this block: for a while nothing is read as it was before it."""
        if block >= self._highest.block:
            self._highest.block, self._highest.seen_at = block, time.monotonic()

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Ask, and ask again as `patience` says. Raises: ChainUnreachable."""
        started, wait, told = time.monotonic(), 0.1, False
        if method in _REWRITES:
            self._highest.block, self._chain = 0, None
        while True:
            try:
                answer = self._ask_pinned(method, params)
            except _Passing as problem:
                patience = self.patience.limit_s if problem.limited else self.patience.outage_s
                pause = max(wait, min(problem.wait_s, 30.0))
                if time.monotonic() + pause > started + patience:
                    if problem.answer is not None:
                        return problem.answer
                    raise ChainUnreachable(url=self.endpoint_uri, reason=problem.reason) from problem
                if (
                    not told and time.monotonic() > self._told_at + _TELL_S
                ):  # a node that limits rates says so at every other call
                    told, self._told_at = True, time.monotonic()
                    seen = "the chain is asked too often" if problem.limited else "no chain answers"
                    log.warning(
                        "%s at %s (%s); trying again for %.0f s",
                        seen,
                        shown(self.endpoint_uri),
                        problem.reason,
                        patience,
                    )
                time.sleep(pause)
                wait = min(2 * wait, 5.0)
            else:
                if told:
                    log.info("the chain at %s answers again", shown(self.endpoint_uri))
                return answer

    def close(self) -> None:
        """Drop the connection."""
        self._transport.close()

    # ---- blocks that are behind --------------------------------------------------------------------------------------

    def _ask_pinned(self, method: str, params: Any) -> RPCResponse:
        """Ask of no block before the highest one that is known here, while that is fresh news to other nodes."""
        wait = 0.05
        while True:
            highest = self._highest.block
            fresh = highest and time.monotonic() - self._highest.seen_at < self.patience.lag_s
            if not fresh or method not in (*_BLOCK_AT, "eth_blockNumber"):
                return self._ask(method, params)
            answer = self._ask("eth_blockNumber", [])
            if "error" in answer:
                return answer
            head = max(int(answer["result"], 16), highest)
            if method == "eth_blockNumber":
                return {"jsonrpc": "2.0", "id": 0, "result": hex(head)}
            pinned, place = list(params), _BLOCK_AT[method]
            if len(pinned) == place:
                pinned.append("latest")
            if len(pinned) <= place or pinned[place] != "latest":
                return self._ask(method, params)
            pinned[place] = hex(head)
            answer = self._ask(method, pinned)
            if not _is_behind(method, answer):
                return answer
            time.sleep(wait)
            wait = min(2 * wait, 1.0)

    # ---- one question ------------------------------------------------------------------------------------------------

    def _ask(self, method: str, params: Any) -> RPCResponse:
        """Ask once. Raises: _Passing; ChainUnreachable."""
        try:
            came = self._transport.ask(self.encode_rpc_request(RPCEndpoint(method), params), deadline_s=self.timeout_s)
        except UnusableAnswer as error:
            raise AnswerTooLarge(url=self.endpoint_uri, reason=error.reason) from error
        except NoAnswer as error:
            raise _Passing(_kind(error.reason)) from error
        status, answer = came.status, self._checked(method, params, _read(came.body))
        if 300 <= status < 400:
            raise ChainUnreachable(url=self.endpoint_uri, reason=f"HTTP {status}, to another address")
        if answer is None:
            if status in _BUSY_STATUSES:
                raise _Passing(f"HTTP {status}", limited=status == 429, wait_s=came.wait_s)
            if status < 300:  # a proxy's page about its own trouble comes with 200 at times
                raise _Passing("no JSON-RPC")
            raise ChainUnreachable(url=self.endpoint_uri, reason=f"HTTP {status}")
        if status in _BUSY_STATUSES or _asks_to_wait(method, answer.get("error")):
            reason = f"HTTP {status}" if status in _BUSY_STATUSES else words_of(answer)
            raise _Passing(reason, limited=status == 429 or status < 500, wait_s=came.wait_s, answer=answer)
        if status >= 400 and "error" not in answer:
            raise ChainUnreachable(url=self.endpoint_uri, reason=f"HTTP {status}")
        if method == "eth_chainId" and "result" in answer:
            self._check_chain(answer["result"])
        return answer

    def _checked(self, method: str, params: Any, answer: RPCResponse | None) -> RPCResponse | None:
        if answer is None:
            return None
        try:
            if answer.get("error") is not None:
                return cast(RPCResponse, {"jsonrpc": "2.0", "id": 0, "error": checked_error(params, answer["error"])})
            return {"jsonrpc": "2.0", "id": 0, "result": checked_result(method, params, answer.get("result"))}
        except Misshapen as error:
            raise UnusableAnswerOfNode(url=self.endpoint_uri, method=method, reason=error.problem) from error

    def _check_chain(self, seen: str) -> None:
        self._chain = self._chain or seen
        if int(seen, 16) != int(self._chain, 16):
            raise WrongChain(url=self.endpoint_uri, seen=int(seen, 16), expected=int(self._chain, 16))


def _read(body: bytes) -> RPCResponse | None:
    """An answer of JSON-RPC; None for anything else."""
    try:
        answer = read_json(body, most=MOST_BYTES)
    except BadJson:
        return None
    said = isinstance(answer, dict) and ("result" in answer or "error" in answer)
    return cast(RPCResponse, answer) if said else None


def words_of(answer: RPCResponse) -> str:
    """What a node says of an error, as it may be shown."""
    error = answer.get("error")
    return printable(error.get("message", "") if isinstance(error, dict) else error, most=200)


def _asks_to_wait(method: str, error: object) -> bool:
    """Whether an error says that the node is asked too much, or has a moment of its own trouble."""
    if not isinstance(error, dict):
        return False
    code, message = error.get("code"), str(error.get("message", ""))
    if _OF_A_CALL.search(message) or code == 3:
        return False
    if method == "eth_getLogs":  # where "limit exceeded" and "timed out" mean that fewer blocks are to be asked for
        return bool(_OF_RATES.search(message)) and not _OF_RANGES.search(message)
    return code in _BUSY_CODES or bool(_BUSY.search(message))


def _is_behind(method: str, answer: RPCResponse) -> bool:
    """Whether the node that answered does not know the block that it was asked about."""
    if "error" in answer:
        return bool(_UNKNOWN_BLOCK.search(words_of(answer)))
    return method == "eth_getBlockByNumber" and answer.get("result") is None


def _kind(reason: str) -> str:
    return reason.partition(":")[0]  # the words after it may hold the URL, and that a key
