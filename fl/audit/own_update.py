"""What a client can check of a round with its own update: that it was weighed, scored and listed as it was sent.

Other clients' updates are not given to it; with the direction, once that is revealed, its own score follows bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping

from fl.audit.difference import RoundDiffers, show
from fl.audit.masked import masked_weights
from fl.bundle.files import DIRECTION, update_file
from fl.bundle.round_record import RoundRecord
from fl.chain.typed_data import Header
from fl.codec import Blocks, MalformedBlocks, block_root
from fl.rewards import norm_q64, score, weights_q32
from fl.rewards.tree import leaf_of
from fl.task.spec import TaskSpec


def check_own(
    record: RoundRecord,
    header: Header,
    *,
    account: str,
    contents: Mapping[str, bytes],
    spec: TaskSpec,
    attested: bool,
) -> list[str]:
    """Check one client's own part of a round.

    Args:
        record: As read from round.json.
        header: As posted.
        account: The client.
        contents: Files of the bundle that it has, by name.
        spec: The task's.
        attested: Whether the task's scores are no inner products.
    Returns: what could not be checked, and why.
    Raises: RoundDiffers with the first difference.
    """
    leaf = leaf_of(record.leaves, account)
    place = next((place for place, update in enumerate(record.updates) if update.account == account), None)
    if leaf is None or place is None:
        return []  # whether it should have a leaf is for everybody to see, and a receipt says whether it sent an update
    wire = contents.get(update_file(account))
    if record.masked:
        return _check_own_masked(record, header, account=account, weight=leaf.weight)
    if wire is None:
        return [f"the score of {account} (its update is not here)"]
    try:
        update = Blocks.from_bytes(wire, size=record.layout.size)
    except MalformedBlocks as error:
        raise RoundDiffers(header.round, f"the update of {account}", str(error), "blocks") from error
    _equal(header.round, f"the update root of {account}", leaf.update_root, block_root(wire))
    unchecked = []
    if spec.duplicate_cosine is None:
        weights = weights_q32(
            stakes=[update.stake for update in record.updates],
            # Others' norms only touch their own weights.
            norms=[norm_q64(update) if other == place else 0 for other in range(len(record.updates))],
            cap=record.length,
            selected=[int(update.selected) for update in record.updates],
        )
        _equal(header.round, f"the weight of {account}", leaf.weight, weights[place])
    else:
        unchecked.append(f"the weight of {account} (near-duplicates share one, and theirs are not here)")
    if attested:
        return [*unchecked, f"the score of {account} (evaluators attest it: its rule is not an inner product)"]
    if DIRECTION not in contents:
        return [*unchecked, f"the score of {account} (the direction is not revealed yet, or not here)"]
    try:
        direction = Blocks.from_bytes(contents[DIRECTION], size=record.layout.size)
    except MalformedBlocks as error:
        raise RoundDiffers(header.round, "the direction", str(error), "blocks") from error
    _equal(header.round, "the direction's root", header.direction_root, block_root(contents[DIRECTION]))
    _equal(header.round, f"the score of {account}", leaf.score, score(update, direction, weight=leaf.weight))
    return unchecked


def _check_own_masked(record: RoundRecord, header: Header, *, account: str, weight: int) -> list[str]:
    """Of a masked round: what the client weighs; its score follows from what its own node kept (`clients.privacy.own_score`)."""
    weights = masked_weights({update.account: update.stake for update in record.updates})
    _equal(header.round, f"the weight of {account}", weight, weights[account])
    return [f"the score of {account} (the round is masked; its own node checks it, and evaluators attest it)"]


def _equal(number: int, what: str, seen: object, expected: object) -> None:
    if seen != expected:
        raise RoundDiffers(number, what, show(seen), show(expected))
