"""A masked round from everything that was said in it: whose words count, their sum, and each client's score.

The coordinator makes a round with these functions and every evaluator checks it with them: the same transcript gives the same
integers. Words are `y = x + Σ_{j > k} m_kj − Σ_{j < k} m_jk + b_k mod 2^64` (Bonawitz et al. 2017, section 4).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fl.codec import Blocks, block_root
from fl.privacy.budget import masked_multiplier
from fl.privacy.graph import Pair, by_number, drawn_pairs, pair_of
from fl.privacy.lengths import passes
from fl.privacy.noise import pair_noise
from fl.privacy.seeds import (
    mask_seed,
    own_mask_seed,
    pair_key,
    score_seed,
)
from fl.privacy.steps import (
    digest,
)
from fl.privacy.transcript import (
    Setting,
    Transcript,
    closed_at_least,
    own_deviation,
    score_noise_deviation,
)
from fl.privacy.words import (
    Question,
    Words,
    direction_words,
    dot,
    longest,
    score_of_words,
    signed,
    signs,
    stream,
    update_scale,
)

_FAR = 8  # standard deviations
_AT_ONCE = 64  # masks that are made before they are asked about
_COMBINATIONS = (
    4  # of what a mask comes to, by which a whole answer is checked: a wrong one passes with 2^-64 each, or near
)


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskedSum:
    """The sum of a round's updates."""

    total: NDArray[np.int64]  # Σ x, shape (P,), units of 2^−F, in shares of the roster's stake
    step: NDArray[np.float64]  # what the round moves the model by, shape (P,)


def pair_mask(account: str, other: str, private: bytes, *, transcript: Transcript, setting: Setting) -> Words:
    """The mask of a pair from the private key of `account`, shape (P,).

    Args:
        account: Whose key it is.
        other: End of the pair.
        private: The key, 32 bytes.
        transcript: Of the round.
        setting: Of the round.
    """
    public = transcript.commitments[other].keys[account][0]
    return stream(mask_seed(private, public, of=setting.of, owner=account, other=other), setting.size)


def pair_score_noise(
    account: str, other: str, private: bytes, *, transcript: Transcript, setting: Setting, deviation: int
) -> int:
    """The noise of a pair on its ends' scores from the private key of `account`, in the unit of ⟨x, g⟩; 0 without noise.

    Args:
        account: Whose key it is.
        other: End of the pair.
        private: The key, 32 bytes.
        transcript: Of the round.
        setting: Of the round.
        deviation: Of the pair's noise, `score_noise_deviation`.
    """
    if not deviation:
        return 0
    public = transcript.commitments[other].keys[account][0]
    return pair_noise(score_seed(private, public, of=setting.of, owner=account, other=other), deviation=deviation)


def added(account: str, other: str) -> bool:
    """Whether `account` adds the mask of its pair with `other`, which then takes it off."""
    return int(account, 16) < int(other, 16)


def own_mask(account: str, *, transcript: Transcript, setting: Setting) -> Words:
    """The mask that a client added alone, shape (P,), once its secret is given back.

    Args:
        account: Whose it is.
        transcript: Of the round.
        setting: Of the round.
    """
    return stream(own_mask_seed(transcript.own[account], of=setting.of, owner=account), setting.size)


def _mask_with_lost(account: str, lost: str, *, transcript: Transcript, setting: Setting) -> Words:
    private = pair_key(transcript.pairs[lost], of=setting.of, owner=lost, other=account)
    return pair_mask(lost, account, private, transcript=transcript, setting=setting)


def unmask(words: Mapping[str, Words], *, transcript: Transcript, setting: Setting) -> MaskedSum:
    """The sum of those whose words are in.

    Args:
        words: By account, shape (P,) each.
        transcript: With the own secrets of all of them, and the pair secrets of whom they share masks with and are not.
    """
    total = np.zeros(setting.size, dtype=np.uint64)
    for account, own in words.items():
        total += own
        total -= own_mask(account, transcript=transcript, setting=setting)
        for other in transcript.partners(account, setting):
            if other not in words:
                mask = _mask_with_lost(account, other, transcript=transcript, setting=setting)
                total = total - mask if added(account, other) else total + mask
    exact = total.view(np.int64)
    survivors = sum(setting.stakes[account] for account in words)
    scale = Fraction(2) ** -update_scale(transcript.length(setting)) * Fraction(
        transcript.roster_stake(setting), max(1, survivors)
    )
    return MaskedSum(total=exact, step=exact.astype(np.float64) * float(scale))


def projection_seed(roots: Mapping[str, bytes]) -> bytes:
    """What the signs of a round are drawn from: everything that was signed for before anybody could know them."""
    return digest({"signs": {account: roots[account].hex() for account in by_number(roots)}})


def question_of(direction: Blocks, *, roots: Mapping[str, bytes], setting: Setting) -> Question:
    """What every pair's ends are asked about a round.

    Args:
        direction: Of the round.
        roots: Of the words, by account.
        setting: Of the round.
    """
    exact, scale = direction_words(direction)
    vectors = signs(projection_seed(roots), count=setting.terms.projections, size=setting.size)
    return Question(direction=exact, scale=scale, vectors=vectors)


def question_hash(direction: Blocks, *, roots: Mapping[str, bytes]) -> bytes:
    """What a telling answers, 32 bytes."""
    return hashlib.sha256(block_root(direction.to_bytes()) + projection_seed(roots)).digest()


def closed_pairs(transcript: Transcript, *, survivors: Sequence[str], setting: Setting) -> dict[str, list[str]]:
    """Of each client whose words are in, the others with whom it shares a mask that nobody else knows yet.

    Args:
        transcript: Of the round.
        survivors: Accounts whose words are in.
        setting: Of the round.
    """
    inside = set(survivors)
    return {
        account: [other for other in transcript.partners(account, setting) if other in inside] for account in survivors
    }


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Which pairs of a round are to be opened."""

    pairs: tuple[Pair, ...]
    disputed: frozenset[Pair]  # both ends told, and differ
    untold: frozenset[Pair]  # neither end told
    stuck: frozenset[Pair]  # disputed, and not to be opened without opening too much
    seed: bytes


def draw(transcript: Transcript, *, survivors: Sequence[str], question: bytes, setting: Setting) -> Draw:
    """The public draw, from everything that was told.

    Args:
        transcript: Of the round.
        survivors: Accounts whose words are in.
        question: Its hash.
        setting: Of the round.
    """
    tellings = transcript.tellings
    told = hashlib.sha256(question)
    for account in by_number(tellings):
        told.update(tellings[account].content(question) + tellings[account].signature)
    seed = told.digest()
    pairs = closed_pairs(transcript, survivors=survivors, setting=setting)
    disputed, untold = set(), set()
    for account, others in pairs.items():
        for other in others:
            if added(account, other):
                ends = [tellings[a].values[b] for a, b in ((account, other), (other, account)) if a in tellings]
                if not ends:
                    untold.add(pair_of(account, other))
                elif len(ends) == 2 and not np.array_equal(ends[0], ends[1]):
                    disputed.add(pair_of(account, other))
    known = {
        account: [other for other in others if pair_of(account, other) not in untold]
        for account, others in pairs.items()
    }
    taken, stuck = drawn_pairs(known, seed=seed, first=sorted(disputed))
    return Draw(
        pairs=tuple(taken), disputed=frozenset(disputed), untold=frozenset(untold), stuck=frozenset(stuck), seed=seed
    )


@dataclass(frozen=True, kw_only=True)
class MaskedScores:
    """What a masked round's updates are worth."""

    scores: dict[str, int]  # units of 2^−40 of loss, of everybody whose words are in
    faults: dict[str, str]  # why a client scores 0
    liars: tuple[str, ...]  # whose signed word was proven false
    # Whose words are longer than was stated: what the round's model and everybody's score have of them is void.
    too_long: tuple[str, ...] = ()


def score_round(
    words: Mapping[str, Words],
    *,
    roots: Mapping[str, bytes],
    direction: Blocks,
    transcript: Transcript,
    setting: Setting,
    barred: Callable[[str], bool] = lambda account: False,
) -> MaskedScores:
    """Score everybody whose words are in, to the integer what its open update would score.

    Args:
        words: By account, shape (P,) each.
        roots: That were signed for them.
        direction: As posted.
        transcript: Whole.
        barred: Who lied in an earlier round, and is not paid any more.
    """
    survivors = by_number(words)
    if not survivors:
        return MaskedScores(scores={}, faults={}, liars=())
    question = question_of(direction, roots=roots, setting=setting)
    asked = question_hash(direction, roots=roots)
    drawn = draw(transcript, survivors=survivors, question=asked, setting=setting)
    values, faults, liars = _pair_values(drawn, question, transcript=transcript, setting=setting)
    found = _own_values(words, question, transcript=transcript, setting=setting)
    pairs = closed_pairs(transcript, survivors=survivors, setting=setting)
    length, staked = transcript.length(setting), sum(setting.stakes[account] for account in survivors)
    roster = transcript.roster_stake(setting)
    slack_of = _noise_slack(question, transcript=transcript, setting=setting)
    most = {
        account: longest(
            share=Fraction(setting.stakes[account], roster),
            length_q64=length if setting.terms.noise == "client" else min(length, transcript.roster[account]),
            size=setting.size,
        )
        for account in survivors
    }
    for account in survivors:
        for other in pairs[account]:
            if (value := values.get(pair_of(account, other))) is not None:
                found[account] = found[account] - value if added(account, other) else found[account] + value
    too_long = _too_long(found, most=most, pairs=pairs, known=values, setting=setting)
    scores = {}
    for account in survivors:
        raw = signed(int(found[account][0]))
        if account not in faults and barred(account):
            faults[account] = "it lied in an earlier round"
        if account in too_long:
            faults.setdefault(account, "its update is longer than it stated")
        slack = slack_of(account, len(pairs[account]))
        if account not in faults and _is_impossible(raw, most=most[account], slack=slack, question=question):
            faults[account] = "its score is more than an update of its length can have"
        scores[account] = 0
        if account not in faults:
            scores[account] = score_of_words(
                raw, length_q64=length, direction_scale=question.scale, roster=roster, survivors=staked
            )
    return MaskedScores(
        scores=scores, faults=faults, liars=tuple(by_number(liars)), too_long=tuple(by_number(too_long))
    )


def _noise_slack(question: Question, *, transcript: Transcript, setting: Setting) -> Callable[[str, int], int]:
    """How far noise moves a client's score at most, by its closed pairs, but for a chance of 10^−15, in the unit of ⟨x, g⟩."""
    if setting.terms.noise != "client":
        return lambda account, pairs: 0
    roster, length = transcript.roster, transcript.length(setting)
    own = own_deviation(roster, setting, length_q64=length) * math.sqrt(question.squared)
    deviation = score_noise_deviation(roster, setting, length_q64=length, squared=question.squared)

    def of_client(account: str, pairs: int) -> int:
        pair = max(deviation(pair_of(account, other)) for other in transcript.partners(account, setting))
        return math.ceil(_FAR * math.hypot(own, pair * math.sqrt(pairs)))

    return of_client


def _too_long(
    found: Mapping[str, Words],
    *,
    most: Mapping[str, int],
    pairs: Mapping[str, Sequence[str]],
    known: Mapping[Pair, Words],
    setting: Setting,
) -> set[str]:
    """Whose projections are those of a longer update than its owner stated, whatever else is held against it.

    Where nobody knows a pair's mask its two ends are looked at together, and so is whoever hangs on either by another such pair: the
    masks between them cancel, and their sum is no longer than all of them. So two that fall silent together hide no length.
    """
    too_long: set[str] = set()
    left = set(found)
    while left:
        group, reached = set(), [left.pop()]
        while reached:
            account = reached.pop()
            group.add(account)
            near = {other for other in pairs[account] if other in left and pair_of(account, other) not in known}
            left -= near
            reached += near
        summed = sum((found[account] for account in group), np.zeros(1 + setting.terms.projections, dtype=np.uint64))
        projections = [signed(int(value)) for value in summed[1:]]
        longest_of_all = sum(most[account] for account in group)
        if not passes(projections, longest=longest_of_all, clients=len(setting.stakes)):
            too_long |= group
    return too_long


def _is_impossible(raw: int, *, most: int, slack: int, question: Question) -> bool:
    # Cauchy and Schwarz: no honest score is larger.
    return max(0, abs(raw) - slack) ** 2 > most * most * question.squared


def _own_values(
    words: Mapping[str, Words], question: Question, *, transcript: Transcript, setting: Setting
) -> dict[str, Words]:
    """Of each client, what its words come to less all masks that are open to everybody."""
    found = {account: np.zeros(1 + setting.terms.projections, dtype=np.uint64) for account in words}

    def masks() -> Iterator[tuple[str, bool, Words]]:
        for account, own in words.items():
            yield account, True, own
            yield account, False, own_mask(account, transcript=transcript, setting=setting)
            for other in transcript.partners(account, setting):
                if other not in words:
                    mask = _mask_with_lost(account, other, transcript=transcript, setting=setting)
                    yield account, not added(account, other), mask

    for part in _batches(masks()):
        told = question.functionals(np.stack([mask for _, _, mask in part]))
        for (account, plus, _), value in zip(part, told, strict=True):
            found[account] = found[account] + value if plus else found[account] - value
    return found


def _batches(masks: Iterator[tuple[str, bool, Words]]) -> Iterator[list[tuple[str, bool, Words]]]:
    part = []
    for mask in masks:
        part.append(mask)
        if len(part) == _AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def _faults_of_draw(drawn: Draw) -> dict[str, str]:
    """Who loses its place in the round because nobody told of a pair."""
    faults: dict[str, str] = {}
    for pair in sorted(drawn.untold):
        for end in pair:
            faults.setdefault(end, f"neither it nor its partner told of their pair ({' and '.join(pair)})")
    return faults


def _settle_stuck(
    drawn: Draw, values: dict[Pair, Words], faults: dict[str, str], liars: set[str], *, transcript: Transcript
) -> None:
    """Disputed pairs that may not be opened: a proven liar's word counts less than its partner's, and otherwise neither's does."""
    for pair in sorted(drawn.stuck):
        honest = [end for end in pair if end not in liars]
        if len(honest) == 1:
            other = pair[1] if honest[0] == pair[0] else pair[0]
            values[pair] = transcript.tellings[honest[0]].values[other]
            continue
        for end in honest:
            faults.setdefault(end, f"its pair {' and '.join(pair)} is disputed, and too many others are")


def _pair_values(
    drawn: Draw, question: Question, *, transcript: Transcript, setting: Setting
) -> tuple[dict[Pair, Words], dict[str, str], set[str]]:
    """What each closed pair's mask comes to, and who loses its place over it."""
    values: dict[Pair, Words] = {}
    faults = _faults_of_draw(drawn)
    liars: set[str] = set()
    for account, telling in transcript.tellings.items():
        for other, value in telling.values.items():
            values.setdefault(pair_of(account, other), value)
    factors = [
        np.frombuffer(
            stream(hashlib.sha256(drawn.seed + bytes([number])).digest(), 1 + setting.terms.projections), "<u8"
        )
        for number in range(_COMBINATIONS)
    ]
    combined = [question.combined(factor) for factor in factors]
    deviation = score_noise_deviation(
        transcript.roster, setting, length_q64=transcript.length(setting), squared=question.squared
    )
    for pair in drawn.pairs:
        if pair not in transcript.opened:
            for end in pair:
                faults.setdefault(end, f"its pair {' and '.join(pair)} was drawn, and nobody opened it")
            continue
        owner, private = transcript.opened[pair]
        mask = pair_mask(
            owner, pair[1] if owner == pair[0] else pair[0], private, transcript=transcript, setting=setting
        )
        noise = pair_score_noise(
            owner,
            pair[1] if owner == pair[0] else pair[0],
            private,
            transcript=transcript,
            setting=setting,
            deviation=deviation(pair),
        )
        exact = [
            (dot(mask, vector.view(np.int64)) + noise * int(factor[0])) % (1 << 64)
            for vector, factor in zip(combined, factors, strict=True)
        ]
        truth: Words | None = None
        for end, other in (pair, pair[::-1]):
            if end not in transcript.tellings:
                continue
            said = transcript.tellings[end].values[other]
            if all(
                int((said * factor).sum(dtype=np.uint64)) == expected
                for factor, expected in zip(factors, exact, strict=True)
            ):
                truth = said
            else:
                liars.add(end)
                faults[end] = f"what it told of its pair with {other} is not what the opened mask comes to"
        if truth is None:
            truth = question.functionals(mask[None])[0]
            truth[:1] += np.array([noise], dtype=np.int64).view(np.uint64)
        values[pair] = truth
    _settle_stuck(drawn, values, faults, liars, transcript=transcript)
    return values, faults, liars


def round_multiplier(transcript: Transcript, *, survivors: Sequence[str], setting: Setting) -> float:
    """The multiplier of the Gaussian mechanism that tells as much of a client as this round does of the one of whom it tells most.

    Infinity for a void round, which tells nothing.

    Args:
        transcript: Of the round.
        survivors: Accounts whose words are in.
        setting: Of the round.
    """
    length, staked = transcript.length(setting), transcript.roster_stake(setting)
    shares = {account: Fraction(setting.stakes[account], staked) for account in survivors}
    unit = float(Fraction(length, 1 << 64) * Fraction(2) ** update_scale(length))
    inside = closed_pairs(transcript, survivors=survivors, setting=setting)
    pairs: dict[Pair, float] = {}
    for account, others in inside.items():
        for other in others:
            if added(account, other) and (pair := pair_of(account, other)) not in transcript.opened:
                closed = min(closed_at_least(end, transcript.roster, setting) for end in pair)
                pairs[pair] = (setting.terms.sigma * unit * float(max(shares[end] for end in pair))) ** 2 / closed
    return masked_multiplier(
        list(survivors),
        sensitivities={account: unit * float(share) for account, share in shares.items()},
        own=own_deviation(transcript.roster, setting, length_q64=length) ** 2,
        pairs=pairs,
    )
