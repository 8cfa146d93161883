"""The `ray` engine writes what the local one writes. Apart from its other tests, whose workers hold all of their cluster."""

import importlib.util

import pytest

from fl.coordinator.config import EngineConfig, ModelConfig, RunConfig, TaskConfig
from fl.coordinator.run import Watcher, run_federation
from fl.task.data import DataConfig, PartitionConfig


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed; pip install 'fairshare[ray]'"
)
def test_ray_and_local_write_the_same_bundles(tmp_path):
    bundles = {}
    for name in ("local", "ray"):
        config = RunConfig(
            task=TaskConfig(rounds=2, steps=5, batch_size=16),
            model=ModelConfig(path="fl.task.models:LogisticRegression"),
            data=DataConfig(limit=300),
            partition=PartitionConfig(clients=5, alpha=1.0, min_samples=5),
            engine=EngineConfig(name=name),
        )
        folder = tmp_path / name
        folder.mkdir()
        run_federation(config, folder=folder, watcher=Watcher())
        files = sorted(path for path in (folder / "bundles").rglob("*") if path.is_file())
        bundles[name] = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    assert bundles["local"] == bundles["ray"]
    assert len(bundles["ray"]) > 10
