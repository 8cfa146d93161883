"""A Flower mod that turns any ClientApp into one that can be paid.

    app = ClientApp(mods=[sign_updates])

The app trains as it always did and answers with its model. The mod subtracts the model that it was sent, quantises the
difference to blocks, signs them with the owner's wallet, and sends blocks and signature instead of the model: half the
bytes, and what is signed is what is sent, aggregated and scored.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
from flwr.app import Context, Message, MessageType, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from numpy.typing import NDArray

from clients.errors import ForeignTask, PastRound, SecondUpdate, UnfitAnswer, UnreadableRequest
from clients.keys.ledger import Ledger, ledger_of
from clients.keys.wallet import Wallet, wallet_of
from clients.privacy import answers as private
from fl.chain.typed_data import InvalidSignature
from fl.codec import Blocks, Layout, LayoutMismatch, block_root, matched
from fl.protocol import MASKED, RECORD, SignedUpdate, TrainRequest
from fl.task.held_arrays import ReceivedModel, received_model

log = logging.getLogger(__name__)

TRAINED_IN = (
    "seconds_training"  # attribute of an answer that was made before it was asked for: a node's part of a batch
)


def sign_updates(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """The mod. Messages other than train pass through.

    Raises: NodeRefusal (Flower turns it into an error reply) for a task that was not accepted, a second update to a
    round, a ledger that cannot be read, or a message without the fairshare record; UnencodableVector if training ended in
    NaN.
    """
    if message.metadata.message_type.split(".")[0] != MessageType.TRAIN:
        return call_next(message, context)
    wallet = wallet_of(context)
    if MASKED in message.content.config_records:  # a step of a masked round that follows its training
        return private.answer(message, context, wallet=wallet)
    request = _request_of(message)
    if request.task_id != wallet.task_id:
        raise ForeignTask(seen=request.task_id, accepted=wallet.task_id)
    ledger = ledger_of(context, task_id=wallet.task_id)
    _keep_receipt(request, wallet=wallet, ledger=ledger)

    try:
        received = received_model(next(iter(message.content.array_records.values())), names=request.names)
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
            train=lambda: _difference(message, context, call_next, received=received),
        )
    last = ledger.last()
    if last is not None and last.round == request.round:
        if last.base_model != base_model:
            raise SecondUpdate(round_number=request.round)
        # A coordinator that lost the answer asks again; it gets the same bytes, not a second update.
        return _reply(message, last, metrics=None)
    if last is not None and last.round > request.round:
        # Only the last update is kept, so an older round may have been signed for or not.
        raise PastRound(seen=request.round, last=last.round)

    started = time.perf_counter()
    answer = call_next(message, context)
    if answer.has_error():
        return answer
    trained = time.perf_counter()
    trained_vector = _trained(answer, received.layout)
    made = np.subtract(trained_vector, received.vector, dtype=np.float64)
    noisy = private.terms_of(context).noise == "client"
    blocks = Blocks.encode(private.noised_update(context, made) if noisy else made).to_bytes()
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
    ledger.keep(update)  # before it is sent: after a crash the same bytes go out again, and no others
    log.info("round %d: signed an update of %d bytes as %s", request.round, len(blocks), wallet.address)
    # What training says of itself has no noise on it.
    return _reply(message, update, metrics=None if noisy else answer.content)


def _difference(
    message: Message, context: Context, call_next: ClientAppCallable, *, received: ReceivedModel
) -> tuple[NDArray[np.float64], float] | Message:
    """What training made of the model, shape (P,), and its seconds; or the app's error reply."""
    started = time.perf_counter()
    answer = call_next(message, context)
    if answer.has_error():
        return answer
    seconds = getattr(answer, TRAINED_IN, time.perf_counter() - started)
    return np.subtract(_trained(answer, received.layout), received.vector, dtype=np.float64), seconds


def _trained(answer: Message, layout: Layout) -> NDArray[np.float32]:
    """The trained arrays as a vector, whatever wrapper the app put round its model."""
    records = list(answer.content.array_records.values())
    if not records:
        raise UnfitAnswer(problem="it holds no arrays; answer with the trained model's")
    arrays: dict[str, NDArray[Any]] = {}
    for record in reversed(records):  # an array that several records hold counts as the first has it
        arrays |= {name: array.numpy() for name, array in record.items()}
    try:
        return layout.flatten(matched(arrays, layout.names))
    except LayoutMismatch as error:
        raise UnfitAnswer(problem=f"{error}; it holds {', '.join(list(arrays)[:6])}") from error


def _request_of(message: Message) -> TrainRequest:
    try:
        return TrainRequest.from_record(message.content.config_records[RECORD])
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


def _reply(message: Message, update: SignedUpdate, *, metrics: RecordDict | None) -> Message:
    content = RecordDict({RECORD: update.to_record()})
    if metrics is not None:
        for name, one in metrics.metric_records.items():
            content[name] = one
    return Message(content, reply_to=message)
