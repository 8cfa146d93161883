"""A node at work: keeps a SuperNode connected, answers its messages, and follows what they earn, until the task is over."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Mapping

import httpx
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from clients.errors import AnswerLost, GatewayUnreachable
from clients.node.executor import Executor
from clients.node.folder import NodeFolder
from clients.node.gateway import Gateway
from clients.node.sign_off import sign_off
from clients.node.supernode import SuperNode
from clients.payments.follower import PayFollower
from clients.signing import sign_updates
from fl.errors import ConfigError

log = logging.getLogger(__name__)

_EAGER_S, _CALM_S = 0.05, 0.4  # between two looks for a message, while rounds run and when none came for a while
_CALM_AFTER_S = 60
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0  # before a SuperNode is started again
_STEADY_S = 60  # a SuperNode that ran so long was well; the waits begin anew
_CLOCK_NOTE_S = 5  # Flower itself bears that much


class Node:
    """One client's node.

    Args:
        folder: Held by this process.
        gateway: Of the invite.
        ca: PEM that the gateway is checked with.
        app: `package.module:app` of the ClientApp to run.
        node_config: What the app and its signing are told, the owner's own.
        pay: Follows the rounds; its end is the node's.
        say: Takes one line for the owner.
    """

    def __init__(
        self,
        folder: NodeFolder,
        *,
        gateway: Gateway,
        ca: str,
        app: str,
        node_config: Mapping[str, str | int | float | bool],
        pay: PayFollower,
        say: Callable[[str], None],
    ) -> None:
        self._gateway, self._node_config, self._pay, self._say = gateway, node_config, pay, say
        self._app_path = app
        self._app: ClientAppCallable | None = None
        self._node_key = folder.node_key_path
        self._supernode = SuperNode(folder=folder.path, superlink=gateway.address, ca=ca, node_key=self._node_key)
        self._last_message = time.monotonic()
        self._said = ""

    def run(self) -> None:
        """Work until the task is over; whatever ends it, no process is left."""
        wait = _FIRST_WAIT_S
        self._pay.start()
        try:
            while not self._pay.over:
                if self._pay.idle:  # nothing is left to answer: the coordinator is not knocked at any more
                    self._sleep(1)
                    continue
                started = time.monotonic()
                reason = self._serve()
                if self._pay.idle or self._pay.over:
                    continue
                wait = _FIRST_WAIT_S if time.monotonic() - started > _STEADY_S else min(2 * wait, _LONGEST_WAIT_S)
                self._say_once(f"{reason}; trying again")
                self._sleep(wait)
        finally:
            self._supernode.stop()
            self._pay.stop()

    def _serve(self) -> str:
        """Run one SuperNode until it ends or the task does; returns why."""
        try:
            offset = self._gateway.clock_offset_s()
        except GatewayUnreachable as error:
            return str(error)
        if abs(offset) > _CLOCK_NOTE_S:
            side = "behind" if offset > 0 else "ahead of"
            self._say(
                f"this machine's clock is {abs(offset):.0f} s {side} the coordinator's; this node goes by the coordinator's"
            )
        self._supernode.start(clock_offset_s=offset)
        executor = Executor(
            f"127.0.0.1:{self._supernode.port}",
            secret=self._supernode.secret,
            app=self._client_app,
            node_config=self._node_config,
            clock_offset_s=offset,
        )
        connected = False
        try:
            while self._supernode.runs and not self._pay.idle and not self._pay.over:
                if not connected and (node_id := self._supernode.node_id) is not None:
                    connected = True
                    self._said = ""
                    self._say(f"connected to {self._gateway.address} as Flower node {node_id}")
                time.sleep(_EAGER_S if self._step(executor) else self._pause())
            why, crashed = self._supernode.why(), self._supernode.crashed
        except AnswerLost as error:
            log.warning("%s", error)
            why, crashed = str(error), False
        finally:
            executor.close()
            self._supernode.stop()
        if connected and crashed and (node_id := self._supernode.node_id) is not None:
            sign_off(
                node_id,
                superlink=self._gateway.address,
                ca=self._supernode.ca,
                node_key=self._node_key,
                clock_offset_s=offset,
            )
        return f"the connection to {self._gateway.address} ended ({why})" if connected else _why_not(why)

    def _step(self, executor: Executor) -> bool:
        try:
            worked = executor.step()
        except httpx.HTTPError as error:  # it is starting, or has gone: the loop sees which
            log.debug("SuperNode: %s", error)
            return False
        if worked:
            self._last_message = time.monotonic()
        return worked

    def _pause(self) -> float:
        return _EAGER_S if time.monotonic() - self._last_message < _CALM_AFTER_S else _CALM_S

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._pay.over:
            time.sleep(0.1)

    def _client_app(self) -> ClientAppCallable:
        if self._app is None:
            self._app = load_app(self._app_path)
        return self._app

    def _say_once(self, line: str) -> None:
        if line != self._said:
            self._say(line)
        self._said = line


def load_app(path: str) -> ClientAppCallable:
    """The locally installed ClientApp, made to sign if it does not by itself.

    Raises: ConfigError if the path names no ClientApp.
    """
    module, _, name = path.partition(":")
    try:
        app = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"app is {path!r}: {error}; write it as package.module:app, importable from here") from error
    if not isinstance(app, ClientApp):
        raise ConfigError(f"app is {path}, a {type(app).__name__}; name a flwr.clientapp.ClientApp")
    if sign_updates in app._mods:
        return app
    # An app that forgot the mod would send its model unsigned, and be refused each round.
    return lambda message, context: sign_updates(message, context, app)


def _why_not(why: str) -> str:
    return (
        f"the coordinator does not take this node yet ({why}); it does once it has seen it join on chain and, after a crash, "
        "noticed within a minute that its last connection is gone"
    )
