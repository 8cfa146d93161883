"""Loggers read back with the tools' own readers: every figure of every round, and the run's end."""

import importlib.util

import pytest

from fl.chain.tokens import WEI
from fl.coordinator.result import Watcher
from fl.errors import ConfigError
from fl.report.loggers import LoggerMissing, check_loggers, figures_of, logged
from fl.scoring.game import Evaluation

SETTINGS = {"name": "two", "task": {"rounds": 2}, "loggers": ["tensorboard", "mlflow"]}


@pytest.fixture
def trained(new_world):
    """A task with two posted rounds."""
    world = new_world()
    world.run(world.app(world.downhill))
    return world


def standings(world):
    return [Evaluation(loss=0.5 / report.round, accuracy=0.4 * report.round) for report in world.reports]


def test_a_round_is_flat_names_and_numbers(trained):
    report = trained.reports[1]
    figures = figures_of(report, standings(trained)[1])
    assert figures["accuracy"] == 0.8
    assert figures["paid"] == pytest.approx(
        trained.task.terms.budget / WEI - figures_of(trained.reports[0], standings(trained)[0])["paid"]
    )
    assert sum(value for name, value in figures.items() if name.startswith("pay/")) == pytest.approx(figures["paid"])
    scored = sum(value for name, value in figures.items() if name.startswith("score/"))
    assert scored == pytest.approx(report.loss_before - report.loss_after, rel=0.01)
    assert {f"score/{account}" for account in trained.addresses} <= set(figures)
    for leaf in report.leaves:
        total = sum(figures_of(report, standings(trained)[0])[f"score/{leaf.account}"] for report in trained.reports)
        assert figures[f"total/{leaf.account}"] == pytest.approx(total)
        assert figures["price"] * total == pytest.approx(leaf.cumulative / WEI)
        assert 0 < figures[f"factor/{leaf.account}"] <= 1
    assert figures["loss/validation_after"] <= figures["loss/validation_aggregated"]
    assert all(isinstance(value, int | float) for value in figures.values())


def test_both_tools_hold_every_figure_of_every_round(trained, tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - a second
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder, seen = tmp_path / "runs" / "20260101-two", []
    folder.mkdir(parents=True)
    watcher = Watcher(on_round=lambda report, test: seen.append(report.round))
    with logged(watcher, loggers=["tensorboard", "mlflow"], folder=folder, settings=SETTINGS) as passed_on:
        for report, test in zip(trained.reports, standings(trained), strict=True):
            passed_on.on_round(report, test)
    assert seen == [1, 2]
    expected = [figures_of(report, test) for report, test in zip(trained.reports, standings(trained), strict=True)]
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    client = MlflowClient(tracking_uri=f"sqlite:///{folder.parent / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("fairshare").experiment_id])
    assert (run.info.run_name, run.info.status) == ("20260101-two", "FINISHED")
    assert run.data.params["task.rounds"] == "2"
    for name in expected[0]:
        assert [(point.step, point.value) for point in events.Scalars(name)] == [
            (step, pytest.approx(figures[name])) for step, figures in enumerate(expected, start=1)
        ]
        assert [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)] == [
            (step, pytest.approx(figures[name])) for step, figures in enumerate(expected, start=1)
        ]
    # A run that fails says so.
    with pytest.raises(RuntimeError), logged(watcher, loggers=["mlflow"], folder=folder, settings=SETTINGS):
        raise RuntimeError
    states = {tracked.info.status for tracked in client.search_runs([run.info.experiment_id])}
    assert states == {"FINISHED", "FAILED"}


def test_an_unknown_an_absent_and_a_repeated_logger_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match=r"loggers has 'wandb'; choose from tensorboard, mlflow, as in loggers=\["):
        check_loggers(["wandb"])
    with pytest.raises(ConfigError, match=r"loggers is \[mlflow,mlflow\]; name each once"):
        check_loggers(["mlflow", "mlflow"])
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlflow" else real(name))
    with pytest.raises(LoggerMissing, match=r"package mlflow-skinny is not installed; run `pip install 'fairshare\[ml"):
        check_loggers(["tensorboard", "mlflow"])
