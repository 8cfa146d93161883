"""The coordinator's public API: what everybody may read of a task, and what evaluators and clients may besides.

    GET  /api/invite, /api/summary, /api/rounds              everybody
    GET  /api/archive                                        everybody, once the task is over
    GET  /api/bundles/round-0001/<file>                      header, manifest, round.json of posted rounds: everybody;
                                                             a client its own update; the direction once it is revealed:
                                                             everybody, and then the models and what was said in a masked
                                                             round: who takes part; evaluators all
    GET  /api/receipts/<account>                             everybody: a receipt says nothing but that it exists
    GET  /api/validation, /api/evaluations                   evaluators
    POST /api/evaluations/<round>                            evaluators: {"signature": hex} or {"refusal": reason}

Who is asked for sends a token of its wallet (`fl.chain.access`).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from fl.bundle.files import DIRECTION, HEADER, MANIFEST, ROUND, round_folder
from fl.bundle.validation_set import VALIDATION
from fl.chain.access import AccessRefused, account_of
from fl.chain.enrolment import Enrolments
from fl.chain.last_known import LastKnown
from fl.chain.task_state import Status, TaskState
from fl.chain.typed_data import Domain
from fl.codec.address import is_checksummed
from fl.coordinator.quorum.remote import NotWaiting, RemoteQuorum, WrongAnswer

_PUBLIC = (HEADER, MANIFEST, ROUND)
_FILE = re.compile(r"((base|next|aggregate)\.safetensors|direction\.blocks|(header|manifest|round|masked)\.json)")
_UPDATE = re.compile(r"updates/(0x[0-9a-fA-F]{40})\.blocks")
_FRESH_S = 1.0  # how old what is known of the chain may be: a page that is open asks every second


class ServedTask(Protocol):
    """What is asked of a task: a `PaidTask`, or one that is over and known from its folder alone."""

    @property
    def task_id(self) -> bytes: ...
    @property
    def domain(self) -> Domain: ...
    @property
    def terms(self) -> Any: ...
    def state(self) -> Any: ...
    def enrolments(self) -> Any: ...
    def speakers(self) -> dict[str, str]: ...


def archive_router(
    folder: Path,
    *,
    task: ServedTask,
    quorum: RemoteQuorum | None = None,
    clock: Callable[[], float] = time.time,
) -> APIRouter:
    """The routes, for a FastAPI app that answers over TLS.

    Args:
        folder: The coordinator's, with `invite.json`, `summary.json`, `bundles`, `receipts` and the validation set.
        task: On chain; what is revealed follows from its state.
        quorum: Where evaluators answer; none where all of them are in this process.
        clock: Time of day, Unix seconds.
    """
    archive = _Archive(folder, task=task, clock=clock)
    router = APIRouter(prefix="/api")

    @router.get("/invite")
    def invite() -> Response:
        return archive.json_file(folder / "invite.json")

    @router.get("/summary")
    def summary() -> Response:
        return archive.json_file(folder / "summary.json")

    @router.get("/archive")
    def whole() -> Response:
        if not (path := folder / "archive.zip").is_file():
            raise HTTPException(404, "the archive is written when the task is over")
        return FileResponse(path, media_type="application/zip", filename=f"fairshare-{task.task_id.hex()[:8]}.zip")

    @router.get("/rounds")
    def rounds(response: Response) -> list[dict[str, Any]]:
        state, _, age_s = archive.known()
        response.headers["Age"] = str(int(age_s))
        return [
            {"round": number, "bundle": round_folder(number), "revealed": archive.revealed(number)}
            for number in range(1, state.posted + 1)
        ]

    @router.get("/bundles/{name}/{file:path}")
    def bundle(name: str, file: str, request: Request) -> Response:
        return archive.file(name, file, account=archive.account(request))

    @router.get("/receipts/{account}")
    def receipts(account: str) -> Response:
        if not is_checksummed(account):
            raise HTTPException(404, f"{account} is not a checksum address")
        return archive.json_file(folder / "receipts" / f"{account}.json")

    @router.get("/validation")
    def validation(request: Request) -> Response:
        archive.evaluator(request)
        path = folder / VALIDATION
        if not path.exists():
            raise HTTPException(404, "the coordinator does not hand out its validation set; use your own copy")
        return FileResponse(path, media_type="application/octet-stream")

    @router.get("/evaluations")
    def evaluations(request: Request) -> Response:
        account = archive.evaluator(request)
        waiting = quorum.waiting(account) if quorum else None
        return Response(status_code=204) if waiting is None else JSONResponse(waiting)

    @router.post("/evaluations/{number}")
    async def evaluate(number: int, request: Request) -> dict[str, bool]:
        # Who asks comes before what it sends: of a stranger's answer not a byte is read.
        account = await run_in_threadpool(archive.evaluator, request)
        if quorum is None:
            raise HTTPException(409, "no round waits for evaluators")
        try:
            answer = json.loads(await request.body())
        except (ValueError, RecursionError) as error:
            raise HTTPException(422, "the answer is not JSON") from error
        if not isinstance(answer, dict):
            raise HTTPException(422, "the answer is not a JSON object")
        try:
            if isinstance(reason := answer.get("refusal"), str):
                quorum.refuse(account, round_number=number, reason=reason)
            else:
                signature = bytes.fromhex(str(answer.get("signature")))
                take = quorum.accept if account == archive.account(request) else quorum.accept_of_contract
                take(account, round_number=number, signature=signature)
        except NotWaiting as error:
            raise HTTPException(409, str(error)) from error
        except WrongAnswer as error:
            raise HTTPException(422, str(error)) from error
        except ValueError as error:
            raise HTTPException(422, "the answer has neither a refusal nor a signature in hex") from error
        return {"accepted": True}

    return router


class _Archive:
    """Who may read what."""

    def __init__(self, folder: Path, *, task: ServedTask, clock: Callable[[], float]) -> None:
        self.folder, self.task, self.clock = folder, task, clock
        self._chain = LastKnown(lambda: (task.state(), task.enrolments(), task.speakers()), every_s=_FRESH_S)

    def known(self) -> tuple[TaskState, Enrolments, float]:
        """Where the task stands, who takes part in it, and how many seconds ago both were read from the chain."""
        state, enrolments, _, age_s = self._known()
        return state, enrolments, age_s

    def _known(self) -> tuple[TaskState, Enrolments, dict[str, str], float]:
        known = self._chain.get()
        if known.value is None:
            raise HTTPException(503, "the coordinator does not know the chain yet; ask again", {"Retry-After": "1"})
        return *known.value, known.age_s

    def state(self) -> TaskState:
        """The task's."""
        return self.known()[0]

    def enrolments(self) -> Enrolments:
        """Everybody who joined."""
        return self.known()[1]

    def account(self, request: Request) -> str:
        """Who asks, "" for somebody without a token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not scheme:
            return ""
        if scheme.lower() != "bearer":
            raise HTTPException(401, "send `Authorization: Bearer <token>`, as fl.chain.access makes it")
        try:
            return account_of(token, domain=self.task.domain, task_id=self.task.task_id, now=int(self.clock()))
        except AccessRefused as error:
            raise HTTPException(401, str(error)) from error

    def evaluator(self, request: Request) -> str:
        """Which of the task's evaluators asks, itself or, for one that is a contract, by who speaks for it."""
        account = self.account(request)
        if not account:
            raise HTTPException(401, "this is for the task's evaluators; send `Authorization: Bearer <token>`")
        if not (evaluator := self._evaluator_of(account)):
            raise HTTPException(403, f"{account} is not an evaluator of the task")
        return evaluator

    def _evaluator_of(self, account: str) -> str:
        """The evaluator that an account is or speaks for, "" if there is none."""
        if not account or account in self.task.terms.evaluators:
            return account
        return self._known()[2].get(account, "")

    def revealed(self, number: int) -> bool:
        """Whether a round's direction is everybody's to see."""
        state, terms = self.state(), self.task.terms
        over = state.posted >= terms.rounds or state.status in (Status.HALTED, Status.CLOSED)
        return number <= state.posted and (over or terms.reveal_each_round)

    def file(self, name: str, file: str, *, account: str) -> Response:
        """A file of a bundle."""
        found, update = re.fullmatch(r"round-(\d{4,})", name), _UPDATE.fullmatch(file)
        if not found or not (_FILE.fullmatch(file) or update):
            raise HTTPException(404, f"{name}/{file} is not a file of a bundle")
        if not self._evaluator_of(account):
            self._check_reader(int(found.group(1)), file, update.group(1) if update else "", account)
        path = self.folder / "bundles" / name / file
        if not path.is_file():
            raise HTTPException(404, f"{name}/{file} is not here")
        kind = "application/json" if file.endswith(".json") else "application/octet-stream"
        return FileResponse(path, media_type=kind)

    def json_file(self, path: Path) -> Response:
        """A file that is written whole or not at all."""
        try:
            return Response(path.read_bytes(), media_type="application/json", headers={"Cache-Control": "no-cache"})
        except FileNotFoundError:
            raise HTTPException(404, f"{path.name} is not here (yet)") from None

    def _check_reader(self, number: int, file: str, owner: str, account: str) -> None:
        if number > self.state().posted:
            raise HTTPException(404, f"round {number} is not posted yet")
        if file in _PUBLIC or (owner and owner == account):
            return
        if owner:
            raise HTTPException(403, f"the update of {owner} is for its owner and the evaluators")
        if not self.revealed(number):
            when = "when the task is over" if not self.task.terms.reveal_each_round else "once the round is posted"
            raise HTTPException(403, f"{file} is revealed {when}")
        if file != DIRECTION and account not in self.enrolments():
            raise HTTPException(403, "models are for those who take part in the task")
