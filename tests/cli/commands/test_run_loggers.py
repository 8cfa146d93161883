"""`fl run loggers=[…]`, as a process of its own."""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def test_an_unknown_logger_is_refused_before_a_folder_is_made(refuses, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuses("run", "loggers=[wandb]", saying="loggers has 'wandb'; choose from tensorboard, mlflow")
    assert not (tmp_path / "runs").exists()


def test_a_run_writes_its_curves_into_its_folder(fl_process, tmp_path):
    short = ["task.rounds=1", "task.steps=2", "partition.clients=2", "data.limit=200"]
    done = fl_process("run", "loggers=[tensorboard]", *short, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "latest"
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    (accuracy,) = events.Scalars("accuracy")
    summary = json.loads((run / "summary.json").read_text())
    assert accuracy.value == pytest.approx(summary["rounds"][0]["accuracy"])
