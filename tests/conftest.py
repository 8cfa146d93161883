"""One Anvil per session (with pytest-xdist: per worker), put back as it was after each test; and small worlds on it.

A world is a task of three clients and a model of eight weights, opened and joined on the real contract.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

# Flower reads these when it is imported.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

import hypothesis
import numpy as np
import pytest
import torch
from eth_account.signers.local import LocalAccount
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, Strategy
from numpy.typing import NDArray
from table_rows import SCHEMA
from web3 import Web3
from web3.types import RPCEndpoint

from clients.signing import sign_updates
from fl.audit.evaluators.local import Evaluator
from fl.chain.accounts import anvil_account
from fl.chain.anvil import running_anvil
from fl.chain.deployment import Deployment
from fl.chain.escrow import Escrow, Terms, Token
from fl.chain.invite import Invite
from fl.chain.membership import Joining, join, join_all
from fl.chain.paid_task import PaidTask
from fl.chain.sender import connect
from fl.codec import model_hash
from fl.coordinator.engines.local import LocalGrid
from fl.coordinator.quorum.local import LocalQuorum
from fl.coordinator.round.report import RoundReport
from fl.coordinator.round.strategy import PayingStrategy
from fl.scoring.game import ValidationGame
from fl.task.data import Dataset
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec, dataset_hash

torch.set_num_threads(1)
hypothesis.settings.register_profile(
    "any machine", deadline=None
)  # a loaded machine takes a second for what takes a millisecond
hypothesis.settings.load_profile("any machine")
# A test run that a script started in the background ignores Ctrl-C, and so would every process that it starts.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
logging.getLogger("flwr").setLevel(logging.ERROR)  # a failing test should not drown in it

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
TOKENS = 10**18  # wei of one token

# Their tests wait for processes of their own, some for minutes. They begin the run, each folder's files on workers of its own,
# so that the last of them is not waited for when all others are done, and few of them load the machine at once.
BEGIN_WITH = {"federation": (0, 1), "clients/node": (2,), "coordinator/engines": (3,), "docs": (3,)}

# Accounts of Anvil's published mnemonic, by role; runs of `fl run` take them from 0 in their own order.
SPONSOR, COORDINATOR, FIRST_EVALUATOR, FIRST_CLIENT, STRANGER = 0, 1, 2, 5, 19
_salts = itertools.count(1)


def test_key(index: int) -> LocalAccount:
    """One of Anvil's published accounts."""
    return anvil_account(index, chain_id=31337)


test_key.__test__ = False


# What a test starts, by the fixtures that it uses and the folder or file that it is in.
CHAIN_FIXTURES = {"anvil", "deployment", "chain", "new_world", "lasting_world"}
SLOW_FIXTURES = {"environment", "python", "superlink", "town", "new_coordination", "launcher", "fl_process"}
SLOW_PLACES = (
    "bundle/test_http_client.py",
    "chain/test_accounts.py",  # deriving keys takes a second each, which is their point
    "chain/test_contract_agrees.py",
    "chain/test_devnet.py",
    "chain/test_json_file.py",
    "chain/test_node_key.py",
    "chain/test_outages.py",
    "chain/test_system_keyring.py",  # keystores are made slow to open
    "cli/arguments/test_overrides.py",
    "cli/commands/test_completion.py",
    "cli/commands/test_score.py",
    "clients/joining/test_cost.py",
    "clients/node",
    "coordinator/engines",
    "coordinator/gateway/test_intake.py",
    "coordinator/superlink",
    "coordinator/test_any_model.py",
    "coordinator/test_run.py",
    "deploy",
    "docs",
    "federation",
    "fuzz",
    "network",
    "scoring/coalition/test_linear_layers.py",
    "scoring/test_robust.py",
    "scoring/test_rules.py",
    "test_wheel.py",
)
# Whole federations of many processes, minutes each.
LONG_FOLDERS = ("federation", "network")
LONG = "LONG_TESTS"  # variable by which `scripts/test long` asks for them


def is_in(item: pytest.Item, places: Sequence[str]) -> bool:
    """Whether a test stands in one of these folders or files of tests/."""
    return any(item.path.is_relative_to(REPOSITORY / "tests" / place) for place in places)


def mark(item: pytest.Item) -> None:
    """Mark a test by what it starts, for `scripts/check` and `pytest -m`."""
    fixtures = set(getattr(item, "fixturenames", ()))
    if fixtures & CHAIN_FIXTURES:
        item.add_marker("chain")
    if "browser" in fixtures:
        item.add_marker("browser")
    if is_in(item, SLOW_PLACES) or fixtures & SLOW_FIXTURES:
        item.add_marker("slow")
    if is_in(item, LONG_FOLDERS):
        item.add_marker("long")
    if item.get_closest_marker("long") and not os.environ.get(LONG):
        item.add_marker(pytest.mark.skip(reason="takes minutes: scripts/test long"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not read what the asked marks leave out as a whole: reading every test takes longer than the fast ones run."""
    asked = config.getoption("markexpr")
    left_out = () if " or " in asked else asked.split(" and ")
    places = (SLOW_PLACES if "not slow" in left_out else ()) + (LONG_FOLDERS if "not long" in left_out else ())
    return True if any(collection_path == REPOSITORY / "tests" / place for place in places) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests, and put the slow folders to the front of the contiguous parts that xdist's work stealing deals out first."""
    for item in items:
        mark(item)
    workers = int(getattr(config, "workerinput", {"workercount": 1})["workercount"])
    parts: list[list[pytest.Item]] = [[] for _ in range(workers)]
    others = list(items)
    for folder, own in BEGIN_WITH.items():
        inside = [item for item in items if item.path.is_relative_to(REPOSITORY / "tests" / folder)]
        others = [item for item in others if not item.path.is_relative_to(REPOSITORY / "tests" / folder)]
        for number, (_, of_a_file) in enumerate(itertools.groupby(inside, key=lambda item: item.path)):
            parts[own[number % len(own)] % workers] += of_a_file
    rest = iter(others)
    for number, part in enumerate(parts):
        dealt = sum(map(len, parts[:number]))
        part.extend(itertools.islice(rest, max(0, (len(items) - dealt) // (workers - number) - len(part))))
    items[:] = [*itertools.chain.from_iterable(parts), *rest]


@pytest.fixture(scope="session")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of this session's own chain, on a free port."""
    with running_anvil(accounts=20, log=tmp_path_factory.mktemp("anvil") / "anvil.log") as url:
        yield url


@pytest.fixture(scope="session")
def deployment(anvil: str) -> Deployment:
    """Contract and token on this session's chain."""
    w3, account = connect(anvil, chain_id=31337), test_key(SPONSOR)
    token, _ = Token.deploy(w3, account=account)
    escrow, parts = Escrow.deploy(w3, account=account)
    return Deployment(chain_id=31337, url=anvil, contract=escrow.address, token=token.address, block=parts[-1].block)


@pytest.fixture(scope="session", autouse=True)
def flower() -> None:
    """Messages want to know who sends them; a grid says so, for this process."""
    LocalGrid(ClientApp(), {})


@pytest.fixture(autouse=True)
def gateways_end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's own client does not say good-bye, and a gateway would give it seconds to."""
    if proxy := sys.modules.get("fl.coordinator.gateway.proxy"):
        monkeypatch.setattr(proxy, "_STOP_S", 0.2)


def ask(w3: Web3, method: str, *arguments: object) -> object:
    """A call that only devnets know."""
    return w3.manager.request_blocking(RPCEndpoint(method), list(arguments))


@pytest.fixture
def chain(deployment: Deployment) -> Iterator[Deployment]:
    """The deployment, for a test that changes the chain: put back as it was afterwards.

    Its token is a new one: runs on the session's chain leave tokens behind with the published accounts.
    """
    w3 = connect(deployment.url)
    snapshot = ask(w3, "evm_snapshot")
    token, _ = Token.deploy(w3, account=test_key(SPONSOR))
    yield replace(deployment, token=token.address)
    assert ask(w3, "evm_revert", snapshot)


@pytest.fixture
def account() -> Callable[[int], LocalAccount]:
    """Anvil's published accounts by index."""
    return test_key


@dataclass(kw_only=True)
class World:
    """A task of a few clients on chain, and everything that its coordinator needs."""

    folder: Path
    deployment: Deployment
    w3: Web3
    escrow: Escrow
    token: Token
    task: PaidTask
    spec: TaskSpec
    validation: Dataset
    sponsor: LocalAccount
    coordinator: LocalAccount
    evaluators: tuple[LocalAccount, ...]
    clients: tuple[LocalAccount, ...]
    stakes: tuple[int, ...]
    invite: Invite
    invite_path: Path
    base: NDArray[np.float32]
    reports: list[RoundReport] = field(default_factory=list)

    @property
    def addresses(self) -> list[str]:
        """The clients' accounts, in the order of joining."""
        return [client.address for client in self.clients]

    def game(self) -> ValidationGame:
        """The loss on the task's validation set."""
        return ValidationGame(
            self.spec.build_model(),
            loss=self.spec.build_loss(),
            features=self.validation.features,
            labels=self.validation.labels,
        )

    def signers(self) -> list[Evaluator]:
        """All evaluators of the task."""
        return [Evaluator(account=evaluator, spec=self.spec, game=self.game()) for evaluator in self.evaluators]

    def node_config(self, number: int) -> dict[str, str | int]:
        """What the owner of a client's node writes into its configuration."""
        return {"invite": str(self.invite_path), "anvil-account": FIRST_CLIENT + number, "partition-id": number}

    def app(self, moves: Callable[[int, int, NDArray], NDArray], *, mods: Sequence = (sign_updates,)) -> ClientApp:
        """A ClientApp that trains by adding `moves(client, round, base)` to the model."""
        app = ClientApp(mods=list(mods))

        @app.train()
        def train(message: Message, context: Context) -> Message:
            arrays = {name: array.numpy() for name, array in message.content["arrays"].items()}
            base = np.concatenate([array.ravel() for array in arrays.values()])
            number = int(context.node_config["partition-id"])
            moved = base + moves(number, int(message.content["config"]["server-round"]), base).astype(np.float32)
            trained, start = {}, 0
            for name, array in arrays.items():
                trained[name] = Array(moved[start : start + array.size].reshape(array.shape))
                start += array.size
            content = {"arrays": ArrayRecord(trained), "metrics": MetricRecord({"num-examples": 1, "train-loss": 1.0})}
            return Message(RecordDict(content), reply_to=message)

        return app

    def grid(self, app: ClientApp, *, nodes: Mapping[int, dict] | None = None) -> LocalGrid:
        """A grid of the clients' nodes."""
        default = {number + 2: self.node_config(number) for number in range(len(self.clients))}
        return LocalGrid(app, default if nodes is None else nodes)

    def strategy(self, inner: Strategy | None = None, **options: object) -> PayingStrategy:
        """The paying strategy of this task."""
        settings = {
            "task": self.task,
            "spec": self.spec,
            "game": self.game(),
            "quorum": LocalQuorum(evaluators=self.signers()),
            "bundles": self.folder / "bundles",
            "on_round": self.reports.append,
            **options,
        }
        return PayingStrategy(inner or FedAvg(fraction_evaluate=0.0), **settings)

    def run(self, app: ClientApp, inner: Strategy | None = None, *, grid: LocalGrid | None = None, **options: object):
        """All rounds; returns Flower's result, and `reports` has the rounds."""
        initial = ArrayRecord(self.spec.build_model().state_dict())
        return self.strategy(inner, **options).start(grid or self.grid(app), initial)

    def downhill(self, number: int, round_number: int, base: NDArray) -> NDArray:
        """A step that lowers the validation loss; client 0 takes the shortest."""
        return (-0.1 * (number + 1) * self.game().gradient(base)).astype(np.float32)


def eight_weights(**changes: object) -> TaskSpec:
    """The spec of a linear layer of 3 × 2 weights and 2 biases."""
    settings = {
        "model": "torch.nn:Linear",
        "model_arguments": {"in_features": 3, "out_features": 2},
        "feature_shape": (3,),
        "num_classes": 2,
        "steps": 3,
        "batch_size": 4,
        # Eight weights have no room for two rounds' steps and directions; tests of the public step say so themselves.
        "length": "capped",
        "public_rounds": 0,
    }
    return TaskSpec(**{**settings, **changes})


def forty_rows(*, seed: int = 0) -> Dataset:
    """Rows of 3 columns whose class is the sign of the first."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(40, 3)).astype(np.float32)
    return Dataset(features=features, labels=(features[:, 0] > 0).astype(np.int64))


@pytest.fixture(scope="session")
def spec() -> Callable[..., TaskSpec]:
    """Builds the spec of eight weights, with changes."""
    return eight_weights


@pytest.fixture
def rows() -> Dataset:
    """Forty rows of three columns and two classes."""
    return forty_rows()


def open_world(
    deployment: Deployment,
    folder: Path,
    *,
    spec: TaskSpec | None = None,
    rounds: int = 2,
    clients: int = 3,
    stakes: Sequence[int] | None = None,
    evaluators: int = 1,
    quorum: int = 1,
    budget: int = 1000 * TOKENS,
    bond: int = 1000 * TOKENS,
    joining: int | None = None,
    validation: Dataset | None = None,
    **terms: object,
) -> World:
    """Open a task and let `joining` of the clients join it, all by default."""
    w3, escrow, token = deployment.connect()
    spec, validation = spec or eight_weights(), validation or forty_rows()
    sponsor, coordinator = test_key(SPONSOR), test_key(COORDINATOR)
    signers = [test_key(FIRST_EVALUATOR + number) for number in range(evaluators)]
    signers = tuple(sorted(signers, key=lambda signer: int(signer.address, 16)))
    members = tuple(test_key(FIRST_CLIENT + number) for number in range(clients))
    held = tuple(stakes or [(number + 1) * TOKENS for number in range(clients)])
    base = vector_of(spec.build_model())
    settings = {
        "token": token.address,
        "coordinator": coordinator.address,
        "evaluators": tuple(signer.address for signer in signers),
        "quorum": quorum,
        "attested": spec.attested,
        "rounds": rounds,
        "challenge_window": 100,
        "response_window": 100,
        "round_timeout": 1000,
        "claim_period": 10_000,
        "budget": budget,
        "bond": bond,
        "min_stake": 1,
        "max_stake": 10**24,
        "spec_hash": spec.hash(),
        "validation_hash": dataset_hash(validation),
        "base_model": model_hash(base),
        "salt": next(_salts).to_bytes(32, "big"),
        **terms,
    }
    token.mint(sponsor.address, budget, account=sponsor)
    token.mint(coordinator.address, bond, account=sponsor)
    task, _ = PaidTask.open(deployment, terms=Terms(**settings), sponsor=sponsor, coordinator=coordinator, leaps=True)
    invite = task.invite(url=deployment.url, spec=spec.to_json())
    invite.write(folder / "invite.json")
    world = World(
        folder=folder,
        deployment=deployment,
        w3=w3,
        escrow=escrow,
        token=token,
        task=task,
        spec=spec,
        validation=validation,
        sponsor=sponsor,
        coordinator=coordinator,
        evaluators=signers,
        clients=members,
        stakes=held,
        invite=invite,
        invite_path=folder / "invite.json",
        base=base,
    )
    enrol_all(world, range(clients if joining is None else joining))
    return world


def enrol_all(world: World, numbers: Sequence[int]) -> None:
    """As `enrol`, in one transaction, which takes a third of the time."""
    if numbers:
        stakes = {world.clients[number].address: world.stakes[number] for number in numbers}
        world.token.mint_many(stakes, account=world.sponsor)
        joinings = [
            Joining(
                account=world.clients[number],
                stake=world.stakes[number],
                node_key=b"node",
                dataset=bytes([number + 1]) * 32,
            )
            for number in numbers
        ]
        join_all(world.invite, joinings, relayer=world.sponsor)


def enrol(world: World, number: int) -> None:
    """Mint a client its stake and let it join."""
    member, stake = world.clients[number], world.stakes[number]
    world.token.mint(member.address, stake, account=world.sponsor)
    join(world.invite, account=member, stake=stake, node_key=b"node", dataset=bytes([number + 1]) * 32)


@pytest.fixture
def new_world(chain: Deployment, tmp_path: Path) -> Callable[..., World]:
    """Opens a small task on the session's chain; see `open_world`."""
    return lambda **options: open_world(chain, tmp_path, **options)


@pytest.fixture(scope="module")
def lasting_world(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., World]:
    """Opens a small task that the tests of one module share."""
    return lambda **options: open_world(deployment, tmp_path_factory.mktemp("world"), **options)


@pytest.fixture
def late_join() -> Callable[[World, int], None]:
    """Lets one more client of a world join."""
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
    return json.loads(SCHEMA.to_json())


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter that runs the tests."""
    return sys.executable
