"""The paying strategy: wraps a Flower strategy whose aggregate can be scored, and settles each of its rounds on chain.

`aggregate_train` reads as the script of a round: collect, settle, evaluate, post, report. Each step is written down when it is
done, so that a coordinator that was killed goes on where it was (see `fl.coordinator.round.journal`).
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from numpy.typing import NDArray

from fl.aggregation.null_grid import NullGrid
from fl.aggregation.replay import prepare, replay
from fl.audit.public_state import PublicState, public_round
from fl.audit.recompute import ChainView
from fl.audit.strategy_state import participants_of, remembers
from fl.bundle.format import HEADER, BrokenBundle, Bundle, hash_of, read_header, write_header
from fl.bundle.store import BundleStore
from fl.chain.errors import Refused
from fl.chain.node_key import accounts_by_key
from fl.chain.paid_task import PaidTask, TooFewSignatures
from fl.chain.sender import Sent
from fl.chain.typed_data import ZERO_HASH, Header, InvalidSignature, header_hash, signer_of
from fl.chain.whole_file import set_aside
from fl.codec import Blocks, block_root, model_hash
from fl.coordinator.quorum.local import EvaluatorQuorum
from fl.coordinator.round.collect import AcceptedUpdate, Question, Refusal, collect
from fl.coordinator.round.journal import Collected, Journal
from fl.coordinator.round.report import RoundReport
from fl.coordinator.round.resume import LostRound, PastRounds, resume_task
from fl.coordinator.round.settle import OpenRound, SettledRound, settle_updates
from fl.errors import ConfigError
from fl.protocol import RECORD, TrainRequest
from fl.rewards import WEIGHT_ONE, Account, Leaf, Participant, RoundTree
from fl.rewards.tree import NO_UPDATE
from fl.scoring.analysis.uncertainty import ScoreReading, read_attested, read_scores
from fl.scoring.game import ValidationGame
from fl.scoring.inputs import BlockUpdates, RoundInputs
from fl.scoring.lengths import length_factor
from fl.scoring.paid import PaidScoring
from fl.scoring.public_vectors import PublicRound, public_vectors
from fl.scoring.replication import duplicate_groups
from fl.task.held_arrays import record_of
from fl.task.spec import TaskSpec

log = logging.getLogger(__name__)


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
        seed: Draws the inner strategy's sample of nodes.
        read_clients: Rounds of at most so many clients get standard errors and scores by class.
        resumable: Whether to write down each step as it is done; False where the chain ends with this process.
        await_nodes: Called with a round none of whose nodes is connected; returns when they are, or have had their time.
        on_phase: Called with the round and the name of each step as it begins.
        on_round: Called with each round's report once it is on chain; again after a crash before it returned.
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
        seed: int = 0,
        read_clients: int = 0,
        resumable: bool = True,
        await_nodes: Callable[[int], None] = lambda number: None,
        on_phase: Callable[[int, str], None] = lambda number, phase: None,
        on_round: Callable[[RoundReport], None] = lambda report: None,
    ) -> None:
        scoring = PaidScoring(spec, game=game)
        scoring.check_strategy(inner)
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
        self.inner, self.task, self.spec, self.game, self.scoring = inner, task, spec, game, scoring
        self.quorum, self.journal, self.seed = quorum, Journal(bundles, resumable=resumable), seed
        self.read_clients, self.await_nodes = read_clients, await_nodes
        self.on_phase, self.on_round = on_phase, on_round
        # What an app's own strategy remembers nobody knows, so it is taken through every round too.
        self._layout = game.layout
        self._follows = remembers(spec) or spec.training == "app"
        self._previous: Header | None = None
        self._leaves: tuple[Leaf, ...] = ()
        self._past: tuple[PublicRound, ...] = ()  # the rounds before, the latest first
        self._receipts: dict[str, tuple[int, bytes, bytes]] = {}  # account -> round, update root, receipt
        self._nodes: dict[int, str] = {}  # node -> account, of the last round it took part in
        # node -> accounts that joined with its key; None where nodes have no keys
        self._owners: dict[int, tuple[str, ...]] | None = None
        self._seconds: dict[str, float] = {}
        # Of the round at hand, after a crash: what the journal has of it, and its bundle if it was scored.
        self._kept: Collected | None = None
        self._made: Bundle | None = None

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
    ) -> Result:
        """Close the enrolment and run the task's rounds, from the first that is not on chain.

        Args:
            num_rounds: The task's unless it is set to the same.
            timeout: Seconds that nodes have to answer.
            evaluate_fn: Called with each round and its model, and before the first one with round 0.
        Raises: ConfigError if `num_rounds` or the initial model is not the task's; LostRound if a round is on chain that
            this coordinator knows nothing of.
        """
        rounds = self.task.terms.rounds
        if num_rounds not in (0, rounds):
            raise ConfigError(f"num_rounds is {num_rounds}, the task on chain has {rounds}; leave it out")
        base = self._layout.flatten(_numpy(initial_arrays))
        if model_hash(base) != self.task.terms.base_model:
            raise ConfigError(
                "the initial model is not the one that the task was opened with; build it from the spec, "
                "whose seed fixes the weights"
            )
        train_config, evaluate_config = train_config or ConfigRecord(), evaluate_config or ConfigRecord()
        result, arrays = Result(), initial_arrays
        first = 1
        if (past := resume_task(self.task, self.journal, follow=self._replay if self._follows else None)) is not None:
            first = past.header.round + 1
            self._go_on_from(past)
            named = _numpy(initial_arrays)
            result.arrays = arrays = _record(
                {**named, **past.layout.unflatten(past.model), **self._statistics(past.model)}
            )
        self.task.start()
        if evaluate_fn and first == 1 and (metrics := evaluate_fn(0, arrays)) is not None:
            result.evaluate_metrics_serverapp[0] = metrics
        for number in range(first, rounds + 1):
            if number > self.task.state().rounds:
                break  # the sponsor stopped the task
            replies = _drained(grid.send_and_receive(self._asks(number, arrays, train_config, grid), timeout=timeout))
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

    def _asks(self, number: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> list[Message]:
        """The messages that a round still has to send: all, or after a crash those whose answers are not in hand."""
        self._kept, self._made = None, None
        collected = self.journal.is_collected(number)
        if not collected and not self.journal.bundle(number).exists():
            return list(self.configure_train(number, arrays, config, grid))
        self._open(number, arrays)
        # Whoever scored a round needs no answers any more: the updates are in the bundle.
        self._made = self.journal.whole_bundle(number)
        self._kept = self.journal.collected(number, self._question()) if collected else None
        if self._made is not None:
            return []
        if self._kept is not None and not self._kept.lost:
            prepare(self.inner, number, base=self._base, layout=self._layout)
            return []
        messages = self.configure_train(number, arrays, config, grid)
        return [one for one in messages if self._kept is None or one.metadata.dst_node_id in self._kept.lost]

    def _question(self) -> Question:
        return Question(
            task_id=self.task.task_id,
            round=self._current.number,
            base_model=model_hash(self._base),
            size=len(self._base),
            enrolled=self._enrolled,
            domain=self.task.domain,
        )

    def _remember(self, bundle: Bundle) -> None:
        done = public_round(base=bundle.base, following=bundle.next, direction=bundle.direction, layout=bundle.layout)
        self._past = (done, *self._past)[: self.spec.public_rounds]

    def _go_on_from(self, past: PastRounds) -> None:
        self._previous, self._leaves = past.header, past.leaves
        state = PublicState(self.spec, BundleStore.at(str(self.journal.bundle(1).parent)))
        self._past = state.before(past.header.round + 1, previous=header_hash(past.header))
        for leaf in past.leaves:
            if leaf.update_root != NO_UPDATE:
                self._give_receipt(past.header.round, leaf.account, leaf.update_root)

    # ---- Flower's four steps -----------------------------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask the inner strategy whom to train, and tell each node what to sign for."""
        self._open(server_round, arrays)
        members = NullGrid(lambda: self._members(server_round, grid))
        with _seeded(self.seed, server_round):
            messages = list(
                self.inner.configure_train(server_round, _record(self._layout.unflatten(self._base)), config, members)
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
        settled = self._settle(updates)
        bundle, folder = settled.bundle, self.journal.bundle(server_round)
        taken = {one.account for one in settled.participants}
        header, signatures = self._sign(folder, bundle)
        with self._step(server_round, "posting"):
            sent, posted_at = self._post(header, signatures)
            # Whoever scoring had to leave out has no update in its leaf, and a receipt would prove an omission.
            settled_updates = [one for one in updates if one.account in taken]
            receipts = self._give_receipts(server_round, settled_updates)
        with self._step(server_round, "reporting"):
            reading = self._read(settled)
            rows = self.scoring.game
            before, after = rows.evaluate(self._base), rows.evaluate(bundle.next)
            aggregated = after if bundle.aggregate is None else rows.evaluate(bundle.aggregate)
        self._seconds["training"] = sum(one.seconds_training for one in updates)
        self._seconds["signing"] = sum(one.seconds_signing for one in updates)
        paid_before = {leaf.account: leaf.cumulative for leaf in self._leaves}
        self.on_round(
            RoundReport(
                round=server_round,
                header=header,
                header_hash=header_hash(header),
                evaluators=tuple(signer_of(header, domain=self.task.domain, signature=one) for one in signatures),
                leaves=bundle.leaves,
                scores={leaf.account: leaf.score for leaf in bundle.leaves if leaf.account in taken},
                left_out=tuple(one.account for one in settled.participants if not one.selected),
                pays={leaf.account: leaf.cumulative - paid_before.get(leaf.account, 0) for leaf in bundle.leaves},
                stakes={account: one.stake for account, one in self._enrolled.items()},
                refusals=(*refusals, *settled.refusals),
                loss_before=before.loss,
                loss_aggregated=aggregated.loss,
                loss_after=after.loss,
                public_rate=bundle.public.rate if bundle.public else None,
                factors={one.account: length_factor(one.blocks, length=bundle.length) for one in settled.participants},
                bundle=folder,
                transaction=sent.hash,
                gas=sent.gas,
                posted_at=posted_at,
                receipts=receipts,
                duplicates=self._duplicates(settled.participants),
                reading=reading,
                seconds=self._seconds,
            )
        )
        self._previous, self._leaves = header, bundle.leaves
        self._remember(bundle)
        self.journal.forget(server_round)
        following = {**self._layout.unflatten(bundle.next), **self._constants, **self._statistics(bundle.next)}
        return _record(following), settled.metrics

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

    def _open(self, server_round: int, arrays: ArrayRecord) -> None:
        self.on_phase(server_round, "training")
        self._started = time.perf_counter()
        named = _numpy(arrays)
        self._base = self._layout.flatten(named)
        # Buffers and what is frozen are sent along, so that a model loads, and never come back.
        self._constants = {name: array for name, array in named.items() if name not in self._layout.names}
        self._enrolments, self._schedule = self.task.enrolments(), self.task.schedule()
        self._enrolled = {account: one for account, one in self._enrolments.items() if one.counts_in(server_round)}
        before = {leaf.account: Account(total=leaf.total, cumulative=leaf.cumulative) for leaf in self._leaves}
        self._current = OpenRound(
            number=server_round,
            task_id=self.task.task_id,
            allowed=self._schedule.allowed(server_round),
            layout=self._layout,
            base=self._base,
            previous=self._leaves,
            past=self._past,
            accounts={account: before.get(account, Account()) for account in self._enrolled},
        )

    def _members(self, server_round: int, grid: Grid) -> Iterable[int]:
        """The nodes that can be asked: of those whose keys are known, the ones that weigh in this round."""
        keys = getattr(grid, "node_keys", None)  # only a grid of real machines knows them
        if keys is None:
            return grid.get_node_ids()
        owners = accounts_by_key(self._enrolled.values())
        weighing = {account for account, one in self._enrolled.items() if one.weighs_in(server_round)}

        def connected() -> list[int]:
            self._owners = {node: owners.get(key, ()) for node, key in keys().items()}
            return [node for node in grid.get_node_ids() if weighing.intersection(self._owners.get(node, ()))]

        if (found := connected()) or not weighing:
            return found
        # Nodes that left alone are not waited for. That all are gone at once says that it was this machine's line, and
        # Flower would train with the first one that is back.
        self.await_nodes(server_round)
        return connected()

    def _request(self, message: Message, arrays: ArrayRecord, server_round: int) -> RecordDict:
        node = message.metadata.dst_node_id
        accounts = (self._nodes.get(node, ""),) if self._owners is None else self._owners.get(node, ())
        account = next(filter(self._receipts.__contains__, accounts), "")  # who named the key and never sent has none
        round_number, root, receipt = self._receipts.get(account, (0, b"", b""))
        request = TrainRequest(
            task_id=self.task.task_id,
            round=server_round,
            receipt=receipt,
            receipt_round=round_number,
            receipt_root=root,
            names=self._layout.names,
        )
        content = RecordDict(dict(message.content.items()))  # the inner strategy shares one record between all nodes
        content[next(iter(content.array_records))] = arrays
        content[RECORD] = request.to_record()
        return content

    def _collect(self, server_round: int, replies: Iterable[Message]) -> tuple[list[AcceptedUpdate], list[Refusal]]:
        kept = self._kept
        if self._made is not None:
            log.info("round %d: %d updates are in its bundle", server_round, len(self._made.updates))
            return _updates_in(self._made, kept), list(kept.refusals if kept else ())
        if kept is not None and not kept.lost:
            log.info("round %d: %d updates were collected before", server_round, len(kept.updates))
            return list(kept.updates), list(kept.refusals)
        question = self._question()
        updates, refusals = collect(
            replies,
            task_id=question.task_id,
            round_number=server_round,
            base_model=question.base_model,
            size=question.size,
            enrolled=question.enrolled,
            owners=self._owners,
            domain=question.domain,
        )
        if kept is not None:  # those that were asked again join the others
            known = {one.account for one in kept.updates}
            added = [one for one in updates if one.account not in known]
            updates = sorted([*kept.updates, *added], key=lambda one: int(one.account, 16))
            refusals = [*kept.refusals, *refusals]
            self.journal.forget(server_round)
        log.info("round %d: %d updates accepted, %d refused", server_round, len(updates), len(refusals))
        for refusal in refusals:
            log.warning("round %d: node %d refused: %s", server_round, refusal.node_id, refusal.reason)
        self.journal.keep_collected(server_round, updates, refusals)
        return updates, refusals

    def _settle(self, updates: Sequence[AcceptedUpdate]) -> SettledRound:
        number = self._current.number
        if self._made is not None:
            return self._settled_before(self._made)
        settled = settle_updates(
            self._current,
            updates,
            inner=self.inner,
            scoring=self.scoring,
            step=lambda name: self._step(number, name),
        )
        with self._step(number, "bundling"):
            self.journal.keep_bundle(settled.bundle)
        return settled

    def _settled_before(self, bundle: Bundle) -> SettledRound:
        folder = self.journal.bundle(bundle.round)
        if bundle.task_id != self.task.task_id or model_hash(bundle.base) != model_hash(self._base):
            raise LostRound(round_number=bundle.round, problem=f"the bundle at {folder} is of another task")
        return SettledRound(bundle=bundle, participants=self._replay(bundle), refusals=(), metrics=None)

    def _replay(self, bundle: Bundle) -> tuple[Participant, ...]:
        """Take the inner strategy through a round that is written down, so that it remembers it."""
        participants = participants_of(bundle, spec=self.spec)
        replay(self.inner, bundle.round, participants, base=bundle.base, layout=bundle.layout, cap=bundle.length)
        return tuple(participants)

    def _sign(self, folder: Path, bundle: Bundle) -> tuple[Header, list[bytes]]:
        header = self._header(bundle, RoundTree(bundle.leaves), bundle_hash=hash_of(folder))
        if (signed := self._signed_before(folder, header)) is not None:
            return header, signed
        with self._step(bundle.round, "evaluating"):
            view = ChainView(
                domain=self.task.domain,
                terms=self.task.terms,
                enrolments=self._enrolments,
                schedule=self._schedule,
                previous=self._previous,
            )
            signatures = self.quorum.sign(folder, header, view=view)
            # Raised before anything is written: a header without its quorum is asked for again.
            self.task.check_quorum(header, signatures)
            write_header(folder, header, signatures=signatures)
        return header, signatures

    def _signed_before(self, folder: Path, header: Header) -> list[bytes] | None:
        """The quorum's signatures that were gathered for this header; a damaged file is set aside, and they are gathered again."""
        if not (folder / HEADER).exists():
            return None
        try:
            told, signatures = read_header(folder)
            if told != header:
                raise BrokenBundle(folder=str(folder), problem=f"{HEADER} is not of this bundle")
            self.task.check_quorum(header, signatures)
        except (BrokenBundle, InvalidSignature, TooFewSignatures) as error:
            log.warning("round %d: %s; it is now %s, and signed again", header.round, error, set_aside(folder / HEADER))
            return None
        return signatures

    def _post(self, header: Header, signatures: Sequence[bytes]) -> tuple[Sent, int]:
        if self.task.state().posted < header.round:
            try:
                self.task.post(header, signatures=signatures)
            except Refused:
                # What an earlier life sent was in no block yet when we looked; it was waited for before ours was refused.
                if self.task.state().posted < header.round:
                    raise
        posting = self.task.posting(header.round)
        if posting.header != header:
            raise LostRound(round_number=header.round, problem="its header is not the one of this coordinator's bundle")
        return posting.sent, posting.time

    def _read(self, settled: SettledRound) -> ScoreReading | None:
        participants, bundle = settled.participants, settled.bundle
        if not 0 < len(participants) <= self.read_clients:
            return None
        if self.spec.attested:
            return read_attested(settled.attested, accounts=[one.account for one in participants])
        inputs = RoundInputs(
            game=self.scoring.game,
            base=self._base,
            updates=BlockUpdates(blocks=[one.blocks for one in participants]),
            weights=np.array([one.weight / WEIGHT_ONE for one in bundle.updates]),
            public=public_vectors(self._past[: self.spec.public_rounds]),
        )
        accounts = [one.account for one in participants]
        return read_scores(inputs, accounts=accounts, class_names=self.spec.class_names, nodes=self.spec.quadrature)

    def _duplicates(self, participants: Sequence[Participant]) -> tuple[tuple[str, ...], ...]:
        groups = duplicate_groups([one.blocks for one in participants], threshold=self.spec.duplicate_cosine)
        return tuple(tuple(participants[member].account for member in group) for group in groups)

    def _header(self, bundle: Bundle, tree: RoundTree, *, bundle_hash: bytes) -> Header:
        return Header(
            task_id=self.task.task_id,
            round=bundle.round,
            previous=header_hash(self._previous) if self._previous else ZERO_HASH,
            base_model=model_hash(bundle.base),
            next_model=model_hash(bundle.next),
            validation=self.task.terms.validation_hash,
            direction_root=block_root(bundle.direction.to_bytes()),
            tree_root=tree.root,
            leaf_count=len(tree),
            enrolment=self._enrolments.hash(bundle.round),
            cumulative=tree.cumulative,
            price=bundle.price,
            bundle=bundle_hash,
        )

    def _give_receipts(self, server_round: int, updates: Sequence[AcceptedUpdate]) -> dict[str, bytes]:
        self._nodes.update({one.node_id: one.account for one in updates})
        return {one.account: self._give_receipt(server_round, one.account, one.root) for one in updates}

    def _give_receipt(self, server_round: int, account: str, root: bytes) -> bytes:
        receipt = self.task.receipt(round_number=server_round, client=account, update_root=root)
        self._receipts[account] = (server_round, root, receipt)
        return receipt

    def _statistics(self, model: NDArray[np.float32]) -> dict[str, NDArray]:
        """The batch norms' statistics at a model, as far as they are sent along: clients start from them."""
        self.scoring.measure(model)
        return self.scoring.statistics

    @contextmanager
    def _step(self, server_round: int, name: str) -> Iterator[None]:
        self.on_phase(server_round, name)
        started = time.perf_counter()
        yield
        self._seconds[name] = time.perf_counter() - started


def _updates_in(bundle: Bundle, kept: Collected | None) -> list[AcceptedUpdate]:
    """A bundle's updates as they were accepted; what only the journal tells of them is told where it still does."""
    known = {one.account: one for one in kept.updates} if kept else {}
    return [
        known.get(one.account)
        or AcceptedUpdate(
            account=one.account,
            node_id=0,
            stake=one.stake,
            blocks=Blocks.from_bytes(one.wire, size=bundle.layout.size),
            wire=one.wire,
            root=one.root,
            signature=one.signature,
        )
        for one in bundle.updates
    ]


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


def _numpy(arrays: ArrayRecord) -> dict[str, NDArray]:
    return {name: array.numpy() for name, array in arrays.items()}


def _record(arrays: dict[str, NDArray[np.float32]]) -> ArrayRecord:
    return record_of({name: np.ascontiguousarray(array) for name, array in arrays.items()}, shared=True)
