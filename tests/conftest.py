"""One Anvil per session (with pytest-xdist: per worker), put back as it was after each test; and small worlds on it.

A world is a task of three clients and a model of eight weights, opened and joined on the real contract.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

# Flower and torch read these when they are imported.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from marks import pytest_collection_modifyitems, pytest_ignore_collect  # noqa: F401 (pytest looks for them here)

# All else is imported where it is used: this module is read before every run, also by the process that only deals tests out.
if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3 import Web3
    from world import World

    from fl.chain.deployment import Deployment
    from fl.task.data import Dataset
    from fl.task.spec import TaskSpec

# A test run that a script started in the background ignores Ctrl-C, and so would every process that it starts.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
logging.getLogger("flwr").setLevel(logging.ERROR)  # a failing test should not drown in it

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


def pytest_collection() -> None:
    """Where tests are collected, give them the time that they need: a loaded machine takes a second for a millisecond's work."""
    import hypothesis

    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("any machine", deadline=None, suppress_health_check=slow)
    hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of this session's own chain, on a free port."""
    from fl.chain.anvil import running_anvil

    with running_anvil(accounts=20, log=tmp_path_factory.mktemp("anvil") / "anvil.log") as url:
        yield url


@pytest.fixture(scope="session")
def deployment(anvil: str) -> Deployment:
    """Contract and token on this session's chain."""
    from world import SPONSOR, test_key

    from fl.chain.deployment import Deployment
    from fl.chain.erc20 import Token
    from fl.chain.escrow import Escrow
    from fl.chain.sender import connect

    w3, account = connect(anvil, chain_id=31337), test_key(SPONSOR)
    token, _ = Token.deploy(w3, account=account)
    escrow, parts = Escrow.deploy(w3, account=account)
    return Deployment(chain_id=31337, url=anvil, contract=escrow.address, token=token.address, block=parts[-1].block)


@pytest.fixture(scope="session", autouse=True)
def flower() -> None:
    """Messages want to know who sends them; a grid says so, for this process, if any of its tests makes messages."""
    if "flwr.app" in sys.modules:
        from flwr.clientapp import ClientApp

        from fl.coordinator.engines.local import LocalGrid

        LocalGrid(ClientApp(), {})


@pytest.fixture(autouse=True)
def gateways_end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's own client does not say good-bye, and a gateway would give it seconds to."""
    if proxy := sys.modules.get("fl.coordinator.gateway.proxy"):
        monkeypatch.setattr(proxy, "_STOP_S", 0.2)


def ask(w3: Web3, method: str, *arguments: object) -> object:
    """A call that only devnets know."""
    from web3.types import RPCEndpoint

    return w3.manager.request_blocking(RPCEndpoint(method), list(arguments))


@pytest.fixture
def chain(deployment: Deployment) -> Iterator[Deployment]:
    """The deployment, for a test that changes the chain: put back as it was afterwards.

    Its token is a new one: runs on the session's chain leave tokens behind with the published accounts.
    """
    from world import SPONSOR, test_key

    from fl.chain.erc20 import Token
    from fl.chain.sender import connect

    w3 = connect(deployment.url)
    snapshot = ask(w3, "evm_snapshot")
    token, _ = Token.deploy(w3, account=test_key(SPONSOR))
    yield replace(deployment, token=token.address)
    assert ask(w3, "evm_revert", snapshot)


@pytest.fixture
def account() -> Callable[[int], LocalAccount]:
    """Anvil's published accounts by index."""
    from world import test_key

    return test_key


@pytest.fixture(scope="session")
def spec() -> Callable[..., TaskSpec]:
    """Builds the spec of eight weights, with changes."""
    from world import eight_weights

    return eight_weights


@pytest.fixture
def rows() -> Dataset:
    """Forty rows of three columns and two classes."""
    from world import forty_rows

    return forty_rows()


@pytest.fixture
def new_world(chain: Deployment, tmp_path: Path) -> Callable[..., World]:
    """Opens a small task on the session's chain; see `open_world`."""
    from world import open_world

    return lambda **options: open_world(chain, tmp_path, **options)


@pytest.fixture(scope="module")
def lasting_world(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., World]:
    """Opens a small task that the tests of one module share."""
    from world import open_world

    return lambda **options: open_world(deployment, tmp_path_factory.mktemp("world"), **options)


@pytest.fixture
def late_join() -> Callable[[World, int], None]:
    """Lets one more client of a world join."""
    from world import enrol

    return enrol


@pytest.fixture
def no_room() -> Iterator[Callable[[bool], None]]:
    """Lets no file of this process grow beyond 100 bytes, as on a disk that is full, or lets them again."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(on: bool) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100 if on else before[0], before[1]))

    yield limit
    limit(False)


@pytest.fixture
def devnet() -> Callable[..., object]:
    """Calls a method that only devnets know."""
    return ask


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Environment of a subprocess that runs `python -m fl.cli.main` from anywhere."""
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """A folder of real data beside the checkout; the test is skipped where it is absent."""

    def folder(name: str) -> Path:
        path = SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"real data is not at {path}")
        return path

    return folder


@pytest.fixture(scope="session")
def table_schema() -> dict:
    """The schema of the tests' tables, as a spec holds it."""
    from table_rows import SCHEMA

    return json.loads(SCHEMA.to_json())


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter that runs the tests."""
    return sys.executable
