"""A whole paid federation on one machine: chain, task, clients, rounds, claims. `fl run` is this, shown in a terminal."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from eth_account.signers.local import LocalAccount

from fl.aggregation.selection import check_scorable
from fl.audit.evaluators.local import Evaluator
from fl.bundle.validation_set import VALIDATION, write_validation
from fl.chain.anvil import CHAIN_STATE, running_anvil
from fl.chain.deploying import put_contracts
from fl.chain.deployment import Deployment
from fl.chain.invite import Invite
from fl.chain.json_file import write_json
from fl.chain.membership import Joining, join, join_all
from fl.chain.paid_task import PaidTask
from fl.chain.sender import connect
from fl.chain.tokens import wei
from fl.codec import model_hash
from fl.coordinator.config import EngineConfig, RunConfig
from fl.coordinator.engines.registry import Engine, client_app, open_engine
from fl.coordinator.lifecycle.accounts import Roles, fund, gas_money, roles_for
from fl.coordinator.lifecycle.close import claim_for_all, close_and_return_stakes
from fl.coordinator.lifecycle.open import free_salt, terms_of
from fl.coordinator.lifecycle.patience import losses_of, patience_of, stop_when_stalled
from fl.coordinator.lifecycle.privacy import cap_with_noise, privacy_of
from fl.coordinator.lifecycle.wallets import Wallet, wallets_of
from fl.coordinator.quorum.local import LocalQuorum
from fl.coordinator.result import ClientResult, EngineUse, FederationResult, Watcher, note_gas
from fl.coordinator.round.report import RoundReport
from fl.coordinator.round.settings import RoundHooks, RoundSettings
from fl.coordinator.round.strategy import PayingStrategy
from fl.coordinator.training import begin_training, check_whole, game_on
from fl.errors import ConfigError
from fl.scoring.game import ValidationGame
from fl.scoring.paid import PaidScoring, paid_rule
from fl.task.data import Federation, Shard, TableSchema, load_federation
from fl.task.doubts import doubts
from fl.task.model_vector import vector_of
from fl.task.preflight import check_model
from fl.task.row_gradients import check_rows
from fl.task.spec import TOGETHER, TaskSpec, dataset_hash, rows_of_dataset
from fl.task.strategies import build_strategy

log = logging.getLogger(__name__)

READING = "data.json"  # what was understood of the data
_FEW = 32  # clients up to which each joins by transactions of its own, as on real machines
_FIRST_NODE = 2  # Flower keeps node id 1 for the server


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
    spec, model = checked_spec(spec_of(config, federation), federation, watcher=watcher)
    together, reason = trains_together(config.engine, spec, federation)
    if together:
        spec = replace(spec, training=TOGETHER)
    check_scorable(build_strategy(spec.strategy, spec.strategy_arguments))
    PaidScoring(spec, game=game_on(federation.validation, spec=spec, model=model)).check_clients(len(wallets))
    setup = _Setup(config=config, folder=folder, watcher=watcher, data=federation, wallets=wallets, spec=spec)
    seconds: dict[str, float] = {}
    gas: dict[str, list[int]] = {}
    with ExitStack() as stack:
        watcher.on_setup(f"starting the engine {config.engine.name}")
        engine = stack.enter_context(
            open_engine(config.engine, folder=folder, clients=len(federation.shards), together=together)
        )
        use = EngineUse(name=config.engine.name, workers=engine.workers, vectorised=together, why=reason)
        with _timed(seconds, "chain"):
            chain = _open_chain(setup, stack, gas=gas)
        task, invite = _open_task(setup, chain, base_model=model_hash(vector_of(model)), gas=gas)
        clients = _enrol(setup, chain, task, invite, engine=engine, gas=gas)
        with _timed(seconds, "rounds"):
            training = begin_training(task, spec, federation, model=model, watcher=watcher)
            result = training.result
            result.gas, result.seconds, result.clients, result.engine = gas, seconds, clients, use
            watcher.on_task(result)
            grid = engine.grid(_node_configs(setup, chain), on_reply=watcher.on_reply)
            training.run(_strategy(setup, chain, task, model=model, result=result), grid)
            gas.setdefault("post", []).extend(report.gas for report in result.rounds)
        with _timed(seconds, "claiming"):
            _pay(setup, chain, task, result)
        return result


def keep_reading(federation: Federation, *, folder: Path, watcher: Watcher) -> None:
    """Show what was understood of the data, and store it beside the run.

    Args:
        federation: As loaded.
        folder: Of the run.
        watcher: Told of the reading.
    """
    if federation.reading is not None:
        write_json(folder / READING, federation.reading.to_json())
        watcher.on_data(federation.reading)


def checked_spec(spec: TaskSpec, data: Federation, *, watcher: Watcher) -> tuple[TaskSpec, torch.nn.Module]:
    """The spec with the hash of its frozen base, and its model, once both were tried on rows of the data.

    Args:
        spec: As configured.
        data: With validation rows, and shards where there are any.
        watcher: Told what works and is seldom meant.
    Raises: UnfitModel, UnfitOutput or ConfigError with what to change.
    """
    model = spec.build_model()
    objective, batch_size = spec.build_loss(), spec.batch_size
    check_model(model, objective, rows_of_dataset(data.validation), batch_size=batch_size)
    if spec.private.noise == "rows":
        check_rows(model, objective, rows_of_dataset(data.validation))
    for shard in _telling(data):
        check_model(model, objective, rows_of_dataset(shard.data), batch_size=batch_size)
    for doubt in doubts(model, objective, rows_of_dataset(data.validation)):
        log.warning("%s", doubt)
        watcher.on_doubt(doubt)
    base = vector_of(model)
    check_whole(ValidationGame(model, loss=objective, rows=rows_of_dataset(data.validation)), base)
    return cap_with_noise(spec, parameters=len(base)).with_base(model), model


def _telling(data: Federation) -> Sequence[Shard]:
    """The shard to try a model on: the first, or of a table of ids the one with the highest."""
    if isinstance(data.schema, TableSchema) and data.schema.of_ids and data.shards:
        return [max(data.shards, key=lambda shard: int(shard.data.features.max()))]
    return data.shards[:1]


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
        rows_at_once=task.rows_at_once,
        learning_rate=task.rate,
        momentum=task.momentum,
        optimizer=task.optimizer,
        block_bits=task.block_bits,
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
    """Whether the engine's app trains a run's clients in one batch, and why or why not.

    Args:
        engine: Names the app, and whether it is asked to.
        spec: The task's.
        federation: With the clients' rows.
    """
    if engine.vectorised == "false":
        return False, "not asked for"
    asks = getattr(client_app(engine), "trains_together", None)
    if asks is None:
        return False, f"{engine.client_app} trains one client at a time"
    found, reason = asks(spec, [shard.data for shard in federation.shards], wanted=engine.vectorised)
    log.info("engine.vectorised=%s: %s (%s)", engine.vectorised, found, reason)
    return found, reason


@dataclass(frozen=True, kw_only=True, eq=False)
class _Setup:
    """What a federation is run with, from its first step to its last."""

    config: RunConfig
    folder: Path
    watcher: Watcher
    data: Federation
    wallets: Sequence[Wallet]
    spec: TaskSpec

    @property
    def invite(self) -> Path:
        """Where the clients find it."""
        return self.folder / "invite.json"

    @property
    def bundles(self) -> Path:
        """One folder a round."""
        return self.folder / "bundles"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Chain:
    """A chain with the contracts on it, and everybody's keys."""

    url: str
    own: bool  # it ends with the run
    deployment: Deployment
    roles: Roles


def _open_chain(setup: _Setup, stack: ExitStack, *, gas: dict[str, list[int]]) -> _Chain:
    """Reach or start the chain, and find or put the contracts on it."""
    setup.watcher.on_setup("opening the chain")
    chain, task, clients = setup.config.chain, setup.config.task, len(setup.wallets)
    deployment = Deployment.read(Path(chain.deployment)) if chain.deployment else None
    url = chain.url or (deployment.url if deployment else None)
    if url is None:
        accounts = Roles.anvil_accounts(evaluators=task.evaluators, clients=clients)
        url = stack.enter_context(
            # Kept, so that the run can be audited when its chain is gone.
            running_anvil(accounts=accounts, log=setup.folder / "anvil.log", state=setup.folder / CHAIN_STATE)
        )
    w3 = connect(url, chain_id=chain.id)
    roles = roles_for(
        chain_id=w3.eth.chain_id,
        key=chain.key,
        folder=setup.folder / "keys",
        evaluators=task.evaluators,
        clients=clients,
    )
    if deployment is None:
        deployment = put_contracts(
            w3, url=url, account=roles.sponsor, along=gas_money(w3, roles), spent=partial(note_gas, gas)
        )
    fund(w3, roles)
    deployment.write(setup.folder / "deployment.json")
    own = chain.url is None and chain.deployment is None
    return _Chain(url=url, own=own, deployment=deployment, roles=roles)


def _open_task(
    setup: _Setup, chain: _Chain, *, base_model: bytes, gas: dict[str, list[int]]
) -> tuple[PaidTask, Invite]:
    """Escrow the budget and write the invite."""
    setup.watcher.on_setup("escrowing the budget")
    _, escrow, token = chain.deployment.connect()
    sponsor, coordinator = chain.roles.sponsor, chain.roles.coordinator
    terms = terms_of(
        setup.config.task,
        spec=setup.spec,
        validation=dataset_hash(setup.data.validation),
        base_model=base_model,
        token=token.address,
        coordinator=coordinator.address,
        evaluators=[evaluator.address for evaluator in chain.roles.evaluators],
        salt=free_salt(escrow, sponsor=sponsor.address, seed=setup.config.seed),
    )
    stakes = terms.evaluator_stake * len(terms.evaluators)  # the coordinator's too, whose process they sign in
    for owner, amount in ((sponsor, terms.budget), (coordinator, terms.bond + stakes)):
        note_gas(gas, "mint", token.mint(owner.address, amount, account=sponsor))
    task, sent = PaidTask.open(chain.deployment, terms=terms, sponsor=sponsor, coordinator=coordinator, leaps=True)
    for name, transaction in sent.items():
        note_gas(gas, name, transaction)
    for staked in task.stake_for(chain.roles.evaluators):
        note_gas(gas, "stake_evaluator", staked)
    invite = task.invite(url=chain.url, spec=setup.spec.to_json())
    invite.write(setup.invite)
    write_validation(setup.folder / VALIDATION, setup.data.validation)
    return task, invite


def _enrol(
    setup: _Setup, chain: _Chain, task: PaidTask, invite: Invite, *, engine: Engine, gas: dict[str, list[int]]
) -> list[ClientResult]:
    """Every client stakes in proportion to its shard, with its own key."""
    setup.watcher.on_setup("enrolling the clients")
    per_sample = wei(setup.config.task.stake_per_sample, setting="task.stake_per_sample")
    clients: list[ClientResult] = []
    joinings: list[Joining] = []
    for wallet, account in zip(setup.wallets, chain.roles.clients, strict=True):
        stake = min(len(wallet.rows) * per_sample, task.terms.max_stake)
        salt = hashlib.sha256(f"{setup.config.seed}/{wallet.number}".encode()).digest()
        joinings.append(
            Joining(
                account=account,
                stake=stake,
                node_key=engine.node_key(wallet.number + _FIRST_NODE),
                dataset=hashlib.sha256(salt + dataset_hash(wallet.rows)).digest(),
            )
        )
        clients.append(
            ClientResult(
                number=wallet.number,
                name=wallet.name,
                account=account.address,
                behaviour=wallet.behaviour,
                samples=len(wallet.rows),
                class_counts=wallet.rows.class_counts(setup.data.num_classes).tolist(),
                stake=stake,
            )
        )
    if len(joinings) > _FEW and chain.own:
        _join_together(joinings, task, invite, sponsor=chain.roles.sponsor, gas=gas)
        return clients
    for joining in joinings:
        # Devnet tokens for the stake; on other chains a client brings its own.
        note_gas(gas, "mint", task.token.mint(joining.account.address, joining.stake, account=chain.roles.sponsor))
        approved, joined = join(
            invite,
            account=joining.account,
            stake=joining.stake,
            node_key=joining.node_key,
            dataset=joining.dataset,
        )
        note_gas(gas, "approve", approved)
        note_gas(gas, "join", joined)
    return clients


def _join_together(
    joinings: Sequence[Joining], task: PaidTask, invite: Invite, *, sponsor: LocalAccount, gas: dict[str, list[int]]
) -> None:
    """Many clients, on a chain of the run's own: by orders that each signs, a hundred in a transaction."""
    amounts: dict[str, int] = {joining.account.address: joining.stake for joining in joinings}
    for sent in task.token.mint_many(amounts, account=sponsor):
        note_gas(gas, "mint", sent)
    for count, sent in join_all(invite, joinings, relayer=sponsor):
        note_gas(gas, "join_together", sent)
        gas.setdefault("join_together_each", []).append(sent.gas // count)


def _strategy(
    setup: _Setup, chain: _Chain, task: PaidTask, *, model: torch.nn.Module, result: FederationResult
) -> PayingStrategy:
    def game() -> ValidationGame:
        return game_on(setup.data.validation, spec=setup.spec, model=model)

    def on_round(report: RoundReport) -> None:
        result.rounds.append(report)
        if patience := patience_of(setup.config.task.stop):
            losses = losses_of((played.round, played.loss_before, played.loss_after) for played in result.rounds)
            stop_when_stalled(task, losses, patience=patience, sponsor=chain.roles.sponsor)

    signers = chain.roles.evaluators
    return PayingStrategy(
        build_strategy(setup.spec.strategy, setup.spec.strategy_arguments),
        task=task,
        spec=setup.spec,
        game=game(),
        quorum=LocalQuorum(evaluators=[Evaluator(account=signer, spec=setup.spec, game=game()) for signer in signers]),
        bundles=setup.bundles,
        settings=RoundSettings(
            seed=setup.config.seed,
            read_clients=setup.config.scorer.read_clients,
            resumable=False,  # a run that was killed is run again: its clients are gone too
        ),
        hooks=RoundHooks(on_phase=setup.watcher.on_phase, on_round=on_round),
    )


def _pay(setup: _Setup, chain: _Chain, task: PaidTask, result: FederationResult) -> None:
    """Claim for everybody, read back what the chain says, and give the stakes back."""
    setup.watcher.on_setup("claiming for everybody")
    last, sponsor = result.rounds[-1], chain.roles.sponsor
    for count, sent in claim_for_all(task, last.header, leaves=last.leaves, account=sponsor):
        note_gas(result.gas, "claim_range", sent)
        result.gas.setdefault("claim_range_each", []).append(sent.gas // count)
    leaves = {leaf.account: leaf for leaf in last.leaves}
    accounts = [client.account for client in result.clients]
    told = zip(task.escrow.claimed_by_all(task.task_id, accounts), task.token.balances(accounts), strict=True)
    for client, (claimed, balance) in zip(result.clients, told, strict=True):
        client.earned = leaves[client.account].cumulative
        client.score = sum(report.scores.get(client.account, 0) for report in result.rounds)
        client.claimed, client.balance = claimed, balance
    result.paid = task.state().paid
    for name, sent_all in close_and_return_stakes(task, account=sponsor).items():
        for sent in sent_all:
            note_gas(result.gas, name, sent)


def _node_configs(setup: _Setup, chain: _Chain) -> dict[int, dict[str, str | int | float | bool]]:
    shared: dict[str, str | int | float | bool] = {
        "invite": str(setup.invite.resolve()),
        # This run's own settings name the model, so its clients take it.
        "trust": ",".join(path.partition(":")[0] for path in (setup.spec.model, setup.spec.loss) if ":" in path),
        "data": json.dumps(asdict(setup.config.data)),
        "partition": json.dumps(asdict(setup.config.partition)),
        "seed": setup.config.seed,
        "num-partitions": len(setup.data.shards),
        "bundles": str(setup.bundles.resolve()),
        "reveals": setup.config.task.reveal == "round",
    }
    return {
        wallet.number + _FIRST_NODE: {
            **shared,
            **chain.roles.client_keys[wallet.number],
            "partition-id": wallet.shard,
            "behaviour": wallet.behaviour,
        }
        for wallet in setup.wallets
    }


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started
