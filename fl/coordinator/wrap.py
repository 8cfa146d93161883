"""One call that makes a Flower strategy a paying one: for your own ServerApp."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount
from flwr.serverapp.strategy import Result, Strategy
from numpy.typing import NDArray
from torch import Tensor, nn

from fl.aggregation.selection import check_scorable
from fl.audit.evaluators.local import Evaluator
from fl.chain.accounts import anvil_account, ask_password, open_keystore
from fl.chain.deployment import Deployment
from fl.chain.errors import ChainError, TokenTooLow
from fl.chain.escrow import Status, Terms
from fl.chain.invite import Invite
from fl.chain.paid_task import PaidTask
from fl.chain.tokens import wei
from fl.codec import model_hash
from fl.coordinator.config import TaskConfig
from fl.coordinator.lifecycle.refuter import refuting_challenges
from fl.coordinator.quorum.local import LocalQuorum
from fl.coordinator.round.strategy import PayingStrategy
from fl.errors import ConfigError
from fl.scoring.game import ValidationGame
from fl.scoring.paid import PaidScoring, paid_rule
from fl.task.data import Dataset
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec, dataset_hash
from fl.task.strategies import described

log = logging.getLogger(__name__)


def paying(
    inner: Strategy,
    *,
    model: nn.Module,
    loss: nn.Module,
    validation: tuple[NDArray | Tensor, NDArray | Tensor],
    clients: int,
    rounds: int,
    budget: str,
    deployment: str = "deployment.json",
    invite: str = "invite.json",
    bundles: str = "bundles",
    key: str | None = None,
    evaluators: Sequence[LocalAccount] = (),
    enrolment_s: float = 600.0,
    scorer: str = "direction",
    scorer_arguments: Mapping[str, Any] | None = None,
) -> PayingStrategy:
    """Open a paid task on chain, wait until its clients have joined, and wrap the strategy.

    Writes the invite, which clients need for `fl join` and for their node configuration. If the invite is there already, its
    task is taken up again instead of opening another one. While the strategy runs, it refutes false challenges of its scores;
    afterwards that is for `fl watch`, until the task is closed.

    Args:
        inner: Any Flower strategy that aggregates a weighted sum, or Flower's FedMedian, FedTrimmedAvg or Bulyan.
        model: With its initial weights, which go to the chain as a hash.
        loss: Means over the samples of a batch.
        validation: Inputs and targets that updates are scored on; their hash goes to the chain.
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
        scorer: The rule that pays, by name; any but the direction is attested by the evaluators and not provable on chain.
        scorer_arguments: Settings of that rule.
    Raises: UnscorableStrategy; TooManyClients and TooFewToAggregate if so many can never be scored; ConfigError if the strategy waits for more nodes than `clients`; ChainError with what to do;
        TooFewClients after `enrolment_s`.
    """
    check_scorable(inner)
    wanted = max(getattr(inner, name, 0) for name in ("min_available_nodes", "min_train_nodes"))
    if clients < wanted:
        raise ConfigError(
            f"clients is {clients} and {type(inner).__name__} waits for {wanted} nodes; raise clients, or lower its "
            "min_available_nodes and min_train_nodes"
        )
    where = Deployment.read(Path(deployment))
    sponsor, coordinator = _keys(key, chain_id=where.chain_id)
    signers = sorted(evaluators or [coordinator], key=lambda one: int(one.address, 16))
    data = Dataset(features=_array(validation[0]), labels=_array(validation[1]))
    spec = _spec(inner, model, data, scorer=scorer, scorer_arguments=scorer_arguments or {})
    PaidScoring(spec, game=None).check_clients(clients)
    if Path(invite).exists():
        task = PaidTask.from_invite(Path(invite), coordinator=coordinator)
    else:
        defaults = TaskConfig(rounds=rounds, budget=budget)
        terms = Terms(
            token=where.token,
            coordinator=coordinator.address,
            evaluators=tuple(one.address for one in signers),
            quorum=len(signers),
            attested=spec.attested,
            reveal_each_round=defaults.reveal == "round",
            rounds=rounds,
            challenge_window=defaults.challenge_window,
            response_window=defaults.response_window,
            round_timeout=defaults.round_timeout,
            claim_period=defaults.claim_period,
            budget=wei(budget, setting="budget"),
            bond=wei(budget, setting="budget"),
            min_stake=1,
            max_stake=wei(defaults.max_stake, setting="max_stake"),
            spec_hash=spec.hash(),
            validation_hash=dataset_hash(data),
            base_model=model_hash(vector_of(model)),
            # Bound to the invite's place, so that two tasks of one sponsor differ and a second start finds the first.
            salt=hashlib.sha256(f"{Path(invite).resolve()}/{spec.to_json()}".encode()).digest(),
        )
        task, _ = PaidTask.open(where, terms=terms, sponsor=sponsor, coordinator=coordinator)
        task.invite(url=where.url, spec=spec.to_json()).write(Path(invite))
    _hold_bond(task)
    log.warning("%s is the invite; waiting for %d clients to run `fl join`", invite, clients)
    task.wait_for_clients(clients, deadline_s=enrolment_s)

    def game() -> ValidationGame:
        return ValidationGame(model, loss=loss, features=data.features, labels=data.labels)

    return _GuardedStrategy(
        inner,
        task=task,
        spec=spec,
        game=game(),
        quorum=LocalQuorum(evaluators=[Evaluator(account=one, spec=spec, game=game()) for one in signers]),
        bundles=Path(bundles),
        invite=task.invite(url=where.url, spec=spec.to_json()),
    )


class _GuardedStrategy(PayingStrategy):
    """Refutes false challenges of its scores while it runs; afterwards nothing of it is left that could."""

    def __init__(self, inner: Strategy, *, bundles: Path, invite: Invite, **settings: Any) -> None:
        super().__init__(inner, bundles=bundles, **settings)
        self._bundles, self._invite = bundles, invite

    def start(self, *given: Any, **named: Any) -> Result:
        """As the paying strategy's."""
        with refuting_challenges(self._invite, bundles=self._bundles, account=self.task.coordinator):
            result = super().start(*given, **named)
        log.warning(
            "all rounds are on chain; scores can be challenged until the task is closed, so run `fl watch INVITE bundles=%s "
            "key=KEYSTORE` until then: it refutes what is false",
            self._bundles,
        )
        return result


def _spec(
    inner: Strategy, model: nn.Module, data: Dataset, *, scorer: str, scorer_arguments: Mapping[str, Any]
) -> TaskSpec:
    strategy, arguments = described(inner)
    scorer, scorer_arguments = paid_rule(
        strategy=strategy, strategy_arguments=arguments, scorer=scorer, scorer_arguments=scorer_arguments
    )
    return TaskSpec(
        model=f"{type(model).__module__}:{type(model).__qualname__}",
        feature_shape=data.features.shape[1:],
        num_classes=int(data.labels.max()) + 1 if data.labels.dtype.kind in "iu" else 1,
        training="app",
        strategy=strategy,
        strategy_arguments=arguments,
        scorer=scorer,
        scorer_arguments=scorer_arguments,
    )


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


def _array(values: NDArray | Tensor) -> NDArray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values
