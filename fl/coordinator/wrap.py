"""One call that makes a Flower strategy a paying one: for your own ServerApp."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount
from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from numpy.typing import NDArray
from torch import Tensor, nn

from fl.aggregation.selection import check_scorable
from fl.audit.difference import RoundDiffers
from fl.audit.evaluators.local import Evaluator
from fl.chain.accounts import anvil_account, ask_password, open_keystore
from fl.chain.deployment import Deployment
from fl.chain.errors import ChainError, NoTask, TokenTooLow
from fl.chain.invite import Invite
from fl.chain.paid_task import PaidTask
from fl.chain.task_state import Status, Terms
from fl.codec import model_hash
from fl.coordinator.config import TaskConfig
from fl.coordinator.lifecycle.open import salt_under, terms_of, terms_that_differ
from fl.coordinator.lifecycle.refuter import refuting_challenges
from fl.coordinator.lifecycle.simulated import Simulation, simulation, stakes_of
from fl.coordinator.quorum.local import LocalQuorum
from fl.coordinator.round.settings import RoundSettings
from fl.coordinator.round.strategy import PayingStrategy
from fl.coordinator.training import check_whole
from fl.errors import ConfigError
from fl.plain_text import plural, ranges
from fl.protocol import RECORD, TrainRequest
from fl.scoring.game import ValidationGame
from fl.scoring.paid import PaidScoring, paid_rule
from fl.task.doubts import doubts
from fl.task.model_vector import ALL, choose, named_by, travelling, vector_of
from fl.task.objectives import Batch, Objective, objective_of
from fl.task.preflight import check_model
from fl.task.rows import Rows, rows_of
from fl.task.spec import TaskSpec
from fl.task.spelling import Spelling
from fl.task.strategies import described
from fl.task.trust import is_path
from fl.task.utility import ArraysModel, Utility, check_utility, committed

log = logging.getLogger(__name__)

_EXACT = 8  # clients up to which Shapley's value is cheap to the last coalition
_ANY_STAKE = "0.000000000000000001"  # tokens, which is 1 wei

Values = NDArray[Any] | Tensor
Validation = tuple[Values | tuple[Values, ...] | Mapping[str, Values], Values] | Mapping[str, Values] | Iterable[Any]


def paying(
    inner: Strategy,
    *,
    model: nn.Module | Mapping[str, Any],
    loss: nn.Module | Callable[[nn.Module, Batch], Tensor] | None = None,
    validation: Validation | None = None,
    clients: int,
    rounds: int,
    budget: str,
    deployment: str = "deployment.json",
    invite: str = "invite.json",
    bundles: str = "bundles",
    key: str | None = None,
    evaluators: Sequence[LocalAccount] = (),
    enrolment_s: float = 600.0,
    scorer: str | None = None,
    scorer_arguments: Mapping[str, Any] | None = None,
    trainable: str | Iterable[str] = ALL,
    block_bits: int = 16,
    utility: Callable[[dict[str, NDArray[Any]]], float] | None = None,
    simulate: bool = False,
    stakes: Sequence[str] | None = None,
) -> PayingStrategy:
    """Open a paid task on chain, wait until its clients have joined, and wrap the strategy.

    Writes the invite, which clients need for `fl join` and for their node configuration. If the invite is there already, its
    task is taken up again instead of opening another one. While the strategy runs, it refutes false challenges of its scores;
    afterwards that is for `fl watch`, until the task is closed.

    Args:
        inner: Any Flower strategy that aggregates a weighted sum, or Flower's FedMedian, FedTrimmedAvg or Bulyan.
        model: With its initial weights, which go to the chain as a hash. With `utility`, the arrays that the app sends.
        loss: A module that means over the samples of a batch, loss(model(x), y), or a function loss(model, batch) that gives one
            loss a row and takes batches as `validation` gives them: for models that return tuples, dicts or output objects.
        validation: What updates are scored on; its hash goes to the chain. (inputs, targets), where inputs may be a tuple of
            several; a dict of arrays; or batches of either, such as a DataLoader.
        clients: How many have to join before round 1.
        rounds: Of the task.
        budget: Tokens that all rounds together pay, in decimal; escrowed now. The coordinator's bond is as much again.
        deployment: File that `fl deploy` wrote.
        invite: File to write, or to take up again.
        bundles: Folder that takes one bundle a round.
        key: Keystore of sponsor and coordinator; on chain 31337 Anvil's first two test accounts if not set.
        evaluators: Accounts that recompute and sign each round in this process; the coordinator's own if none, which is
            fine on a devnet and proves nothing to anybody else.
        enrolment_s: Seconds to wait for the clients.
        scorer: The rule that pays, by name; any but the direction is attested by the evaluators and not provable on chain. The direction
            if not set; with `utility`, which has none, Shapley's value, sampled where there are many clients.
        scorer_arguments: Settings of that rule.
        trainable: What travels and is paid: all parameters that require a gradient, adapters (of peft), name patterns with
            commas such as `classifier.*`, or names, such as the initial `ArrayRecord` of an app that sends a part of its model. The
            rest stays as the initial arrays have it.
        block_bits: Of an update's values on the wire: 16, or 8 with error feedback.
        utility: What arrays are worth, larger for better, for a model without torch; instead of `loss`. `validation` is then whatever it
            measures on, for its hash, or nothing.
        simulate: Whether the app runs under Flower's simulation engine, on a chain of play money: the deployed one, or an Anvil that ends
            with this process. Partition i joins and signs with a published key, and everybody is paid out at the end. Bundles and invite
            go into a new folder under `simulated`.
        stakes: Tokens of each partition of a simulation; they are the weights of the mean. One each if not set.
    Raises: UnfitModel, UnfitOutput or ConfigError for a model, loss or validation set that does not work, before anything is
        escrowed; UnscorableStrategy; TooManyClients and TooFewToAggregate if so many can never be scored; ConfigError if the strategy waits for more nodes than `clients`; ChainError with what to do;
        TooFewClients after `enrolment_s`.
    """
    _check_kind(inner)
    check_scorable(inner)
    _check_clients(inner, clients=clients, stakes=stakes, simulate=simulate)
    given = _given(model, loss=loss, validation=validation, utility=utility)
    trainable = _trainable(trainable, given.model)
    built = choose(given.model, trainable)
    check_model(built, given.objective, given.rows)
    if utility is None:
        for doubt in doubts(built, given.objective, given.rows):
            log.warning("%s", doubt)
        check_whole(ValidationGame(built, loss=given.objective, rows=given.rows), vector_of(built))
    rule = scorer or ("direction" if utility is None else "shapley" if clients <= _EXACT else "leverage")
    spec = _spec(inner, built, given.rows, scorer=rule, scorer_arguments=scorer_arguments or {})
    spec = replace(spec, trainable=trainable, loss=_named(loss or utility), block_bits=block_bits).with_base(built)
    if utility is not None:
        spec = _without_gradients(spec)
    PaidScoring(spec, game=None).check_clients(clients)
    amounts = stakes_of(stakes, clients=clients) if simulate else []
    settings = TaskConfig(rounds=rounds, budget=budget, stake_per_sample=_ANY_STAKE)
    simulated = simulation(Path(deployment), accounts=2) if simulate else None
    where = simulated.deployment if simulated else Deployment.read(Path(deployment))
    sponsor, coordinator = _keys(None if simulated else key, chain_id=where.chain_id)
    signers = sorted(evaluators or [coordinator], key=lambda signer: int(signer.address, 16))
    invite_path = simulated.folder / "invite.json" if simulated else Path(invite)
    bundles_path = simulated.folder / "bundles" if simulated else Path(bundles)
    terms = terms_of(
        replace(settings, evaluators=len(signers), quorum=len(signers)),
        spec=spec,
        validation=given.rows.hash(),
        base_model=model_hash(vector_of(built)),
        token=where.token,
        coordinator=coordinator.address,
        evaluators=[signer.address for signer in signers],
        salt=bytes(32),
    )
    if invite_path.exists():
        task = _taken_up(invite_path, where=where, terms=terms, coordinator=coordinator)
    else:
        _check_unused(bundles_path)
        if simulated:
            simulated.fund({sponsor.address: terms.budget})
        # Bound to the invite's place, so that two tasks of one sponsor differ and a second start finds the first.
        named = f"{invite_path.resolve()}/{spec.to_json()}"
        task = _opened(where, named, terms=terms, sponsor=sponsor, coordinator=coordinator, leaps=simulate)
    _hold_bond(task)
    line = ""
    if simulated:
        line = simulated.join(task, spec=spec.to_json(), stakes=amounts)
        log.warning("simulated on chain %d at %s; its files are in %s", where.chain_id, where.url, simulated.folder)
    else:
        task.invite(url=where.url, spec=spec.to_json()).write(invite_path)
        log.warning("%s is the invite; waiting for %d clients to run `fl join`", invite, clients)
        task.wait_for_clients(clients, deadline_s=enrolment_s)

    def game() -> ValidationGame:
        return ValidationGame(built, loss=given.objective, rows=given.rows)

    return _RefutingStrategy(
        inner,
        task=task,
        spec=spec,
        game=game(),
        quorum=LocalQuorum(evaluators=[Evaluator(account=signer, spec=spec, game=game()) for signer in signers]),
        bundles=bundles_path,
        invite=task.invite(url=where.url, spec=spec.to_json()),
        simulation=simulated,
        settings=RoundSettings(simulated=line, resumable=simulated is None),
    )


class _RefutingStrategy(PayingStrategy):
    """Refutes false challenges of its scores while it runs; afterwards nothing of it is left that could."""

    def __init__(
        self, inner: Strategy, *, bundles: Path, invite: Invite, simulation: Simulation | None, **settings: Any
    ) -> None:
        super().__init__(inner, bundles=bundles, **settings)
        self._bundles, self._invite, self._simulation = bundles, invite, simulation
        self._spelling = Spelling()

    def __getattr__(self, name: str) -> Any:
        # What the app asks of its own strategy, such as a folder that it sets.
        if name.startswith("__") or "inner" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.inner, name)

    # Between the app and the task stand only names: the app's clients are sent, and answer by, the app's own.

    def _take_up(self, initial_arrays: ArrayRecord, num_rounds: int) -> tuple[int, ArrayRecord]:
        self._spelling = Spelling.of(self.game.model, initial_arrays)
        first, arrays = super()._take_up(self._by_module(initial_arrays), num_rounds)
        return first, self._by_app(arrays)

    def _open(self, number: int, arrays: ArrayRecord, *, hand: Any = None) -> Any:
        return super()._open(number, self._by_module(arrays), hand=hand)

    def _messages(self, *given: Any) -> list[Message]:
        messages = super()._messages(*given)
        for message in messages:
            request = TrainRequest.from_record(message.content.config_records[RECORD])
            message.content[RECORD] = replace(request, names=self._spelling.names(request.names)).to_record()
        return messages

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord | None]:
        """As the paying strategy's, by the app's names."""
        try:
            arrays, metrics = super().aggregate_train(server_round, replies)
        except (
            RoundDiffers
        ) as error:  # the same process, model and rows: what is left is a loss that went on in between
            raise ConfigError(
                f"the {error.what} of round {server_round} is another one when it is computed again; let the loss go by model and batch alone, "
                "and not by what changes as rounds go on, such as another network, a schedule or what it keeps"
            ) from error
        return self._by_app(arrays), metrics

    def _by_module(self, arrays: ArrayRecord) -> ArrayRecord:
        return ArrayRecord(self._spelling.to_module(arrays)) if self._spelling.told else arrays

    def _by_app(self, arrays: ArrayRecord) -> ArrayRecord:
        return ArrayRecord(self._spelling.to_app(arrays)) if self._spelling.told or self._spelling.tied else arrays

    def start(self, *given: Any, **named: Any) -> Result:
        """As the paying strategy's."""
        if self._simulation is not None:
            _tell_of_nodes(named["grid"] if "grid" in named else given[0], clients=len(self.task.enrolments()))
        with refuting_challenges(self._invite, bundles=self._bundles, account=self.task.coordinator):
            result = super().start(*given, **named)
        state, last = self.task.state(), self._before
        if last.leaves and not any(leaf.cumulative for leaf in last.leaves):
            log.warning(
                "nobody has earned anything: over all rounds together no client took anything off the loss on the validation rows; see that "
                "clients minimise what is measured there, with steps that are not too long"
            )
        if state.posted < state.rounds:
            log.warning(
                "still to come of the task: round%s %s; start again for %s",
                "s" if state.rounds - state.posted > 1 else "",
                ranges(range(state.posted + 1, state.rounds + 1)),
                "them" if state.rounds - state.posted > 1 else "it",
            )
            if self._simulation is not None and last.header is not None:
                lines = self._simulation.earned(self.task, last.leaves)
                log.warning("earned in %s so far:\n%s", plural(state.posted, "round"), "\n".join(lines))
        elif self._simulation is not None:
            if last.header is not None and state.status == Status.STARTED:
                lines = self._simulation.pay_out(self.task, last.header, last.leaves)
                log.warning("all rounds are on chain, and everybody is paid out:\n%s", "\n".join(lines))
        else:
            log.warning(
                "all rounds are on chain; scores can be challenged until the task is closed, so run `fl watch INVITE bundles=%s "
                "key=KEYSTORE` until then: it refutes what is false",
                self._bundles,
            )
        return result


def _tell_of_nodes(grid: Grid, *, clients: int) -> None:
    """Say which partitions of a simulation are no clients, or clients whose partition there is not."""
    nodes = len(list(grid.get_node_ids()))
    if nodes == clients:
        return
    odd = ranges(range(min(nodes, clients), max(nodes, clients)))
    many = "s" if abs(nodes - clients) > 1 else ""
    log.warning(
        "the simulation has %s, and clients is %d: partition%s %s %s; give both one number (num-supernodes sets that of nodes)",
        plural(nodes, "node"),
        clients,
        many,
        odd,
        "cannot be paid" if nodes > clients else "will earn nothing",
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Given:
    """What is trained and measured, in the forms that the rest takes."""

    model: nn.Module  # a copy
    objective: Objective
    rows: Rows


def _given(model: Any, *, loss: Any, validation: Any, utility: Any) -> _Given:
    if utility is None:
        if loss is None or validation is None:
            raise ConfigError(
                "loss and validation are missing, which updates are scored on; or give utility=(arrays) -> float"
            )
        if isinstance(model, type) or isinstance(loss, type):
            named, made = ("model", model) if isinstance(model, type) else ("loss", loss)
            raise ConfigError(
                f"{named} is the class {made.__name__}; give one that is built, such as {made.__name__}()"
            )
        if not callable(loss):
            raise ConfigError(
                f"loss is {loss!r}; give a module such as nn.CrossEntropyLoss(), or a function loss(model, batch)"
            )
        if not isinstance(model, nn.Module):
            raise ConfigError(
                f"the model is a {type(model).__name__}; give a torch module, or utility=(arrays) -> float for arrays"
            )
        rows = rows_of(validation)
        travelling(model)  # before a copy parts what shares memory
        return _Given(model=_copied(model), objective=objective_of(loss), rows=rows)
    if loss is not None:
        raise ConfigError("both loss and utility are set; give utility for arrays, or loss for a torch module")
    if isinstance(model, nn.Module) or not isinstance(model, Mapping):
        raise ConfigError(
            f"utility values arrays by name, and the model is a {type(model).__name__}; give the ArrayRecord that the app starts from, "
            "or loss for a torch module"
        )
    arrays, objective = ArraysModel(model), Utility(utility)
    check_utility(arrays, objective)
    return _Given(model=arrays, objective=objective, rows=committed(validation))


def _trainable(told: str | Iterable[str], model: nn.Module) -> str:
    """Name patterns with commas; initial arrays are meant by the model's names: in their order if they are a list."""
    if isinstance(told, Mapping):
        named = named_by(model, told)
        told = Spelling.of(model, told).to_module(told) if named is None else named
    return told if isinstance(told, str) else ",".join(told)


def _spec(
    inner: Strategy, model: nn.Module, rows: Rows, *, scorer: str, scorer_arguments: Mapping[str, Any]
) -> TaskSpec:
    strategy, arguments = described(inner)
    scorer, scorer_arguments = paid_rule(
        strategy=strategy, strategy_arguments=arguments, scorer=scorer, scorer_arguments=scorer_arguments
    )
    return TaskSpec(
        model=f"{type(model).__module__}:{type(model).__qualname__}",
        feature_shape=tuple(rows.features.shape[1:]),
        num_classes=1 if rows.labels.is_floating_point() else max(1, int(rows.labels.max()) + 1),
        training="app",
        strategy=strategy,
        strategy_arguments=arguments,
        scorer=scorer,
        scorer_arguments=scorer_arguments,
    )


def _without_gradients(spec: TaskSpec) -> TaskSpec:
    """The spec of a utility. Raises: ConfigError for the direction."""
    if not spec.attested:
        raise ConfigError(
            "scorer=direction goes by gradients, and a utility has none; leave scorer out, or set scorer=leverage"
        )
    return replace(spec, public_rounds=0)  # a public step goes by the gradient too


def _keys(key: str | None, *, chain_id: int) -> tuple[LocalAccount, LocalAccount]:
    if key:
        account = open_keystore(Path(key), password=ask_password(Path(key)))
        return account, account
    return anvil_account(0, chain_id=chain_id), anvil_account(1, chain_id=chain_id)


def _hold_bond(task: PaidTask) -> None:
    """See before any client trains that the coordinator has its bond; on a devnet anybody may mint it."""
    owner, bond = task.coordinator.address, task.terms.bond
    held = task.token.balance(owner)
    if task.state().status != Status.OPEN or held >= bond:
        return
    try:
        task.token.mint(owner, bond - held, account=task.coordinator)
    except ChainError as error:
        raise TokenTooLow(address=owner, balance=held, needed=bond, purpose="coordinator's bond") from error


def _opened(
    where: Deployment, named: str, *, terms: Terms, sponsor: LocalAccount, coordinator: LocalAccount, leaps: bool
) -> PaidTask:
    """Open the task of a name, or a further one where that was used up; one that was opened and that nobody joined is taken."""
    _, escrow, _ = where.connect()
    salt, is_open = salt_under(escrow, named, terms=terms, sponsor=sponsor.address)
    if is_open:
        task_id = escrow.task_id(sponsor.address, salt)
        return PaidTask.attach(where, task_id=task_id, coordinator=coordinator, leaps=leaps)
    return PaidTask.open(where, terms=replace(terms, salt=salt), sponsor=sponsor, coordinator=coordinator, leaps=leaps)[
        0
    ]


def _taken_up(path: Path, *, where: Deployment, terms: Terms, coordinator: LocalAccount) -> PaidTask:
    """The invite's task, if it is the one that is asked for. Raises: ConfigError with each difference, or for a task that is gone."""
    invite = Invite.read(path)
    anew = f"start it without them, or remove {path} to open another task"
    if (invite.chain_id, invite.contract) != (where.chain_id, where.contract):
        raise ConfigError(
            f"{path} names a task of contract {invite.contract} on chain {invite.chain_id}, and the deployment file has {where.contract} on "
            f"chain {where.chain_id}; give the deployment file of that task, or remove {path} to open another one"
        )
    try:
        task = PaidTask.from_invite(path, coordinator=coordinator)
    except NoTask as error:
        raise ConfigError(
            f"{path} names the task {invite.task_id[:10]}…, which chain {invite.chain_id} does not have: a devnet that was reset has lost it; "
            f"remove {path} to open another task"
        ) from error
    if changes := terms_that_differ(task.terms, terms):
        raise ConfigError(f"{path} names a task that was opened with other settings: {'; '.join(changes)}; {anew}")
    return task


def _check_unused(bundles: Path) -> None:
    if found := sorted(bundles.glob("round-*")):
        raise ConfigError(
            f"bundles is {bundles}, which has {plural(len(found), 'round')} of another task; move it away, or name another folder: with the "
            "invite of that task it would be taken up again"
        )


def _check_clients(inner: Strategy, *, clients: int, stakes: Sequence[str] | None, simulate: bool) -> None:
    wanted = max(getattr(inner, name, 0) for name in ("min_available_nodes", "min_train_nodes"))
    if clients < wanted:
        raise ConfigError(
            f"clients is {clients} and {type(inner).__name__} waits for {plural(wanted, 'node')}; raise clients, or lower its "
            "min_available_nodes and min_train_nodes"
        )
    if stakes is not None and not simulate:
        raise ConfigError(
            "stakes are for a simulation; on a chain of its own every client sets its stake when it joins"
        )


def _check_kind(inner: object) -> None:
    if not isinstance(inner, Strategy) or not hasattr(inner, "configure_train"):
        name = type(inner).__name__
        raise ConfigError(
            f"the strategy is a {name} of {type(inner).__module__}, which has no configure_train; use the class of that name in "
            "flwr.serverapp.strategy, whose rounds are messages"
        )


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)  # so that what is frozen here is not frozen in the app
    except Exception as error:
        raise ConfigError(f"the model cannot be copied ({error}), and scoring works on copies") from error


def _named(loss: object) -> str:
    """A loss by its import path, for people to read: the app's own is not built from the spec."""
    of = loss if hasattr(loss, "__qualname__") else type(loss)
    path = f"{of.__module__}:{of.__qualname__}"
    return path if is_path(path) else "fl.task.objectives:Function"
