"""Normal noise from cryptographic sources: a client's on its update, and that of a pair on the scores of its two ends.

The noise of an update is drawn where the update is made and is nobody's to recompute. The noise of a pair follows from the pair's seed:
both ends add it to what they tell of their mask, one with and one against its sign, so that each score is noisy and their sum is
not; an opened pair shows its noise, and the closed ones keep theirs. It is computed in decimals, so that both ends come to one number.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from decimal import Context, Decimal
from fractions import Fraction
from math import isqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from fl.privacy.words import stream

_DIGITS = Context(prec=50)
_HALF = Decimal(1 << 63)
_WORDS = 64  # a pair of them is within the circle with chance π/4


def normal(count: int) -> NDArray[np.float64]:
    """Standard normal values of the system's cryptographic source, shape (count,).

    By the inverse of the distribution from 53 bits each. The values are rounded to the words' fixed point before anybody sees them,
    far coarser than a float's own grid, which Mironov 2012 ("On significance of the least significant bits") reads noise from.
    """
    words = stream(os.urandom(32), count)
    return ndtri(((words >> np.uint64(11)).astype(np.float64) + 0.5) / float(1 << 53))


def noised(vector: NDArray[np.floating], *, clip: float, deviation: float) -> NDArray[np.float64]:
    """A vector held to a length, with normal noise on each value.

    Args:
        vector: Shape (P,).
        clip: Euclidean norm that it is scaled down to.
        deviation: Of the noise, in the vector's unit.
    """
    exact = vector.astype(np.float64)
    norm = float(np.linalg.norm(exact))
    held = exact * min(1.0, clip / norm) if norm else exact
    return held + deviation * normal(len(exact))


def pair_noise(seed: bytes, *, deviation: int) -> int:
    """A whole number of the normal distribution, the same on every machine.

    By the polar method (Marsaglia and Bray 1964), in decimals of 50 digits, whose root and logarithm are rounded correctly.

    Args:
        seed: 32 bytes.
        deviation: Standard deviation.
    """
    for u, v in _points(seed):
        square = _DIGITS.add(_DIGITS.multiply(u, u), _DIGITS.multiply(v, v))
        if 0 < square < 1:
            ratio = _DIGITS.divide(_DIGITS.multiply(Decimal(-2), square.ln(_DIGITS)), square)
            value = _DIGITS.multiply(u, ratio.sqrt(_DIGITS))
            return int(_DIGITS.multiply(value, Decimal(deviation)).to_integral_value())
    raise ValueError("no point of 32 was within the circle")  # one seed in 10^21


def _points(seed: bytes) -> Iterator[tuple[Decimal, Decimal]]:
    words = stream(seed, _WORDS).tolist()
    for place in range(0, _WORDS, 2):
        first, second = ((Decimal(word) - _HALF) / _HALF for word in words[place : place + 2])
        yield first, second


def score_deviation(*, longest: int, squared: int, multiplier: str, closed: int) -> int:
    """The deviation of one pair's noise, in the unit of ⟨x, g⟩, rounded up.

    Args:
        longest: Of the two ends, the most that ‖x‖ comes to.
        squared: ‖g‖².
        multiplier: Of the noise of a score over its sensitivity.
        closed: How many pairs of either end stay closed at least; so many noises are in a score.
    """
    exact = Fraction(Decimal(multiplier)) ** 2 * longest * longest * squared / max(1, closed)
    return isqrt(int(exact)) + 1
