"""Arrays that stay arrays within a process are Flower's in every other way."""

import pickle

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from fl.codec import model_hash
from fl.task.held_arrays import HeldArray, Records, of_kind, received_model, record_of

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
