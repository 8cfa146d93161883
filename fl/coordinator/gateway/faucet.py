"""Stake and gas for whoever wants to join a task on a devnet, where both are free: POST /api/faucet.

There is none on any other chain than 31337. Who asks is known by nothing but an address, so what one of them, one peer and all
together may have is limited.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from eth_account.signers.local import LocalAccount
from fastapi import APIRouter, Body, HTTPException, Request

from fl.chain.accounts import ANVIL_CHAIN
from fl.chain.errors import ChainError
from fl.chain.paid_task import PaidTask
from fl.chain.sender import ether_of, transfer_ether
from fl.chain.task_state import Status
from fl.codec.address import is_checksummed
from fl.coordinator.gateway.slots import address_of
from fl.plain_text import printable

_HOUR_S = 3600.0
_MOST_OF_ACCOUNT, _MOST_OF_PEER, _MOST_OF_ALL = 3, 60, 1000  # times an hour
_MOST_WAITING = 16  # calls at a time, of the gateway's forty threads
_ETHER = 5 * 10**16  # wei that are sent to an account that has less than half of it


def faucet_router(
    task: PaidTask, *, account: LocalAccount, clock: Callable[[], float] = time.monotonic
) -> APIRouter | None:
    """The route; None on a chain whose money may be worth something.

    Args:
        task: Whose stake is given out, to accounts that have not joined.
        account: Pays the gas, and the ETH.
        clock: Seconds.
    """
    if task.escrow.chain_id != ANVIL_CHAIN:
        return None
    router, turns = APIRouter(prefix="/api"), _Turns(clock)
    places, one_at_a_time = threading.BoundedSemaphore(_MOST_WAITING), threading.Lock()

    @router.post("/faucet")
    def faucet(request: Request, asked: dict[str, Any] = Body()) -> dict[str, str]:  # noqa: B008
        who, stake = str(asked.get("account")), str(asked.get("stake"))
        if not is_checksummed(who) or not stake.isdecimal() or len(stake) > 40:
            raise HTTPException(422, "send an account's checksum address and a stake in wei")
        peer = address_of(request.client.host if request.client else "?")
        # Giving takes blocks, and each that waits keeps a thread from the page.
        if not places.acquire(blocking=False):
            raise HTTPException(503, "others are being served; ask again", headers={"retry-after": "1"})
        try:
            with one_at_a_time:
                # Before the chain is asked, which costs more than a turn.
                if not turns.take(who, peer):
                    raise HTTPException(429, "that was asked for too often; try again in an hour")
                if (state := task.state()).status not in (Status.OPEN, Status.STARTED) or state.joining_closed:
                    raise HTTPException(409, "the task takes no more clients")
                return _give(task, who=who, stake=min(int(stake), task.terms.max_stake), account=account)
        finally:
            places.release()

    return router


def _give(task: PaidTask, *, who: str, stake: int, account: LocalAccount) -> dict[str, str]:
    w3 = task.escrow.w3
    try:
        if (tokens := max(0, stake - task.token.balance(who))) > 0:
            task.token.mint(who, tokens, account=account)
        ether = _ETHER if ether_of(w3, who) < _ETHER // 2 else 0
        if ether:
            transfer_ether(w3, account=account, to=who, amount=ether)
    except ChainError as error:  # a token that cannot be minted, or a coordinator without ETH
        raise HTTPException(409, printable(error, most=300)) from error
    return {"tokens_wei": str(tokens), "ether_wei": str(ether)}


class _Turns:
    """Counts who asked in the last hour."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._asked: defaultdict[str, deque[float]] = defaultdict(deque)

    def take(self, who: str, peer: str) -> bool:
        """Whether there is a turn left for the account, for its peer and for everybody; takes it if so."""
        now = self._clock()
        for name in [name for name, times in self._asked.items() if not times or times[-1] < now - _HOUR_S]:
            del self._asked[name]
        limits = {f"account {who}": _MOST_OF_ACCOUNT, f"peer {peer}": _MOST_OF_PEER, "all": _MOST_OF_ALL}
        for name, most in limits.items():
            times = self._asked[name]
            while times and times[0] < now - _HOUR_S:
                times.popleft()
            if len(times) >= most:
                return False
        for name in limits:
            self._asked[name].append(now)
        return True
