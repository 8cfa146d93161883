"""web3's requests with this project's errors: what a node refuses is an error of the chain's family too.

Each error here is also web3's of its kind, so that who waits for one by web3's name still gets it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from web3.exceptions import (
    BadFunctionCallOutput,
    BlockNotFound,
    ContractCustomError,
    ContractLogicError,
    MethodUnavailable,
    TransactionIndexingInProgress,
    TransactionNotFound,
    Web3RPCError,
)
from web3.manager import RequestManager
from web3.types import RPCEndpoint

from fl.chain.errors import ChainError, UnusableAnswerOfNode
from fl.plain_text import printable


class NodeRefused(ChainError, Web3RPCError):
    """The node answers with an error of its own."""

    def __init__(self, method: str, error: Web3RPCError) -> None:
        Web3RPCError.__init__(self, str(error.message), rpc_response=error.rpc_response)
        self.method = method

    def __str__(self) -> str:
        told = (self.rpc_response or {}).get("error")
        words = told.get("message") if isinstance(told, dict) else self.message
        return f"the chain's node refused {self.method}: {printable(words, most=1000)}; try again later, or name another node"


class MethodUnknown(NodeRefused, MethodUnavailable):
    """It does not know the method."""


class BlockUnknown(NodeRefused, BlockNotFound):
    """It does not have the block."""


class TransactionUnknown(NodeRefused, TransactionNotFound):
    """It does not have the transaction, or not yet."""


class Reverted(ChainError, ContractLogicError):
    """What was called gave up; `data` is its own words, where it has any."""

    def __init__(self, error: ContractLogicError) -> None:
        ContractLogicError.__init__(self, error.message, error.data)

    def __str__(self) -> str:
        words = printable(self.message or "execution reverted", most=300)
        return f"the contract gave up ({words}); check that the invite and the node are of the same chain"


class RevertedByName(Reverted, ContractCustomError):
    """With an error of the contract's own."""


class BadCallOutput(UnusableAnswerOfNode, BadFunctionCallOutput):
    """What a call returned is nothing that the contract returns."""


_KINDS: dict[type[Web3RPCError], type[NodeRefused]] = {
    MethodUnavailable: MethodUnknown,
    BlockNotFound: BlockUnknown,
    TransactionNotFound: TransactionUnknown,
    TransactionIndexingInProgress: TransactionUnknown,
}


class CheckedRequests(RequestManager):
    """web3's own, whose refusals are of our family."""

    def request_blocking(
        self,
        method: RPCEndpoint | Callable[..., RPCEndpoint],
        params: Any,
        error_formatters: Callable[..., Any] | None = None,
        null_result_formatters: Callable[..., Any] | None = None,
    ) -> Any:
        """Ask.

        Args:
            method: Of JSON-RPC.
            params: Its parameters.
            error_formatters: As in web3.
            null_result_formatters: As in web3.
        Raises: ChainError.
        """
        try:
            return super().request_blocking(method, params, error_formatters, null_result_formatters)
        except ChainError:
            raise
        except ContractCustomError as error:
            raise RevertedByName(error) from error
        except ContractLogicError as error:
            raise Reverted(error) from error
        except Web3RPCError as error:
            raise _KINDS.get(type(error), NodeRefused)(method=str(method), error=error) from error
