"""How the report writes amounts, shares, scores and names. Amounts stay integers until they are text."""

from __future__ import annotations

import html
import math
import unicodedata

from fl.chain.tokens import two_places
from fl.rewards import HIGHEST_PRICE, SCORE_FRACTION_BITS
from fl.rewards.price import PRICE_BITS

LEAST = "less than 0.0001"  # of a loss that four decimals do not show


def tokens(wei: str | int) -> str:
    """Wei as tokens, as the terminal writes them too."""
    return two_places(int(wei))


def percent(share: float) -> str:
    """A share in [0, 1] as percent with one decimal."""
    return f"{share:.1%}" if math.isfinite(share) else "–"


def loss(value: float) -> str:
    """A loss with four decimals."""
    return f"{value:,.4f}" if math.isfinite(value) else "not finite"


def lost(q40: int) -> str:
    """A size in units of 2^−40 of loss with four decimals, exact until it is text."""
    steps = (abs(q40) * 10_000 + (1 << SCORE_FRACTION_BITS - 1)) >> SCORE_FRACTION_BITS
    if q40 and not steps:
        return LEAST
    return f"{steps // 10_000:,}.{steps % 10_000:04d}"


def score(value: float) -> str:
    """A score in units of loss, with its sign; exactly nothing is a bare 0."""
    if value == 0:
        return "0"
    if abs(value) < 0.00005:
        return "< 0.0001" if value > 0 else "> −0.0001"
    return f"{'+' if value > 0 else '−'}{abs(value):,.4f}"


def price(q64: str | int) -> str:
    """A price, of units of 2^−64 wei per 2^−40 of loss, as tokens for 1.0 of loss; a dash for the highest, which pays nobody."""
    return "–" if int(q64) == HIGHEST_PRICE else tokens(int(q64) >> PRICE_BITS - SCORE_FRACTION_BITS)


def seconds(value: float) -> str:
    """Seconds with digits that tell a fast step from no step."""
    if value >= 10 or value == 0:
        return f"{value:,.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.4f}"


def clean(text: object) -> str:
    """Text that every browser shows and UTF-8 can hold: control characters and broken bytes become U+FFFD."""
    # Names come from file names and columns: a lone surrogate would stop the write of the whole page.
    return "".join("\ufffd" if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in str(text))


def escaped(text: object) -> str:
    """Text from data, safe inside HTML and SVG, attributes too."""
    return html.escape(clean(text), quote=True)


def shortened(text: object, length: int) -> str:
    """The beginning of a long name, cleaned and not escaped."""
    name = clean(text)
    return name if len(name) <= length else name[: length - 1] + "…"
