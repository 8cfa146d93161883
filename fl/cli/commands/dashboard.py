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

from fl.cli.arguments.key_value import parse
from fl.cli.arguments.values import is_whole
from fl.dashboard.app import dashboard_app
from fl.errors import ConfigError
from fl.report.files import SUMMARY

KNOWN = {
    "run": "folder of a run, finished or not, such as runs/latest",
    "port": "of the page on this machine, 8700 by default; 0 takes a free one",
    "open": "true opens it in the browser; false by default",
}
_HOST = "127.0.0.1"


def main(arguments: Sequence[str]) -> None:
    """Serve the page until it is interrupted."""
    values = parse(arguments, known=KNOWN, command="dashboard", required=["run"])
    folder = Path(values["run"])
    if not folder.is_dir():
        raise ConfigError(
            f"run is {folder}, and there is no such folder; name one that `fl run` made, such as runs/latest"
        )
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
