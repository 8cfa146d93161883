"""Waiting for a chain's windows: a devnet's clock is moved, any other is waited for."""

from __future__ import annotations

import logging
import time

from web3 import Web3
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint

log = logging.getLogger(__name__)

_IDLE_S = 15  # since the last block: longer than those of any chain that has a rhythm of its own


def pass_time(w3: Web3, *, until: int) -> None:
    """Return once the chain's latest block is at `until` (seconds) or later.

    A devnet (Anvil, Hardhat) has `evm_increaseTime` and is there at once; on other chains this waits.
    """
    now = w3.eth.get_block("latest")["timestamp"]
    if now >= until:
        return
    try:
        w3.manager.request_blocking(RPCEndpoint("evm_increaseTime"), [until - now + 1])
        w3.manager.request_blocking(RPCEndpoint("evm_mine"), [])
    except Web3Exception:
        log.info("waiting %d s for the challenge window", until - now)
    while w3.eth.get_block("latest")["timestamp"] < until:
        time.sleep(1)


def keep_up(w3: Web3) -> None:
    """Let a devnet that makes blocks for transactions only make one of now; other chains make theirs by themselves.

    Without it an idle devnet's clock stands still, and no window on it ever ends.
    """
    if w3.eth.get_block("latest")["timestamp"] < time.time() - _IDLE_S:
        try:
            w3.manager.request_blocking(RPCEndpoint("evm_mine"), [])
        except Web3Exception:
            log.debug("the chain makes its own blocks")
