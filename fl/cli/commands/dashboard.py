"""`fl dashboard`: the page of a run on this machine, live while the run goes on."""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from fl.chain.invite import Invite
from fl.cli.arguments.key_value import named, parse
from fl.cli.arguments.values import is_whole
from fl.dashboard.app import dashboard_app
from fl.errors import ConfigError, FairshareError
from fl.foreign.files import read_file
from fl.foreign.json_text import object_of, read_json, text_of
from fl.report.files import SUMMARY

KNOWN = {
    "run": "folder of a run, finished or not, such as runs/latest",
    "port": "of the page on this machine, 8700 by default; 0 takes a free one",
    "open": "true opens it in the browser; false by default",
}
_HOST = "127.0.0.1"
_MOST_BYTES = 1 << 16  # of a node's own file


def main(arguments: Sequence[str]) -> None:
    """Serve the page until it is interrupted."""
    values = parse(named(arguments, "run", command="dashboard"), known=KNOWN, command="dashboard RUN", required=["run"])
    folder = Path(values["run"])
    if not folder.is_dir():
        raise ConfigError(
            f"run is {folder}, and there is no such folder; name one that `fl run` made, such as runs/latest"
        )
    if (folder / "node.json").exists():
        raise ConfigError(f"{folder} is a client's node, whose page its coordinator serves: {_page_of(folder)}")
    opening = values.get("open", "false")
    if opening not in ("true", "false"):
        raise ConfigError(f"open is {opening!r}; set true or false")
    listener = _listen(values.get("port", "8700"))
    url = f"http://{_HOST}:{listener.getsockname()[1]}/"
    waits = "" if (folder / SUMMARY).exists() else f"; it fills once {folder / SUMMARY} is there"
    print(f"the page of {folder} is at {url}{waits}\nCtrl-C stops it", flush=True)
    if opening == "true":
        webbrowser.open(url)
    _Server(dashboard_app(folder)).run(sockets=[listener])


def _page_of(node: Path) -> str:
    """Where the coordinator's page shows a node's account."""
    try:
        gateway = Invite.read(node / "invite.json").gateway
        account = text_of(object_of(read_json(read_file(node / "node.json", most=_MOST_BYTES)))["account"], most=42)
    except (FairshareError, KeyError):
        return "its address is in the invite"
    return f"{gateway}/#/{account}"


class _Server(uvicorn.Server):
    """Stops at the first signal, though browsers that watch keep their connections open."""

    def __init__(self, page: FastAPI) -> None:
        # A page of another site could reach this port under a name that it points here: only our own names are served.
        app = TrustedHostMiddleware(page, allowed_hosts=[_HOST, "localhost"])
        super().__init__(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3))
        self._page = page

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the feeds, then the server."""
        self._page.state.closing.set()
        super().handle_exit(sig, frame)


def _listen(port: str) -> socket.socket:
    if not is_whole(port) or int(port) > 65535:
        raise ConfigError(f"port is {port!r}; set a number from 0 to 65535")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, int(port)))
    except OSError as error:
        raise ConfigError(f"port {port} cannot be taken ({error.strerror}); set another one, or port=0") from error
    listener.listen()
    return listener
