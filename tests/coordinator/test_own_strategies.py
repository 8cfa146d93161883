"""Strategies that people write: further records beside the model, a start of their own, settings of their own, and rounds by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from coordinator.other_apps import (
    CLIENTS,
    classify,
    grid_of,
    linear,
    paid,
    part_of,
    strategy_of,
    trained,
)
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from torch.nn import functional

from fl import paying
from fl.coordinator.engines.local import LocalGrid
from fl.coordinator.round.resume import LostRound
from fl.errors import ConfigError


class Scaffold(FedAvg):
    """Control variates travel beside the model, both ways (Karimireddy et al. 2020), under names of the app's own."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.control, self.asked = None, {}

    def configure_train(self, server_round, arrays, config, grid):
        messages = list(super().configure_train(server_round, arrays, config, grid))
        if self.control is None:
            self.control = {name: np.zeros_like(array.numpy()) for name, array in arrays.items()}
        for message in messages:
            message.content = RecordDict(
                {
                    "control": record(self.control),
                    "model": message.content["arrays"],
                    "config": message.content["config"],
                }
            )
            self.asked[message.metadata.dst_node_id] = server_round
        return messages

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        for reply in replies:
            assert self.asked[reply.metadata.src_node_id] == server_round
            assert reply.content["about"]["steps"] == 3
            for name, change in reply.content["control"].items():
                self.control[name] += change.numpy() / len(replies)
            reply.content = RecordDict({name: reply.content[name] for name in ("model", "figures")})
        return super().aggregate_train(server_round, replies)


def record(arrays):
    return ArrayRecord({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()})


def controlled(rows):
    def train(message, partition):
        x, y = part_of(rows, partition)
        model = trained(linear(), message.content["model"], lambda net: functional.cross_entropy(net(x), y))
        moved = {name: array.numpy() + 0.01 for name, array in message.content["control"].items()}
        return RecordDict(
            {
                "model": ArrayRecord(model.state_dict()),
                "control": record(moved),
                "figures": MetricRecord({"num-examples": 10}),
                "about": ConfigRecord({"steps": 3}),
            }
        )

    return train


def test_a_second_record_of_arrays_goes_both_ways_beside_the_model(told, rows):
    inner = strategy_of(Scaffold)
    strategy = paying(inner, model=linear(), **told)
    strategy.start(grid_of(controlled(rows)), ArrayRecord(linear().state_dict()), num_rounds=2)
    assert paid(strategy) > 0
    # 0.01 after the first round; the second adds what was sent and 0.01.
    np.testing.assert_allclose(inner.control["bias"], [0.03, 0.03], rtol=1e-6)


def test_what_came_beside_the_model_is_there_after_a_crash_and_gone_after_its_round(told, rows, monkeypatch):
    strategy = paying(strategy_of(Scaffold), model=linear(), **told)
    strategy.journal._resumable = True
    grid, arrays = grid_of(controlled(rows)), ArrayRecord(linear().state_dict())

    class Killed(Exception):
        pass

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("fl.coordinator.round.strategy.settle_updates", killed)
        with pytest.raises(Killed):
            strategy.start(grid, arrays)
    again = strategy_again(strategy)
    again.inner.asked = dict.fromkeys(range(2, 2 + CLIENTS), 1)
    again.inner.control = {name: np.zeros_like(array.numpy()) for name, array in arrays.items()}
    assert again.start(grid, arrays, num_rounds=1).arrays is not None
    np.testing.assert_allclose(again.inner.control["bias"], [0.01, 0.01], rtol=1e-6)
    with pytest.raises(LostRound, match="Scaffold cannot be taken through it again .*; it goes by more than models"):
        strategy_again(strategy).start(grid, arrays)


def strategy_again(strategy):
    """The strategy of another process, over the same task and folder."""
    return type(strategy)(
        strategy_of(Scaffold),
        task=strategy.task,
        spec=strategy.spec,
        game=strategy.game,
        quorum=strategy.quorum,
        bundles=strategy._bundles,
        invite=strategy._invite,
        simulation=strategy._simulation,
        settings=strategy.settings,
    )


class Keeping(FedAvg):
    """With a loop of its own, as those have that keep the best model."""

    def set_folder(self, folder):
        self.folder, self.seen = folder, []

    def start(  # noqa: PLR0917 (Flower calls it so)
        self, grid, initial_arrays, num_rounds=3, timeout=3600, train_config=None, evaluate_fn=None, mark=""
    ):
        arrays = initial_arrays
        for number in range(1, num_rounds + 1):
            replies = grid.send_and_receive(
                self.configure_train(number, arrays, train_config or ConfigRecord(), grid), timeout=timeout
            )
            arrays, metrics = self.aggregate_train(number, replies)
            self.seen.append((mark, number, dict(metrics), evaluate_fn(number, arrays)))
        return SimpleNamespace(best=arrays)


def test_a_strategy_with_a_start_of_its_own_runs_it(told, rows, tmp_path):
    strategy = paying(strategy_of(Keeping), model=linear(), **told)
    strategy.set_folder(tmp_path)  # what the app asks of its strategy, it is asked
    found = strategy.start(
        grid=grid_of(classify(rows)),
        initial_arrays=ArrayRecord(linear().state_dict()),
        num_rounds=2,
        evaluate_fn=lambda number, arrays: len(arrays),
        mark="mine",
    )
    assert strategy.seen == [("mine", 1, {}, 2), ("mine", 2, {}, 2)]
    assert set(found.best) == {"weight", "bias"}
    assert paid(strategy) > 0


class Stopping(Keeping):
    """Breaks off when it is content."""

    def start(self, grid, initial_arrays, num_rounds=3, timeout=3600, **_):
        return super().start(grid, initial_arrays, 1, timeout, evaluate_fn=lambda *_: None)


def test_a_strategy_that_stops_early_in_a_simulation_says_what_was_earned_until_then(told, rows, caplog):
    strategy = paying(strategy_of(Stopping), model=linear(), **told)
    strategy.set_folder(None)
    strategy.start(grid_of(classify(rows)), ArrayRecord(linear().state_dict()), num_rounds=2)
    assert "still to come of the task: round 2; start again for it" in caplog.text
    lines = caplog.text.partition("earned in 1 round so far:\n")[2].splitlines()[:CLIENTS]
    assert [line.partition(":")[0] for line in lines] == [f"partition {number}" for number in range(CLIENTS)]
    assert any(float(line.split()[2]) > 0 for line in lines)


def test_an_argument_that_no_start_takes_is_refused(told, rows):
    strategy = paying(strategy_of(), model=linear(), **told)
    with pytest.raises(TypeError, match="FedAvg.start has no argument mark"):
        strategy.start(grid_of(classify(rows)), ArrayRecord(linear().state_dict()), mark="mine")


def test_an_app_that_starts_round_by_round(told, rows):
    strategy = paying(strategy_of(), model=linear(), **told)
    grid, arrays = grid_of(classify(rows)), ArrayRecord(linear().state_dict())
    first = strategy.start(grid, arrays, num_rounds=1)
    assert strategy.task.state().posted == 1
    with pytest.raises(
        ConfigError, match="the model is not the one after round 1; go on with the arrays of that start"
    ):
        strategy.start(grid, arrays, num_rounds=1)
    second = strategy.start(grid, first.arrays, num_rounds=1)
    assert paid(strategy) > 0
    assert strategy.start(grid, second.arrays, num_rounds=1).arrays is second.arrays  # there is no further round


class Asking(FedAvg):
    """Reads the settings of the app's run from the grid."""

    def configure_train(self, server_round, arrays, config, grid):
        self.found = grid.run.override_config["rate"]
        return super().configure_train(server_round, arrays, config, grid)


def test_a_strategy_finds_the_settings_of_its_run(told, rows, monkeypatch):
    monkeypatch.setattr(LocalGrid, "run", SimpleNamespace(override_config={"rate": 0.3}))
    strategy = paying(strategy_of(Asking), model=linear(), **told)
    strategy.start(grid_of(classify(rows)), ArrayRecord(linear().state_dict()))
    assert strategy.inner.found == 0.3
