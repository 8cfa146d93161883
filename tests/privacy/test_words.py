"""Words, their inner products, and the fixed point."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from fl.codec import Blocks
from fl.privacy.words import (
    direction_words,
    dot,
    encode,
    length_of_vector,
    longest,
    score_of_words,
    sign_dots,
    signed,
    signs,
    squared_of,
    stream,
    update_scale,
)

SEED = bytes(range(32))


@given(words=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20), seed=st.integers(0, 2**32))
def test_inner_products_are_exact_modulo_2_64(words, seed):
    rng = np.random.default_rng(seed)
    vector = rng.integers(-(2**25), 2**25, size=len(words))
    array = np.array(words, dtype=np.uint64)
    assert dot(array, vector) == sum(word * int(factor) for word, factor in zip(words, vector, strict=True)) % 2**64
    drawn = signs(SEED, count=3, size=len(words))
    expected = [sum(word * int(sign) for word, sign in zip(words, row, strict=True)) % 2**64 for row in drawn]
    assert sign_dots(array[None], drawn)[0].tolist() == expected


def test_residues_are_read_as_signed_numbers():
    assert [signed(word) for word in (0, 1, 2**63 - 1, 2**63, 2**64 - 1)] == [0, 1, 2**63 - 1, -(2**63), -1]


@given(length=st.integers(1, 2**104), scale=st.floats(1e-6, 1e6), seed=st.integers(0, 2**32))
def test_a_contribution_is_never_longer_than_the_round_allows(length, scale, seed):
    vector = np.random.default_rng(seed).normal(size=30) * scale
    share = Fraction(1, 3)
    found = encode(vector, share=share, length_q64=length).astype(object)
    assert sum(int(value) ** 2 for value in found) <= longest(share=share, length_q64=length, size=30) ** 2
    assert longest(share=Fraction(1), length_q64=length, size=30) < 2**37


def test_an_update_of_zeros_is_words_of_zeros():
    assert not encode(np.zeros(4), share=Fraction(1), length_q64=0).any()
    assert length_of_vector(np.zeros(4)) == 0


def test_the_fixed_point_is_as_fine_as_the_blocks_are():
    rng = np.random.default_rng(0)
    vector, direction = rng.normal(size=5000) * 1e-2, Blocks.encode(rng.normal(size=5000) * 1e-3)
    length = length_of_vector(vector)
    words, (exact, scale) = encode(vector, share=Fraction(1, 1000), length_q64=length), direction_words(direction)
    score = score_of_words(
        dot(words.view(np.uint64), exact) - (0 if dot(words.view(np.uint64), exact) < 2**63 else 2**64),
        length_q64=length,
        direction_scale=scale,
        roster=1000,
        survivors=1000,
    )
    plain = float(vector @ direction.decode()) / 1000 * 2**40
    assert score == pytest.approx(
        plain, abs=2e-6 * np.linalg.norm(vector) * np.linalg.norm(direction.decode()) / 1000 * 2**40
    )
    assert length / 2**64 * 2.0 ** update_scale(length) < 2**36


def test_a_masked_update_cannot_be_told_from_random_words():
    # Of an update that is as far from random as can be: one value, all over.
    plain = np.full(1 << 16, 12345, dtype=np.uint64)
    masked = plain + stream(SEED, len(plain))
    other = plain * np.uint64(7) + stream(SEED[::-1], len(plain))
    for words in (masked, other):
        for byte in words.view(np.uint8).reshape(-1, 8).T:
            assert chisquare(np.bincount(byte, minlength=256)).pvalue > 1e-6
        assert kstest(words / 2**64, "uniform").pvalue > 1e-6
        assert abs(np.corrcoef(words[:-1] / 2**64, words[1:] / 2**64)[0, 1]) < 0.02
    assert abs(np.corrcoef(masked / 2**64, other / 2**64)[0, 1]) < 0.02


def test_the_squared_norm_of_a_direction_is_exact_in_64_bits():
    rng = np.random.default_rng(3)
    for size in (1, 5, 44_426):
        for scale in (1e-12, 1.0, 1e3):
            exact, _ = direction_words(Blocks.encode(rng.normal(size=size) * scale))
            found = squared_of(exact)
            assert found == sum(value * value for value in exact.tolist()) < 1 << 51
