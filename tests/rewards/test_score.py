from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vector_files import cases, unhex

from fl.codec import Blocks
from fl.rewards import WEIGHT_ONE, partials, score
from fl.rewards.score import slopes_of


def blocks_of(hexes: list[str], size: int) -> Blocks:
    return Blocks.from_bytes(b"".join(map(unhex, hexes)), size=size)


@pytest.mark.parametrize("case", cases("score"), ids=lambda case: case["name"])
def test_partials_and_scores_are_those_of_the_vectors(case):
    update, direction = (blocks_of(case[key], case["size"]) for key in ("update", "direction"))
    assert partials(update, direction) == [int(part) for part in case["partials"]]
    assert score(update, direction, weight=int(case["weight"])) == int(case["score"])


floats = st.floats(-32767, 32767, width=32)
vectors = st.integers(1, 520).flatmap(
    lambda n: st.tuples(st.lists(floats, min_size=3, max_size=3), st.lists(floats, min_size=3, max_size=3), st.just(n))
)


@given(vectors)
def test_partials_are_the_exact_products_rounded_down(drawn):
    few_u, few_g, size = drawn
    update, direction = (Blocks.encode(np.resize(np.array(few, dtype=np.float32), size)) for few in (few_u, few_g))
    for j, part in enumerate(partials(update, direction)):
        dot = sum(int(a) * int(b) for a, b in zip(update.quanta[j], direction.quanta[j]))
        exponent = int(update.exponents[j]) + int(direction.exponents[j]) + 40
        assert part == floor(dot * Fraction(2) ** exponent)


@given(vectors, st.integers(0, WEIGHT_ONE))
def test_a_zero_update_scores_exactly_0(drawn, weight):
    _, few, size = drawn
    direction = Blocks.encode(np.resize(np.array(few, dtype=np.float32), size))
    assert score(Blocks.encode(np.zeros(size)), direction, weight=weight) == 0


def test_vectors_of_different_length_are_refused():
    with pytest.raises(ValueError, match="the update has 2 values and the direction 3"):
        partials(Blocks.encode(np.ones(2)), Blocks.encode(np.ones(3)))


def test_partials_of_many_blocks_are_those_of_the_blocks_one_by_one():
    rng, size = np.random.default_rng(0), 2100 * 256 + 7  # more than are multiplied at once
    update, direction = (Blocks.encode(rng.normal(size=size)) for _ in range(2))
    alone = [
        partials(
            *(
                Blocks(exponents=each.exponents[j : j + 1], quanta=each.quanta[j : j + 1], size=256)
                for each in (update, direction)
            )
        )
        for j in range(0, len(update), 97)
    ]
    found = partials(update, direction)
    assert [[part] for part in found[::97]] == alone
    assert partials(update, direction, slopes=list(slopes_of(direction))) == found
