"""What the chain says of a task now: which rounds are final, how long the others can be challenged, what was claimed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl.chain.deployment import Deployment
from fl.chain.escrow import Escrow
from fl.chain.last_known import Known, LastKnown
from fl.chain.provider import Patience
from fl.chain.schedule import Schedule
from fl.chain.sender import connect
from fl.chain.task_state import Status, TaskState

_FRESH_S = 2.0  # however many people look at the page, the chain is asked this often at most


@dataclass(frozen=True, kw_only=True)
class _Reading:
    standing: dict[str, Any]
    claimed: Mapping[str, int]  # wei by account
    left: Mapping[str, int]  # by account, the first round that it has no part in any more
    returned: Mapping[str, int]  # wei of stake, by account


class ChainStatus:
    """What the chain says of one task, as it was last read: nobody who looks at a page waits for the chain.

    Args:
        folder: Of the run; its `deployment.json` says where the chain is.
        deployment: Where the chain is, if that is known already.
    """

    def __init__(self, folder: Path, deployment: Deployment | None = None) -> None:
        self._folder, self._deployment = folder, deployment
        self._escrow: Escrow | None = None
        self._from_block = 0
        self._postings: dict[bytes, list[dict[str, Any]]] = {}  # by task, in the order of rounds
        self._final: dict[bytes, int] = {}
        self._schedules: dict[bytes, tuple[tuple[int, ...], Schedule]] = {}
        self._lock = threading.Lock()
        self._read: dict[bytes, LastKnown[_Reading]] = {}

    def of_task(self, task_id: bytes) -> dict[str, Any]:
        """State of the task as JSON values, with its age.

        Where the chain does not answer `reachable` is false, with a reason, beside what was known before.
        """
        known = self._known(task_id)
        standing = known.value.standing if known.value else {}
        return {**standing, **_reachability(known)}

    def of_client(self, task_id: bytes, account: str) -> dict[str, Any]:
        """What the contract has paid an account so far, whether it left, and what of its stake came back."""
        known = self._known(task_id)
        told = (
            {
                "claimed_wei": str(known.value.claimed.get(account, 0)),
                "left_round": known.value.left.get(account, 0),
                "returned_wei": str(known.value.returned.get(account, 0)),
            }
            if known.value
            else {}
        )
        return {**told, **_reachability(known)}

    def _known(self, task_id: bytes) -> Known[_Reading]:
        with self._lock:
            if task_id not in self._read:
                self._read.clear()  # another run in the same folder
                self._read[task_id] = LastKnown(lambda: self._ask(task_id), every_s=_FRESH_S)
            read = self._read[task_id]
        return read.get()

    def _ask(self, task_id: bytes) -> _Reading:
        """Ask the chain, in a thread that nobody waits for. Raises: ChainError, Web3Exception, ValueError."""
        try:
            if self._escrow is None:
                deployment = self._deployment or Deployment.read(self._folder / "deployment.json")
                # Who looks at a page is told that the chain is away, instead of waiting until it is back.
                w3 = connect(
                    deployment.url, chain_id=deployment.chain_id, patience=Patience(outage_s=0, limit_s=_FRESH_S)
                )
                self._escrow, self._from_block = Escrow(w3, deployment.contract), deployment.block
            claimed: Counter[str] = Counter()
            for event in self._escrow.events("Claimed", task_id, from_block=self._from_block):
                claimed[event["args"]["account"]] += event["args"]["amount"]
            returned: Counter[str] = Counter()
            for event in self._escrow.events("Released", task_id, from_block=self._from_block):
                returned[event["args"]["account"]] += event["args"]["stake"]
            enrolled = self._escrow.enrolments(task_id, from_block=self._from_block)
            left = {account: enrolment.left_round for account, enrolment in enrolled.items() if enrolment.left_round}
            standing = self._task(self._escrow, task_id) | {"left": left}
            return _Reading(standing=standing, claimed=claimed, left=left, returned=returned)
        except Exception:
            self._escrow = None
            raise

    def _task(self, escrow: Escrow, task_id: bytes) -> dict[str, Any]:
        terms, state = escrow.task(task_id)
        now = escrow.w3.eth.get_block("latest")["timestamp"]
        postings = self._postings.setdefault(task_id, [])
        del postings[state.posted :]
        # A header names the one before it: while the newest that is known is still there, so are all before it.
        if postings and postings[-1] != _posting(escrow, task_id, len(postings)):
            postings.clear()
        for number in range(len(postings) + 1, state.posted + 1):
            postings.append(_posting(escrow, task_id, number))
        # Final rounds come before those that are not: windows end in the order of posting.
        final = min(self._final.get(task_id, 0), state.posted)
        if final and not escrow.is_final(task_id, final):
            final = 0  # a later proof, or a chain that was put back
        while final < state.posted and escrow.is_final(task_id, final + 1):
            final += 1
        self._final[task_id] = final
        return {
            "time": now,
            "status": state.status.name.lower(),
            "joining": state.status in (Status.OPEN, Status.STARTED)
            and not state.joining_closed
            and state.posted < state.rounds,
            "rounds": [
                {
                    "round": number,
                    **posting,
                    "state": _state_of(number, final=final, void_from=state.void_from, held_from=state.held_from),
                    "window_left": max(0, posting["posted_at"] + terms.challenge_window - now),
                }
                for number, posting in enumerate(postings, start=1)
            ],
            "final_round": final,
            "challenge_window": terms.challenge_window,
            "open_challenges": state.open_challenges,
            "clients": state.clients,
            "schedule": self._schedule(escrow, task_id, state),
            "bond_wei": str(terms.bond),
            "cumulative_wei": str(state.cumulative),
            "pool_wei": str(state.pool),
            "paid_wei": str(state.paid),
            "coordinator": terms.coordinator,
            "evaluators": list(terms.evaluators),
            "quorum": terms.quorum,
            "evaluator_stake_wei": str(terms.evaluator_stake),
        }

    def _schedule(self, escrow: Escrow, task_id: bytes, state: TaskState) -> dict[str, Any]:
        seen = (state.rounds, state.budget, state.added)
        known = self._schedules.get(task_id)
        if known is None or known[0] != seen:  # what was added is read from events, all of the task's
            known = self._schedules[task_id] = (seen, escrow.schedule(task_id, from_block=self._from_block))
        schedule = known[1]
        budgets = [[first, str(budget)] for first, budget in schedule.budgets]
        return {"planned": schedule.planned, "rounds": schedule.rounds, "budgets": budgets}


def _reachability(known: Known[_Reading]) -> dict[str, Any]:
    """Whether the chain answers, why not, and how old (s) what is told is."""
    age = {"age_s": round(known.age_s, 1)} if known.value else {}
    return {"reachable": False, "reason": known.problem, **age} if known.problem else {"reachable": True, **age}


def _posting(escrow: Escrow, task_id: bytes, number: int) -> dict[str, Any]:
    kept, posted_at = escrow.posted(task_id, number)
    return {"hash": "0x" + kept.hex(), "posted_at": posted_at}


def _state_of(number: int, *, final: int, void_from: int, held_from: int) -> str:
    if void_from and number >= void_from:
        return "void"
    if held_from and number >= held_from:
        return "held"
    return "final" if number <= final else "pending"
