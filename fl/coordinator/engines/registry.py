"""What carries the messages of a run to virtual clients, by `engine.name`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from fl.coordinator.config import EngineConfig
from fl.coordinator.engines.local import LocalGrid, workers_for
from fl.coordinator.engines.ray import RayWorkers, open_ray
from fl.coordinator.engines.virtual_grid import NodeConfig
from fl.errors import ConfigError
from fl.task.trust import import_object


class MakesGrids(Protocol):
    """An engine that runs."""

    def __call__(self, node_configs: Mapping[int, NodeConfig], *, on_reply: Callable[[int], None]) -> Grid:
        """A grid of virtual clients.

        Args:
            node_configs: The node configuration of each, by node id (2 or more; 1 is the server's).
            on_reply: Called with the node's id after each answer.
        """


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What carries a run's messages."""

    grid: MakesGrids
    workers: int = 1  # processes that train
    node_key: Callable[[int], bytes] = lambda node_id: b""  # on chain, of a node; only nodes of a SuperLink have one


@contextmanager
def open_engine(engine: EngineConfig, *, folder: Path, clients: int = 1, together: bool = False) -> Iterator[Engine]:
    """Start what an engine needs, for as long as the context lasts.

    Args:
        engine: local, ray or superlink.
        folder: Of the run; takes what processes of the engine write.
        clients: How many nodes there will be.
        together: Whether the app trains its nodes together, where it can.
    Raises: ConfigError if there is no such app; EngineUnavailable; SuperLinkFailed.
    """
    app = client_app(engine)
    if engine.name == "ray":
        rays = RayWorkers(address=engine.address, cpus=engine.cpus, gpus=engine.gpus, threads=engine.threads)
        with open_ray(engine.client_app, workers=rays) as make_grid:
            yield Engine(grid=make_grid)
    elif engine.name == "superlink":
        from fl.coordinator.engines.superlink import open_superlink  # noqa: PLC0415 - a server with a database, half a second

        with open_superlink(engine.client_app, folder=folder, threads=engine.threads) as nodes:
            yield Engine(grid=nodes, node_key=nodes.node_key)
    else:
        workers = workers_for(engine.workers, threads=engine.threads, clients=clients)
        with ExitStack() as stack:

            def make_local(
                node_configs: Mapping[int, NodeConfig], *, on_reply: Callable[[int], None] = lambda node_id: None
            ) -> Grid:
                answers = getattr(app, "answer_together", None) if together else None
                grid = LocalGrid(app, node_configs, workers=workers, together=answers, on_reply=on_reply)
                stack.callback(grid.close)
                return grid

            yield Engine(grid=make_local, workers=workers)


def client_app(engine: EngineConfig) -> ClientApp:
    """The app that a configuration names. Raises: ConfigError."""
    app = import_object(engine.client_app, setting="engine.client_app")
    if not isinstance(app, ClientApp):
        raise ConfigError(f"engine.client_app is {engine.client_app}, a {type(app).__name__}; name a ClientApp")
    return app
