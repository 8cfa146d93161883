"""From a round's bundle to the chain: its header, the evaluators' signatures, and the one transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fl.bundle.files import HEADER, BrokenBundle, hash_of
from fl.bundle.format import Bundle, read_header, write_header
from fl.chain.errors import Refused
from fl.chain.paid_task import PaidTask, TooFewSignatures
from fl.chain.task_state import Posting
from fl.chain.typed_data import Header, InvalidSignature
from fl.chain.whole_file import set_aside
from fl.codec import block_root, model_hash
from fl.coordinator.quorum.local import EvaluatorQuorum
from fl.coordinator.round.clock import RoundClock
from fl.coordinator.round.opening import OpenRound
from fl.coordinator.round.resume import LostRound
from fl.rewards import RoundTree

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SignedHeader:
    """A header that may be posted."""

    header: Header
    signatures: tuple[bytes, ...]  # 65 bytes each, the quorum or more
    evaluators: tuple[str, ...]  # whose they are


def header_of(bundle: Bundle, opened: OpenRound, *, bundle_hash: bytes) -> Header:
    """What goes on chain of a bundle.

    Args:
        bundle: The round's.
        opened: The round; names the header before and who is enrolled.
        bundle_hash: Of the bundle's folder, as `hash_of` gives it.
    """
    tree = RoundTree(bundle.leaves)
    return Header(
        task_id=opened.task_id,
        round=bundle.round,
        previous=opened.chain.previous_hash,
        base_model=model_hash(bundle.base),
        next_model=model_hash(bundle.next),
        validation=opened.chain.terms.validation_hash,
        direction_root=block_root(bundle.direction.to_bytes()),
        tree_root=tree.root,
        leaf_count=len(tree),
        enrolment=opened.chain.enrolments.hash(bundle.round),
        cumulative=tree.cumulative,
        price=bundle.price,
        bundle=bundle_hash,
    )


def sign_round(
    folder: Path, bundle: Bundle, opened: OpenRound, *, task: PaidTask, quorum: EvaluatorQuorum, clock: RoundClock
) -> SignedHeader:
    """Have the evaluators recompute a round and sign its header, unless they did before.

    Args:
        folder: Of the bundle; takes header and signatures.
        bundle: What lies there.
        opened: The round.
        task: Says how many signatures are enough.
        quorum: The evaluators that can be reached.
        clock: Times the step.
    Raises: TooFewSignatures; the first refusal, if refusals are why the quorum was not reached.
    """
    header = header_of(bundle, opened, bundle_hash=hash_of(folder))
    if (signed := _signed_before(folder, header, task=task)) is not None:
        return signed
    with clock.step("evaluating"):
        signatures = quorum.sign(folder, header, view=opened.chain)
        # Raised before anything is written: a header without its quorum is asked for again.
        known = task.check_quorum(header, signatures)
        write_header(folder, header, signatures=signatures)
    return SignedHeader(header=header, signatures=tuple(signatures), evaluators=tuple(known))


def _signed_before(folder: Path, header: Header, *, task: PaidTask) -> SignedHeader | None:
    """The quorum's signatures that were gathered for this header; a damaged file is set aside, and they are gathered again."""
    if not (folder / HEADER).exists():
        return None
    try:
        told, signatures = read_header(folder)
        if told != header:
            raise BrokenBundle(folder=str(folder), problem=f"{HEADER} is not of this bundle")
        known = task.check_quorum(header, signatures)
    except (BrokenBundle, InvalidSignature, TooFewSignatures) as error:
        log.warning("round %d: %s; it is now %s, and signed again", header.round, error, set_aside(folder / HEADER))
        return None
    return SignedHeader(header=header, signatures=tuple(signatures), evaluators=tuple(known))


def post_round(task: PaidTask, header: Header, *, signatures: Sequence[bytes]) -> Posting:
    """Put a round on chain, unless it is there; returns how it came there.

    Args:
        task: With the coordinator's key.
        header: Of the round.
        signatures: The evaluators', the quorum or more.
    Raises: LostRound if the chain has another header for the round; Refused.
    """
    if task.state().posted < header.round:
        try:
            task.post(header, signatures=signatures)
        except Refused:
            # What an earlier life sent was in no block yet when we looked; it was waited for before ours was refused.
            if task.state().posted < header.round:
                raise
    posting = task.posting(header.round)
    if posting.header != header:
        raise LostRound(round_number=header.round, problem="its header is not the one of this coordinator's bundle")
    return posting
