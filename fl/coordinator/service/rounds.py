"""The rounds of a coordinator of real machines."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from fl.chain.paid_task import PaidTask
from fl.coordinator.gateway.labels import read_labels
from fl.coordinator.lifecycle.patience import losses_of, patience_of, stop_when_stalled
from fl.coordinator.lifecycle.retention import RetentionPolicy
from fl.coordinator.result import ClientResult, FederationResult
from fl.coordinator.round.report import RoundReport
from fl.coordinator.round.settings import RoundHooks, RoundSettings
from fl.coordinator.round.strategy import PayingStrategy
from fl.coordinator.service.network import Network
from fl.coordinator.service.opening import OpenTask
from fl.coordinator.service.receipts import keep_receipts
from fl.coordinator.service.setup import Setup
from fl.coordinator.superlink.grid import GridLost, open_grid
from fl.coordinator.training import begin_training, game_on
from fl.task.strategies import build_strategy

log = logging.getLogger(__name__)

_GRIDS = 5  # runs that a coordinator starts over before it gives up


def train(
    setup: Setup, opened: OpenTask, network: Network, *, retention: RetentionPolicy, started: float
) -> FederationResult:
    """All rounds that are not on chain yet, each on chain before the next one begins.

    Args:
        setup: Of the coordinator.
        opened: Its task; of one that is over only the result is begun.
        network: Connects the nodes.
        retention: What becomes of each round's bundle.
        started: When the coordinator began, on the clock of `time.perf_counter`.
    Raises: GridLost after too many runs that were lost.
    """
    model, watcher = setup.spec.build_model(), setup.watcher
    training = begin_training(opened.task, setup.spec, setup.data, model=model, watcher=watcher)
    result = training.result
    result.gas = opened.gas
    result.clients[:] = _clients(opened.task, folder=setup.folder)
    watcher.on_task(result)

    def on_round(report: RoundReport) -> None:
        keep_receipts(report, folder=setup.folder, task=opened.task)
        result.gas.setdefault("post", []).append(report.gas)
        result.seconds["rounds"] = time.perf_counter() - started
        result.clients[:] = _clients(opened.task, folder=setup.folder)
        result.rounds.append(report)
        retention.after_round()
        _stop_if_stalled(setup, opened, result)

    if network.nodes is None:
        return result
    for attempt in range(_GRIDS):
        strategy = PayingStrategy(
            build_strategy(setup.spec.strategy, setup.spec.strategy_arguments),
            task=opened.task,
            spec=setup.spec,
            game=game_on(setup.data.validation, spec=setup.spec),
            quorum=network.quorum,
            bundles=setup.bundles,
            settings=RoundSettings(seed=setup.config.seed, read_clients=setup.config.scorer.read_clients),
            hooks=RoundHooks(await_nodes=network.nodes.wait_for_return, on_phase=watcher.on_phase, on_round=on_round),
        )
        deadline = setup.settings.deadline
        try:
            with open_grid(network.nodes.superlink, round_deadline_s=deadline, on_reply=watcher.on_reply) as grid:
                training.run(strategy, grid, timeout=deadline)
            break
        except GridLost as error:
            if attempt + 1 == _GRIDS:
                raise
            log.warning("%s; going on with another run", error)
    return result


def _stop_if_stalled(setup: Setup, opened: OpenTask, result: FederationResult) -> None:
    if not (patience := patience_of(setup.config.task.stop)):
        return
    earlier = [(told["round"], told["loss_before"], told["loss_after"]) for told in setup.watcher.earlier_rounds()]
    losses = losses_of([*earlier, *((report.round, report.loss_before, report.loss_after) for report in result.rounds)])
    last = stop_when_stalled(opened.task, losses, patience=patience, sponsor=opened.roles.sponsor)
    if last is not None:
        setup.watcher.on_setup(
            f"the loss has not fallen for {patience} round{'s' * (patience > 1)}: round {last} is the last one, and pays the "
            "whole budget"
        )


def _clients(task: PaidTask, *, folder: Path) -> list[ClientResult]:
    """Everybody on chain, in the order of joining; what their shards hold, only they know."""
    names = read_labels(folder)
    return [
        ClientResult(
            number=number,
            name=names.get(enrolment.account) or f"{enrolment.account[:6]}…{enrolment.account[-4:]}",
            account=enrolment.account,
            behaviour="honest",
            samples=None,
            class_counts=None,
            stake=enrolment.stake,
        )
        for number, enrolment in enumerate(task.enrolments().values())
    ]
