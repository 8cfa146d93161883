"""The paying strategy: wraps a Flower strategy whose aggregate can be scored, and settles each of its rounds on chain.

`aggregate_train` reads as the script of a round: gather, settle, sign, post, report. Each step is written down when it is
done, so that a coordinator that was killed goes on where it was (see `fl.coordinator.round.journal`).
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from numpy.typing import NDArray

from fl.aggregation.null_grid import NullGrid
from fl.aggregation.replay import prepare, replay
from fl.audit.budget import PrivacyBudget
from fl.audit.masked import follow_masked, setting_in
from fl.audit.public_state import PublicState
from fl.audit.strategy_state import participants_of, remembers
from fl.bundle.format import Bundle
from fl.bundle.store import BundleStore
from fl.chain.paid_task import PaidTask
from fl.chain.typed_data import header_hash
from fl.codec import is_list, model_hash
from fl.coordinator.quorum.local import EvaluatorQuorum
from fl.coordinator.round.clock import RoundClock
from fl.coordinator.round.collect import AcceptedUpdate, Refusal
from fl.coordinator.round.gather import InHand, gather, in_hand
from fl.coordinator.round.journal import Journal
from fl.coordinator.round.masked_rounds import MaskedRounds
from fl.coordinator.round.masked_settle import masked_participants
from fl.coordinator.round.node_accounts import NodeAccounts, Receipted
from fl.coordinator.round.opening import OpenRound, RoundsBefore, open_round
from fl.coordinator.round.own_start import driving, has_own_start
from fl.coordinator.round.posting import post_round, sign_round
from fl.coordinator.round.report import read_round, report_of
from fl.coordinator.round.resume import LostRound, PastRounds, resume_task
from fl.coordinator.round.settings import RoundHooks, RoundSettings
from fl.coordinator.round.settle import SettledRound, settle_updates
from fl.errors import ConfigError
from fl.protocol import RECORD
from fl.rewards import Participant
from fl.rewards.tree import NO_UPDATE
from fl.scoring.game import ValidationGame
from fl.scoring.paid import PaidScoring
from fl.task.held_arrays import Records, of_kind, record_of, seen
from fl.task.model_vector import named_by
from fl.task.spec import TaskSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Current:
    """The round at hand, from the first message to the report."""

    opened: OpenRound
    clock: RoundClock
    hand: InHand


class PayingStrategy(Strategy):
    """A Flower strategy that pays.

    Args:
        inner: Any Flower strategy that aggregates a weighted sum, or Flower's FedMedian, FedTrimmedAvg or Bulyan; it sees
            ordinary replies, weighted by stake.
        task: The task on chain, with the coordinator's key.
        spec: What its hash on chain stands for.
        game: The loss on the validation set whose hash is on chain.
        quorum: Evaluators who sign each header after recomputing it; the task's quorum of them has to agree.
        bundles: Folder that takes one bundle a round, and the journal.
        settings: What is the same in every round.
        hooks: What is called as the rounds go on.
    Raises: UnscorableStrategy; ConfigError if spec, validation set or evaluators are not those of the task.
    """

    def __init__(
        self,
        inner: Strategy,
        *,
        task: PaidTask,
        spec: TaskSpec,
        game: ValidationGame,
        quorum: EvaluatorQuorum,
        bundles: Path,
        settings: RoundSettings = RoundSettings(),  # noqa: B008 (frozen)
        hooks: RoundHooks = RoundHooks(),  # noqa: B008
    ) -> None:
        scoring = PaidScoring(spec, game=game)
        scoring.check_strategy(inner)
        _check_task(task, spec=spec, game=game, quorum=quorum)
        self.inner, self.task, self.spec, self.game, self.scoring = inner, task, spec, game, scoring
        self.quorum, self.journal = quorum, Journal(bundles, resumable=settings.resumable)
        self.settings, self.hooks = settings, hooks
        self.nodes = NodeAccounts(simulated=settings.simulated)
        self.masked = (
            MaskedRounds(inner, scoring=scoring, journal=self.journal, nodes=self.nodes)
            if spec.private.masked
            else None
        )
        self._budget = PrivacyBudget(spec)
        # What an app's own strategy remembers nobody knows, so it is taken through every round too.
        self._follows = remembers(spec) or spec.training == "app"
        self._before = RoundsBefore()
        self._current: _Current | None = None

    def summary(self) -> None:
        """Log the inner strategy's settings."""
        self.inner.summary()

    def start(  # noqa: PLR0917 (Flower's own signature; it reads as the script of a task)
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 0,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
        **own: object,
    ) -> Result:
        """Close the enrolment and run the task's rounds, from the first that is not on chain.

        A strategy with a `start` of its own runs that, and its rounds are paid.

        Args:
            initial_arrays: The task's model; in a further call the model after the rounds before.
            num_rounds: All that are left unless it is set: an app may start round by round.
            timeout: Seconds that nodes have to answer.
            evaluate_fn: Called with each round and its model, and before the first one with round 0.
            own: Further arguments of a strategy's own `start`.
        Raises: ConfigError if `num_rounds` or the initial model is not the task's; LostRound if a round is on chain that
            this coordinator knows nothing of.
        """
        first, arrays = self._take_up(initial_arrays, num_rounds)
        last = min(self.task.terms.rounds, first + num_rounds - 1) if num_rounds else self.task.terms.rounds
        if first > last:
            return Result(arrays=arrays)
        if self.masked is not None:
            self.masked.reach(grid, timeout=timeout)
        self.task.start()
        if has_own_start(self.inner):
            given = {
                "train_config": train_config,
                "evaluate_config": evaluate_config,
                "evaluate_fn": evaluate_fn,
                **own,
            }
            named = {name: value for name, value in given.items() if value is not None}
            loop = driving(self.inner, self, before=first - 1)
            return loop.start(grid, arrays, num_rounds=last - first + 1, timeout=timeout, **named)
        if own:
            raise TypeError(f"{type(self.inner).__name__}.start has no argument {next(iter(own))}")
        train_config, evaluate_config = train_config or ConfigRecord(), evaluate_config or ConfigRecord()
        result = Result(arrays=arrays)
        if evaluate_fn and first == 1 and (metrics := evaluate_fn(0, arrays)) is not None:
            result.evaluate_metrics_serverapp[0] = metrics
        for number in range(first, last + 1):
            if number > self.task.state().rounds:
                break  # the sponsor stopped the task
            replies = _drained(grid.send_and_receive(self.asks(number, arrays, train_config, grid), timeout=timeout))
            arrays, trained = self.aggregate_train(number, replies)
            result.arrays = arrays
            if trained is not None:
                result.train_metrics_clientapp[number] = trained
            asked = self.configure_evaluate(number, arrays, evaluate_config, grid)
            if asked:
                told = self.aggregate_evaluate(number, grid.send_and_receive(asked, timeout=timeout))
                if told is not None:
                    result.evaluate_metrics_clientapp[number] = told
            if evaluate_fn and (metrics := evaluate_fn(number, arrays)) is not None:
                result.evaluate_metrics_serverapp[number] = metrics
        return result

    def _take_up(self, initial_arrays: ArrayRecord, num_rounds: int) -> tuple[int, ArrayRecord]:
        """The round that is next, and the model before it: the initial one, the last round's, or what a killed coordinator left."""
        if num_rounds > self.task.terms.rounds:
            raise ConfigError(
                f"num_rounds is {num_rounds}, the task on chain has {self.task.terms.rounds}; leave it out"
            )
        if is_list(initial_arrays) and self.game.layout.names[0] not in initial_arrays:
            initial_arrays = self._named(initial_arrays)
        named = _numpy(initial_arrays)
        if absent := [name for name in self.game.layout.names if name not in named]:
            raise ConfigError(
                f"the initial arrays have no {', '.join(absent[:4])}{', …' if len(absent) > 4 else ''}, which the task pays for; open "
                "it with trainable=initial_arrays, so that what is sent is what is paid"
            )
        base = model_hash(self.game.layout.flatten(named))
        if (last := self._before.header) is not None:  # the app starts again, for a round or some more
            if base != last.next_model:
                raise ConfigError(
                    f"the model is not the one after round {last.round}; go on with the arrays of that start's result"
                )
            return last.round + 1, initial_arrays
        if base != self.task.terms.base_model:
            raise ConfigError(
                "the initial model is not the one that the task was opened with; build it from the spec, "
                "whose seed fixes the weights"
            )
        past = resume_task(self.task, self.journal, follow=self._replay if self._follows else None)
        if past is None:
            return 1, initial_arrays
        self._go_on_from(past)
        return past.header.round + 1, _record(
            {**named, **past.layout.unflatten(past.model), **self._statistics(past.model, named)}
        )

    def _named(self, listed: ArrayRecord) -> ArrayRecord:
        """Arrays that an app gives as a list, by the model's names. Raises: ConfigError if they are not the model's in its order."""
        named = named_by(self.game.model, listed)
        if named is None:
            raise ConfigError(
                f"the initial arrays are a list of {len(listed)}, which in number or shapes is not the model's, whose state has "
                f"{len(self.game.model.state_dict())} arrays; start with ArrayRecord(model.state_dict())"
            )
        log.warning("the initial arrays have no names; they are taken in the model's order: %s", ", ".join(named))
        return ArrayRecord(named)

    # ---- Flower's four steps -----------------------------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask the inner strategy whom to train, and tell each node what to sign for.

        Args:
            server_round: Its number.
            arrays: The model.
            config: For the nodes.
            grid: Connects them.
        """
        if self.masked is not None:
            self.masked.reach(grid)
        return self._messages(self._open(server_round, arrays, hand=InHand()), arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord | None]:
        """Settle the round: what the inner strategy returns is the next model, and the round is on chain."""
        current = self._current
        if current is None or current.opened.number != server_round:
            raise ConfigError(f"round {server_round} was not opened; call configure_train for it first")
        opened, clock, hand = current.opened, current.clock, current.hand
        folder = self.journal.bundle(server_round)
        clock.answered()
        refusals: Sequence[Refusal] = ()
        if self.masked is not None:
            updates, settled = self.masked.play(replies, opened, hand=hand, clock=clock)
        else:
            with clock.step("checking"):
                updates, refusals = gather(replies, opened, hand=hand, journal=self.journal, owners=self.nodes.owners)
            settled = self._settle(current, updates)
        bundle = settled.bundle
        signed = sign_round(folder, bundle, opened, task=self.task, quorum=self.quorum, clock=clock)
        with clock.step("posting"):
            posting = post_round(self.task, signed.header, signatures=signed.signatures)
            # Whoever scoring had to leave out has no update in its leaf, and a receipt would prove an omission.
            taken = {participant.account for participant in settled.participants}
            receipts = self._give_receipts(server_round, [update for update in updates if update.account in taken])
        with clock.step("reporting"):
            reading = read_round(opened, settled, scoring=self.scoring, most_clients=self.settings.read_clients)
            told = report_of(
                opened,
                settled,
                signed,
                posting,
                scoring=self.scoring,
                folder=folder,
                refusals=refusals,
            )
        clock.seconds["training"] = sum(update.seconds_training for update in updates)
        clock.seconds["signing"] = sum(update.seconds_signing for update in updates)
        epsilon = self._budget.after(bundle, enrolments=opened.chain.enrolments, domain=opened.chain.domain)
        self.hooks.on_round(replace(told, receipts=receipts, reading=reading, seconds=clock.seconds, epsilon=epsilon))
        self._before = self._before.and_then(signed.header, bundle, public_rounds=self.spec.public_rounds)
        self.journal.forget(server_round)
        following = {
            **opened.layout.unflatten(bundle.next),
            **opened.constants,
            **self._statistics(bundle.next, opened.constants),
        }
        # In the order in which they came: an app may read them as a list.
        return _record({name: following[name] for name in opened.names}), settled.metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's.

        Args:
            server_round: Its number.
            arrays: The model.
            config: For the nodes.
            grid: Connects them.
        """
        with _seeded(self.settings.seed, server_round):
            return list(self.inner.configure_evaluate(server_round, arrays, config, grid))

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """The inner strategy's."""
        return self.inner.aggregate_evaluate(server_round, replies)

    # ---- the steps of a round ----------------------------------------------------------------------------------------

    def asks(self, number: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> list[Message]:
        """The messages that a round still has to send: all, or after a crash those whose answers are not in hand.

        Args:
            number: Of the round.
            arrays: The model.
            config: For the nodes.
            grid: Connects them.
        """
        current = self._open(number, arrays)
        if current.hand.scored is not None:
            return []
        if current.hand.is_complete:
            prepare(self.inner, number, base=current.opened.base, layout=current.opened.layout)
            return []
        messages = self._messages(current, arrays, config, grid)
        return [message for message in messages if current.hand.asks(message.metadata.dst_node_id)]

    def _open(self, number: int, arrays: ArrayRecord, *, hand: InHand | None = None) -> _Current:
        """The round, with what an earlier life of this coordinator had of it where `hand` does not say."""
        clock = RoundClock(number, on_phase=self.hooks.on_phase)
        opened = open_round(self.task, number, arrays, spec=self.spec, layout=self.game.layout, before=self._before)
        hand = in_hand(opened, journal=self.journal) if hand is None else hand
        self._current = _Current(opened=opened, clock=clock, hand=hand)
        return self._current

    def _messages(self, current: _Current, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> list[Message]:
        opened = current.opened
        members = NullGrid(lambda: self.nodes.to_ask(grid, opened, await_nodes=self.hooks.await_nodes), grid=grid)
        model = _record(opened.layout.unflatten(opened.base))
        with _seeded(self.settings.seed, opened.number):
            messages = list(self.inner.configure_train(opened.number, model, config, members))
        for message in messages:
            content = Records(message.content)  # a copy: the inner strategy shares one record between all nodes
            records = of_kind(content, ArrayRecord)  # a strategy of the app's own may send others beside the model
            name = next((name for name, record in records.items() if record is model), next(iter(records)))
            content[name] = arrays
            request = self.nodes.request_for(message.metadata.dst_node_id, opened)
            content[RECORD] = replace(request, record=name).to_record()
            message.content = content
        return messages

    def _settle(self, current: _Current, updates: Sequence[AcceptedUpdate]) -> SettledRound:
        opened, scored = current.opened, current.hand.scored
        if scored is not None:
            if scored.task_id != opened.task_id or model_hash(scored.base) != opened.base_model:
                folder = self.journal.bundle(scored.round)
                raise LostRound(round_number=scored.round, problem=f"the bundle at {folder} is of another task")
            return SettledRound(bundle=scored, participants=self._replay(scored), refusals=(), metrics=None)
        settled = settle_updates(opened, updates, inner=self.inner, scoring=self.scoring, step=current.clock.step)
        with current.clock.step("bundling"):
            self.journal.keep_bundle(settled.bundle)
        return settled

    def _replay(self, bundle: Bundle) -> tuple[Participant, ...]:
        """Take the inner strategy through a round that is written down, so that it remembers it."""
        if bundle.masked is not None:
            setting = setting_in(bundle, enrolments=self.task.enrolments(), domain=self.task.domain, spec=self.spec)
            follow_masked(self.inner, bundle, setting=setting)
            return masked_participants(bundle)
        participants = participants_of(bundle, spec=self.spec)
        try:
            replay(self.inner, bundle.round, participants, base=bundle.base, layout=bundle.layout, cap=bundle.length)
        except Exception as error:
            if self.spec.training != "app":
                raise
            raise LostRound(
                round_number=bundle.round,
                problem=f"{type(self.inner).__name__} cannot be taken through it again ({type(error).__name__}: {error}); it goes by "
                "more than models and metrics, and what clients sent beside these is gone",
            ) from error
        return tuple(participants)

    def _go_on_from(self, past: PastRounds) -> None:
        state = PublicState(self.spec, BundleStore.at(str(self.journal.bundle(1).parent)))
        if self.spec.private.noise != "none":
            self._budget.catch_up(
                past.header.round,
                BundleStore.at(str(self.journal.bundle(1).parent)),
                enrolments=self.task.enrolments(),
                domain=self.task.domain,
            )
        public = state.before(past.header.round + 1, previous=header_hash(past.header))
        self._before = RoundsBefore(header=past.header, leaves=past.leaves, public=public)
        for leaf in past.leaves:
            if leaf.update_root != NO_UPDATE:
                self._give_receipt(past.header.round, leaf.account, leaf.update_root)

    def _give_receipts(self, number: int, updates: Sequence[AcceptedUpdate]) -> dict[str, bytes]:
        for update in updates:
            self.nodes.note_sender(update.node_id, update.account)
        return {update.account: self._give_receipt(number, update.account, update.root) for update in updates}

    def _give_receipt(self, number: int, account: str, root: bytes) -> bytes:
        receipt = self.task.receipt(round_number=number, client=account, update_root=root)
        self.nodes.keep_receipt(account, Receipted(round=number, root=root, receipt=receipt))
        return receipt

    def _statistics(self, model: NDArray[np.float32], sent: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The batch norms' statistics at a model, as far as they are sent along: clients start from them."""
        self.scoring.measure(model)
        return {name: array for name, array in self.scoring.statistics.items() if name in sent}


def _check_task(task: PaidTask, *, spec: TaskSpec, game: ValidationGame, quorum: EvaluatorQuorum) -> None:
    if spec.hash() != task.terms.spec_hash:
        raise ConfigError(
            f"the spec's hash is 0x{spec.hash().hex()}, the task on chain has 0x{task.terms.spec_hash.hex()}; use the "
            "spec that the task was opened with"
        )
    if game.validation_hash != task.terms.validation_hash:
        raise ConfigError(
            f"the validation set's hash is 0x{game.validation_hash.hex()}, the task on chain has "
            f"0x{task.terms.validation_hash.hex()}; score on the set that the task was opened with"
        )
    known = quorum.addresses & set(task.terms.evaluators)
    if len(known) < task.terms.quorum:
        raise ConfigError(
            f"{len(known)} of the task's evaluators are here, its quorum is {task.terms.quorum}; start those that "
            "the task was opened with"
        )
    if task.terms.attested != spec.attested:
        raise ConfigError(
            f"the task on chain has attested={task.terms.attested}, and scorer={spec.scorer} makes it {spec.attested}; open "
            "the task with that"
        )


@contextmanager
def _seeded(seed: int, server_round: int) -> Iterator[None]:
    # Flower samples nodes with the global `random`; seed it for the call, and put it back as it was.
    state = random.getstate()
    random.seed(f"{seed}/{server_round}")
    try:
        yield
    finally:
        random.setstate(state)


def _drained(replies: Iterable[Message]) -> Iterator[Message]:
    """The replies one by one, none of which is kept for those behind it."""
    waiting = deque(replies)
    while waiting:
        yield waiting.popleft()


def _numpy(arrays: ArrayRecord) -> dict[str, NDArray[Any]]:
    return {name: seen(array) for name, array in arrays.items()}


def _record(arrays: dict[str, NDArray[Any]]) -> ArrayRecord:
    return record_of({name: np.asarray(array, order="C") for name, array in arrays.items()}, shared=True)
