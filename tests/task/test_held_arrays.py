"""Arrays that stay arrays within a process are Flower's in every other way."""

import pickle

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.task_identity import TaskIdentity

from fl.codec import model_hash
from fl.task.held_arrays import HeldArray, Records, metrics_of, of_kind, received_model, record_of, reply

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize("make", [HeldArray.own, HeldArray.shared])
def test_it_is_the_array_that_flower_would_make(make):
    held, plain = make(VALUES), Array(VALUES)
    assert isinstance(held, Array)
    assert (held.dtype, held.shape, held.stype, held.data) == (plain.dtype, plain.shape, plain.stype, plain.data)
    assert (held.object_id, held.deflate()) == (plain.object_id, plain.deflate())
    record, expected = ArrayRecord(), ArrayRecord({"w": plain})
    record["w"] = held
    assert get_all_nested_objects(record).keys() == get_all_nested_objects(expected).keys()
    again = pickle.loads(pickle.dumps(held))
    assert type(again) is HeldArray
    np.testing.assert_array_equal(again.numpy(), VALUES)


def test_one_for_many_readers_is_copied_for_each():
    held = HeldArray.shared(VALUES)
    held.numpy()[:] = 7
    np.testing.assert_array_equal(held.numpy(), VALUES)
    with pytest.raises(ValueError, match="read-only"):
        held.view[:] = 7


def test_one_for_one_reader_is_not_copied():
    assert HeldArray.own(VALUES).numpy() is VALUES


def test_bytes_that_are_put_in_count():
    held, other = HeldArray.shared(VALUES), np.ones((3, 4), np.float32)
    held.data = Array(other).data
    np.testing.assert_array_equal(held.numpy(), other)
    assert held.view is None


def test_a_model_for_many_is_decoded_once():
    record = record_of({"w": VALUES, "count": np.array(3)}, shared=True)
    first = received_model(record)
    assert received_model(record) is first
    assert first.hash == model_hash(VALUES.ravel())
    assert first.layout.names == ("w",)
    record["w"] = HeldArray.shared(VALUES + 1)
    assert received_model(record).hash == model_hash(VALUES.ravel() + 1)


def test_a_model_that_its_reader_may_change_is_decoded_anew():
    mine = VALUES.copy()
    record = record_of({"w": mine})
    before = received_model(record).hash
    mine += 1
    assert received_model(record).hash != before


def test_records_are_flowers_own_in_all_that_is_sent_and_read():
    made = {"arrays": record_of({"w": np.ones(2, dtype=np.float32)}), "metrics": MetricRecord({"n": 1})}
    found, plain = Records(made), RecordDict(made)
    assert found.deflate() == plain.deflate()
    assert found.object_id == plain.object_id
    assert dict(found.array_records.items()) == dict(plain.array_records.items()) == of_kind(found, ArrayRecord)
    assert list(found.metric_records) == ["metrics"]
    assert list(found.config_records) == []
    found.metric_records["more"] = MetricRecord({"m": 2})  # a view writes through, as Flower's does
    assert found["more"]["m"] == 2
    assert type(pickle.loads(pickle.dumps(found))["arrays"]["w"]) is HeldArray


def test_a_view_is_made_once_and_again_after_a_change_by_whatever_way():
    records = Records({"a": record_of({"w": np.zeros(2)}), "m": metrics_of({"n": 1})})
    assert records.array_records is records.array_records
    records.metric_records["k"] = MetricRecord({"n": 2})
    assert list(records.metric_records) == ["m", "k"]
    del records["a"]
    assert not records.array_records
    records["b"] = record_of({"w": np.ones(2)})
    assert list(records.array_records) == ["b"]
    assert list(pickle.loads(pickle.dumps(records))) == list(records.copy()) == ["m", "k", "b"]


def test_metrics_are_flowers_own():
    assert metrics_of({"n": 1, "loss": 0.5}) == MetricRecord({"n": 1, "loss": 0.5})
    assert metrics_of({"n": 1}).deflate() == MetricRecord({"n": 1}).deflate()


def test_a_reply_is_the_one_that_flower_makes():
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 0
    asked = Message(RecordDict(), 7, "train", ttl=60.0, group_id="3")
    asked.metadata.__dict__["_message_id"] = "an id"
    ours, theirs = reply(RecordDict(), asked), Message(RecordDict(), reply_to=asked)
    found, expected = vars(ours.metadata), vars(theirs.metadata)
    times = ("_created_at", "_ttl")
    assert list(vars(ours)) == list(vars(theirs))
    assert found.keys() == expected.keys()
    assert {key: found[key] for key in found if key not in times} == {
        key: expected[key] for key in expected if key not in times
    }
    assert [found[key] for key in times] == pytest.approx([expected[key] for key in times], abs=5)
