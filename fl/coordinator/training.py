"""The rounds of a task that is open, and the test set's losses between them: the same for a run and for real machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord
from flwr.serverapp import Grid
from numpy.typing import NDArray
from torch import nn

from fl.chain.paid_task import PaidTask
from fl.coordinator.result import FederationResult, TextSample, Watcher
from fl.coordinator.round.strategy import PayingStrategy
from fl.scoring.game import ValidationGame
from fl.task.data import Dataset, Federation
from fl.task.model_vector import layout_of, load_vector, sent_arrays, vector_of
from fl.task.preflight import UnfitModel
from fl.task.samples import opening_of
from fl.task.spec import TaskSpec, rows_of_dataset

_MOST_LOSS = 1e9  # of a model that nobody trained: no step could be scored beside it


def game_on(rows: Dataset, *, spec: TaskSpec, model: nn.Module | None = None) -> ValidationGame:
    """The task's loss on rows, with the task's model unless one is given.

    Args:
        rows: To measure on.
        spec: The task's, with its loss.
        model: The spec's, if it was built before.
    """
    return ValidationGame(model or spec.build_model(), loss=spec.build_loss(), rows=rows_of_dataset(rows))


def check_whole(game: ValidationGame, base: NDArray[np.float32]) -> None:
    """Measure the initial model on all validation rows, once: what fails or is not finite is refused.

    Args:
        game: On the validation set.
        base: The initial model's vector, shape (P,).
    Raises: UnfitModel.
    """
    try:
        game.measure_statistics(base)
        loss = game.evaluate(base).loss
    except (RuntimeError, IndexError, ValueError) as error:
        raise UnfitModel(
            f"the model fails on the whole validation set ({' '.join(str(error).split())[:200]})",
            "look for labels or words beyond what it knows",
        ) from error
    if not abs(loss) < _MOST_LOSS:
        raise UnfitModel(
            f"the loss of the whole validation set is {loss:.4g}",
            "look for rows with NaN or absurd values, and standardise inputs and targets",
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """What the rounds start from, and the result that they fill."""

    spec: TaskSpec
    model: nn.Module
    test: ValidationGame
    result: FederationResult
    watcher: Watcher
    rows: Dataset  # of the test set, whose first is shown

    def run(self, strategy: PayingStrategy, grid: Grid, *, timeout: float = 3600) -> None:
        """All rounds that are not on chain yet, each on chain before the next one begins.

        Args:
            strategy: Adds each round to the result.
            grid: Carries the messages.
            timeout: Seconds that nodes have to answer.
        """
        arrays = sent_arrays(self.model, whole=self.spec.frozen is None)
        initial = ArrayRecord({name: Array(array) for name, array in arrays.items()})
        opening = opening_of(self.spec, self.rows)
        before = opening.continued(self.model) if opening else ""
        done = strategy.start(grid, initial, timeout=timeout, evaluate_fn=self._evaluate)
        if opening:
            load_vector(self.model, layout_of(self.model).flatten(_named(done.arrays)))
            self.result.sample = TextSample(opening=opening.text, before=before, after=opening.continued(self.model))

    def _evaluate(self, number: int, arrays: ArrayRecord) -> MetricRecord | None:
        if number:
            named = _named(arrays)
            self.test.load_statistics(named)
            self.result.tests.append(self.test.evaluate(layout_of(self.model).flatten(named)))
            self.watcher.on_round(self.result.rounds[-1], self.result.tests[-1])
        return None


def _named(arrays: ArrayRecord) -> dict[str, NDArray[Any]]:
    return {name: array.numpy() for name, array in arrays.items()}


def begin_training(
    task: PaidTask,
    spec: TaskSpec,
    data: Federation,
    *,
    model: nn.Module,
    watcher: Watcher,
) -> Training:
    """Look at the initial model, and begin the result, which knows neither gas, seconds nor clients yet.

    Args:
        task: On chain.
        spec: What its hash stands for.
        data: The validation set for the batch norms' statistics, the test set for the result.
        model: The spec's, with its initial weights.
        watcher: Told of each round.
    """
    base = vector_of(model)
    test = game_on(data.test, spec=spec, model=model)
    test.load_statistics(game_on(data.validation, spec=spec, model=model).measure_statistics(base))
    result = FederationResult(
        task_id=task.task_id,
        chain_id=task.domain.chain_id,
        contract=task.escrow.address,
        token=task.token.address,
        terms=task.terms,
        spec=spec,
        initial=test.evaluate(base),
        parameters=len(base),
        validation_samples=len(data.validation),
        test_samples=len(data.test),
    )
    return Training(spec=spec, model=model, test=test, result=result, watcher=watcher, rows=data.test)
