"""The paying strategy: wraps any Flower strategy whose aggregate is a weighted sum, and settles each of its rounds on chain.

`aggregate_train` reads as the script of a round: collect, weigh, score, aggregate, settle, bundle, evaluate, post.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from numpy.typing import NDArray

from fl.audit.bundle import Bundle, BundledUpdate, write_header
from fl.audit.evaluator import Evaluator
from fl.audit.recompute import ChainView
from fl.chain.paid_task import PaidTask
from fl.chain.typed_data import ZERO_HASH, Header, signer_of
from fl.codec import Blocks, Layout, UnencodableVector, block_root, model_hash
from fl.coordinator.collect import AcceptedUpdate, Refusal, collect
from fl.coordinator.protocol import RECORD, TrainRequest
from fl.errors import ConfigError, FairshareError
from fl.rewards import WEIGHT_ONE, Account, Leaf, Participant, RoundTree, cap_q64, pot_of, settle, weigh
from fl.scoring.direction import direction, weighted_step
from fl.scoring.duplicates import duplicate_groups, share_stakes
from fl.scoring.game import ValidationGame
from fl.scoring.inputs import BlockUpdates, RoundInputs
from fl.scoring.reading import ScoreReading, read_scores
from fl.scoring.selection import check_scorable, content_for, selected_by
from fl.task.spec import TaskSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class RoundReport:
    """What one round came to, for reports and progress bars."""

    round: int
    header: Header
    header_hash: bytes
    evaluators: tuple[str, ...]  # who signed the header
    leaves: tuple[Leaf, ...]
    scores: dict[str, int]  # units of 2^−40 of loss, of accepted updates
    left_out: tuple[str, ...]  # accepted, but not taken by the strategy (Krum)
    pays: dict[str, int]  # wei
    stakes: dict[str, int]  # wei, of everybody enrolled
    refusals: tuple[Refusal, ...]
    loss_before: float  # on the validation set
    loss_after: float
    bundle: Path
    transaction: str  # 0x hash of the post
    gas: int
    duplicates: tuple[tuple[str, ...], ...] = ()  # groups of accounts that shared one weight
    reading: ScoreReading | None = None  # of rounds that are small enough to be read
    seconds: dict[str, float] = field(default_factory=dict)  # by step; training and signing are told by the clients


class PayingStrategy(Strategy):
    """A Flower strategy that pays.

    Args:
        inner: Any Flower strategy that aggregates a weighted sum; it sees ordinary replies, weighted by stake.
        task: The task on chain, with the coordinator's key.
        spec: What its hash on chain stands for.
        game: The loss on the validation set whose hash is on chain.
        evaluators: Sign each header after recomputing it; the task's quorum of them has to agree.
        bundles: Folder that takes one bundle a round.
        seed: Draws the inner strategy's sample of nodes.
        read_clients: Rounds of at most so many clients get standard errors and scores by class.
        on_phase: Called with the round and the name of each step as it begins.
        on_round: Called with each round's report once it is on chain.
    Raises: UnscorableStrategy; ConfigError if spec, validation set or evaluators are not those of the task.
    """

    def __init__(
        self,
        inner: Strategy,
        *,
        task: PaidTask,
        spec: TaskSpec,
        game: ValidationGame,
        evaluators: Sequence[Evaluator],
        bundles: Path,
        seed: int = 0,
        read_clients: int = 0,
        on_phase: Callable[[int, str], None] = lambda number, phase: None,
        on_round: Callable[[RoundReport], None] = lambda report: None,
    ) -> None:
        check_scorable(inner)
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
        known = {one.account.address for one in evaluators} & set(task.terms.evaluators)
        if len(known) < task.terms.quorum:
            raise ConfigError(
                f"{len(known)} of the task's evaluators are here, its quorum is {task.terms.quorum}; start those that "
                "the task was opened with"
            )
        self.inner, self.task, self.spec, self.game = inner, task, spec, game
        self.evaluators, self.bundles, self.seed = evaluators, bundles, seed
        self.read_clients = read_clients
        self.on_phase, self.on_round = on_phase, on_round
        self._cap = cap_q64(spec.norm_cap)
        self._previous: Header | None = None
        self._leaves: tuple[Leaf, ...] = ()
        self._receipts: dict[int, tuple[int, bytes, bytes]] = {}  # node -> round, update root, receipt
        self._seconds: dict[str, float] = {}

    def summary(self) -> None:
        """Log the inner strategy's settings."""
        self.inner.summary()

    def start(self, grid: Grid, initial_arrays: ArrayRecord, num_rounds: int = 0, **arguments: object) -> Result:
        """Close the enrolment and run the task's rounds; `num_rounds` is the task's unless it is set to the same.

        Raises: ConfigError if `num_rounds` or the initial model is not the task's.
        """
        if num_rounds not in (0, self.task.terms.rounds):
            raise ConfigError(
                f"num_rounds is {num_rounds}, the task on chain has {self.task.terms.rounds}; leave it out"
            )
        base = Layout.of(_numpy(initial_arrays)).flatten(_numpy(initial_arrays))
        if model_hash(base) != self.task.terms.base_model:
            raise ConfigError(
                "the initial model is not the one that the task was opened with; build it from the spec, "
                "whose seed fixes the weights"
            )
        if posted := self.task.state().posted:
            raise ConfigError(
                f"the task has {posted} rounds on chain already and this coordinator does not know what led to them; open "
                "another task (with paying(): remove or rename the invite)"
            )
        self.task.start()
        return super().start(grid, initial_arrays, self.task.terms.rounds, **arguments)

    # ---- Flower's four steps -----------------------------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask the inner strategy whom to train, and tell each node what to sign for."""
        self.on_phase(server_round, "training")
        self._started = time.perf_counter()
        named = _numpy(arrays)
        self._layout = Layout.of(named)
        self._base = self._layout.flatten(named)
        # Integer buffers are sent along as they are, so that a model loads, and never come back.
        self._constants = {name: array for name, array in named.items() if name not in self._layout.names}
        enrolments = self.task.enrolments()
        self._enrolled = {account: one for account, one in enrolments.items() if one.counts_in(server_round)}
        with _seeded(self.seed, server_round):
            messages = list(
                self.inner.configure_train(server_round, _record(self._layout.unflatten(self._base)), config, grid)
            )
        for message in messages:
            message.content = self._request(message, arrays, server_round)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Settle the round: what the inner strategy returns is the next model, and the round is on chain."""
        self._seconds = {"collecting": time.perf_counter() - self._started}
        with self._step(server_round, "checking"):
            updates, refusals = self._collect(server_round, replies)
        with self._step(server_round, "scoring"):
            # Before the inner strategy sees anything: what ruins the loss would stay in a server optimizer's memory.
            while True:
                participants, contents = self._seats(updates)
                weights = weigh(participants, cap=self._cap)
                try:
                    blocks = self._direction(participants, weights)
                    break
                except UnencodableVector:
                    if not updates:
                        raise  # the base model itself has no gradient
                    updates, ruinous = self._without_ruinous(updates, weights)
                    refusals += ruinous
        with self._step(server_round, "aggregating"):
            arrays, metrics = self.inner.aggregate_train(server_round, _replies(contents, updates))
            following = self._base if arrays is None else self._layout.flatten(_numpy(arrays))
        with self._step(server_round, "settling"):
            before = self._accounts()
            pot = pot_of(
                budget=self.task.terms.budget,
                paid_before=sum(account.cumulative for account in before.values()),
                rounds_left=self.task.terms.rounds - server_round + 1,
            )
            settlement = settle(participants, weights=weights, direction=blocks, accounts=before, pot=pot)
        with self._step(server_round, "bundling"):
            bundle = Bundle(
                task_id=self.task.task_id,
                round=server_round,
                layout=self._layout,
                base=self._base,
                next=following,
                updates=tuple(_bundled(one, seat, weights) for one, seat in zip(updates, participants, strict=True)),
                direction=blocks,
                previous=self._leaves,
                leaves=settlement.tree.leaves,
                pot=pot,
            )
            folder = self.bundles / f"round-{server_round:04d}"
            header = self._header(bundle, settlement.tree, bundle_hash=bundle.write(folder))
        with self._step(server_round, "evaluating"):
            signatures = self._evaluate(folder, header)
            write_header(folder, header, signatures=signatures)
        with self._step(server_round, "posting"):
            sent = self.task.post(header, signatures=signatures)
            self._give_receipts(server_round, updates)
        self._previous, self._leaves = header, settlement.tree.leaves
        with self._step(server_round, "reporting"):
            reading = self._read(participants, weights)
            before_standing, after_standing = self.game.standing(self._base), self.game.standing(following)
        self._seconds["training"] = sum(one.seconds_training for one in updates)
        self._seconds["signing"] = sum(one.seconds_signing for one in updates)
        self.on_round(
            RoundReport(
                round=server_round,
                header=header,
                header_hash=self.task.digest(header),
                evaluators=tuple(signer_of(header, domain=self.task.domain, signature=one) for one in signatures),
                leaves=settlement.tree.leaves,
                scores=settlement.scores,
                left_out=tuple(one.account for one in participants if not one.selected),
                pays=settlement.payout.pays,
                stakes={account: one.stake for account, one in self._enrolled.items()},
                refusals=tuple(refusals),
                loss_before=before_standing.loss,
                loss_after=after_standing.loss,
                bundle=folder,
                transaction=sent.hash,
                gas=sent.gas,
                duplicates=self._duplicates(participants),
                reading=reading,
                seconds=self._seconds,
            )
        )
        return _record({**self._layout.unflatten(following), **self._constants}), metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's."""
        with _seeded(self.seed, server_round):
            return list(self.inner.configure_evaluate(server_round, arrays, config, grid))

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """The inner strategy's."""
        return self.inner.aggregate_evaluate(server_round, replies)

    # ---- the steps of a round ----------------------------------------------------------------------------------------

    def _request(self, message: Message, arrays: ArrayRecord, server_round: int) -> RecordDict:
        round_number, root, receipt = self._receipts.get(message.metadata.dst_node_id, (0, b"", b""))
        request = TrainRequest(
            task_id=self.task.task_id,
            round=server_round,
            receipt=receipt,
            receipt_round=round_number,
            receipt_root=root,
        )
        content = RecordDict(dict(message.content.items()))  # the inner strategy shares one record between all nodes
        content[next(iter(content.array_records))] = arrays
        content[RECORD] = request.to_record()
        return content

    def _collect(self, server_round: int, replies: Iterable[Message]) -> tuple[list[AcceptedUpdate], list[Refusal]]:
        updates, refusals = collect(
            replies,
            task_id=self.task.task_id,
            round_number=server_round,
            base_model=model_hash(self._base),
            size=len(self._base),
            enrolled=self._enrolled,
            domain=self.task.domain,
        )
        log.info("round %d: %d updates accepted, %d refused", server_round, len(updates), len(refusals))
        for refusal in refusals:
            log.warning("round %d: node %d refused: %s", server_round, refusal.node_id, refusal.reason)
        return updates, refusals

    def _seats(self, updates: Sequence[AcceptedUpdate]) -> tuple[list[Participant], list[RecordDict]]:
        # Flower wants the same metrics in every reply, and a client may send what it likes.
        shared = set.intersection(*(set(one.metrics) for one in updates)) if updates else set()
        seats = [Participant(account=one.account, stake=one.stake, blocks=one.blocks, root=one.root) for one in updates]
        seats = share_stakes(seats, threshold=self.spec.duplicate_cosine)
        weighted_by = getattr(self.inner, "weighted_by_key", "num-examples")
        contents = [
            content_for(
                seat,
                base=self._base,
                layout=self._layout,
                cap=self._cap,
                metrics={key: one.metrics[key] for key in shared},
                weighted_by=weighted_by,
            )
            for seat, one in zip(seats, updates, strict=True)
        ]
        taken = selected_by(self.inner, contents)
        participants = [
            Participant(account=seat.account, stake=seat.stake, blocks=seat.blocks, root=seat.root, selected=flag)
            for seat, flag in zip(seats, taken, strict=True)
        ]
        return participants, contents

    def _read(self, participants: Sequence[Participant], weights: Mapping[str, int]) -> ScoreReading | None:
        if not 0 < len(participants) <= self.read_clients:
            return None
        inputs = RoundInputs(
            game=self.game,
            base=self._base,
            updates=BlockUpdates(blocks=[one.blocks for one in participants]),
            weights=np.array([weights[one.account] / WEIGHT_ONE for one in participants]),
        )
        accounts = [one.account for one in participants]
        return read_scores(inputs, accounts=accounts, class_names=self.spec.class_names, nodes=self.spec.quadrature)

    def _duplicates(self, participants: Sequence[Participant]) -> tuple[tuple[str, ...], ...]:
        groups = duplicate_groups([one.blocks for one in participants], threshold=self.spec.duplicate_cosine)
        return tuple(tuple(participants[member].account for member in group) for group in groups)

    def _direction(self, participants: Sequence[Participant], weights: Mapping[str, int]) -> Blocks:
        step = weighted_step(((one.blocks, weights[one.account]) for one in participants), size=len(self._base))
        return Blocks.encode(direction(self.game, base=self._base, step=step, nodes=self.spec.quadrature))

    def _without_ruinous(
        self, updates: Sequence[AcceptedUpdate], weights: Mapping[str, int]
    ) -> tuple[list[AcceptedUpdate], list[Refusal]]:
        """Leave out those whose step alone, as it weighs in this round, has no finite loss; everybody if there is none."""

        def ruins(one: AcceptedUpdate) -> bool:
            step = weighted_step([(one.blocks, weights[one.account])], size=len(self._base))
            return not math.isfinite(self.game.standing((self._base + step).astype(np.float32)).loss)

        out = {one.account for one in updates if ruins(one)} or {one.account for one in updates}
        reason = "with this update the validation loss has no finite gradient; lower the learning rate, look at buffers"
        refused = [
            Refusal(node_id=one.node_id, account=one.account, reason=reason) for one in updates if one.account in out
        ]
        for refusal in refused:
            log.warning("node %d refused: %s", refusal.node_id, refusal.reason)
        return [one for one in updates if one.account not in out], refused

    def _accounts(self) -> dict[str, Account]:
        before = {leaf.account: Account(balance=leaf.balance, cumulative=leaf.cumulative) for leaf in self._leaves}
        return {account: before.get(account, Account()) for account in self._enrolled}

    def _header(self, bundle: Bundle, tree: RoundTree, *, bundle_hash: bytes) -> Header:
        return Header(
            task_id=self.task.task_id,
            round=bundle.round,
            previous=self.task.digest(self._previous) if self._previous else ZERO_HASH,
            base_model=model_hash(bundle.base),
            next_model=model_hash(bundle.next),
            validation=self.task.terms.validation_hash,
            direction_root=block_root(bundle.direction.to_bytes()),
            tree_root=tree.root,
            leaf_count=len(tree),
            entitlement=tree.entitlement,
            cumulative=tree.cumulative,
            pot=bundle.pot,
            bundle=bundle_hash,
        )

    def _evaluate(self, folder: Path, header: Header) -> list[bytes]:
        view = ChainView(
            domain=self.task.domain,
            terms=self.task.terms,
            enrolments=self._enrolled,
            previous=self._previous,
            previous_digest=self.task.digest(self._previous) if self._previous else ZERO_HASH,
        )
        signatures, refusals = [], []
        for evaluator in self.evaluators:
            try:
                signatures.append(evaluator.evaluate(folder, header, view=view))
            except FairshareError as error:
                log.warning("round %d: evaluator %s does not sign: %s", header.round, evaluator.account.address, error)
                refusals.append(error)
        if refusals and len(signatures) < self.task.terms.quorum:
            raise refusals[0]
        return signatures

    def _give_receipts(self, server_round: int, updates: Sequence[AcceptedUpdate]) -> None:
        for one in updates:
            receipt = self.task.receipt(round_number=server_round, client=one.account, update_root=one.root)
            self._receipts[one.node_id] = (server_round, one.root, receipt)

    @contextmanager
    def _step(self, server_round: int, name: str) -> Iterator[None]:
        self.on_phase(server_round, name)
        started = time.perf_counter()
        yield
        self._seconds[name] = time.perf_counter() - started


@contextmanager
def _seeded(seed: int, server_round: int) -> Iterator[None]:
    # Flower samples nodes with the global `random`; seed it for the call, and put it back as it was.
    state = random.getstate()
    random.seed(f"{seed}/{server_round}")
    try:
        yield
    finally:
        random.setstate(state)


def _replies(contents: Sequence[RecordDict], updates: Sequence[AcceptedUpdate]) -> list[Message]:
    asked = (Message(RecordDict(), update.node_id, "train") for update in updates)
    return [Message(content, reply_to=one) for content, one in zip(contents, asked, strict=True)]


def _bundled(update: AcceptedUpdate, seat: Participant, weights: dict[str, int]) -> BundledUpdate:
    return BundledUpdate(
        account=update.account,
        stake=update.stake,
        weight=weights[update.account],
        selected=seat.selected,
        root=update.root,
        signature=update.signature,
        wire=update.wire,
    )


def _numpy(arrays: ArrayRecord) -> dict[str, NDArray]:
    return {name: array.numpy() for name, array in arrays.items()}


def _record(arrays: dict[str, NDArray[np.float32]]) -> ArrayRecord:
    return ArrayRecord({name: Array(np.ascontiguousarray(array)) for name, array in arrays.items()})
