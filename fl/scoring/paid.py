"""The scores that a task pays, by the rule in its spec: the same at the coordinator and at every evaluator.

Scores of the direction are integers from blocks: bit-exact, and provable on chain. Those of any other rule are floats, rounded once to
units of 2^−40; the rule, its settings and its draws are fixed by spec, task and round, so that evaluators recompute them within the
spec's tolerance. The chain cannot, so such a task is marked as attested. Balances, payouts and tree are exact under either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fl.aggregation.selection import check_scorable, clip_of
from fl.codec import Blocks, Layout
from fl.errors import ConfigError, FairshareError
from fl.rewards import WEIGHT_ONE, Participant, direction_scores, quantised
from fl.scoring.direction import direction, weighted_step
from fl.scoring.game import ValidationGame
from fl.scoring.inputs import BlockUpdates, RoundInputs
from fl.scoring.lengths import agreed_length
from fl.scoring.public_step import gradients_in, loss_on, search
from fl.scoring.public_vectors import (
    ModelStep,
    PublicRound,
    PublicStep,
    PublicVector,
    public_vectors,
    step_vectors,
    take_out,
)
from fl.scoring.rows import SplitRows, split_rows
from fl.scoring.rules.robust import RobustRule, robust_model, robust_step
from fl.scoring.scorer import Scorer, TooManyClients, build_scorer
from fl.scoring.scores import Scores
from fl.task.spec import TaskSpec
from fl.task.strategies import build_strategy, described
from fl.task.strategy_facts import STRATEGY_FACTS, facts_of

# Scores of a round are compared relative to their own length, but to no less than this many units of the utility: below it,
# float32's noise in two losses is larger than the tolerance.
_LEAST_LENGTH = 1e-3


class UnusableScore(FairshareError):
    """A rule gave a client a score that cannot be paid."""

    def __init__(self, scorer: str, account: str, value: float) -> None:
        super().__init__(scorer, account, value)
        self.scorer, self.account, self.value = scorer, account, value

    def __str__(self) -> str:
        return (
            f"scorer={self.scorer} gives {self.account} a score of {self.value}, and only finite numbers are paid; look at the "
            "losses of the round's coalitions, and lower the learning rate or the norm cap"
        )


class TooFewToAggregate(FairshareError):
    """A robust rule skips every round of so few clients."""

    def __init__(self, strategy: str, clients: int, least: int) -> None:
        super().__init__(strategy, clients, least)
        self.strategy, self.clients, self.least = strategy, clients, least

    def __str__(self) -> str:
        return (
            f"strategy={self.strategy} skips rounds of fewer than {self.least} clients, and there are {self.clients}; add clients, "
            "or lower strategy.arguments.num_malicious_nodes"
        )


def paid_rule(
    *, strategy: str, strategy_arguments: Mapping[str, Any], scorer: str, scorer_arguments: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The rule that a task is paid by, with its settings, as the spec states them.

    A strategy that picks coordinates is scored by its own parts, whose settings are the strategy's.

    Args:
        strategy: Its name.
        strategy_arguments: Its settings.
        scorer: The rule that was named.
        scorer_arguments: Its settings.
    Raises: ConfigError for a rule that does not fit the strategy, is unknown, or has no such setting.
    """
    fitting = {facts.scored_by: name for name, facts in STRATEGY_FACTS.items() if facts.scored_by}
    if own := facts_of(strategy).scored_by:
        settings = facts_of(strategy).rule_settings
        arguments = {
            ours: strategy_arguments[theirs] for theirs, ours in settings.items() if theirs in strategy_arguments
        }
        if scorer not in ("direction", own) or (scorer_arguments and dict(scorer_arguments) != arguments):
            raise ConfigError(
                f"strategy={strategy} picks each coordinate from another client and is scored by those parts, not by "
                f"scorer={scorer}; leave scorer and its arguments out"
            )
        scorer, scorer_arguments = own, arguments
    elif scorer in fitting:
        raise ConfigError(
            f"scorer={scorer} scores what strategy={fitting[scorer]} took from each client, and the strategy is {strategy}; set "
            f"strategy={fitting[scorer]}, or another scorer"
        )
    if scorer == "direction" and scorer_arguments:
        raise ConfigError("scorer=direction has no arguments in a task; set scorer.nodes and scorer.tolerance")
    build_scorer(scorer, scorer_arguments)  # tells what is unknown
    return scorer, dict(scorer_arguments)


class PaidScoring:
    """What a task's rounds are worth to whom.

    Args:
        spec: Names the rule.
        game: The loss on the whole committed validation set; None for an auditor without it, who has steps but no directions,
            and scores of the direction only. All of its rows score; half of them steer the public step, the other half sets its length.
    Raises: ConfigError if the spec's rule does not fit its strategy, or is not installed here.
    """

    def __init__(self, spec: TaskSpec, *, game: ValidationGame | None) -> None:
        named = (spec.scorer, dict(spec.scorer_arguments))
        found = paid_rule(
            strategy=spec.strategy,
            strategy_arguments=spec.strategy_arguments,
            scorer=named[0],
            scorer_arguments=named[1],
        )
        if found != named:
            raise ConfigError(
                f"the task's spec says scorer={named[0]} with {named[1]}, and strategy={spec.strategy} is scored by "
                f"{found[0]} with {found[1]}; open the task with that"
            )
        if facts_of(spec.strategy).scored_by and spec.duplicate_cosine is not None:
            raise ConfigError(
                f"strategy={spec.strategy} counts clients and not stakes, so near-duplicates cannot share one weight; leave out "
                "scorer.duplicate_cosine"
            )
        self.spec, self.game = spec, game
        self._rows: SplitRows | None = split_rows(game) if game is not None and spec.public_rounds else None
        self.statistics: dict[str, NDArray[Any]] = {}  # of the batch norms at the base model that was scored last
        self._rule: Scorer
        self._robust: RobustRule | None = None
        if facts_of(spec.strategy).scored_by:
            self._robust = cast(
                RobustRule, build_scorer(spec.scorer, {**spec.scorer_arguments, "nodes": spec.quadrature})
            )
            self._rule = cast(Scorer, self._robust)
        else:
            self._rule = build_scorer(spec.scorer, spec.scorer_arguments)

    @property
    def validation(self) -> ValidationGame:
        """The loss on the committed validation set. Raises: ValueError for an auditor without the validation set."""
        if self.game is None:
            raise ValueError("the validation set is not here, and this needs its loss; give it with the game")
        return self.game

    @property
    def most_clients(self) -> int | None:
        """How many updates of a round the rule can value; None for any number."""
        return getattr(self._rule, "most_clients", None)

    def check_clients(self, clients: int) -> None:
        """Raises: TooManyClients or TooFewToAggregate for a number of clients with which no round can be scored."""
        if self.most_clients is not None and clients > self.most_clients:
            raise TooManyClients(scorer=self.spec.scorer, clients=clients, most=self.most_clients)
        least = getattr(self._rule, "least_clients", 0)
        if self._robust is not None and clients < least:
            raise TooFewToAggregate(strategy=self.spec.strategy, clients=clients, least=least)

    def check_strategy(self, inner: Strategy) -> None:
        """Raises: UnscorableStrategy; ConfigError if this robust rule, or its settings, is not the one that is scored."""
        check_scorable(inner)
        own = described(inner)
        expected = (self.spec.strategy, dict(self.spec.strategy_arguments))
        if self._robust is not None:
            expected = described(build_strategy(*expected))
        if (self._robust is not None or facts_of(own[0]).scored_by) and own != expected:
            raise ConfigError(
                f"the strategy is {own[0]} with {own[1]}, and the task's spec says {expected[0]} with {expected[1]}; build the "
                "strategy that the task was opened with"
            )

    def measure(self, base: NDArray[np.float32]) -> None:
        """Measure the batch norms' statistics at a round's base model, shape (P,), on all committed rows; every game has them then.

        The methods below do it by themselves.
        """
        if self.game is None:
            return
        self.statistics = self.game.measure_statistics(base)
        if self._rows is not None and self.statistics:
            for part in (self._rows.steering, self._rows.held_out):
                part.load_statistics(self.statistics)

    def step(
        self, participants: Sequence[Participant], *, base: NDArray[np.float32], weights: Mapping[str, int]
    ) -> NDArray[np.float64]:
        """The step that the round makes, shape (P,): the weighted sum, or what the robust rule picks.

        Args:
            participants: Of the round.
            base: The model before, shape (P,).
            weights: By account, units of 2^−32.
        """
        if self._robust is not None:
            return robust_step(self._robust, self._inputs(participants, base=base, weights=weights))
        return weighted_step(
            ((participant.blocks, weights[participant.account]) for participant in participants), size=len(base)
        )

    def picked_model(
        self, participants: Sequence[Participant], *, base: NDArray[np.float32], weights: Mapping[str, int]
    ) -> NDArray[np.float32] | None:
        """The next model of a strategy that picks coordinates, shape (P,); None for any other.

        Args:
            participants: Of the round.
            base: The model before, shape (P,).
            weights: By account, units of 2^−32.
        """
        if self._robust is None:
            return None
        return robust_model(self._robust, self._inputs(participants, base=base, weights=weights))

    def direction(
        self, *, base: NDArray[np.float32], step: NDArray[np.floating], past: Sequence[PublicRound] = ()
    ) -> NDArray[np.float64]:
        """The gradient averaged along the round's step, less what is public, shape (P,).

        Args:
            base: The model before the round, shape (P,).
            step: What `step` gave, shape (P,).
            past: The rounds before, the latest first; those beyond the spec's public rounds are not looked at.
        """
        self.measure(base)
        public = self.public_before(base=base, past=past)  # first: one vector of it is whole in memory as it is made
        found = direction(self.validation, base=base, step=step, nodes=self.spec.quadrature)
        self.validation.give_back()
        take_out(found, public)
        return found

    def public_before(self, *, base: NDArray[np.float32], past: Sequence[PublicRound] = ()) -> list[PublicVector]:
        """What is public before a round, orthonormal: what its direction is without. Nothing in a task without public rounds.

        Args:
            base: The model before the round, shape (P,).
            past: The rounds before, the latest first.
        """
        if not self.spec.public_rounds:
            return []
        return public_vectors(past[: self.spec.public_rounds], parts=self.validation.layout.sizes, model=base)

    def public_basis(
        self,
        *,
        base: NDArray[np.float32],
        aggregate: NDArray[np.float32],
        layout: Layout,
        past: Sequence[PublicRound] = (),
    ) -> list[PublicVector]:
        """What the public step may go along: this round's step and those before it, orthonormal.

        Args:
            base: The model before, shape (P,).
            aggregate: The inner strategy's model, shape (P,).
            layout: Arrays of the model.
            past: Public rounds before, latest first.
        """
        this = ModelStep(base=base, following=aggregate)
        steps = (this, *(before.step for before in past))[: self.spec.public_rounds]
        return step_vectors(steps, parts=layout.sizes)

    def public_step(
        self,
        *,
        base: NDArray[np.float32],
        aggregate: NDArray[np.float32],
        layout: Layout,
        number: int,
        past: Sequence[PublicRound] = (),
    ) -> tuple[PublicStep, NDArray[np.float32]] | None:
        """The round's public step and the model after it; None in a task without public rounds.

        Args:
            base: The model before the round, shape (P,).
            aggregate: What the inner strategy made of it, shape (P,).
            layout: Of the model.
            number: Of the round, from 1: it says how long the search is.
            past: The rounds before, the latest first.
        """
        if self._rows is None:
            return None
        self.measure(base)
        basis = self.public_basis(base=base, aggregate=aggregate, layout=layout, past=past)
        step = search(
            self._rows,
            aggregate=aggregate,
            basis=basis,
            scale=float(np.linalg.norm(aggregate - base)),
            gradients=gradients_in(number, first=self.spec.public_gradients),
        )
        self.validation.give_back()
        return step, step.applied(aggregate, basis)

    def loss(self, model: NDArray[np.float32]) -> float:
        """The loss of a model on the validation set, infinity where it is no number."""
        return loss_on(self.validation, model)

    def held_out_loss(self, model: NDArray[np.float32]) -> float:
        """The loss of a model on the rows that set the public step's length, infinity where it is no number.

        Raises: ValueError for an auditor without the validation set, and in a task without public rounds.
        """
        if self._rows is None:
            raise ValueError("no rows are held out here; give the validation set of a task with public rounds")
        return loss_on(self._rows.held_out, model)

    def scores(
        self,
        participants: Sequence[Participant],
        *,
        base: NDArray[np.float32],
        weights: Mapping[str, int],
        direction: Blocks,
        task_id: bytes,
        round_number: int,
    ) -> tuple[dict[str, int], Scores | None]:
        """Score of each participant in units of 2^−40, and what the rule says beside an attested one.

        Args:
            participants: Accepted updates.
            base: The model before the round, shape (P,).
            weights: `weigh` of them.
            direction: The round's direction, as posted.
            task_id: With the round, seeds the rule's draws: whoever recomputes them gets the same.
            round_number: From 1.
        Raises: UnusableScore; TooManyClients.
        """
        if not self.spec.attested:
            return direction_scores(participants, weights=weights, direction=direction), None
        inputs = self._inputs(participants, base=base, weights=weights, direction=direction.decode())
        found = self._rule.score(inputs, rng=draws_of(task_id, round_number))
        return {
            participant.account: self._quantised(participant.account, float(value))
            for participant, value in zip(participants, found.values, strict=True)
        }, found

    def _inputs(
        self,
        participants: Sequence[Participant],
        *,
        base: NDArray[np.float32],
        weights: Mapping[str, int],
        direction: NDArray[np.float32] | None = None,
    ) -> RoundInputs:
        self.measure(base)
        length = agreed_length(participants, spec=self.spec)
        return RoundInputs(
            game=cast(ValidationGame, self.game),  # a robust step needs none
            base=base,
            updates=BlockUpdates(blocks=[participant.blocks for participant in participants]),
            weights=np.array([weights[participant.account] / WEIGHT_ONE for participant in participants]),
            clips=np.array([clip_of(participant.blocks, cap=length) for participant in participants], dtype=np.float32),
            direction=direction,
        )

    def _quantised(self, account: str, value: float) -> int:
        try:
            return quantised(value)
        except ValueError:
            raise UnusableScore(scorer=self.spec.scorer, account=account, value=value) from None


def draws_of(task_id: bytes, round_number: int) -> np.random.Generator:
    """What a round's sampled rule draws from: whoever knows task and round draws the same."""
    seed = hashlib.sha256(b"fairshare scores" + task_id + round_number.to_bytes(8, "big")).digest()
    return np.random.default_rng(int.from_bytes(seed, "big"))


def score_distance(found: Mapping[str, int], expected: Mapping[str, int]) -> float:
    """‖found − expected‖ / ‖expected‖ over the accounts of `expected`, where no length counts as less than 1/1000 of the utility."""
    own = np.array([quantum * 2.0**-40 for quantum in expected.values()])
    theirs = np.array([found[account] * 2.0**-40 for account in expected])
    return float(np.linalg.norm(theirs - own) / max(float(np.linalg.norm(own)), _LEAST_LENGTH))
