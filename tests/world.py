"""A task of a few clients on chain, as most tests that need a chain open one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from eth_account.signers.local import LocalAccount
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, Strategy
from numpy.typing import NDArray
from web3 import Web3

from clients.signing import sign_updates
from fl.audit.evaluators.local import Evaluator
from fl.chain.accounts import anvil_account
from fl.chain.deployment import Deployment
from fl.chain.erc20 import Token
from fl.chain.escrow import Escrow
from fl.chain.invite import Invite
from fl.chain.membership import Joining, join, join_all
from fl.chain.paid_task import PaidTask
from fl.chain.task_state import Terms
from fl.codec import model_hash
from fl.coordinator.engines.local import LocalGrid
from fl.coordinator.quorum.local import LocalQuorum
from fl.coordinator.round.report import RoundReport
from fl.coordinator.round.settings import RoundHooks, RoundSettings
from fl.coordinator.round.strategy import PayingStrategy
from fl.scoring.game import ValidationGame
from fl.task.data import Dataset
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec, dataset_hash

TOKENS = 10**18  # wei of one token

# Accounts of Anvil's published mnemonic, by role; runs of `fl run` take them from 0 in their own order.
SPONSOR, COORDINATOR, FIRST_EVALUATOR, FIRST_CLIENT, STRANGER = 0, 1, 2, 5, 19
_salts = itertools.count(1)


def test_key(index: int) -> LocalAccount:
    """One of Anvil's published accounts."""
    return anvil_account(index, chain_id=31337)


test_key.__test__ = False


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
        """The paying strategy of this task; hooks and settings of its rounds are named as they are."""
        hooks = {"on_round": self.reports.append, **options}
        hooks = {entry.name: hooks[entry.name] for entry in fields(RoundHooks) if entry.name in hooks}
        same = {entry.name: options[entry.name] for entry in fields(RoundSettings) if entry.name in options}
        settings = {
            "task": self.task,
            "spec": self.spec,
            "game": self.game(),
            "quorum": LocalQuorum(evaluators=self.signers()),
            "bundles": self.folder / "bundles",
            "settings": RoundSettings(**same),
            "hooks": RoundHooks(**hooks),
            **{name: option for name, option in options.items() if name not in {*hooks, *same}},
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


def open_world(
    deployment: Deployment,
    folder: Path,
    *,
    spec: TaskSpec | None = None,
    rounds: int = 2,
    clients: int = 3,
    stakes: Sequence[int] | None = None,
    evaluators: int = 1,
    contracts: Sequence[str] = (),
    quorum: int = 1,
    budget: int = 1000 * TOKENS,
    bond: int = 1000 * TOKENS,
    joining: int | None = None,
    validation: Dataset | None = None,
    **terms: object,
) -> World:
    """Open a task and let `joining` of the clients join it, all by default; `contracts` are evaluators too."""
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
        "evaluators": tuple(
            sorted((*(signer.address for signer in signers), *contracts), key=lambda name: int(name, 16))
        ),
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
