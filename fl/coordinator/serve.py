"""A coordinator of real machines: opens its task or takes it up again, lets the clients' nodes in, and runs the rounds.

Everything that has to survive lies in one folder; a coordinator that is started again there goes on where it was. Its steps
are in `fl.coordinator.service`.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import torch

from fl.aggregation.selection import check_scorable
from fl.bundle.validation_set import VALIDATION, write_validation
from fl.chain.whole_file import private_folder
from fl.coordinator.config import RunConfig
from fl.coordinator.lifecycle.retention import RetentionPolicy
from fl.coordinator.result import FederationResult
from fl.coordinator.run import checked_spec, keep_reading, spec_of
from fl.coordinator.service.ending import see_it_through, wait_for_claims
from fl.coordinator.service.network import check_listening, guarded, listening
from fl.coordinator.service.opening import open_task
from fl.coordinator.service.rounds import train
from fl.coordinator.service.setup import ServiceWatcher, Setup, Surfaces
from fl.coordinator.training import game_on
from fl.scoring.paid import PaidScoring
from fl.task.data import load_federation
from fl.task.strategies import build_strategy

__all__ = ["ServiceWatcher", "Surfaces", "run_coordinator"]

_LAST_LOOK_S = 2.0  # for pages that are open to see the end


def run_coordinator(
    config: RunConfig,
    *,
    folder: Path,
    watcher: ServiceWatcher,
    surfaces: Surfaces | None = None,
) -> FederationResult:
    """Serve a task from its opening to its end; what it starts, it stops.

    Args:
        config: Checked.
        folder: Keeps everything; a folder that has an invite is taken up again.
        watcher: Told of each step.
        surfaces: Further routes and pages of the gateway.
    Raises: FairshareError with what to do.
    """
    setup, retention = _prepared(config, folder=folder, watcher=watcher)
    started = time.perf_counter()
    check_listening(setup)
    with ExitStack() as stack:
        opened = open_task(setup)
        network = stack.enter_context(listening(setup, opened, surfaces or Surfaces()))
        stack.enter_context(guarded(setup, opened, network))
        if network.nodes is not None:
            network.nodes.wait_for_clients()
            network.nodes.wait_for_evaluators()
        result = train(setup, opened, network, retention=retention, started=started)
        if config.coordinator.stay != "rounds":
            see_it_through(setup, opened, result)
        watcher.on_end(opened.roles.coordinator)
        if config.coordinator.stay == "claims":
            wait_for_claims(setup, opened, result)
        time.sleep(_LAST_LOOK_S)
        return result


def _prepared(config: RunConfig, *, folder: Path, watcher: ServiceWatcher) -> tuple[Setup, RetentionPolicy]:
    """Read the data and build the spec: what cannot be built, trained or scored shows before anything is escrowed."""
    if config.engine.threads:
        torch.set_num_threads(config.engine.threads)
    private_folder(folder)
    watcher.on_setup("reading the data")
    data = load_federation(config.data, config.partition, seed=config.seed)
    keep_reading(data, folder=folder, watcher=watcher)
    spec, _ = checked_spec(spec_of(config, data), data, watcher=watcher)
    check_scorable(build_strategy(spec.strategy, spec.strategy_arguments))
    PaidScoring(spec, game=game_on(data.validation, spec=spec)).check_clients(config.coordinator.clients)
    write_validation(folder / VALIDATION, data.validation)
    setup = Setup(config=config, folder=folder, watcher=watcher, data=data, spec=spec)
    settings = config.coordinator
    return setup, RetentionPolicy(setup.bundles, archive=settings.archive, keep=settings.keep, spec=spec)
