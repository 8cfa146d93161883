"""A Flower mod that turns any ClientApp into one that can be paid.

    app = ClientApp(mods=[sign_updates])

The app trains as it always did and answers with its model. The mod subtracts the model that it was sent, quantises the
difference to blocks, signs them with the owner's wallet, and sends blocks and signature instead of the model: half the
bytes, and what is signed is what is sent, aggregated and scored.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from numpy.typing import NDArray

from clients.errors import ForeignTask, PastRound, SecondUpdate, UnfitAnswer, UnreadableRequest
from clients.keys.ledger import Ledger, ledger_of
from clients.keys.wallet import Wallet, simulated_wallet, wallet_of
from clients.privacy import answers as private
from fl.chain.typed_data import InvalidSignature
from fl.codec import Blocks, LayoutMismatch, block_root, in_order, is_list, matched, whole
from fl.codec.narrow import narrowed
from fl.plain_text import printable
from fl.protocol import MASKED, MODEL, RECORD, SignedUpdate, TrainRequest
from fl.task.held_arrays import ReceivedModel, Records, of_kind, received_model, reply

log = logging.getLogger(__name__)

_MEASURED = ("running_mean", "running_var")  # of batch norms
TRAINED_IN = (
    "seconds_training"  # attribute of an answer that was made before it was asked for: a node's part of a batch
)


def sign_updates(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """The mod. Messages other than train pass through.

    Args:
        message: From the coordinator.
        context: Of the node.
        call_next: The app, or the next mod.
    Raises: NodeRefusal (Flower turns it into an error reply) for a task that was not accepted, a second update to a
    round, a ledger that cannot be read, or a message without the fairshare record; UnencodableVector if training ended in
    NaN.
    """
    if message.metadata.message_type.split(".")[0] != MessageType.TRAIN:
        return call_next(message, context)
    if MASKED in of_kind(message.content, ConfigRecord):  # a step of a masked round that follows its training
        return private.answer(message, context, wallet=wallet_of(context))
    request = _request_of(message)
    simulated = request.simulated and "invite" not in context.node_config
    wallet = simulated_wallet(context, request.simulated) if simulated else wallet_of(context)
    if request.task_id != wallet.task_id:
        raise ForeignTask(seen=request.task_id, accepted=wallet.task_id)
    ledger = ledger_of(context, task_id=wallet.task_id)
    _keep_receipt(request, wallet=wallet, ledger=ledger)

    try:
        received = received_model(_model_in(message, request.record), names=request.names)
    except LayoutMismatch as error:
        raise UnreadableRequest(problem=str(error)) from error
    base_model = received.hash
    private.check_budget(context, round_number=request.round, wallet=wallet)
    if private.terms_of(context).masked:
        return private.commit(
            message,
            context,
            round_number=request.round,
            received=received,
            wallet=wallet,
            train=lambda: _difference(message, context, call_next, received=received, first=request.record),
        )
    last = ledger.last()
    if last is not None and last.round == request.round:
        if last.base_model != base_model:
            raise SecondUpdate(round_number=request.round)
        # A coordinator that lost the answer asks again; it gets the same bytes, not a second update.
        return _reply(message, last, bits=wallet.block_bits)
    if last is not None and last.round > request.round:
        # Only the last update is kept, so an older round may have been signed for or not.
        raise PastRound(seen=request.round, last=last.round)

    started = time.perf_counter()
    answer = call_next(message, context)
    if answer.has_error():
        return answer
    trained = time.perf_counter()
    trained_vector, model_records = _trained(answer, received, first=request.record)
    _say_unpaid(_unpaid(answer, received, records=model_records) if request.round == 1 else ())
    moved = np.subtract(trained_vector, received.vector, dtype=np.float64)
    noise = private.terms_of(context).noise
    if noise == "client":
        moved = private.noised_update(context, moved)
    narrow = wallet.block_bits < 16
    if narrow and (kept := ledger.remainder(size=len(moved))) is not None:
        moved += kept  # error feedback: what rounding took from the last update is made up for in this one
    encoded = Blocks.encode(moved, bits=wallet.block_bits)
    blocks = encoded.to_bytes()
    signature = wallet.sign_update(round_number=request.round, base_model=base_model, update_root=block_root(blocks))
    update = SignedUpdate(
        account=wallet.address,
        round=request.round,
        base_model=base_model,
        blocks=blocks,
        signature=signature,
        seconds_training=getattr(answer, TRAINED_IN, trained - started),
        seconds_signing=time.perf_counter() - trained,
    )
    if narrow:
        ledger.keep_remainder((moved - encoded.decode()).astype(np.float32), round_number=request.round)
    ledger.keep(update)  # before it is sent: after a crash the same bytes go out again, and no others
    log.info("round %d: signed an update of %d bytes as %s", request.round, len(blocks), wallet.address)
    # What training says of itself has no noise on it.
    told = answer.content if noise == "none" else None
    return _reply(message, update, answer=told, models=model_records, bits=wallet.block_bits)


def _difference(
    message: Message, context: Context, call_next: ClientAppCallable, *, received: ReceivedModel, first: str
) -> tuple[NDArray[np.float64], float] | Message:
    """What training made of the model, shape (P,), and its seconds; or the app's error reply."""
    started = time.perf_counter()
    answer = call_next(message, context)
    if answer.has_error():
        return answer
    seconds = getattr(answer, TRAINED_IN, time.perf_counter() - started)
    trained, _ = _trained(answer, received, first=first)
    return np.subtract(trained, received.vector, dtype=np.float64), seconds


def _model_in(message: Message, name: str) -> ArrayRecord:
    """The record with the model: the one of that name, or the first. Raises: UnreadableRequest."""
    records = of_kind(message.content, ArrayRecord)
    if not records:
        raise UnreadableRequest(problem="it has no arrays")
    return records.get(name) or next(iter(records.values()))


def _trained(answer: Message, received: ReceivedModel, *, first: str) -> tuple[NDArray[np.float32], list[str]]:
    """The trained arrays as a vector, whatever wrapper the app put round its model, and the records that they were in.

    What an app leaves out of its answer and knows by name it has not trained: it counts as it was sent.
    """
    records, layout = of_kind(answer.content, ArrayRecord), received.layout
    if not records:
        raise UnfitAnswer(problem="it has no arrays; answer with the trained model's")
    found: dict[str, Array] = {}
    models = []
    # An array that several records hold counts as the one has it that is called as the model was, or the first.
    for name, record in sorted(records.items(), key=lambda item: item[0] != first):
        new = {key: array for key, array in matched(record, layout.names).items() if key not in found}
        if new:
            found |= new
            models.append(name)
    if not found and (listed := _listed(records, received, first=first)) is not None:
        found, models = listed
    absent = [name for name in layout.names if name not in found]
    told = {key for name in models or records for key in records[name]}
    arrays = {key: array.numpy() for key, array in found.items()}
    if absent and found and told <= set(received.arrays):
        log.info("the answer leaves out %d of %d arrays; they count as they were sent", len(absent), len(layout.names))
        arrays |= {name: received.arrays[name] for name in absent}
    try:
        return layout.flatten(arrays if arrays else {key: array.numpy() for key, array in _all(records)}), models
    except LayoutMismatch as error:
        if any(is_list(record) for record in records.values()) and not found:
            counts = " and ".join(str(len(record)) for record in records.values())
            raise UnfitAnswer(
                problem=f"it is a list of {counts} arrays, which in number or shapes is not that of the {len(received.arrays)} that were "
                "sent; answer with ArrayRecord(model.state_dict())"
            ) from error
        shown = ", ".join(sorted(told, key=list(dict(_all(records))).index)[:6])
        raise UnfitAnswer(problem=f"{error}; it holds {shown}") from error


def _listed(
    records: Mapping[str, ArrayRecord], received: ReceivedModel, *, first: str
) -> tuple[dict[str, Array], list[str]] | None:
    """The arrays of an answer without names, by the names of those that were sent in that order, and the record that they were in."""
    shapes = {name: tuple(array.shape) for name, array in received.arrays.items()}
    for name, record in sorted(records.items(), key=lambda item: item[0] != first):
        if (named := in_order(record, shapes)) is not None:
            _say_listed(received.layout.names)
            return {key: named[key] for key in received.layout.names}, [name]
    return None


@cache
def _say_listed(names: tuple[str, ...]) -> None:
    log.info(
        "the answers' arrays have no names; they count in the order of those that were sent: %s",
        printable(", ".join(names), most=200),
    )


def _unpaid(answer: Message, received: ReceivedModel, *, records: Sequence[str]) -> tuple[str, ...]:
    """What an answer changes of the arrays that are sent along and do not travel back; a batch norm's statistics are measured anew."""
    found = {name: array for record in records for name, array in answer.content.array_records[record].items()}
    paid = [found[name] for name in received.layout.names if name in found]
    changed = []
    for name, array in found.items():
        sent = received.arrays.get(name)
        if name in received.layout.names or sent is None or sent.dtype.kind != "f" or name.endswith(_MEASURED):
            continue
        if not np.array_equal(new := array.numpy(), sent, equal_nan=True):
            tied = any(tuple(other.shape) == new.shape and np.array_equal(other.numpy(), new) for other in paid)
            changed += [] if tied else [name]
    return tuple(changed)


@cache
def _say_unpaid(names: tuple[str, ...]) -> None:
    if names:
        log.warning(
            "the answers change %s, which does not travel, as it is a buffer or frozen in the task's model: it stays as it was sent; make it "
            "a parameter with a gradient, or keep it in context.state",
            printable(", ".join(names), most=200),
        )


def _all(records: Mapping[str, ArrayRecord]) -> list[tuple[str, Array]]:
    return [item for record in records.values() for item in record.items()]


def _request_of(message: Message) -> TrainRequest:
    try:
        return TrainRequest.from_record(of_kind(message.content, ConfigRecord)[RECORD])
    except (KeyError, TypeError) as error:
        raise UnreadableRequest(problem=str(error)) from error


def _keep_receipt(request: TrainRequest, *, wallet: Wallet, ledger: Ledger) -> None:
    if not request.receipt:
        return
    try:
        genuine = wallet.is_receipt(
            request.receipt, round_number=request.receipt_round, update_root=request.receipt_root
        )
    except InvalidSignature:
        genuine = False
    if not genuine:
        log.warning("round %d: the receipt is not signed by %s", request.receipt_round, wallet.coordinator)
        return
    ledger.keep_receipt(round_number=request.receipt_round, update_root=request.receipt_root, receipt=request.receipt)


def _reply(
    message: Message, update: SignedUpdate, *, answer: RecordDict | None = None, models: Sequence[str] = (), bits: int
) -> Message:
    """The answer with blocks in place of the model; what else the app sends goes along as it is, and is not signed."""
    sent = update if bits == 16 else replace(update, blocks=narrowed(whole(update.blocks)))
    content: dict[str, ArrayRecord | MetricRecord | ConfigRecord] = {RECORD: sent.to_record()}
    if answer is not None:
        others = [name for name in of_kind(answer, ArrayRecord) if name not in models]
        if others or list(models) != [MODEL]:
            content[models[0]] = ArrayRecord()  # where the model was: a strategy of the app's own may ask by that name
        for name, record in answer.items():
            if name not in models and name != RECORD:
                content[name] = record
    return reply(Records(content), message)
