"""Leverage-SHAP: Shapley values by regression on coalitions drawn by leverage score, each with its complement.

The Shapley values are the weighted least-squares fit of an additive game to U under Σφ = U(N) − U(∅) (Charnes et al. 1988). A
coalition of size s has leverage 1/C(N,s), so every size is drawn alike often, without replacement; rows are weighted by the kernel over
the chance of being drawn. Source: Musco and Witter 2025, "Provably Accurate Shapley Value Estimation via Leverage Score
Sampling", arXiv:2410.01917. Cost: at most `evaluations`, and 3 gradients with the control variate.

Control variate (loss utility of the fixed game): the second-order expansion of the loss around the middle of the round's step. Its
quadratic part is the same for a coalition and its complement, so drawing both cancels it to the bit, and no Hessian is
needed: what is left of the control is linear, and is the direction's scores. The values are those scores moved towards the
fit, as far as the fit is surer than the two are apart (James and Stein 1961); with fewer pairs than clients they stay.

Efficiency is exact; symmetry and dummy hold in the mean, exactly once all coalitions are drawn.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from fl.scoring.coalition.game import CoalitionGame, check_game
from fl.scoring.direction import direction
from fl.scoring.inputs import RoundInputs
from fl.scoring.scores import Scores


@dataclass(frozen=True, kw_only=True)
class LeverageShapley:
    """scorer=leverage. Errors are over the drawn coalitions; 0 once all are drawn."""

    evaluations: int = 112
    control: bool = True  # where the loss of the fixed game is scored
    game: str = "fixed"
    utility: str = "loss"
    workers: int = 1

    def __post_init__(self) -> None:
        check_game(self.game, self.utility)
        if self.evaluations < 4:
            raise ValueError(f"evaluations is {self.evaluations}; set 4 or more: U(∅), U(N) and one pair")

    def score(self, inputs: RoundInputs, *, rng: np.random.Generator) -> Scores:
        """Score a round."""
        started = time.perf_counter()
        game = CoalitionGame(inputs, game=self.game, utility=self.utility, workers=self.workers)
        gradients = 0
        if len(inputs) == 0:
            values = errors = np.zeros(0)
        else:
            ends = game.values([[False] * len(inputs), [True] * len(inputs)])
            prior = np.full(len(inputs), (ends[1] - ends[0]) / len(inputs))
            controlled = self.control and self.game == "fixed" and self.utility == "loss" and len(inputs) > 1
            if controlled:
                found = inputs.direction
                if found is None:
                    found, gradients = direction(inputs.game, base=inputs.base, step=game.parts.sum(axis=0)), 3
                prior = game.parts @ found
            masks, chances = paired_coalitions(len(inputs), pairs=(self.evaluations - 2) // 2, rng=rng)
            values, errors = fit(
                masks, chances=chances, worth=game.values(masks), ends=ends, prior=prior, shrink=controlled
            )
        return Scores(
            values=values,
            errors=errors,
            diagnostics={
                "evaluations": game.evaluations,
                "gradients": gradients,
                "seconds": time.perf_counter() - started,
                "error": "over drawn coalitions",
            },
        )


def paired_coalitions(
    players: int, *, pairs: int, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Coalitions and their complements, without replacement, and the chance of each to be drawn.

    Args:
        players: N.
        pairs: How many pairs to draw; all 2^(N−1) − 1 if that is fewer.
    Returns: flags of shape (2·pairs, N), complements behind their coalitions, and chances of shape (2·pairs,).
    """
    sizes = list(range(1, players // 2 + 1))
    # Of size N/2 a pair covers one size and not two, so it is due half as many.
    room = [comb(players, size) // (2 if 2 * size == players else 1) for size in sizes]
    due = [0.5 if 2 * size == players else 1.0 for size in sizes]
    counts = _apportion(min(pairs, sum(room)), room=room, due=due, rng=rng)
    masks, chances = [], []
    for size, count, most in zip(sizes, counts, room, strict=True):
        for members in _subsets(players, size, count=count, rng=rng):
            mask = np.zeros(players, dtype=bool)
            mask[list(members)] = True
            masks += [mask, ~mask]
            chances += [count / most] * 2
    return np.array(masks).reshape(-1, players), np.array(chances)


def fit(
    masks: NDArray[np.bool_],
    *,
    chances: NDArray[np.float64],
    worth: NDArray[np.float64],
    ends: NDArray[np.float64],
    prior: NDArray[np.float64],
    shrink: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Kernel regression under efficiency: values and their standard errors, shape (N,) each.

    Args:
        masks: Coalitions other than ∅ and N, each followed by its complement, shape (M, N).
        chances: Chance of each to have been drawn, shape (M,).
        worth: U of each, shape (M,).
        ends: U(∅) and U(N).
        prior: Values to start from; they need not be efficient.
        shrink: Whether to stay near the prior as far as the fit is unsure. Not once all are drawn.
    """
    players = len(prior)
    gain = float(ends[1] - ends[0])
    prior = prior + (gain - prior.sum()) / players
    if players == 1 or not len(masks):
        return prior, np.full(players, 0.0 if players == 1 else np.inf)
    masks, chances, everything = masks[::2], chances[::2], bool((chances == 1).all())
    sizes = masks.sum(axis=1)
    kernel = np.array([1 / (comb(players, int(size)) * int(size) * (players - int(size))) for size in sizes]) / chances
    root = np.sqrt(kernel / kernel.mean())
    # Rows of a basis of {x: Σx = 0}: moving along them keeps efficiency.
    basis = np.linalg.svd(np.ones((1, players)))[2][1:]
    # A coalition's row in that basis is minus its complement's, so of a pair only the half difference matters.
    target = ((worth[::2] - worth[1::2]) + gain) / 2 - masks @ prior
    design, target = (masks @ basis.T) * root[:, None], target * root
    left, strengths, right = np.linalg.svd(design, full_matrices=False)
    keep = strengths > strengths.max(initial=0) * 1e-10
    left, strengths, right = left[:, keep], strengths[keep], right[keep]
    move = right.T @ ((left.T @ target) / strengths)
    if everything:
        return prior + basis.T @ move, np.zeros(players)
    free = len(masks) - len(strengths)
    if free <= 0 or len(strengths) < players - 1:
        # Nothing is left to say how sure the draws are.
        return prior + (0 if shrink else basis.T @ move), np.full(players, np.inf)
    # Each pair's residual is squared by itself (a heteroskedastic covariance), less what drawing without replacement leaves
    # to chance.
    residuals = (target - design @ move) * np.sqrt((1 - chances) * len(masks) / free)
    variances = ((basis.T @ right.T @ (left.T / strengths[:, None] * residuals)) ** 2).sum(axis=1)
    if not shrink:
        return prior + basis.T @ move, np.sqrt(variances)
    apart = float(move @ move)
    trust = max(0.0, 1 - float(variances.sum()) / apart) if apart else 1.0
    # What is not moved is in doubt by as much as the two are apart.
    doubt = trust**2 * variances + (1 - trust) ** 2 * apart / (players - 1)
    return prior + trust * (basis.T @ move), np.sqrt(doubt)


def _apportion(pairs: int, *, room: list[int], due: list[float], rng: np.random.Generator) -> list[int]:
    """Share pairs over sizes in proportion to what is due, no size above its room; remainders are drawn."""
    counts, left = [0] * len(room), pairs
    open_sizes = list(range(len(room)))
    while left and open_sizes:
        total = sum(due[size] for size in open_sizes)
        full = [size for size in open_sizes if left * due[size] / total >= room[size]]
        if full:
            for size in full:
                counts[size] = room[size]
                left -= room[size]
                open_sizes.remove(size)
            continue
        exact = [left * due[size] / total for size in open_sizes]
        for size, share in zip(open_sizes, exact, strict=True):
            counts[size] = int(share)
        rest = left - sum(counts[size] for size in open_sizes)
        remainders = np.array([share - int(share) for share in exact])
        if rest:
            lucky = rng.choice(len(open_sizes), size=rest, replace=False, p=remainders / remainders.sum())
            for place in lucky:
                counts[open_sizes[place]] += 1
        break
    return counts


def _subsets(players: int, size: int, *, count: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Distinct subsets of one size; of size N/2 only those that hold player 0, whose complements are the others."""
    halved = 2 * size == players
    from_, take = (players - 1, size - 1) if halved else (players, size)
    most = comb(from_, take)
    numbers = rng.choice(most, size=count, replace=False) if most <= 1 << 20 else None
    found: dict[tuple[int, ...], None] = {}
    if numbers is not None:
        for number in numbers:
            found[_unrank(int(number), from_, take)] = None
    while len(found) < count:  # so many subsets that two equal draws are rare
        found[tuple(sorted(rng.choice(from_, size=take, replace=False).tolist()))] = None
    return [(0, *(member + 1 for member in members)) if halved else members for members in found]


def _unrank(number: int, players: int, size: int) -> tuple[int, ...]:
    """The subset with this number in the combinatorial number system."""
    members, place = [], players
    for left in range(size, 0, -1):
        place -= 1
        while comb(place, left) > number:
            place -= 1
        members.append(place)
        number -= comb(place, left)
    return tuple(members)
