"""Score → total → price → pay → round tree. Pure integers: every machine gets the same bits.

`weight` fixes what an update weighs, `score` multiplies it with the direction, `price` turns scores into money, and
`tree` commits to the result.
"""

from fl.rewards.price import HIGHEST_PRICE, Account, RoundPayout, allowed_by, largest_price, price_of, settle_round
from fl.rewards.score import SCORE_FRACTION_BITS, partials, quantised, score, score_of
from fl.rewards.settlement import Participant, Settlement, direction_scores, length_of, settle, weigh
from fl.rewards.tree import Leaf, RoundTree, Sibling, verify_leaf
from fl.rewards.weight import WEIGHT_ONE, EmptyRound, cap_q64, median_q64, norm_q64, weights_q32

__all__ = [
    "HIGHEST_PRICE",
    "SCORE_FRACTION_BITS",
    "WEIGHT_ONE",
    "Account",
    "EmptyRound",
    "Leaf",
    "Participant",
    "RoundPayout",
    "RoundTree",
    "Settlement",
    "Sibling",
    "allowed_by",
    "cap_q64",
    "direction_scores",
    "largest_price",
    "length_of",
    "median_q64",
    "norm_q64",
    "partials",
    "price_of",
    "quantised",
    "score",
    "score_of",
    "settle",
    "settle_round",
    "verify_leaf",
    "weigh",
    "weights_q32",
]
