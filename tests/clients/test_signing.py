"""The mod in a real ClientApp behind a real grid: what it signs, and what it will not sign."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from train_question import BASE, ask, question

from clients.errors import ForeignTask, PastRound, SecondUpdate, UnfitAnswer, UnreadableRequest
from clients.keys.ledger import LAST, RECEIPTS
from clients.signing import sign_updates
from fl.chain.typed_data import Receipt, Update, sign, signer_of
from fl.codec import Blocks, UnencodableVector, block_root, model_hash
from fl.coordinator.engines.local import LocalGrid
from fl.protocol import RECORD, SignedUpdate, TrainRequest


@pytest.fixture(scope="module")
def task(lasting_world):
    """A task that the tests of this module only read."""
    return lasting_world(joining=0)


def node(task):
    """The first client's context."""
    return Context(run_id=1, node_id=2, node_config=task.node_config(0), state=RecordDict(), run_config={})


def test_the_signature_is_the_wallets_over_what_is_sent(task):
    answer = SignedUpdate.from_record(ask(task, node(task), BASE).content[RECORD])
    update = Update(
        task_id=task.task.task_id,
        round=1,
        client=task.addresses[0],
        base_model=model_hash(BASE),
        update_root=block_root(answer.blocks),
    )
    assert answer.account == task.addresses[0]
    assert (answer.round, answer.base_model) == (1, model_hash(BASE))
    assert signer_of(update, domain=task.task.domain, signature=answer.signature) == task.addresses[0]


def test_the_blocks_are_the_trained_model_less_the_base(task):
    answer = SignedUpdate.from_record(ask(task, node(task), BASE).content[RECORD])
    np.testing.assert_array_equal(Blocks.from_bytes(answer.blocks, size=8).decode(), np.full(8, 0.25))


def test_the_model_itself_is_not_sent(task):
    content = ask(task, node(task), BASE).content
    assert list(content.array_records) == []
    assert list(content.config_records) == [RECORD]
    assert dict(content["metrics"]) == {"num-examples": 1, "train-loss": 1.0}


def test_an_update_takes_half_the_bytes_of_float32(task):
    large = np.zeros(100_000, dtype=np.float32)
    content = RecordDict({"arrays": ArrayRecord({"w": Array(large)}), "config": ConfigRecord({"server-round": 1})})
    content[RECORD] = TrainRequest(task_id=task.task.task_id, round=1).to_record()
    app = task.app(lambda number, round_number, base: np.random.default_rng(0).normal(size=len(base)))
    answer = app(Message(content, 2, "train"), node(task))
    assert len(SignedUpdate.from_record(answer.content[RECORD]).blocks) < 0.51 * large.nbytes


def test_a_task_that_the_owner_did_not_accept_is_refused(task):
    context = node(task)
    with pytest.raises(ForeignTask) as caught:
        ask(task, context, BASE, request=TrainRequest(task_id=b"\x09" * 32, round=1))
    assert (caught.value.seen, caught.value.accepted) == (b"\x09" * 32, task.task.task_id)
    assert str(caught.value).endswith("; nothing was signed")
    assert not context.state.config_records


def test_a_second_base_for_a_round_is_refused(task):
    context = node(task)
    ask(task, context, BASE)
    with pytest.raises(SecondUpdate) as caught:
        ask(task, context, BASE + 1)
    assert caught.value.round_number == 1
    assert "would cost the stake, so nothing was signed" in str(caught.value)


def test_the_same_request_again_gives_the_same_bytes_without_training(task):
    context = node(task)
    first = ask(task, context, BASE)

    def never(number, round_number, base):
        raise AssertionError("trained twice")

    again = ask(task, context, BASE, moves=never)
    assert dict(again.content[RECORD]) == dict(first.content[RECORD])


def test_a_round_that_is_past_is_refused(task):
    # Otherwise round 1, round 2, round 1 again would be two signed updates for round 1.
    context = node(task)
    ask(task, context, BASE)
    ask(task, context, BASE + 1, number=2)
    with pytest.raises(PastRound) as caught:
        ask(task, context, BASE + 2)
    assert (caught.value.seen, caught.value.last) == (1, 2)
    assert str(caught.value).endswith("; nothing was signed")


def test_training_that_ends_in_nan_signs_nothing(task):
    context = node(task)
    with pytest.raises(UnencodableVector) as caught:
        ask(task, context, BASE, moves=lambda *_: np.full(8, np.nan))
    assert caught.value.index == 0
    assert LAST not in context.state.config_records
    ask(task, context, BASE)  # and the round is still open for an honest one


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (None, RECORD),
        (ConfigRecord({}), "task-id"),
        (ConfigRecord({"task-id": "text", "round": 1}), "task-id is a str, bytes is expected"),
        (ConfigRecord({"task-id": b"", "round": "1"}), "round is a str, int is expected"),
    ],
)
def test_a_message_without_the_record_is_refused(task, record, problem):
    message = question(task, BASE, request=False)
    if record is not None:
        message.content[RECORD] = record
    with pytest.raises(UnreadableRequest, match=problem) as caught:
        task.app(lambda *_: np.zeros(8))(message, node(task))
    assert str(caught.value).endswith("is its strategy a PayingStrategy?")


def test_other_messages_pass_through_untouched(task):
    app = ClientApp(mods=[sign_updates])

    @app.evaluate()
    def evaluate(message, context):
        return Message(RecordDict({"seen": ConfigRecord({"type": message.metadata.message_type})}), reply_to=message)

    # Neither a wallet nor a record is asked for.
    context = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})
    answer = app(Message(RecordDict(), 2, MessageType.EVALUATE), context)
    assert answer.content["seen"]["type"] == "evaluate"
    assert list(answer.content.config_records) == ["seen"]


def receipt_from(task, signer, *, number=1, root=b"r" * 32, client=None):
    """A request for the next round with a receipt for this one."""
    receipt = Receipt(task_id=task.task.task_id, round=number, client=client or task.addresses[0], update_root=root)
    return TrainRequest(
        task_id=task.task.task_id,
        round=number + 1,
        receipt=sign(receipt, domain=task.task.domain, account=signer),
        receipt_round=number,
        receipt_root=root,
    )


def test_a_genuine_receipt_is_kept(task):
    context = node(task)
    request = receipt_from(task, task.coordinator)
    ask(task, context, BASE, request=request)
    assert dict(context.state[RECEIPTS]) == {"1": b"r" * 32 + request.receipt}
    ask(task, context, BASE, request=receipt_from(task, task.coordinator, number=2))
    assert sorted(context.state[RECEIPTS]) == ["1", "2"]


def test_a_receipt_by_anybody_else_is_not_kept(task):
    context = node(task)
    ask(task, context, BASE, request=receipt_from(task, task.sponsor))
    assert RECEIPTS not in context.state.config_records


def test_a_receipt_for_somebody_else_is_not_kept(task):
    context = node(task)
    ask(task, context, BASE, request=receipt_from(task, task.coordinator, client=task.addresses[1]))
    assert RECEIPTS not in context.state.config_records


def test_a_receipt_that_is_no_signature_is_not_kept(task):
    context = node(task)
    request = TrainRequest(task_id=task.task.task_id, round=1, receipt=b"x", receipt_round=1, receipt_root=b"r" * 32)
    ask(task, context, BASE, request=request)
    assert RECEIPTS not in context.state.config_records


def test_a_node_that_raises_answers_with_its_reason(task):
    def fails(number, round_number, base):
        raise RuntimeError("disk full")

    grid = LocalGrid(task.app(fails), {2: task.node_config(0)})
    (reply,) = grid.send_and_receive([question(task, BASE)])
    assert reply.has_error()
    assert reply.error.reason == "RuntimeError: disk full"


def test_only_the_named_arrays_are_signed_for_whatever_else_comes_along(task):
    content = RecordDict(
        {
            "arrays": ArrayRecord(
                {"weight": Array(BASE.reshape(2, 4)), "running_mean": Array(np.full(3, 9, np.float32))}
            ),
            "config": ConfigRecord({"server-round": 1}),
        }
    )
    content[RECORD] = TrainRequest(task_id=task.task.task_id, round=1, names=("weight",)).to_record()

    def answered(message, context):
        arrays = {"_orig_mod.weight": Array(BASE.reshape(2, 4) + np.float32(0.25)), "running_mean": Array(np.zeros(3))}
        return Message(RecordDict({"arrays": ArrayRecord(arrays)}), reply_to=message)

    answer = sign_updates(Message(content, 2, "train"), node(task), answered)
    update = SignedUpdate.from_record(answer.content[RECORD])
    assert update.base_model == model_hash(BASE)
    np.testing.assert_array_equal(Blocks.from_bytes(update.blocks, size=8).decode(), np.full(8, 0.25))


@pytest.mark.parametrize(
    ("names", "arrays", "error", "message"),
    [
        (("other",), {"weight": BASE}, UnreadableRequest, "array 'other' is named and absent"),
        (("weight",), {"bias": BASE}, UnfitAnswer, "array 'weight' is absent, .*; it holds bias"),
        (("weight",), {"weight": BASE[:4]}, UnfitAnswer, r"array 'weight' is of shape \(4,\)"),
        (("weight",), None, UnfitAnswer, "it has no arrays; answer with the trained model's"),
    ],
)
def test_an_answer_that_does_not_fit_the_task_is_refused_by_name(task, names, arrays, error, message):
    content = RecordDict({"arrays": ArrayRecord({"weight": Array(BASE)}), "config": ConfigRecord({"server-round": 1})})
    content[RECORD] = TrainRequest(task_id=task.task.task_id, round=1, names=names).to_record()

    def answered(message, context):
        found = (
            {} if arrays is None else {"arrays": ArrayRecord({name: Array(array) for name, array in arrays.items()})}
        )
        return Message(RecordDict(found), reply_to=message)

    with pytest.raises(error, match=message):
        sign_updates(Message(content, 2, "train"), node(task), answered)


def listed_answer(task, arrays, *, beside=None):
    """Ask for an update of `weight`, which comes after a buffer, and have the app answer with a list of arrays."""
    sent = {"mean": Array(np.zeros(3, np.float32)), "weight": Array(BASE.reshape(2, 4))}
    content = RecordDict({"model": ArrayRecord(sent), "config": ConfigRecord({"server-round": 1})})
    request = TrainRequest(task_id=task.task.task_id, round=1, names=("weight",), record="model")
    content[RECORD] = request.to_record()

    def answered(message, context):
        found = {"beside": ArrayRecord(beside)} if beside else {}
        return Message(RecordDict({**found, "model": ArrayRecord(arrays)}), reply_to=message)

    return sign_updates(Message(content, 2, "train"), node(task), answered)


def test_a_list_of_arrays_counts_in_the_order_in_which_the_model_was_sent(task):
    moved = BASE.reshape(2, 4) + np.float32(0.25)
    # A second list of the same shapes is the app's own; the model is in the record that the model came in.
    answer = listed_answer(task, [np.ones(3), moved], beside=[np.ones(3), np.ones((2, 4))])
    update = SignedUpdate.from_record(answer.content[RECORD])
    np.testing.assert_array_equal(Blocks.from_bytes(update.blocks, size=8).decode(), np.full(8, 0.25))
    assert list(answer.content["beside"]) == ["0", "1"]


@pytest.mark.parametrize(
    "arrays",
    [
        [BASE.reshape(2, 4)],
        [BASE.reshape(2, 4), np.zeros(3)],
        [np.zeros(3), BASE],
        [np.zeros(3), BASE.reshape(2, 4), BASE],
    ],
)
def test_a_list_of_arrays_that_does_not_fit_is_refused_with_what_to_answer(task, arrays):
    told = f"it is a list of {len(arrays)} arrays, which in number or shapes is not that of the 2 that were sent; answer with ArrayRecord"
    with pytest.raises(UnfitAnswer, match=told):
        listed_answer(task, arrays)
