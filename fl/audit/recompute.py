"""Recomputes a round from its bundle and the chain, and names the first difference.

The direction is floating point and is compared within the spec's tolerance, and so are scores of any rule but the direction's;
everything after them is integers and is compared exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fl.aggregation.replay import replay, replay_sum
from fl.aggregation.selection import content_for, selected_by
from fl.audit.difference import ChainView, Comparison, RoundDiffers
from fl.audit.masked import SEALED, MaskedDiffers, check_masked, masked_weights, setting_in
from fl.bundle.format import Bundle, BundledUpdate
from fl.chain.typed_data import Header, InvalidSignature, Update, signer_of
from fl.codec import Blocks, Decoded, MalformedBlocks, block_root, model_hash, ranges
from fl.rewards import Account, Participant, RoundTree, norm_q64, settle, weigh
from fl.scoring.game import ValidationGame
from fl.scoring.lengths import agreed_length
from fl.scoring.paid import PaidScoring, score_distance
from fl.scoring.public_vectors import RATES, PublicRound
from fl.scoring.replication import share_stakes
from fl.task.spec import TaskSpec
from fl.task.strategies import build_strategy
from fl.task.strategy_facts import facts_of


def check_round(
    bundle: Bundle,
    header: Header,
    *,
    bundle_hash: bytes,
    view: ChainView,
    spec: TaskSpec,
    game: ValidationGame | None,
    strategy: Strategy | None = None,
    past: Sequence[PublicRound] | None = (),
) -> float | None:
    """Recompute a round.

    Args:
        bundle: As read, hashes checked.
        header: As the coordinator wants it signed.
        bundle_hash: Of the manifest that was read.
        view: Terms, enrolments and the last header, read from the chain.
        spec: Whose hash is in the terms.
        game: The loss on the validation set whose hash is in the terms; None leaves the direction and attested scores
            unchecked.
        strategy: The task's, as it stood before this round, for those with a memory (see `fl.audit.strategy_state`); it is taken
            through the round. Without it the next model of such a strategy is left unchecked.
        past: The rounds before as everybody knows them, the latest first (see `fl.audit.public_state`); None where they are not
            to be had, which leaves the direction and the public step unchecked.
    Returns: the relative L2 distance between the posted direction and the recomputed one, or None without a game.
    Raises: RoundDiffers with the first difference.
    """
    check = Comparison(header.round)
    base_model = _check_bindings(bundle, header, bundle_hash=bundle_hash, view=view, spec=spec, game=game, check=check)

    # One update that stands there twice would take weight from all others.
    accounts = [update.account for update in bundle.updates]
    check.equal("the updates' accounts", accounts, sorted(set(accounts), key=lambda account: int(account, 16)))
    scoring = PaidScoring(spec, game=game)
    if spec.private.masked:
        participants, weights, scores, step = _masked(bundle, base_model, view, spec, check)
    else:
        check.equal("whether the round is masked", bundle.masked is not None, False)
        participants, weights, step = _open_updates(bundle, base_model, view, check, scoring=scoring)
        scores = None
    distance = None if game is None or past is None else _check_direction(bundle, step, scoring, past)
    picked = scoring.picked_model(participants, base=bundle.base, weights=weights)
    check.equal("whether a public step follows", bundle.public is not None, spec.public_rounds > 0)
    _check_aggregate(bundle, step, participants, spec, strategy=strategy, picked=picked)
    if past is not None:
        _check_public_step(bundle, scoring, past)
    check.equal("the direction's root", header.direction_root, block_root(bundle.direction.to_bytes()))

    check.equal("the enrolment", header.enrolment, view.enrolments.hash(header.round))
    before = _accounts_before(bundle, view, check)
    allowed = view.schedule.allowed(header.round)
    told = {leaf.account: leaf for leaf in bundle.leaves}
    if scores is None:
        scores = _scores(bundle, participants, weights, scoring)
    settlement = settle(participants, weights=weights, scores=scores, accounts=before, allowed=allowed)
    # Scores first: one that is wrong moves the payouts of all.
    for part in ("update_root", "weight", "score", "total", "cumulative"):
        if part == "cumulative":
            check.equal("the price", header.price, settlement.payout.price)
            check.equal("the price of round.json", bundle.price, settlement.payout.price)
        for leaf in settlement.tree.leaves:
            if leaf.account not in told:
                raise RoundDiffers(header.round, f"the leaf of {leaf.account}", "absent", "there: it is enrolled")
            what = f"the {part.replace('_', ' ')} in the leaf of {leaf.account}"
            check.equal(what, getattr(told[leaf.account], part), getattr(leaf, part))
    in_order = [leaf.account for leaf in settlement.tree.leaves]
    check.equal("the accounts of the leaves", [leaf.account for leaf in bundle.leaves], in_order)
    check.equal("the leaf count", header.leaf_count, len(settlement.tree))
    check.equal("the cumulative", header.cumulative, settlement.tree.cumulative)
    check.equal("the tree's root", header.tree_root, settlement.tree.root)
    return distance


def _open_updates(
    bundle: Bundle, base_model: bytes, view: ChainView, check: Comparison, *, scoring: PaidScoring
) -> tuple[list[Participant], dict[str, int], NDArray[np.float64]]:
    """Everybody's update, what it weighs, and the step that they make together."""
    spec = scoring.spec
    participants = [
        update.participant(_blocks_of(update, bundle, base_model, view, check)) for update in bundle.updates
    ]
    participants = share_stakes(participants, threshold=spec.duplicate_cosine)
    length = agreed_length(participants, spec=spec)
    check.equal("the round's length", bundle.length, length)
    selected = _selection(bundle, participants, spec)
    for participant, taken in zip(participants, selected, strict=True):
        check.equal(f"whether the update of {participant.account} was taken", participant.selected, taken)
    # Of those that the rule took: it may leave stakes out, and their lengths count all the same.
    weights = weigh(participants, cap=length)
    for update in bundle.updates:
        check.equal(f"the weight of {update.account}", update.weight, weights[update.account])

    step = scoring.step(participants, base=bundle.base, weights=weights)
    return participants, weights, step


def _masked(
    bundle: Bundle, base_model: bytes, view: ChainView, spec: TaskSpec, check: Comparison
) -> tuple[list[Participant], dict[str, int], Mapping[str, int], NDArray[np.float64]]:
    """The same of a masked round, with the scores that what was told of the masks comes to."""
    for update in bundle.updates:
        check.enrolled(update, view)
        check.equal(f"whether the update of {update.account} was taken", update.selected, True)
    setting = setting_in(bundle, enrolments=view.enrolments, domain=view.domain, spec=spec)
    try:
        found = check_masked(bundle, base_model=base_model, setting=setting)
    except MaskedDiffers as error:
        raise RoundDiffers(bundle.round, error.what, error.seen, error.expected) from error
    check.equal("the round's length", bundle.length, found.length)
    weights = masked_weights({update.account: update.stake for update in bundle.updates})
    for update in bundle.updates:
        check.equal(f"the weight of {update.account}", update.weight, weights[update.account])
    participants = [update.participant(SEALED) for update in bundle.updates]
    return participants, weights, found.scores, found.step


def _check_bindings(
    bundle: Bundle,
    header: Header,
    *,
    bundle_hash: bytes,
    view: ChainView,
    spec: TaskSpec,
    game: ValidationGame | None,
    check: Comparison,
) -> bytes:
    """That header, bundle and chain are of one task and round; returns the hash of the base model."""
    check.equal("the spec's hash", spec.hash(), view.terms.spec_hash)
    check.equal("whether the task is attested", view.terms.attested, spec.attested)
    check.equal("the bundle's hash", header.bundle, bundle_hash)
    check.equal("the task", header.task_id, bundle.task_id)
    check.equal("the bundle's round", bundle.round, header.round)
    check.equal("the previous header", header.previous, view.previous_hash)
    check.equal("the validation set", header.validation, view.terms.validation_hash)
    if game is not None:
        check.equal("the validation set at hand", game.validation_hash, view.terms.validation_hash)
        check.equal("the names of the arrays", bundle.layout.names, game.layout.names)
        check.equal("the shapes of the arrays", bundle.layout.shapes, game.layout.shapes)
    base_model = model_hash(bundle.base)
    check.equal("the base model", header.base_model, base_model)
    check.equal("the base model, against the round before,", header.base_model, view.base_model)
    check.equal("the next model", header.next_model, model_hash(bundle.next))
    return base_model


def _blocks_of(update: BundledUpdate, bundle: Bundle, base_model: bytes, view: ChainView, check: Comparison) -> Blocks:
    check.enrolled(update, view)
    try:
        blocks = Blocks.from_bytes(update.wire, size=bundle.layout.size)
        signed = Update(
            task_id=bundle.task_id,
            round=bundle.round,
            client=update.account,
            base_model=base_model,
            update_root=block_root(update.wire),
        )
        check.equal(f"the update root of {update.account}", update.root, signed.update_root)
        signer = signer_of(signed, domain=view.domain, signature=update.signature)
    except (MalformedBlocks, InvalidSignature) as error:
        raise RoundDiffers(bundle.round, f"the update of {update.account}", str(error), "signed blocks") from error
    check.equal(f"the signer of {update.account}'s update", signer, update.account)
    return blocks


def _selection(bundle: Bundle, participants: list[Participant], spec: TaskSpec) -> list[bool]:
    if not facts_of(spec.strategy).selects:
        return [True] * len(participants)
    contents = [
        content_for(participant, base=bundle.base, layout=bundle.layout, cap=bundle.length, metrics={})
        for participant in participants
    ]
    return selected_by(build_strategy(spec.strategy, spec.strategy_arguments), contents)


def _scores(
    bundle: Bundle, participants: list[Participant], weights: Mapping[str, int], scoring: PaidScoring
) -> Mapping[str, int]:
    """The scores that the leaves have to hold: the direction's to the bit, attested ones as posted, once they are near enough."""
    told = {leaf.account: leaf.score for leaf in bundle.leaves}
    posted = {participant.account: told.get(participant.account, 0) for participant in participants}
    if scoring.spec.attested and scoring.game is None:
        return posted
    own, _ = scoring.scores(
        participants,
        base=bundle.base,
        weights=weights,
        direction=bundle.direction,
        task_id=bundle.task_id,
        round_number=bundle.round,
    )
    if not scoring.spec.attested:
        return own
    distance = score_distance(posted, own)
    if not distance <= scoring.spec.tolerance:
        account = max(own, key=lambda account: abs(posted[account] - own[account]))
        raise RoundDiffers(
            bundle.round,
            f"the {scoring.spec.scorer} score of {account}",
            f"{posted[account]}, and all scores are off by {distance:.2e}",
            f"{own[account]}, all within {scoring.spec.tolerance:g} of the rule",
        )
    return posted


def _check_direction(
    bundle: Bundle, step: NDArray[np.float64], scoring: PaidScoring, past: Sequence[PublicRound]
) -> float:
    spec, own = scoring.spec, scoring.direction(base=bundle.base, step=step, past=past)
    told, gap, long = Decoded(blocks=bundle.direction), 0.0, 0.0
    for part in ranges(len(own)):
        gap += float(np.square(told[part] - own[part]).sum())
        long += float(np.square(own[part]).sum())
    distance = math.sqrt(gap) / max(math.sqrt(long), 1e-12)
    if not distance <= spec.tolerance:
        raise RoundDiffers(
            bundle.round, "the direction", f"off by {distance:.2e}", f"within {spec.tolerance:g} of the gradient"
        )
    return distance


def _check_aggregate(
    bundle: Bundle,
    step: NDArray[np.float64],
    participants: list[Participant],
    spec: TaskSpec,
    *,
    strategy: Strategy | None,
    picked: NDArray[np.float32] | None,
) -> None:
    expected: NDArray[np.floating]
    if facts_of(spec.strategy).is_mean:
        expected, of = _unrounded_step(bundle, participants) if bundle.masked is None else step.copy(), "the mean"
        expected += bundle.base
    elif picked is not None:
        expected, of = picked, f"what {spec.strategy} picks"
    elif strategy is not None:
        expected = (
            replay(strategy, bundle.round, participants, base=bundle.base, layout=bundle.layout, cap=bundle.length)
            if bundle.masked is None
            else replay_sum(
                strategy, bundle.round, step if bundle.updates else None, base=bundle.base, layout=bundle.layout
            )
        )
        of = f"what {spec.strategy} makes of the updates"
    else:
        return
    # float32 sums in another order differ in their last bits; a lie of any use is far larger.
    made, what = (bundle.next, "next") if bundle.aggregate is None else (bundle.aggregate, "aggregated")
    worst, seen = 0.0, ("", "")
    for part in ranges(len(made)):
        gaps = np.abs(made[part] - expected[part])
        # Value by value: a float32 is as fine as it is small, and neither has one large value to hide what is done to the others, nor may
        # one that somebody's update made large stop a round.
        allowed = 1e-5 * np.maximum(1.0, np.maximum(np.abs(bundle.base[part]), np.abs(expected[part])))
        if not (gaps <= allowed).all():
            over = np.where(gaps <= allowed, 0, np.nan_to_num(gaps / allowed, nan=np.inf))
            place = int(np.argmax(over))
            if over[place] > worst:
                worst, seen = over[place], (f"off by {gaps[place]:.2e}", f"within {allowed[place]:.0e} of {of}")
    if worst:
        raise RoundDiffers(bundle.round, f"the {what} model", *seen)


def _unrounded_step(bundle: Bundle, participants: Sequence[Participant]) -> NDArray[np.float64]:
    """The mean of the updates that were taken, each held to the round's length: what strategies make of stakes and lengths themselves.

    Weights are whole units of 2^−32, and half a unit of one whose update is as large as blocks allow is 4·10^−6 of a value: three such
    updates would be further from the mean than float32 ever is, and a handful of clients could keep evaluators from signing.
    """
    total = sum(participant.stake for participant in participants if participant.selected)
    step = np.zeros(bundle.layout.size)
    for participant in participants:
        if participant.selected:
            norm = norm_q64(participant.blocks)
            # One quotient of whole numbers, rounded once.
            share = participant.stake * min(norm, bundle.length) / (total * norm) if norm else 0.0
            for part in ranges(len(step)):
                step[part] += share * participant.blocks.decode_part(part.start, part.stop)
    return step


def _check_public_step(bundle: Bundle, scoring: PaidScoring, past: Sequence[PublicRound]) -> None:
    """The next model follows from the published coefficients to the bit, and is no worse for the public step."""
    if bundle.public is None or bundle.aggregate is None:
        return  # a bundle has both or neither
    step = bundle.public
    basis = scoring.public_basis(base=bundle.base, aggregate=bundle.aggregate, layout=bundle.layout, past=past)
    check = Comparison(bundle.round)
    if step.rate not in RATES:
        raise RoundDiffers(bundle.round, "the rate of the public step", str(step.rate), f"one of {RATES}")
    check.equal("the number of public vectors", len(step.coefficients), len(basis))
    if not np.array_equal(bundle.next, step.applied(bundle.aggregate, basis)):
        raise RoundDiffers(
            bundle.round, "the next model", "another one", "what its public step makes of the aggregated model"
        )
    if scoring.game is not None and step.rate:
        without, after = scoring.held_out_loss(bundle.aggregate), scoring.held_out_loss(bundle.next)
        # float32 losses of two machines differ in their last bits.
        if not after <= without * (1 + 1e-5) + 1e-7:
            raise RoundDiffers(
                bundle.round, "the loss after the public step", f"{after:.6g}", f"at most {without:.6g}, as without it"
            )


def _accounts_before(bundle: Bundle, view: ChainView, check: Comparison) -> dict[str, Account]:
    if view.previous is None:
        check.equal("the number of leaves before round 1", len(bundle.previous), 0)
    else:
        check.equal("the number of previous leaves", len(bundle.previous), view.previous.leaf_count)
        # In the order told: two leaves of one account are told apart from the posted ones by the root.
        root = RoundTree(bundle.previous, published=True).root
        check.equal("the previous leaves' root", root, view.previous.tree_root)
    return view.accounts_before(bundle.previous, number=bundle.round)
