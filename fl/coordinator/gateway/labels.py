"""What clients call themselves on the coordinator's page: POST /api/label, by who takes part and nobody else.

A label is a convenience, like a name on a door bell: it is on no chain, two clients may choose the same one, and the account
stands beside it wherever it is shown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, Body, HTTPException, Request

from fl.chain.access import AccessRefused, account_of
from fl.chain.json_file import write_json
from fl.chain.paid_task import PaidTask
from fl.codec.address import is_checksummed
from fl.foreign.files import Absent, Unreadable, read_file
from fl.foreign.json_text import BadJson, object_of, read_json, text_of
from fl.plain_text import printable

LABELS = "labels.json"  # in a coordinator's folder: label by account
LONGEST = 40  # characters of a label
_MOST_BYTES = 16 << 20  # of the file


def read_labels(folder: Path) -> dict[str, str]:
    """Labels by account, as they were chosen; none where the file is absent or cannot be read."""
    try:
        told = object_of(read_json(read_file(folder / LABELS, most=_MOST_BYTES)))
        return {account: text_of(label, most=LONGEST) for account, label in told.items() if is_checksummed(account)}
    except (Absent, Unreadable, BadJson):
        return {}


def label_router(folder: Path, *, task: PaidTask, clock: Callable[[], float] = time.time) -> APIRouter:
    """The route.

    Args:
        folder: Of the coordinator; keeps the labels.
        task: Whose clients may choose one.
        clock: Unix seconds.
    """
    router, one_at_a_time = APIRouter(prefix="/api"), threading.Lock()

    @router.post("/label")
    def choose(request: Request, told: dict[str, object] = Body()) -> dict[str, str]:  # noqa: B008
        label = told.get("label")
        if not isinstance(label, str) or not 0 < len(label) <= LONGEST or printable(label) != label:
            raise HTTPException(422, f"a label is 1 to {LONGEST} characters that can be printed")
        account = _asking(request)
        if not task.escrow.client(task.task_id, account).first_round:
            raise HTTPException(403, f"{account} is not a client of the task")
        with one_at_a_time:
            write_json(folder / LABELS, read_labels(folder) | {account: label})
        return {"label": label}

    def _asking(request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise HTTPException(401, "send `Authorization: Bearer <token>`, as fl.chain.access makes it")
        try:
            return account_of(token, domain=task.domain, task_id=task.task_id, now=int(clock()))
        except AccessRefused as error:
            raise HTTPException(401, str(error)) from error

    return router
