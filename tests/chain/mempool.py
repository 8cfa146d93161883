"""Programs that die with a transaction on its way, and those that come after them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from web3 import Web3
from web3.types import RPCEndpoint

from fl.chain import inclusion, sender


class Dead(BaseException):
    """Ends a program as a signal would: nothing catches it."""


@contextmanager
def dying_after_sending(w3: Web3, call: str) -> Iterator[None]:
    """What runs inside dies when its transaction `call` is with the node; it is in no block, and none comes."""
    include, broadcast = inclusion.include, inclusion._broadcast

    def last(w3_: Web3, transaction, *, account, outbid):
        broadcast(w3_, transaction, account=account, outbid=outbid)
        raise Dead

    def watched(w3_: Web3, transaction, *, account, name, outbid):
        if name == call:
            _ask(w3, "evm_setAutomine", False)
            patch.setattr(inclusion, "_broadcast", last)
        return include(w3_, transaction, account=account, name=name, outbid=outbid)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender, "include", watched)
        with pytest.raises(Dead):
            yield
    assert w3.eth.get_block("pending")["transactions"]


@contextmanager
def blocks_come_again(w3: Web3) -> Iterator[None]:
    """What runs inside sees no new block until it wants to send something itself."""
    free_nonce = sender.free_nonce

    def late(*arguments, **named):
        _ask(w3, "evm_setAutomine", True)
        _ask(w3, "evm_mine")
        return free_nonce(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender, "free_nonce", late)
        try:
            yield
        finally:
            _ask(w3, "evm_setAutomine", True)
            _ask(w3, "evm_mine")


def _ask(w3: Web3, method: str, *arguments: object) -> None:
    w3.manager.request_blocking(RPCEndpoint(method), list(arguments))
