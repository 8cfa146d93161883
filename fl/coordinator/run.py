"""A whole paid federation on one machine: chain, task, clients, rounds, claims. `fl run` is this, shown in a terminal."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from flwr.app import Array, ArrayRecord, MetricRecord

from fl.aggregation.selection import check_scorable
from fl.audit.evaluators.local import Evaluator
from fl.bundle.validation_set import VALIDATION, write_validation
from fl.chain.anvil import CHAIN_STATE, running_anvil
from fl.chain.deployment import Deployment
from fl.chain.escrow import Terms
from fl.chain.json_file import write_json
from fl.chain.membership import Joining, join, join_all
from fl.chain.paid_task import PaidTask
from fl.chain.sender import Sent, connect
from fl.chain.tokens import wei
from fl.codec import model_hash
from fl.coordinator.config import EngineConfig, RunConfig
from fl.coordinator.engines.registry import Engine, client_app, open_engine
from fl.coordinator.lifecycle.accounts import Roles, fund, roles_for
from fl.coordinator.lifecycle.close import claim_for_all, close_and_return_stakes
from fl.coordinator.lifecycle.open import free_salt, put_contracts, terms_of
from fl.coordinator.lifecycle.privacy import cap_with_noise, privacy_of
from fl.coordinator.lifecycle.wallets import Wallet, wallets_of
from fl.coordinator.quorum.local import LocalQuorum
from fl.coordinator.round.report import RoundReport
from fl.coordinator.round.strategy import PayingStrategy
from fl.errors import ConfigError
from fl.scoring.game import Evaluation, ValidationGame
from fl.scoring.paid import PaidScoring, paid_rule
from fl.task.data import DataReading, Federation, load_federation
from fl.task.model_vector import layout_of, sent_arrays, vector_of
from fl.task.preflight import UnfitModel, check_model
from fl.task.spec import TOGETHER, TaskSpec, dataset_hash, rows_of_dataset
from fl.task.strategies import build_strategy

log = logging.getLogger(__name__)

READING = "data.json"  # what was understood of the data
_FEW = 32  # clients up to which each joins by transactions of its own, as on real machines
_FIRST_NODE = 2  # Flower keeps node id 1 for the server


@dataclass(kw_only=True)
class Watcher:
    """What a view is told while the federation runs; every method may be replaced."""

    on_setup: Callable[[str], None] = lambda what: None
    on_data: Callable[[DataReading], None] = lambda reading: (
        None
    )  # what was understood of the data, before anything else
    on_task: Callable[[FederationResult], None] = lambda result: None  # before round 1; it fills as the rounds go
    on_phase: Callable[[int, str], None] = lambda number, phase: None
    on_reply: Callable[[int], None] = lambda node_id: None
    on_round: Callable[[RoundReport, Evaluation], None] = lambda report, test: None


@dataclass(kw_only=True)
class ClientResult:
    """What one client put in and got out."""

    number: int
    name: str
    account: str
    behaviour: str
    samples: int | None  # None where only the client itself knows
    class_counts: list[int] | None
    stake: int  # wei
    score: int = 0  # units of 2^−40 of loss, all rounds
    earned: int = 0  # wei
    claimed: int = 0  # wei, as the contract says
    balance: int = 0  # wei of the token after claiming and before the stake came back, as the token says


@dataclass(frozen=True, kw_only=True)
class EngineUse:
    """How a run's clients were trained."""

    name: str
    workers: int  # processes at the same time
    vectorised: bool  # whether in one batch, where the app could
    why: str  # in words


@dataclass(kw_only=True)
class FederationResult:
    """What a run came to."""

    task_id: bytes
    chain_id: int
    contract: str
    token: str
    terms: Terms
    spec: TaskSpec
    initial: Evaluation  # of the initial model on the test set
    parameters: int  # values of the model's vector
    validation_samples: int
    test_samples: int
    rounds: list[RoundReport] = field(default_factory=list)
    tests: list[Evaluation] = field(default_factory=list)  # after each round, on the test set
    clients: list[ClientResult] = field(default_factory=list)
    gas: dict[str, list[int]] = field(default_factory=dict)  # by operation, one figure a transaction
    seconds: dict[str, float] = field(default_factory=dict)
    engine: EngineUse | None = None  # None where the clients are on machines of their own
    paid: int = 0  # wei of the task's total that was claimed, as the contract says


def run_federation(config: RunConfig, *, folder: Path, watcher: Watcher) -> FederationResult:
    """Run a paid federation from its data to its last claim; what it starts, it stops.

    Args:
        config: Checked.
        folder: Takes bundles, invite, deployment file, keystores and logs.
        watcher: Told of each step.
    Raises: FairshareError with what to do.
    """
    if config.engine.threads:
        torch.set_num_threads(config.engine.threads)
    watcher.on_setup("reading the data")
    federation = load_federation(config.data, config.partition, seed=config.seed)
    keep_reading(federation, folder=folder, watcher=watcher)
    if not federation.shards:
        raise ConfigError(
            f"data={config.data.name} has no client's rows, and `fl run` plays the clients too; start `fl coordinator` "
            "with these settings, or name data that can be dealt to clients"
        )
    wallets = wallets_of(federation, config.attack)
    # What cannot be built, trained or scored shows before anything is escrowed.
    spec, model = checked_spec(spec_of(config, federation), federation)
    together, reason = trains_together(config.engine, spec, federation)
    if together:
        spec = replace(spec, training=TOGETHER)
    game = ValidationGame(model, loss=spec.build_loss(), rows=rows_of_dataset(federation.validation))
    check_scorable(build_strategy(spec.strategy, spec.strategy_arguments))
    PaidScoring(spec, game=game).check_clients(len(wallets))
    with ExitStack() as stack:
        run = _Run(config=config, folder=folder, watcher=watcher, federation=federation, wallets=wallets, spec=spec)
        watcher.on_setup(f"starting the engine {config.engine.name}")
        run.together, run.reason = together, reason
        run.engine = stack.enter_context(
            open_engine(config.engine, folder=folder, clients=len(federation.shards), together=together)
        )
        run.open_chain(stack)
        run.open_task(base_model=model_hash(vector_of(model)))
        run.enrol()
        run.train(model)
        run.pay()
        return run.result


def keep_reading(federation: Federation, *, folder: Path, watcher: Watcher) -> None:
    """Show what was understood of the data, and store it beside the run."""
    if federation.reading is not None:
        write_json(folder / READING, federation.reading.to_json())
        watcher.on_data(federation.reading)


def checked_spec(spec: TaskSpec, data: Federation) -> tuple[TaskSpec, torch.nn.Module]:
    """The spec with the hash of its frozen base, and its model, once both were tried on rows of the data.

    Raises: UnfitModel, UnfitOutput or ConfigError with what to change.
    """
    model = spec.build_model()
    objective, batch_size = spec.build_loss(), spec.batch_size
    check_model(model, objective, rows_of_dataset(data.validation), batch_size=batch_size)
    for shard in data.shards[:1]:
        check_model(model, objective, rows_of_dataset(shard.data), batch_size=batch_size)
    game = ValidationGame(model, loss=objective, rows=rows_of_dataset(data.validation))
    base = vector_of(model)
    game.measure_statistics(base)
    try:
        loss = game.evaluate(base).loss
    except (RuntimeError, IndexError) as error:
        raise UnfitModel(
            f"the model fails on the whole validation set ({error})", "look for labels or words beyond what it knows"
        ) from error
    if not math.isfinite(loss):
        raise UnfitModel(f"the loss of the whole validation set is {loss}", "look for rows with NaN or absurd values")
    return cap_with_noise(spec, parameters=len(base)).with_base(model), model


def spec_of(config: RunConfig, federation: Federation) -> TaskSpec:
    """The spec that a configuration and its data come to. Raises: ConfigError."""
    task = config.task
    scorer, scorer_arguments = paid_rule(
        strategy=config.strategy.name,
        strategy_arguments=config.strategy.arguments,
        scorer=config.scorer.name,
        scorer_arguments=config.scorer.arguments,
    )
    return TaskSpec(
        model=config.model.path,
        model_arguments=dict(config.model.arguments),
        feature_shape=federation.feature_shape,
        num_classes=max(1, federation.num_classes),  # a regression has none
        class_names=federation.class_names,
        loss=task.loss,
        trainable=task.trainable,
        steps=task.steps,
        batch_size=task.batch_size,
        learning_rate=task.learning_rate,
        momentum=task.momentum,
        optimizer=task.optimizer,
        norm_cap=task.norm_cap,
        # A median of lengths would tell of them without noise.
        length="capped" if config.privacy.noise == "client" else task.length,
        public_rounds=config.scorer.public_rounds,
        public_gradients=config.scorer.public_gradients,
        scorer=scorer,
        scorer_arguments=scorer_arguments,
        quadrature=config.scorer.nodes,
        tolerance=config.scorer.tolerance,
        duplicate_cosine=config.scorer.duplicate_cosine,
        strategy=config.strategy.name,
        strategy_arguments=dict(config.strategy.arguments),
        schema=json.loads(federation.schema.to_json()) if federation.schema else None,
        seed=config.seed,
        privacy=privacy_of(config, federation),
    )


def trains_together(engine: EngineConfig, spec: TaskSpec, federation: Federation) -> tuple[bool, str]:
    """Whether the engine's app trains a run's clients in one batch, and why or why not."""
    if engine.vectorised == "false":
        return False, "not asked for"
    asks = getattr(client_app(engine), "trains_together", None)
    if asks is None:
        return False, f"{engine.client_app} trains one client at a time"
    found, reason = asks(spec, [shard.data for shard in federation.shards], wanted=engine.vectorised)
    log.info("engine.vectorised=%s: %s (%s)", engine.vectorised, found, reason)
    return found, reason


class _Run:
    """The steps of one federation, in order; each leaves what the next one needs."""

    def __init__(
        self,
        *,
        config: RunConfig,
        folder: Path,
        watcher: Watcher,
        federation: Federation,
        wallets: Sequence[Wallet],
        spec: TaskSpec,
    ) -> None:
        self.config, self.folder, self.watcher = config, folder, watcher
        self.federation, self.wallets, self.spec = federation, wallets, spec
        self.engine: Engine
        self.together, self.reason = False, ""
        self.gas: dict[str, list[int]] = {}
        self.seconds: dict[str, float] = {}

    def open_chain(self, stack: ExitStack) -> None:
        """Reach or start the chain, and find or put the contracts on it."""
        self.watcher.on_setup("opening the chain")
        started = time.perf_counter()
        chain, task, clients = self.config.chain, self.config.task, len(self.wallets)
        deployment = Deployment.read(Path(chain.deployment)) if chain.deployment else None
        self.url = chain.url or (deployment.url if deployment else None)
        if self.url is None:
            accounts = Roles.anvil_accounts(evaluators=task.evaluators, clients=clients)
            self.url = stack.enter_context(
                # Kept, so that the run can be audited when its chain is gone.
                running_anvil(accounts=accounts, log=self.folder / "anvil.log", state=self.folder / CHAIN_STATE)
            )
        w3 = connect(self.url, chain_id=chain.id)
        self.roles = roles_for(
            chain_id=w3.eth.chain_id,
            key=chain.key,
            folder=self.folder / "keys",
            evaluators=task.evaluators,
            clients=clients,
        )
        fund(w3, self.roles)
        if deployment is None:
            deployment = put_contracts(w3, url=self.url, sponsor=self.roles.sponsor, spent=self._spent)
        deployment.write(self.folder / "deployment.json")
        self.deployment = deployment
        self.w3, self.escrow, self.token = deployment.connect()
        self.seconds["chain"] = time.perf_counter() - started

    def open_task(self, *, base_model: bytes) -> None:
        """Escrow the budget and write the invite."""
        self.watcher.on_setup("escrowing the budget")
        task, sponsor = self.config.task, self.roles.sponsor
        terms = terms_of(
            task,
            spec=self.spec,
            validation=self.federation.validation,
            base_model=base_model,
            token=self.token.address,
            coordinator=self.roles.coordinator.address,
            evaluators=[one.address for one in self.roles.evaluators],
            salt=free_salt(self.escrow, sponsor=sponsor.address, seed=self.config.seed),
        )
        for owner, amount in ((sponsor, terms.budget), (self.roles.coordinator, terms.bond)):
            self._spent("mint", self.token.mint(owner.address, amount, account=sponsor))
        self.task, sent = PaidTask.open(
            self.deployment, terms=terms, sponsor=sponsor, coordinator=self.roles.coordinator, leaps=True
        )
        for name, one in sent.items():
            self._spent(name, one)
        self.invite_path = self.folder / "invite.json"
        self.invite = self.task.invite(url=self.url, spec=self.spec.to_json())
        self.invite.write(self.invite_path)
        write_validation(self.folder / VALIDATION, self.federation.validation)

    def enrol(self) -> None:
        """Every client stakes in proportion to its shard, with its own key."""
        self.watcher.on_setup("enrolling the clients")
        per_sample = wei(self.config.task.stake_per_sample, setting="task.stake_per_sample")
        self.clients, joinings = [], []
        for wallet, account in zip(self.wallets, self.roles.clients, strict=True):
            stake = min(len(wallet.rows) * per_sample, self.task.terms.max_stake)
            salt = hashlib.sha256(f"{self.config.seed}/{wallet.number}".encode()).digest()
            joinings.append(
                Joining(
                    account=account,
                    stake=stake,
                    node_key=self.engine.node_key(wallet.number + _FIRST_NODE),
                    dataset=hashlib.sha256(salt + dataset_hash(wallet.rows)).digest(),
                )
            )
            self.clients.append(
                ClientResult(
                    number=wallet.number,
                    name=wallet.name,
                    account=account.address,
                    behaviour=wallet.behaviour,
                    samples=len(wallet.rows),
                    class_counts=wallet.rows.class_counts(self.federation.num_classes).tolist(),
                    stake=stake,
                )
            )
        if len(joinings) > _FEW and self.config.chain.url is None and self.config.chain.deployment is None:
            self._enrol_together(joinings)
            return
        for one in joinings:
            # Devnet tokens for the stake; on other chains a client brings its own.
            self._spent("mint", self.token.mint(one.account.address, one.stake, account=self.roles.sponsor))
            approved, joined = join(
                self.invite, account=one.account, stake=one.stake, node_key=one.node_key, dataset=one.dataset
            )
            self._spent("approve", approved)
            self._spent("join", joined)

    def _enrol_together(self, joinings: Sequence[Joining]) -> None:
        """Many clients, on a chain of the run's own: by orders that each signs, a hundred in a transaction."""
        amounts = {one.account.address: one.stake for one in joinings}
        for sent in self.token.mint_many(amounts, account=self.roles.sponsor):
            self._spent("mint", sent)
        for count, sent in join_all(self.invite, joinings, relayer=self.roles.sponsor):
            self._spent("join_together", sent)
            self.gas.setdefault("join_together_each", []).append(sent.gas // count)

    def train(self, model: torch.nn.Module) -> None:
        """All rounds, each on chain before the next one begins."""
        started = time.perf_counter()
        test = ValidationGame(
            model,
            loss=self.spec.build_loss(),
            rows=rows_of_dataset(self.federation.test),
        )
        base = vector_of(model)
        test.load_statistics(self._game(model).measure_statistics(base))
        self.result = FederationResult(
            task_id=self.task.task_id,
            chain_id=self.deployment.chain_id,
            contract=self.escrow.address,
            token=self.token.address,
            terms=self.task.terms,
            spec=self.spec,
            initial=test.evaluate(base),
            parameters=len(base),
            validation_samples=len(self.federation.validation),
            test_samples=len(self.federation.test),
            clients=self.clients,
            gas=self.gas,
            seconds=self.seconds,
            engine=EngineUse(
                name=self.config.engine.name, workers=self.engine.workers, vectorised=self.together, why=self.reason
            ),
        )
        self.watcher.on_task(self.result)
        strategy = PayingStrategy(
            build_strategy(self.spec.strategy, self.spec.strategy_arguments),
            task=self.task,
            spec=self.spec,
            game=self._game(model),
            quorum=LocalQuorum(
                evaluators=[
                    Evaluator(account=one, spec=self.spec, game=self._game(model)) for one in self.roles.evaluators
                ]
            ),
            bundles=self.folder / "bundles",
            seed=self.config.seed,
            read_clients=self.config.scorer.read_clients,
            resumable=False,  # a run that was killed is run again: its clients are gone too
            on_phase=self.watcher.on_phase,
            on_round=self.result.rounds.append,
        )
        layout = layout_of(model)

        def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord | None:
            if number == 0:
                return None
            named = {name: array.numpy() for name, array in arrays.items()}
            test.load_statistics(named)
            vector = layout.flatten(named)
            self.result.tests.append(test.evaluate(vector))
            self.watcher.on_round(self.result.rounds[-1], self.result.tests[-1])
            return None

        grid = self.engine.grid(self._node_configs(), on_reply=self.watcher.on_reply)
        strategy.start(
            grid,
            ArrayRecord({name: Array(one) for name, one in sent_arrays(model, whole=self.spec.frozen is None).items()}),
            evaluate_fn=evaluate,
        )
        for report in self.result.rounds:
            self.gas.setdefault("post", []).append(report.gas)
        self.seconds["rounds"] = time.perf_counter() - started

    def pay(self) -> None:
        """Claim for everybody, read back what the chain says, and give the stakes back."""
        self.watcher.on_setup("claiming for everybody")
        started = time.perf_counter()
        last = self.result.rounds[-1]
        for count, sent in claim_for_all(self.task, last.header, leaves=last.leaves, account=self.roles.sponsor):
            self.gas.setdefault("claim_range", []).append(sent.gas)
            self.gas.setdefault("claim_range_each", []).append(sent.gas // count)
        leaves = {leaf.account: leaf for leaf in last.leaves}
        accounts = [client.account for client in self.clients]
        told = zip(self.escrow.claimed_by_all(self.task.task_id, accounts), self.token.balances(accounts), strict=True)
        for client, (claimed, balance) in zip(self.clients, told, strict=True):
            client.earned = leaves[client.account].cumulative
            client.score = sum(report.scores.get(client.account, 0) for report in self.result.rounds)
            client.claimed, client.balance = claimed, balance
        self.result.paid = self.task.state().paid
        for name, sent_all in close_and_return_stakes(self.task, account=self.roles.sponsor).items():
            for sent in sent_all:
                self._spent(name, sent)
        self.seconds["claiming"] = time.perf_counter() - started

    def _game(self, model: torch.nn.Module) -> ValidationGame:
        rows = rows_of_dataset(self.federation.validation)
        return ValidationGame(model, loss=self.spec.build_loss(), rows=rows)

    def _node_configs(self) -> dict[int, dict[str, str | int | float | bool]]:
        shared = {
            "invite": str(self.invite_path.resolve()),
            # This run's own settings name the model, so its clients take it.
            "trust": ",".join(path.partition(":")[0] for path in (self.spec.model, self.spec.loss) if ":" in path),
            "data": json.dumps(asdict(self.config.data)),
            "partition": json.dumps(asdict(self.config.partition)),
            "seed": self.config.seed,
            "num-partitions": len(self.federation.shards),
            "bundles": str((self.folder / "bundles").resolve()),
            "reveals": self.config.task.reveal == "round",
        }
        return {
            wallet.number + _FIRST_NODE: {
                **shared,
                **self.roles.client_keys[wallet.number],
                "partition-id": wallet.shard,
                "behaviour": wallet.behaviour,
            }
            for wallet in self.wallets
        }

    def _spent(self, name: str, sent: Sent) -> None:
        self.gas.setdefault(name, []).append(sent.gas)
