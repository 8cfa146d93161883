"""Checks each reply of a round: what passes is an accepted update, what does not is refused with a reason.

A refused update scores 0 and costs nobody else anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flwr.app import Message, MetricRecord

from fl.chain.enrolment import Enrolment
from fl.chain.typed_data import Domain, InvalidSignature, Update, signer_of
from fl.codec import Blocks, MalformedBlocks, block_root
from fl.plain_text import printable
from fl.protocol import RECORD, SignedUpdate

_LONGEST_ACCOUNT = 42  # characters of what a reply names as its account
_MOST_METRICS, _LONGEST_NAME = 100, 100


@dataclass(frozen=True, kw_only=True, eq=False)
class AcceptedUpdate:
    """An update that its client signed for this round and this base model."""

    account: str
    node_id: int
    stake: int  # wei
    blocks: Blocks
    wire: bytes  # the blocks as they came
    root: bytes
    signature: bytes
    metrics: dict[str, float | int] = field(default_factory=dict)
    seconds_training: float = 0.0
    seconds_signing: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A reply that does not count, and why. Both texts may be a stranger's, each in one printable line."""

    node_id: int
    account: str  # as the reply claims it, "" if it says none
    reason: str


def collect(
    replies: Iterable[Message],
    *,
    task_id: bytes,
    round_number: int,
    base_model: bytes,
    size: int,
    enrolled: Mapping[str, Enrolment],
    domain: Domain,
    owners: Mapping[int, tuple[str, ...]] | None = None,
) -> tuple[list[AcceptedUpdate], list[Refusal]]:
    """Sort the replies of a round into accepted updates, ascending by account, and refusals.

    Args:
        replies: Train replies, error replies among them.
        base_model: Hash of the model that was sent.
        size: Number of values of the model's vector.
        enrolled: Clients on chain by account.
        owners: Accounts that joined with the key of each node; None where nodes have no keys.
    """
    accepted: dict[str, AcceptedUpdate] = {}
    refused = []
    for reply in replies:
        node_id = reply.metadata.src_node_id
        claimed = ""
        try:
            answer = _read(reply)
            claimed = printable(answer.account, most=_LONGEST_ACCOUNT)
            _check_node(node_id, answer, owners=owners)
            update = _check(
                answer,
                node_id=node_id,
                metrics=_metrics(reply),
                task_id=task_id,
                round_number=round_number,
                base_model=base_model,
                size=size,
                enrolled=enrolled,
                domain=domain,
            )
            if update.account in accepted:
                raise _Refused("a second update for this round came from the same account; the first one counts")
            accepted[update.account] = update
        except _Refused as error:
            refused.append(Refusal(node_id=node_id, account=claimed, reason=printable(error)))
    return sorted(accepted.values(), key=lambda one: int(one.account, 16)), refused


class _Refused(Exception):
    """Carries a reason from a check to the list of refusals."""


def _read(reply: Message) -> SignedUpdate:
    if reply.has_error():
        raise _Refused(f"the node failed: {reply.error.reason}")
    try:
        return SignedUpdate.from_record(reply.content.config_records[RECORD])
    except (KeyError, TypeError, ValueError) as error:
        raise _Refused(
            f"the reply has no signed update ({error}); wrap the ClientApp with mods=[clients.sign_updates]"
        ) from error


def _check_node(node_id: int, answer: SignedUpdate, *, owners: Mapping[int, tuple[str, ...]] | None) -> None:
    # A signature alone would let anybody who saw an update hand it in, and a node speak for another's wallet.
    if owners is not None and answer.account not in owners.get(node_id, ()):
        owner = " and ".join(owners.get(node_id, ())) or "no account of this task"
        raise _Refused(
            f"the node's key belongs to {owner} and the update says {answer.account}; start the node with the key that "
            "joined"
        )


def _metrics(reply: Message) -> dict[str, float | int]:
    """The first record's single finite numbers: what is written down has to be JSON."""
    records: list[MetricRecord] = list(reply.content.metric_records.values())
    found = {
        printable(key, most=_LONGEST_NAME): value
        for key, value in (records[0].items() if records else ())
        if isinstance(value, (int, float)) and math.isfinite(value)
    }
    return dict(list(found.items())[:_MOST_METRICS])


def _check(
    answer: SignedUpdate,
    *,
    node_id: int,
    metrics: dict[str, float | int],
    task_id: bytes,
    round_number: int,
    base_model: bytes,
    size: int,
    enrolled: Mapping[str, Enrolment],
    domain: Domain,
) -> AcceptedUpdate:
    enrolment = enrolled.get(answer.account)
    if enrolment is None:
        raise _Refused(f"{answer.account} has not joined the task; join with a stake first")
    if not enrolment.weighs_in(round_number):
        since = f"counts from round {enrolment.first_round}" + (
            f" and left before round {enrolment.left_round}" if enrolment.left_round else ""
        )
        raise _Refused(f"{answer.account} {since}, this is round {round_number}")
    if answer.round != round_number:
        raise _Refused(f"the update is for round {answer.round}, round {round_number} is open; train again")
    if answer.base_model != base_model:
        raise _Refused(
            f"the update starts from model {answer.base_model.hex()[:16]}…, this round's is {base_model.hex()[:16]}…; "
            "fetch the model and train again"
        )
    try:
        blocks = Blocks.from_bytes(answer.blocks, size=size)
    except MalformedBlocks as error:
        raise _Refused(str(error)) from error
    root = block_root(answer.blocks)
    update = Update(task_id=task_id, round=round_number, client=answer.account, base_model=base_model, update_root=root)
    try:
        signer = signer_of(update, domain=domain, signature=answer.signature)
    except InvalidSignature as error:
        raise _Refused(str(error)) from error
    if signer != answer.account:
        raise _Refused(f"the update says {answer.account} and is signed by {signer}; sign with the account's own key")
    return AcceptedUpdate(
        account=answer.account,
        node_id=node_id,
        stake=enrolment.stake,
        blocks=blocks,
        wire=answer.blocks,
        root=root,
        signature=answer.signature,
        metrics=metrics,
        seconds_training=answer.seconds_training,
        seconds_signing=answer.seconds_signing,
    )
