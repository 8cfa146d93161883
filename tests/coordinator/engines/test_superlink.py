"""The `superlink` engine: real nodes in processes of their own give the bits of the local engine, and leave nothing behind."""

from pathlib import Path

import pytest

from fl.coordinator.config import EngineConfig, RunConfig, TaskConfig
from fl.coordinator.result import Watcher
from fl.coordinator.run import run_federation
from fl.errors import ConfigError
from fl.task.data import DataConfig, PartitionConfig


def federation(engine, folder):
    """Two clients, two short rounds."""
    config = RunConfig(
        task=TaskConfig(rounds=2, steps=3, batch_size=16),
        data=DataConfig(name="breast_cancer"),
        partition=PartitionConfig(name="iid", clients=2),
        engine=EngineConfig(name=engine),
    )
    return run_federation(config, folder=folder, watcher=Watcher())


def test_real_nodes_score_and_pay_as_the_local_engine_does(tmp_path):
    local, real = (federation(engine, tmp_path / engine) for engine in ("local", "superlink"))
    for simulated, found in zip(local.rounds, real.rounds, strict=True):
        assert found.refusals == ()
        assert found.scores == simulated.scores
        assert found.leaves == simulated.leaves
        assert found.header.tree_root == simulated.header.tree_root
        assert found.header.next_model == simulated.header.next_model
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [line for line in lines if str(tmp_path).encode() in line]


def test_another_engine_is_refused():
    with pytest.raises(ConfigError, match="engine.name is 'grid'; choose local, ray, superlink"):
        EngineConfig(name="grid")
