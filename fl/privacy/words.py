"""Updates as 64-bit words: the fixed point, the masks' streams, and inner products modulo 2^64.

    x = round(2^F · share · min(1, R / ‖Δ‖) · Δ)          a client's contribution, share = its stake over the roster's
    y = x + Σ ± masks + own mask  mod 2^64                   what it sends
    g = round(2^h · direction)                               the posted direction as integers

F is the largest with R·2^F < 2^36 and h the largest with ‖direction‖·2^h < 2^25, so that ⟨x, g⟩ stays below 2^61 and is known
exactly where it is known modulo 2^64. Both are precise to about 10^−6 of an update's own length for 1,000 clients of LeNet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import isqrt

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray

from fl.codec import Blocks
from fl.rewards import norm_q64

Words = NDArray[np.uint64]

UPDATE_BITS, DIRECTION_BITS = 36, 25
_LOW = np.uint64(0xFFFFFFFF)
_EXACT = 1 << 20  # columns whose 32-bit halves sum up exactly in float64
_MODULUS = 1 << 64


def stream(seed: bytes, count: int) -> Words:
    """`count` words that nobody tells from random ones without the seed of 32 bytes: ChaCha20 (RFC 8439), nonce 0, one seed one use."""
    cipher = Cipher(algorithms.ChaCha20(seed, bytes(16)), mode=None).encryptor()
    return np.frombuffer(cipher.update(bytes(8 * count)), dtype="<u8")


def update_scale(length_q64: int) -> int:
    """F for a round's length in units of 2^−64."""
    return UPDATE_BITS + 64 - max(1, length_q64).bit_length()


def length_of_vector(vector: NDArray[np.floating]) -> int:
    """The Euclidean norm in units of 2^−64, rounded down, as a client states it."""
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    mantissa, power = math.frexp(norm)
    return max(0, int(Fraction(mantissa) * Fraction(2) ** (power + 64)))


def encode(
    vector: NDArray[np.floating], *, share: Fraction, length_q64: int, noise: NDArray[np.float64] | float = 0.0
) -> NDArray[np.int64]:
    """A client's contribution, shape (P,): held to the round's length, weighed by its share, in units of 2^−F, with noise in these.

    Args:
        vector: The update, shape (P,).
        share: Of the roster's stake.
        length_q64: Of the round, units of 2^−64.
        noise: To add, if any.
    """
    norm = length_of_vector(vector)
    factor = min(Fraction(1), Fraction(length_q64, norm)) if norm else Fraction(1)
    scale = factor * share * Fraction(2) ** update_scale(length_q64)
    return np.rint(vector.astype(np.float64) * float(scale) + noise).astype(np.int64)


def direction_words(direction: Blocks) -> tuple[NDArray[np.int64], int]:
    """The posted direction as integers, shape (P,), and h."""
    norm = norm_q64(direction)
    if not norm:
        return np.zeros(direction.size, dtype=np.int64), 0
    bits = DIRECTION_BITS + 64 - norm.bit_length()
    return np.rint(np.ldexp(direction.decode().astype(np.float64), bits)).astype(np.int64), bits


def squared_of(direction: NDArray[np.int64]) -> int:
    """‖direction‖² of the integers of `direction_words`, exactly: below 2^51, and so in 64 bits."""
    return int(direction @ direction)


def dot(words: Words, vector: NDArray[np.int64]) -> int:
    """⟨words, vector⟩ modulo 2^64."""
    return int((words * vector.view(np.uint64)).sum(dtype=np.uint64))


def signed(value: int) -> int:
    """A residue modulo 2^64 as the number in [−2^63, 2^63) that it stands for."""
    value %= _MODULUS
    return value - _MODULUS if value >> 63 else value


def signs(seed: bytes, *, count: int, size: int) -> NDArray[np.float64]:
    """`count` random vectors of ±1, shape (count, size).

    Args:
        seed: Of the draw.
        count: How many vectors.
        size: P, values of each.
    """
    bits = np.unpackbits(stream(seed, -(-count * size // 64)).view(np.uint8), count=count * size)
    found = bits.astype(np.float64).reshape(count, size)
    found *= 2.0  # in place: at LeNet's size each copy is 23 MB, and making one takes longer than filling it
    found -= 1.0
    return found


def sign_dots(words: Words, vectors: NDArray[np.float64]) -> Words:
    """⟨row, sign vector⟩ modulo 2^64, shape (N, count) for words of shape (N, P). Exact: halves of 32 bits sum up in 53."""
    found = np.zeros((len(words), len(vectors)), dtype=np.uint64)
    for start in range(0, words.shape[1], _EXACT):
        part, own = words[:, start : start + _EXACT], vectors[:, start : start + _EXACT].T
        low = (part & _LOW).astype(np.float64) @ own
        high = (part >> np.uint64(32)).astype(np.float64) @ own
        found += low.astype(np.int64).view(np.uint64) + (high.astype(np.int64).view(np.uint64) << np.uint64(32))
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """The vectors that words are asked about: the direction, and the signs that bound their length."""

    direction: NDArray[np.int64]  # shape (P,)
    scale: int  # h
    vectors: NDArray[np.float64]  # shape (count, P)

    @cached_property
    def squared(self) -> int:
        """‖direction‖², exactly."""
        return squared_of(self.direction)

    def functionals(self, words: Words) -> Words:
        """⟨row, direction⟩, then the projections, modulo 2^64; shape (N, 1 + count) for words of shape (N, P)."""
        along = np.array([dot(row, self.direction) for row in words], dtype=np.uint64)[:, None]
        return np.concatenate([along, sign_dots(words, self.vectors)], axis=1)

    def combined(self, factors: Words) -> Words:
        """Σ factor · vector modulo 2^64, shape (P,), for as many factors as there are functionals."""
        found = self.direction.view(np.uint64) * factors[0]
        for factor, vector in zip(factors[1:], self.vectors, strict=True):
            found = np.where(vector > 0, found + factor, found - factor)
        return found


def score_of_words(raw: int, *, length_q64: int, direction_scale: int, roster: int, survivors: int) -> int:
    """A score in units of 2^−40 of loss, rounded down.

    Args:
        raw: ⟨x, g⟩.
        length_q64: The round's length.
        direction_scale: h.
        roster: Stake of everybody who was counted when the shares were made, wei.
        survivors: Stake of those whose updates are in the sum, wei.
    """
    power = 40 - update_scale(length_q64) - direction_scale
    return math.floor(Fraction(raw * roster, survivors) * Fraction(2) ** power)


def longest(*, share: Fraction, length_q64: int, size: int) -> int:
    """The most that ‖x‖ of an honest client comes to, rounded up: its length, and half a unit of rounding a value.

    A length is stated rounded down, so that the true one is less than a unit above it: of an update as short as 10^−10, more than is
    lost in rounding its values.

    Args:
        share: Of the roster's stake.
        length_q64: Of the round, units of 2^−64.
        size: P, values of the update.
    """
    exact = share * Fraction(length_q64 + 1, 1 << 64) * Fraction(2) ** update_scale(length_q64)
    return math.ceil(exact) + isqrt(size) // 2 + 1
