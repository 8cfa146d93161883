import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from vector_files import cases, unhex

from fl.codec import BLOCK_BYTES, Blocks, MalformedBlocks, UnencodableVector

vectors = hnp.arrays(np.float32, st.integers(1, 700), elements=st.floats(-32767, 32767, width=32, allow_subnormal=True))


@pytest.mark.parametrize("case", cases("blocks"), ids=lambda case: case["name"])
def test_blocks_have_the_bytes_of_the_vectors(case):
    assert Blocks.encode(np.array(case["values"])).to_bytes() == unhex(case["bytes"])


@given(vectors)
def test_a_decoded_value_is_within_half_a_quantum(vector):
    blocks = Blocks.encode(vector)
    quantum = np.ldexp(1.0, np.repeat(blocks.exponents.astype(int), 256)[: vector.size])
    assert (np.abs(blocks.decode().astype(float) - vector) <= quantum / 2).all()


@given(vectors)
def test_what_was_decoded_encodes_to_the_same_bytes(vector):
    blocks = Blocks.encode(vector)
    assert Blocks.encode(blocks.decode()).to_bytes() == blocks.to_bytes()


@given(vectors)
def test_bytes_are_read_back_as_they_were_written(vector):
    data = Blocks.encode(vector).to_bytes()
    assert Blocks.from_bytes(data, size=vector.size).to_bytes() == data


@settings(max_examples=200)
@given(vectors, st.data())
def test_no_two_byte_strings_stand_for_one_vector(vector, data):
    wire = bytearray(Blocks.encode(vector).to_bytes())
    place = data.draw(st.integers(0, len(wire) - 1))
    wire[place] ^= data.draw(st.integers(1, 255))
    try:
        changed = Blocks.from_bytes(bytes(wire), size=vector.size)
    except MalformedBlocks:
        return
    assert not np.array_equal(changed.decode(), Blocks.encode(vector).decode())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 32767.5, -40000.0])
def test_a_value_that_no_block_carries_is_refused_with_its_place(bad):
    vector = np.ones(300, dtype=np.float32)
    vector[257] = bad
    with pytest.raises(UnencodableVector, match="value 257 of the vector is .*lower the learning rate"):
        Blocks.encode(vector)


def test_an_empty_vector_is_refused():
    with pytest.raises(MalformedBlocks, match=r"shape \(0,\)"):
        Blocks.encode(np.zeros(0, dtype=np.float32))


def block(*, exponent: int, quanta: dict[int, int]) -> bytes:
    values = [quanta.get(i, 0) for i in range(256)]
    return exponent.to_bytes(1, "big", signed=True) + b"".join(v.to_bytes(2, "big", signed=True) for v in values)


@pytest.mark.parametrize(
    ("data", "size", "reason"),
    [
        (bytes(BLOCK_BYTES - 1), 256, "512 bytes were given for 256 values, 513 are expected"),
        (bytes(BLOCK_BYTES), 257, "513 bytes were given for 257 values, 1026 are expected"),
        (block(exponent=1, quanta={0: 20000}), 256, "block 0 has exponent 1, outside"),
        (block(exponent=-65, quanta={0: 20000}), 256, "block 0 has exponent -65, outside"),
        (block(exponent=-3, quanta={0: -32768}), 256, "block 0 holds -32768"),
        (block(exponent=-3, quanta={0: 16383}), 256, "block 0 has exponent -3 where a smaller one fits"),
        (block(exponent=0, quanta={}), 256, "block 0 has exponent 0 where a smaller one fits"),
        (block(exponent=-3, quanta={0: 20000, 255: 1}), 255, "the padding after value 255 is not zero"),
    ],
)
def test_bytes_out_of_form_are_refused(data, size, reason):
    with pytest.raises(MalformedBlocks, match=reason):
        Blocks.from_bytes(data, size=size)


def test_two_bytes_a_value_and_one_a_block_go_over_the_wire():
    assert len(Blocks.encode(np.ones(1000, dtype=np.float32)).to_bytes()) == 4 * 513


def test_a_part_is_decoded_as_the_whole_is():
    vector = np.random.default_rng(3).normal(size=700).astype(np.float32)
    blocks = Blocks.encode(vector)
    for start, stop in ((0, 700), (0, 1), (255, 257), (256, 512), (600, 700)):
        np.testing.assert_array_equal(blocks.decode_part(start, stop), blocks.decode()[start:stop])


def test_the_squared_norm_is_exact_and_the_same_once_it_was_sent():
    blocks = Blocks.encode(np.random.default_rng(4).normal(size=700).astype(np.float32))
    expected = sum(int(q) ** 2 << 2 * (int(e) + 64) for e, row in zip(blocks.exponents, blocks.quanta) for q in row)
    assert blocks.squared_q128 == expected
    assert Blocks.from_bytes(blocks.to_bytes(), size=700).squared_q128 == expected


def test_a_vector_of_many_blocks_has_the_bytes_of_its_blocks_one_by_one():
    # More than are encoded and summed at once, with an end that fills no block.
    vector = (
        np.random.default_rng(0).normal(size=2100 * 256 + 7)
        * np.repeat(10.0 ** np.arange(-20, 1), 100 * 256 + 1)[: 2100 * 256 + 7]
    )
    whole = Blocks.encode(vector)
    parts = [Blocks.encode(vector[start : start + 256]) for start in range(0, len(vector), 256)]
    assert whole.to_bytes() == b"".join(part.to_bytes() for part in parts)
    assert whole.squared_q128 == sum(part.squared_q128 for part in parts)
    assert Blocks.from_bytes(whole.to_bytes(), size=len(vector)).squared_q128 == whole.squared_q128
    vector[2090 * 256 + 3] = np.nan
    with pytest.raises(UnencodableVector, match=f"value {2090 * 256 + 3} of the vector is nan"):
        Blocks.encode(vector)
