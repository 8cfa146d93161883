"""Flower's SuperLink as a process, with a lock on its control API. Run as a module it is `flower-superlink` itself, and takes its arguments.

Flower's control API knows nobody: on a machine with other users each of them could stop a run, or unregister nodes, whose keys cannot
be registered again. So whoever calls it shows that it knows the coordinator's secret. Nodes show their keys and executors
tokens of their own, which Flower checks.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HEADER = "fairshare-coordinator"
_SECRET = "--superexec-auth-secret-file"
_OPEN = ("/v1/fleet/", "/v1/runtime/")  # where Flower itself asks who calls


def proof_of(secret: bytes) -> str:
    """What a call of the control API bears: follows from the secret, and does not give it away."""
    return hashlib.sha256(b"fairshare control" + secret).hexdigest()


class Locked:
    """An ASGI app of which a stranger reaches what asks for a key or a token by itself, and whether it is there.

    Args:
        app: The SuperLink's.
        secret: Of the coordinator.
    """

    def __init__(self, app: ASGIApp, *, secret: bytes) -> None:
        self._app, self._proof = app, proof_of(secret).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._lets_in(scope):
            await PlainTextResponse("this is the coordinator's alone\n", 401)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _lets_in(self, scope: Scope) -> bool:
        if scope["path"] == "/health" or scope["path"].startswith(_OPEN):
            return True
        shown = next((value for name, value in scope["headers"] if name == HEADER.encode()), b"")
        return hmac.compare_digest(shown, self._proof)


def _main() -> None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(_SECRET, dest="secret", type=Path, required=True)
    secret = parser.parse_known_args()[0].secret.read_bytes()
    flowers: Any = importlib.import_module("flwr.superlink.cli.flower_superlink")
    run = flowers.uvicorn.run
    flowers.uvicorn = SimpleNamespace(run=lambda *, app, **told: run(app=Locked(app, secret=secret), **told))
    flowers.flower_superlink()


if __name__ == "__main__":
    _main()
