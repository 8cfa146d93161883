"""A SuperLink of this folder's own, node keys, and what other people's apps tell `paying`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from coordinator.other_apps import CLIENTS
from torch import nn

from fl.chain.node_key import create_node_key
from fl.coordinator.superlink.process import SuperLink, running_superlink


@pytest.fixture(scope="session")
def superlink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SuperLink]:
    """A SuperLink that the tests share; each registers node keys of its own."""
    with running_superlink(tmp_path_factory.mktemp("superlink")) as running:
        yield running


@pytest.fixture
def ca(superlink: SuperLink, tmp_path: Path) -> Path:
    """File with what a client of the SuperLink trusts."""
    path = tmp_path / "superlink-ca.pem"
    path.write_bytes(superlink.ca)
    return path


@pytest.fixture
def keys(tmp_path: Path) -> Callable[[int], tuple[list[Path], list[bytes]]]:
    """Makes node keys: their files, and their on-chain forms."""

    def make(count: int) -> tuple[list[Path], list[bytes]]:
        files = [tmp_path / f"node-{number}.key" for number in range(count)]
        return files, [create_node_key(path) for path in files]

    return make


@pytest.fixture
def told(chain, tmp_path, monkeypatch, rows):
    """What every app tells `paying`; the app runs in a folder where a deployment is."""
    chain.write(tmp_path / "deployment.json")
    monkeypatch.chdir(tmp_path)
    return {
        "loss": nn.CrossEntropyLoss(),
        "validation": (rows.features, rows.labels),
        "clients": CLIENTS,
        "rounds": 2,
        "budget": "100",
        "simulate": True,
    }
