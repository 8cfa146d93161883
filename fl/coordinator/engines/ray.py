"""The `ray` engine: Flower's simulation workers carry the same messages, on this machine or on a Ray cluster.

Its actor pool and its actors are Flower's own (`flwr.simulation`); the grid deals messages to them as they come free, and
keeps each node's context from one message to the next. The app runs with its own torch threads in each worker, so a client
trains the same bits as in the `local` engine.

A worker on another machine of a cluster reads the files that a node configuration names (shards, keystores) there, so they
have to lie on storage that all machines see, and fairshare has to be installed on each.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fl.coordinator.engines.virtual_grid import EmbeddedGrid, NodeConfig, answer, failure
from fl.errors import FairshareError
from fl.task.trust import import_object

log = logging.getLogger(__name__)

_REACH = 5.0  # seconds to wait for a cluster's port; Ray itself would wait a minute and say less


class EngineUnavailable(FairshareError):
    """Ray is not installed, a cluster cannot be reached, or no worker fits on it."""


@dataclass(frozen=True, kw_only=True)
class RayWorkers:
    """Where workers run, and what each takes of a machine."""

    address: str | None  # of a cluster, host:port or auto; None starts Ray on this machine, and stops it at the end
    cpus: float  # cores of one worker; a machine of 8 cores runs 8 workers of one
    gpus: float
    threads: int  # torch threads of one worker; 0 for torch's own choice


@contextmanager
def open_ray(client_app: str, *, workers: RayWorkers) -> Iterator[partial[RayGrid]]:
    """Start Ray, or reach a cluster, for as long as the context lasts; nothing of it is left afterwards.

    A Ray that this process has started or reached itself is used as it is, and left running. After a SIGKILL, against
    which nobody can clean up, Ray's last two agents notice and end within about a minute.

    Args:
        client_app: Import path of the ClientApp that every node runs, package.module:app.
        workers: Where, and how large.
    Returns: makes a grid of node configurations, as `RayGrid` does.
    Raises: EngineUnavailable with what to do.
    """
    if importlib.util.find_spec("ray") is None:
        raise EngineUnavailable("engine=ray needs Ray, which is not installed; run: pip install 'fairshare[ray]'")
    # Read when Ray is imported: no telemetry, and no warning about a default that is going to change.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray  # noqa: PLC0415 - an extra, and seconds that other engines need not wait

    if workers.address:
        _check_port(workers.address)
    ours = not ray.is_initialized()
    if ours:
        _connect(workers)
    pool = None
    try:
        if workers.address:
            _try_app(client_app, where=workers.address)
        pool = _pool(workers)
        yield partial(RayGrid, pool, partial(load_app, client_app, threads=workers.threads))
    finally:
        if ours:
            ray.shutdown()
        elif pool is not None:
            for actor in (*pool.pool, *pool._future_to_actor.values()):  # idle ones, and those of an interrupted round
                ray.kill(actor)


class RayGrid(EmbeddedGrid):
    """A grid of nodes whose messages Flower's simulation actors answer; `open_ray` makes one.

    Args:
        pool: Flower's `BasicActorPool`, with its actors.
        load: Makes the app, in a worker.
        node_configs: As of `EmbeddedGrid`.
        on_reply: Likewise.
    """

    def __init__(
        self,
        pool: Any,  # flwr's type needs Ray to be imported
        load: Callable[[], Callable[[Message, Context], Message]],
        node_configs: Mapping[int, NodeConfig],
        *,
        on_reply: Callable[[int], None] = lambda node_id: None,
    ) -> None:
        super().__init__(node_configs, on_reply=on_reply)
        self._pool, self._load = pool, load

    def _answer(self, messages: Sequence[Message], *, timeout: float | None) -> Iterator[Message]:
        import ray  # noqa: PLC0415 - see open_ray

        deadline = None if timeout is None else time.monotonic() + timeout
        waiting = deque(messages)
        running: dict[Any, Message] = {}  # Ray's reference to an answer -> the message
        while waiting or running:
            # One message at a time for a node: the next one reads the state that the last one left.
            busy = {message.metadata.dst_node_id for message in running.values()}
            for _ in range(len(waiting)):
                message = waiting.popleft()
                node_id = message.metadata.dst_node_id
                if self._pool.is_actor_available() and node_id not in busy:
                    running[self._submit(message)] = message
                    busy.add(node_id)
                else:
                    waiting.append(message)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            done, _ = ray.wait(list(running), num_returns=1, timeout=left)
            if not done:
                log.warning("%d nodes did not answer within %g s", len(waiting) + len(running), timeout)
                for reference in running:
                    self._replace_actor(reference)
                return
            yield self._collect(done[0], running.pop(done[0]))

    def _submit(self, message: Message) -> Any:
        node_id = message.metadata.dst_node_id
        return self._pool.submit(
            lambda actor, load, message, name, context: actor.run.remote(load, message, name, context),
            (self._load, message, str(node_id), self._contexts[node_id]),
        )

    def _collect(self, reference: Any, message: Message) -> Message:
        try:
            reply, context = self._pool.fetch_result_and_return_actor_to_pool(reference)
        except Exception as error:  # the worker died, or could not load the app: the node's failure, not ours
            log.warning("node %d failed: %s", message.metadata.dst_node_id, error)
            self._replace_actor(reference)
            return failure(message, f"its worker failed ({type(error).__name__}): {_last_line(error)}")
        self._contexts[message.metadata.dst_node_id] = context
        return reply

    def _replace_actor(self, reference: Any) -> None:
        import ray  # noqa: PLC0415 - see open_ray

        self._pool.add_actor_back_to_pool(reference)  # as the last one
        ray.kill(self._pool.pool.pop())
        self._pool.num_actors -= 1
        self._pool.add_actors_to_pool(1)


def load_app(client_app: str, *, threads: int) -> Callable[[Message, Context], Message]:
    """The app of a worker: it answers as `answer` does. Called in the worker, where modules are imported once."""
    if threads:
        torch.set_num_threads(threads)
    app: ClientApp = import_object(client_app, setting="engine.client_app")
    return partial(_answer_with, app)


def _answer_with(app: ClientApp, message: Message, context: Context) -> Message:
    return answer(app, message, context)


def _connect(workers: RayWorkers) -> None:
    import ray  # noqa: PLC0415 - see open_ray

    # Workers inherit the environment of their machine, not what this process added to its path.
    variables = {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    if workers.threads:
        variables["OMP_NUM_THREADS"] = str(workers.threads)
    try:
        ray.init(
            # "local" starts a Ray of our own, also where the environment names a cluster.
            address=workers.address or "local",
            runtime_env={"env_vars": variables},
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=None if workers.address else False,
        )
    except Exception as error:  # Ray raises many kinds, some of them bare
        where = f"reach Ray at {workers.address}" if workers.address else "start Ray on this machine"
        raise EngineUnavailable(
            f"cannot {where}: {_last_line(error)}; "
            + (
                "check that `ray status` answers there, with the same Ray and Python as here"
                if workers.address
                else "look at /tmp/ray/session_latest/logs, or use engine=local"
            )
        ) from error


def _check_port(address: str) -> None:
    parts = urlsplit(address if "://" in address else f"//{address}")
    if address == "auto":
        return
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise EngineUnavailable(
            f"engine.address is {address!r}; write host:port, such as 10.0.0.5:6379, or auto for a Ray on this machine"
        )
    try:
        socket.create_connection((host, port), timeout=_REACH).close()
    except OSError as error:
        raise EngineUnavailable(
            f"no Ray cluster answers at {address} ({error.strerror or error}); start one with `ray start --head`, or "
            "leave engine.address out to use this machine"
        ) from None


def _try_app(client_app: str, *, where: str) -> None:
    import ray  # noqa: PLC0415 - see open_ray

    try:
        ray.get(ray.remote(_is_loaded).options(num_cpus=0).remote(client_app))
    except Exception as error:  # whatever an import raises
        raise EngineUnavailable(
            f"a worker of the Ray cluster at {where} cannot load {client_app}: {_last_line(error)}; install the same "
            "version of fairshare, and of the app's package, on all its machines"
        ) from error


def _is_loaded(client_app: str) -> bool:
    return import_object(client_app, setting="engine.client_app") is not None


def _pool(workers: RayWorkers) -> Any:
    from flwr.simulation.ray_transport.ray_actor import BasicActorPool, ClientAppActor  # noqa: PLC0415 - needs Ray

    try:
        pool = BasicActorPool(ClientAppActor, {"num_cpus": workers.cpus, "num_gpus": workers.gpus}, {})
    except ValueError as error:
        raise EngineUnavailable(
            f"no worker of {workers.cpus:g} CPUs and {workers.gpus:g} GPUs fits on a machine of the Ray cluster; lower "
            "engine.cpus or engine.gpus"
        ) from error
    pool.add_actors_to_pool(pool.actors_capacity)
    return pool


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
