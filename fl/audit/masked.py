"""Recomputes a masked round: everything that was said in it, the sum, and every score from the words and what was told of the masks.

The chain can prove none of it, as the words are not blocks: evaluators attest it, and anybody with the bundle can do what they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fl.aggregation.replay import replay_sum
from fl.bundle.format import Bundle, BundledUpdate
from fl.chain.enrolment import Enrolments
from fl.chain.typed_data import Domain, InvalidSignature, Update, signer_of
from fl.codec import Blocks, whole
from fl.errors import ConfigError, FairshareError
from fl.privacy.checks import check_transcript
from fl.privacy.masked_round import question_hash, score_round, unmask
from fl.privacy.seeds import BadSeed, Round
from fl.privacy.steps import words_root
from fl.privacy.terms import LEAST_CLIENTS
from fl.privacy.transcript import Setting, Transcript, cap_of, context_of, noise_parts
from fl.privacy.words import Words
from fl.rewards import weights_q32
from fl.task.spec import TaskSpec

# Stands where an open update's blocks would: nobody has them.
SEALED = Blocks.encode(np.zeros(1))


def masked_weights(stakes: Mapping[str, int]) -> dict[str, int]:
    """What each client weighs, units of 2^−32: its part of the stake; the length is in its words already."""
    accounts = list(stakes)
    weights = weights_q32(stakes=list(stakes.values()), norms=[1] * len(accounts), cap=1)
    return dict(zip(accounts, weights, strict=True))


class MaskedDiffers(FairshareError):
    """A masked round says something other than what was said in it comes to."""

    def __init__(self, what: str, seen: str, expected: str) -> None:
        super().__init__(what, seen, expected)
        self.what, self.seen, self.expected = what, seen, expected

    def __str__(self) -> str:
        return f"{self.what} is {self.seen}, recomputed {self.expected}"


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskedCheck:
    """What a masked round comes to."""

    step: NDArray[np.float64]  # shape (P,)
    scores: dict[str, int]
    length: int  # units of 2^−64


def setting_of(
    *, task_id: bytes, number: int, size: int, enrolments: Enrolments, domain: Domain, spec: TaskSpec
) -> Setting:
    """What everybody knows of a masked round by chain and spec.

    Args:
        task_id: 32 bytes.
        number: Of the round.
        size: P, values of the model.
        enrolments: Of the task.
        domain: Of the contract.
        spec: Of the task.
    """
    return Setting(
        of=Round(task_id=task_id, number=number),
        domain=domain,
        terms=spec.private,
        stakes={account: enrolment.stake for account, enrolment in enrolments.items() if enrolment.weighs_in(number)},
        size=size,
        cap=cap_of(spec.private, norm_cap=spec.norm_cap),
        median=spec.length == "median",
    )


def setting_in(bundle: Bundle, *, enrolments: Enrolments, domain: Domain, spec: TaskSpec) -> Setting:
    """The same of the round that a bundle holds.

    Args:
        bundle: Of a masked round.
        enrolments: Of the task.
        domain: Of the contract.
        spec: The task's.
    """
    return setting_of(
        task_id=bundle.task_id,
        number=bundle.round,
        size=bundle.layout.size,
        enrolments=enrolments,
        domain=domain,
        spec=spec,
    )


def check_masked(bundle: Bundle, *, base_model: bytes, setting: Setting) -> MaskedCheck:
    """Check everything that was said in a masked round, and compute its step and scores.

    Args:
        bundle: Of the round.
        base_model: Its hash, 32 bytes.
        setting: Of the round.
    Raises: MaskedDiffers with the first thing that is not what it should be.
    """
    said = bundle.masked
    if said is None:
        raise MaskedDiffers("the round", "open", "masked, as the task's spec says")
    survivors = [update.account for update in bundle.updates]
    words = {update.account: _words(whole(update.wire), update.account, size=setting.size) for update in bundle.updates}
    roots = {update.account: update.root for update in bundle.updates}
    length = said.length(setting) if set(said.commitments) <= set(setting.stakes) else 0
    if not survivors:
        return MaskedCheck(step=np.zeros(setting.size), scores={}, length=length)
    if len(survivors) < LEAST_CLIENTS:
        raise MaskedDiffers("the number of words in the sum", str(len(survivors)), f"at least {LEAST_CLIENTS}")
    if setting.terms.noise == "client" and len(survivors) < (least := noise_parts(len(said.commitments))):
        raise MaskedDiffers("the number of words whose noise is in the sum", str(len(survivors)), f"at least {least}")
    try:
        asked = question_hash(bundle.direction, roots=roots)
        check_transcript(said, survivors=survivors, question=asked, setting=setting)
    except BadSeed as error:
        raise MaskedDiffers(f"what {error.account} said", error.problem, "what it signed and committed to") from error
    except (ConfigError, KeyError) as error:
        raise MaskedDiffers("what was said in the round", str(error), "whole") from error
    for update in bundle.updates:
        _check_words(update, words[update.account], base_model=base_model, said=said, setting=setting)
    summed = unmask(words, transcript=said, setting=setting)
    found = score_round(words, roots=roots, direction=bundle.direction, transcript=said, setting=setting)
    if found.too_long:
        raise MaskedDiffers(f"the length of the words of {found.too_long[0]}", "longer than was stated", "a void round")
    return MaskedCheck(step=summed.step, scores=found.scores, length=length)


def follow_masked(inner: Strategy, bundle: Bundle, *, setting: Setting) -> None:
    """Take a strategy through a masked round that was checked before, so that it remembers its step.

    Args:
        inner: The strategy.
        bundle: Of the round.
        setting: Of the round.
    """
    step = None
    if bundle.masked is not None and bundle.updates:
        words: dict[str, Words] = {
            update.account: _words(whole(update.wire), update.account, size=setting.size) for update in bundle.updates
        }
        step = unmask(words, transcript=bundle.masked, setting=setting).step
    replay_sum(inner, bundle.round, step, base=bundle.base, layout=bundle.layout)


def _words(wire: bytes, account: str, *, size: int) -> Words:
    if len(wire) != 8 * size:
        raise MaskedDiffers(f"the words of {account}", f"{len(wire)} bytes", f"{8 * size}")
    return np.frombuffer(wire, dtype="<u8").astype(np.uint64, copy=False)


def _check_words(update: BundledUpdate, words: Words, *, base_model: bytes, said: Transcript, setting: Setting) -> None:
    account, root, signature = update.account, update.root, update.signature
    made = words_root(words, roster=context_of(said), partners=said.partners(account, setting))
    if made != root:
        raise MaskedDiffers(f"the update root of {account}", f"0x{root.hex()}", f"0x{made.hex()}")
    signed = Update(
        task_id=setting.of.task_id, round=setting.of.number, client=account, base_model=base_model, update_root=root
    )
    try:
        signer = signer_of(signed, domain=setting.domain, signature=signature)
    except InvalidSignature as error:
        raise MaskedDiffers(f"the signature of {account}'s words", str(error), "one of its own") from error
    if signer != account:
        raise MaskedDiffers(f"the signer of {account}'s words", signer, account)


def liars_of(bundle: Bundle, setting: Setting) -> tuple[str, ...]:
    """Who was proven to have lied in a masked round that was checked before."""
    if bundle.masked is None or not bundle.updates:
        return ()
    words: Mapping[str, Words] = {
        update.account: np.frombuffer(whole(update.wire), dtype="<u8") for update in bundle.updates
    }
    roots = {update.account: update.root for update in bundle.updates}
    return score_round(words, roots=roots, direction=bundle.direction, transcript=bundle.masked, setting=setting).liars
