"""The page as an ASGI app: read-only, no request to any other host, live by server-sent events.

/                              the page
/static/…                      its script and style, and the charts that it shares with report.html
/data/view                     the run so far                      /data/clients/<account>   one client's rounds
/data/standing                 the task on chain, now              /data/standing/<account>  what it was paid
/data/feed                     an event for each change of either
/data/rounds/<n>/<file>        header.json, manifest.json and round.json of a bundle: what the browser recomputes from
/data/rounds/<n>/raw/<account> ⟨update, direction⟩ of one client, which weight and score tell already
/data/contract                 where claims go
/data/invite                   how to join while the task takes clients, and who is waited for before round 1
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_utils import is_address, to_checksum_address
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fl.bundle.files import DIRECTION, ROUND, broken_by, most_bytes, round_folder, update_file
from fl.bundle.round_record import read_round
from fl.chain.artifacts import artifact
from fl.chain.deployment import Deployment
from fl.chain.invite import Invite
from fl.codec import Blocks
from fl.coordinator.gateway.slots import address_of
from fl.dashboard.chain_status import ChainStatus
from fl.dashboard.view import client_rounds, jsonable, view
from fl.errors import FairshareError
from fl.foreign.files import GivenFolder, Unreadable
from fl.foreign.json_text import read_json
from fl.report.drawing import CHARTS
from fl.report.files import SUMMARY
from fl.rewards.score import partials

log = logging.getLogger(__name__)

_STATIC = Path(__file__).with_name("static")
_ASSETS = {
    "page.js": (_STATIC / "page.js", "text/javascript"),
    "page.css": (_STATIC / "page.css", "text/css"),
    "charts.js": (CHARTS, "text/javascript"),
    "report.css": (CHARTS.parents[1] / "page.css", "text/css"),
}
_PUBLIC = ("header.json", "manifest.json", "round.json")  # of a bundle; the rest is for evaluators, and for its owner
_HEADERS = {
    # The charts' library writes a style element into each drawing.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
WAITING = "waiting.json"  # in the folder, from a coordinator: clients joined, connected and wanted
_MOST_INVITE = 1 << 20  # bytes
_LOOK_S = 0.2  # how often a feed looks for a new summary
_CHAIN_S = 2.0  # and for a new block
_ALIVE_S = 15.0  # proxies close a connection on which nothing comes
_MOST_SUMMARY = 256 << 20  # bytes
_FEEDS = 200  # at once; a browser tries again by itself
_FEEDS_OF_ONE = 20  # of them of one address, behind which an office may be


def dashboard_app(folder: Path, *, chain: Deployment | None = None) -> FastAPI:
    """The page of one run.

    Args:
        folder: Of the run, finished or not: `summary.json`, `bundles/`, `deployment.json`. It may still be empty.
        chain: Where the task's contract is; by default what the folder's deployment file says.
    Returns: the app; whoever stops the server under it first sets `app.state.closing`, or open feeds hold it up.
    """
    folder = Path(folder).resolve()
    app = FastAPI(title="Fairshare", docs_url=None, redoc_url=None, openapi_url=None)
    run = _Run(folder)
    standing = ChainStatus(folder, chain)
    closing = app.state.closing = threading.Event()
    feeds: Counter[str] = Counter()  # by address
    reading = asyncio.Lock()

    app.add_middleware(_Headers)

    @app.get("/")
    def index() -> FileResponse:
        return FileResponse(_STATIC / "index.html", media_type="text/html")

    @app.get("/static/{name}")
    def asset(name: str) -> FileResponse:
        if name not in _ASSETS:
            raise HTTPException(404, f"there is no {name}")
        path, kind = _ASSETS[name]
        return FileResponse(path, media_type=kind)

    @app.get("/data/view")
    def whole() -> Response:
        return Response(run.view(), media_type="application/json")

    @app.get("/data/clients/{account}")
    def client(account: str) -> Response:
        found = client_rounds(_or_404(run.summary()), _address(account))
        return _json(_or_404(found, f"{account} is not a client of this task"))

    @app.get("/data/standing")
    def on_chain() -> Response:
        return _json(standing.of_task(_task_id(_or_404(run.summary()))))

    @app.get("/data/standing/{account}")
    def paid(account: str) -> Response:
        return _json(standing.of_client(_task_id(_or_404(run.summary())), _address(account)))

    @app.get("/data/contract")
    def contract() -> Response:
        task = _or_404(run.summary())["task"]
        kept = {name: task[name] for name in ("chain_id", "contract", "token", "id")}
        return _json(
            {**kept, "abi": [entry for entry in artifact("Fairshare").abi if entry.get("name") in ("claim", "leave")]}
        )

    @app.get("/data/invite")
    def invite() -> Response:
        return _json(run.invite())

    @app.get("/data/rounds/{number}/{name}")
    def bundle_file(number: int, name: str) -> Response:
        try:
            if name not in _PUBLIC or not run.has_posted(number):
                raise KeyError(name)
            return Response(run.bundle(number).read(name), media_type="application/json")
        except (FairshareError, KeyError):
            raise HTTPException(404, f"round {number} has no {name} that is for everybody") from None

    @app.get("/data/rounds/{number}/raw/{account}")
    async def raw(number: int, account: str) -> Response:
        if not await run_in_threadpool(run.has_posted, number):
            raise HTTPException(404, f"round {number} is not posted yet")
        try:
            async with reading:  # one at a time: an update of a large model is a hundred megabytes
                found = await run_in_threadpool(_raw, run.bundle(number), _address(account))
        except (FairshareError, KeyError):
            raise HTTPException(404, f"round {number} has no update of {account} here, or no direction") from None
        return _json({"raw": str(found)})

    @app.get("/data/feed")
    async def feed(request: Request) -> StreamingResponse:
        watcher = address_of(request.client.host if request.client else "?")
        if feeds[watcher] >= _FEEDS_OF_ONE or feeds.total() >= _FEEDS:
            few = feeds[watcher] >= _FEEDS_OF_ONE
            told = f"{_FEEDS_OF_ONE} pages of this address" if few else f"{_FEEDS} people"
            raise HTTPException(503, f"{told} watch already; try again later")
        feeds[watcher] += 1  # from now on, not from the first event on: many ask at once

        async def events() -> AsyncIterator[str]:
            async for event in _events(run, standing, closing):
                yield event

        return _Feed(events(), on_end=lambda: _less(feeds, watcher))

    return app


class _Headers:
    """Puts the page's headers on every answer, streams included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class _Feed(StreamingResponse):
    """A stream of events; says when it is over, however it ends."""

    def __init__(self, events: AsyncIterator[str], *, on_end: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


def _less(feeds: Counter[str], watcher: str) -> None:
    feeds[watcher] -= 1
    if not feeds[watcher]:
        del feeds[watcher]


class _Run:
    """A run's folder; the summary is read again when it was rewritten."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, int], dict[str, Any], dict[str, Any]] | None = None
        self._unread: tuple[int, int] | None = None  # the version that could not be read
        self._view: tuple[str, str] | None = None

    def version(self) -> tuple[int, int] | None:
        """Changes whenever the summary does; None while there is none."""
        try:
            status = (self._folder / SUMMARY).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino  # written whole beside it and moved, so it is another file each time

    def summary(self) -> dict[str, Any] | None:
        """The summary as it stands."""
        read = self._fresh()
        return read and read[1]

    def headline(self) -> dict[str, Any]:
        """What a feed tells of it: a phase of a round whole, and the rest as a hash that says whether to fetch it."""
        read = self._fresh()
        return read[2] if read else {"status": "waiting"}

    def invite(self) -> dict[str, Any]:
        """How to join, as far as the folder says: name, description and link, "" where it is nobody's to join; and who is waited for."""
        given = GivenFolder(self._folder)
        try:
            told = Invite.from_bytes(given.read("invite.json", most=_MOST_INVITE), where="invite.json")
        except FairshareError:
            return {"name": "", "description": "", "link": "", "waiting": None}
        try:
            waiting = read_json(given.read(WAITING, most=_MOST_INVITE))
        except FairshareError:
            waiting = None
        return jsonable({"name": told.name, "description": told.description, "link": told.link, "waiting": waiting})

    def view(self) -> str:
        """The page's content as JSON, made once for everybody who looks at it."""
        read = self._fresh()
        if read is None:
            return json.dumps({"status": "waiting"})  # and the page fills by itself
        content = read[2]["content"]
        if self._view is None or self._view[0] != content:
            self._view = content, json.dumps(view(read[1]), allow_nan=False)
        return self._view[1]

    def _fresh(self) -> tuple[tuple[int, int], dict[str, Any], dict[str, Any]] | None:
        with self._lock:
            version = self.version()
            if version is None:
                return None
            if version not in (self._unread, self._read and self._read[0]):
                try:
                    summary = read_json(GivenFolder(self._folder).read(SUMMARY, most=_MOST_SUMMARY), most=_MOST_SUMMARY)
                    self._read = version, summary, _headline(summary)
                except FairshareError as error:  # while somebody copies the folder, half of the file is there
                    self._unread = version
                    log.warning("%s: %s; the page shows what was read before", self._folder / SUMMARY, error)
            return self._read

    def has_posted(self, number: int) -> bool:
        """Whether a round is on chain: until then its files are the evaluators'."""
        summary = self.summary()
        return summary is not None and any(told["round"] == number for told in summary["rounds"])

    def bundle(self, number: int) -> _RoundFiles:
        """A round's bundle."""
        return _RoundFiles(run=self._folder, number=number)


@dataclass(frozen=True, kw_only=True)
class _RoundFiles:
    """The files of a round, in a run's folder that may be somebody else's: no link in it is followed."""

    run: Path
    number: int

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.run}/bundles/{round_folder(self.number)}"

    def read(self, name: str) -> bytes:
        """One file. Raises: BrokenBundle."""
        try:
            return GivenFolder(self.run).read(f"bundles/{round_folder(self.number)}/{name}", most=most_bytes(name))
        except Unreadable as error:
            raise broken_by(error, name=name, where=self.where) from error


async def _events(run: _Run, standing: ChainStatus, closing: threading.Event) -> AsyncIterator[str]:
    """Server-sent events: `run` when the summary changed, `chain` when the task's standing did, and what it is now."""
    version: object = ()
    chain: dict[str, Any] | None = None
    asking: asyncio.Future[dict[str, Any]] | None = None  # never waited for: the run goes on while a chain is slow
    loop = asyncio.get_running_loop()
    spoken = next_look = loop.time()
    while not closing.is_set():
        if (seen := run.version()) != version:
            version, next_look = seen, loop.time()
            yield _event("run", await run_in_threadpool(run.headline))
            spoken = loop.time()
        if asking is None and loop.time() >= next_look and (summary := await run_in_threadpool(run.summary)):
            asking = loop.run_in_executor(None, standing.of_task, _task_id(summary))
        if asking is not None and asking.done():
            now, asking, next_look = asking.result(), None, loop.time() + _CHAIN_S
            told = {name: value for name, value in now.items() if name != "age_s"}
            if told != chain:
                chain = told
                yield _event("chain", now)
                spoken = loop.time()
        if loop.time() - spoken > _ALIVE_S:
            yield ": still here\n\n"
            spoken = loop.time()
        await asyncio.sleep(_LOOK_S)


def _headline(summary: dict[str, Any]) -> dict[str, Any]:
    # Rounds are only ever added, so the last one stands for all: to hash a thousand clients' every round takes a while.
    rounds = summary["rounds"]
    told = [summary["status"], summary["task"], summary["clients"], summary["totals"], len(rounds), rounds[-1:]]
    content = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    return {"status": summary["status"], "live": summary.get("live"), "content": content, "rounds": len(rounds)}


@functools.lru_cache(maxsize=4096)
def _raw(files: _RoundFiles, account: str) -> int:
    record = read_round(files.read(ROUND), where=files.where)
    weights = {update.account: update.weight for update in record.updates}
    if weights[account] == 0 or record.masked:
        raise KeyError(account)  # left out, or masked: its score does not tell the product, so neither do we
    read = {
        name: Blocks.from_bytes(files.read(name), size=record.layout.size) for name in (update_file(account), DIRECTION)
    }
    return sum(partials(read[update_file(account)], read[DIRECTION]))


def _event(name: str, value: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(jsonable(value))}\n\n"


def _json(value: Any) -> Response:
    return Response(json.dumps(value, allow_nan=False), media_type="application/json")


def _or_404(value: Any, reason: str = "the run has no summary yet") -> Any:
    if value is None:
        raise HTTPException(404, reason)
    return value


def _task_id(summary: dict[str, Any]) -> bytes:
    return bytes.fromhex(summary["task"]["id"].removeprefix("0x"))


def _address(text: str) -> str:
    if not is_address(text):
        raise HTTPException(404, f"{text[:60]!r} is not an address; write 0x and 40 hex digits")
    return to_checksum_address(text)
