"""A whole task in memory, by the protocol's own arithmetic and without a chain: real clients, honest or not, rounds, scores, pay.

Weights, directions, scores, the public step, totals and prices are those of `fl.scoring` and `fl.rewards`, as a coordinator calls them
(`fl.coordinator.round.settle`); the clients are those of `clients.behaviours`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray
from together import train_together
from torch import nn

from clients.behaviours import Turn, batch_seed, play
from clients.workbench import Tools
from fl.aggregation.replay import replay
from fl.aggregation.selection import clip_of
from fl.audit.public_state import public_round
from fl.codec import Blocks
from fl.rewards import SCORE_FRACTION_BITS, WEIGHT_ONE, Account, Participant, settle_round, weigh
from fl.scoring.game import ValidationGame
from fl.scoring.inputs import BlockUpdates, RoundInputs
from fl.scoring.lengths import agreed_length
from fl.scoring.paid import PaidScoring
from fl.scoring.public_vectors import PublicRound
from fl.task.behaviour import HONEST, Known, read_behaviour
from fl.task.data import Federation
from fl.task.model_vector import layout_of, vector_of
from fl.task.spec import TaskSpec

BUDGET = 10**21  # wei


@dataclass(frozen=True, kw_only=True, eq=False)
class Wallet:
    """Who sends an update: a shard, or a part of one."""

    shard: int
    behaviour: str
    stake: int


@dataclass(kw_only=True, eq=False)
class Played:
    """What a task came to."""

    wallets: list[Wallet]
    scores: list[NDArray[np.float64]] = field(default_factory=list)  # by round, shape (wallets,), units of loss
    losses: list[float] = field(default_factory=list)  # on the test set after each round
    accuracies: list[float] = field(default_factory=list)
    model: NDArray[np.float32] | None = None  # at the end

    def pay(self, *, one_price: bool = True) -> NDArray[np.float64]:
        """What each wallet earned of a budget of 1, shape (wallets,)."""
        return one_price_pay(self.scores) if one_price else equal_pots_pay(self.scores)


def wallets_for(federation: Federation, behaviours: Mapping[int, str]) -> list[Wallet]:
    """One wallet a shard, staked by its rows, but for shards that are split."""
    found = []
    for shard, own in enumerate(federation.shards):
        text = behaviours.get(shard, "honest")
        parts = read_behaviour(text).wallets
        found += [Wallet(shard=shard, behaviour=text, stake=len(own.data) * 10**18 // parts)] * parts
    return found


def play_task(
    federation: Federation,
    spec: TaskSpec,
    *,
    rounds: int,
    behaviours: Mapping[int, str] | None = None,
    present: Sequence[int] | None = None,
    held: bool = True,
    strategy: Strategy | None = None,
    on_round: Callable[[RoundInputs], None] = lambda inputs: None,
    trained: dict[tuple, NDArray[np.float32]] | None = None,
) -> Played:
    """Play all rounds of a task; the spec says which rules hold.

    Args:
        federation: Shards, validation and test set.
        spec: Of the task.
        rounds: How many.
        behaviours: Of the shards that do not work honestly.
        present: Shards that take part; all by default.
        held: Whether those who are present weigh what they would if all took part; else weights are rescaled among them.
        strategy: Makes the next model of the round's replies; the weighted mean by default.
        on_round: Gets each round as scorers see it.
        trained: What honest clients came to in round 1 of other tasks with the same data and training; it is added to.
    """
    model, data = spec.build_model(), federation.validation
    loss = spec.build_loss()
    scoring = PaidScoring(spec, game=ValidationGame(model, loss=loss, features=data.features, labels=data.labels))
    test = ValidationGame(model, loss=loss, features=federation.test.features, labels=federation.test.labels)
    played = Played(wallets=wallets_for(federation, behaviours or {}))
    accounts = [f"0x{place + 1:040x}" for place in range(len(played.wallets))]
    told = {wallet.shard: read_behaviour(wallet.behaviour) for wallet in played.wallets}
    base, layout = vector_of(model), layout_of(model)
    models: list[NDArray[np.float32]] = []
    directions: list[NDArray[np.float32]] = []
    tools = Tools(model, spec)
    first: dict[int, NDArray[np.float32]] = {}
    past: tuple[PublicRound, ...] = ()
    for number in range(1, rounds + 1):
        here = [shard for shard in range(len(federation.shards)) if present is None or shard in present]
        honest = [shard for shard in here if told[shard].text == HONEST]
        answers = _honest(federation, spec, model, base, shards=honest, number=number, trained=trained)
        for shard in sorted(set(here) - set(honest)):
            known = Known(base=base, models=models, directions=directions, first=first.get(shard))
            turn = Turn(
                spec=spec, tools=tools, number=shard, round=number, seed=spec.seed, known=known,
                rows=lambda client: federation.shards[client].data,
            )  # fmt: skip
            answers[shard], _ = play(told[shard], turn)
        sent = {shard: Blocks.encode(answers[shard].astype(np.float64) - base) for shard in here}
        for shard in here:
            first.setdefault(shard, sent[shard].decode())
        participants = [
            Participant(account=account, stake=wallet.stake, blocks=sent[wallet.shard], root=bytes(32))
            for account, wallet in zip(accounts, played.wallets, strict=True)
            if wallet.shard in sent
        ]
        length = agreed_length(participants, spec=spec)
        weights = weigh(participants, cap=length)
        if held and present is not None:
            share = sum(participant.stake for participant in participants) / sum(
                wallet.stake for wallet in played.wallets
            )
            weights = {account: round(weight * share) for account, weight in weights.items()}
        step = scoring.step(participants, base=base, weights=weights)
        direction = Blocks.encode(scoring.direction(base=base, step=step, past=past))
        scores, _ = scoring.scores(
            participants, base=base, weights=weights, direction=direction, task_id=bytes(32), round_number=number
        )
        on_round(
            RoundInputs(
                game=scoring.game,
                base=base,
                updates=BlockUpdates(blocks=[participant.blocks for participant in participants]),
                weights=np.array([weights[participant.account] / WEIGHT_ONE for participant in participants]),
                clips=np.array(
                    [clip_of(participant.blocks, cap=length) for participant in participants], dtype=np.float32
                ),
                public=scoring.public_before(base=base, past=past),
            )
        )
        aggregate = (base + step).astype(np.float32)
        if strategy is not None:
            aggregate = replay(strategy, number, participants, base=base, layout=layout, cap=length)
        public = scoring.public_step(base=base, aggregate=aggregate, layout=layout, number=number, past=past)
        after = public[1] if public else aggregate
        models, directions = [*models, base][-3:], [*directions, direction.decode()]
        done = public_round(base=base, following=after, direction=direction)
        past = (done, *past)[: spec.public_rounds]
        played.scores.append(np.array([scores.get(account, 0) for account in accounts]) / (1 << SCORE_FRACTION_BITS))
        base = after
        standing = test.evaluate(base)
        played.losses.append(standing.loss)
        played.accuracies.append(standing.accuracy)
    played.model = base
    return played


def _honest(
    federation: Federation,
    spec: TaskSpec,
    model: nn.Module,
    base: NDArray[np.float32],
    *,
    shards: Sequence[int],
    number: int,
    trained: dict[tuple, NDArray[np.float32]] | None,
) -> dict[int, NDArray[np.float32]]:
    # Stacked clients differ in the last bits by who else is in the stack, so the whole of it is one entry.
    key = tuple(shards)
    if number == 1 and trained is not None and key in trained:
        return dict(zip(shards, trained[key], strict=True))
    data = [federation.shards[shard].data for shard in shards]
    seeds = [batch_seed(spec.seed, number=shard, round_number=number) for shard in shards]
    found = train_together(model, base, data=data, spec=spec, seeds=seeds)
    if number == 1 and trained is not None:
        trained[key] = np.array(found)
    return dict(zip(shards, found, strict=True))


def one_price_pay(scores: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Whole scores at one price that the schedule allows, as the contract pays them; shares of the budget."""
    names = [f"0x{place + 1:040x}" for place in range(len(scores[0]))]
    accounts = dict.fromkeys(names, Account())
    for number, row in enumerate(scores, start=1):
        quanta = {
            name: round(float(value) * (1 << SCORE_FRACTION_BITS)) for name, value in zip(names, row, strict=True)
        }
        allowed = BUDGET * number // len(scores)
        accounts = settle_round(accounts, scores=quanta, allowed=allowed).accounts
    return np.array([accounts[name].cumulative / BUDGET for name in names])


def equal_pots_pay(scores: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """What was paid before there was one price: each round an equal pot, shared by scores, a loss earned back first."""
    paid, balance = np.zeros(len(scores[0])), np.zeros(len(scores[0]))
    for number, row in enumerate(scores, start=1):
        pot = (1 - paid.sum()) / (len(scores) - number + 1)
        balance = np.minimum(balance, 0) + row
        due = np.maximum(balance, 0)
        if due.sum() > 0:
            paid += pot * due / due.sum()
    return paid


def rounds_to(losses: Sequence[float], target: float) -> float:
    """The first round after which the loss is at most the target, infinity if there is none."""
    return next((float(number) for number, loss in enumerate(losses, start=1) if loss <= target), math.inf)
