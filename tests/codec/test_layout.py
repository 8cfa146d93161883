import hashlib

import numpy as np
import pytest

from fl.codec import Layout, LayoutMismatch, in_order, is_list, model_hash

ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scale": np.float32(7).reshape(()),
    "seen": np.array(3, dtype=np.int64),
}


def test_float_arrays_travel_in_order_and_integer_buffers_do_not():
    layout = Layout.of(ARRAYS)
    assert layout.names == ("weight", "scale")
    assert layout.flatten(ARRAYS).tolist() == [0, 1, 2, 3, 4, 5, 7]


def test_a_vector_is_split_back_into_the_arrays_it_was_joined_from():
    layout = Layout.of(ARRAYS)
    back = layout.unflatten(layout.flatten(ARRAYS))
    assert all(np.array_equal(back[name], ARRAYS[name]) for name in layout.names)


def test_an_absent_array_is_named():
    with pytest.raises(LayoutMismatch, match="array 'weight' is absent, shape \\(2, 3\\) is expected"):
        Layout.of(ARRAYS).flatten({"scale": ARRAYS["scale"]})


def test_an_array_of_another_shape_is_named():
    with pytest.raises(LayoutMismatch, match="array 'weight' is of shape \\(3, 2\\)"):
        Layout.of(ARRAYS).flatten({**ARRAYS, "weight": ARRAYS["weight"].T})


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(LayoutMismatch, match="of shape \\(8,\\), shape \\(7,\\) is expected"):
        Layout.of(ARRAYS).unflatten(np.zeros(8, dtype=np.float32))


def test_a_model_without_float_arrays_is_refused():
    with pytest.raises(LayoutMismatch, match="no float array at all"):
        Layout.of({}).flatten({})


def test_a_model_hash_covers_length_and_little_endian_values():
    vector = np.array([1.0, -2.0], dtype=np.float32)
    data = b"\x03" + (2).to_bytes(8, "big") + bytes.fromhex("0000803f000000c0")
    assert model_hash(vector) == hashlib.sha256(data).digest()


def test_a_list_of_arrays_takes_the_names_at_its_places_if_count_and_shapes_agree():
    shapes = {name: array.shape for name, array in ARRAYS.items()}
    listed = {str(place): array for place, array in enumerate(ARRAYS.values())}
    assert is_list(listed)
    assert in_order(listed, shapes) == ARRAYS
    others = [
        dict(list(listed.items())[:2]),  # too few
        dict(reversed(listed.items())),  # 2, 1, 0 is not how a list is called
        {**listed, "1": np.zeros(2)},  # another shape
        {f"layer.{name}": array for name, array in listed.items()},
        {},
    ]
    assert [in_order(arrays, shapes) for arrays in others] == [None] * 5
