"""Blocks of 8 bits: a quarter of float32 on the wire, and 16-bit blocks in every other way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from vector_files import document, unhex

from fl.codec import Blocks, MalformedBlocks, UnencodableVector
from fl.codec.narrow import narrowed, widened

vectors = hnp.arrays(np.float32, st.integers(1, 700), elements=st.floats(-32512, 32512, width=32, allow_subnormal=True))


@pytest.mark.parametrize("case", document("blocks")["narrow"], ids=lambda case: case["name"])
def test_narrow_blocks_have_the_bytes_of_the_vectors(case):
    blocks = Blocks.encode(np.array(case["values"]), bits=8).to_bytes()
    assert blocks == unhex(case["bytes"])
    assert narrowed(blocks) == unhex(case["sent"])
    assert widened(unhex(case["sent"]), size=len(case["values"])) == blocks


@given(vectors)
def test_narrow_blocks_are_blocks_in_their_one_form(vector):
    blocks = Blocks.encode(vector, bits=8)
    sent = narrowed(blocks.to_bytes())
    assert len(sent) == len(blocks) * 257
    read = Blocks.from_bytes(widened(sent, size=vector.size), size=vector.size)
    np.testing.assert_array_equal(read.decode(), blocks.decode())
    quantum = np.ldexp(256.0, np.repeat(blocks.exponents.astype(int), 256)[: vector.size])
    assert (np.abs(blocks.decode().astype(float) - vector) <= quantum / 2).all()


def test_a_value_beyond_what_eight_bits_carry_is_refused():
    with pytest.raises(UnencodableVector, match="value 1 of the vector is 32600"):
        Blocks.encode(np.array([1.0, 32600.0]), bits=8)


def test_blocks_of_sixteen_bits_are_not_narrowed():
    with pytest.raises(MalformedBlocks, match="it has quanta of 16 bits where 8 were agreed on"):
        narrowed(Blocks.encode(np.array([1.0, 0.3])).to_bytes())
    with pytest.raises(MalformedBlocks, match="12 bytes are not a whole number of 513-byte blocks"):
        narrowed(bytes(12))


@pytest.mark.parametrize("length", [0, 256, 513])
def test_bytes_of_another_length_are_refused(length):
    with pytest.raises(MalformedBlocks, match=f"{length} bytes were given for 3 values of 8 bits, 257 are expected"):
        widened(bytes(length), size=3)
