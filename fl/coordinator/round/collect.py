"""Checks each reply of a round: what passes is an accepted update, what does not is refused with a reason.

A refused update scores 0 and costs nobody else anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from fl.chain.enrolment import Enrolment
from fl.chain.typed_data import Domain, InvalidSignature, Update, signer_of
from fl.codec import Blocks, MalformedBlocks, Wire, block_root
from fl.codec.narrow import widened
from fl.coordinator.round.side_records import side_of
from fl.errors import FairshareError
from fl.plain_text import printable
from fl.protocol import RECORD, SignedUpdate
from fl.spool import Spool
from fl.task.held_arrays import of_kind

_LONGEST_ACCOUNT = 42  # characters of what a reply names as its account
_MOST_METRICS, _LONGEST_NAME = 100, 100


@dataclass(frozen=True, kw_only=True, eq=False)
class AcceptedUpdate:
    """An update that its client signed for this round and this base model."""

    account: str
    node_id: int
    stake: int  # wei
    blocks: Blocks
    wire: Wire  # the blocks as they came
    root: bytes
    signature: bytes
    metrics: dict[str, float | int] = field(default_factory=dict)
    seconds_training: float = 0.0
    seconds_signing: float = 0.0
    side: RecordDict = field(default_factory=RecordDict)  # see `fl.coordinator.round.side_records`


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A reply that does not count, and why. Both texts may be a stranger's, each in one printable line."""

    node_id: int
    account: str  # as the reply claims it or, where it says none, of the node's key; "" if neither tells
    reason: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """What the clients are asked in a round, and whose answers count."""

    task_id: bytes
    round: int
    base_model: bytes  # hash of the model that is sent
    size: int  # values of its vector
    enrolled: Mapping[str, Enrolment]  # clients on chain by account
    domain: Domain
    block_bits: int = 16  # of an update's values on the wire; what is accepted has the blocks that were signed, of 16
    beside: bool = False  # whether to keep what an answer holds beside model and metrics


def collect(
    replies: Iterable[Message], question: Question, *, owners: Mapping[int, tuple[str, ...]] | None = None
) -> tuple[list[AcceptedUpdate], list[Refusal]]:
    """Sort the replies of a round into accepted updates, ascending by account, and refusals.

    Args:
        replies: Train replies, error replies among them.
        question: What was asked.
        owners: Accounts that joined with the key of each node; None where nodes have no keys.
    """
    accepted: dict[str, AcceptedUpdate] = {}
    refused, spool = [], Spool()
    for reply in replies:
        node_id = reply.metadata.src_node_id
        claimed = ""
        try:
            answer = _read(reply, question, spool=spool)
            claimed = printable(answer.account, most=_LONGEST_ACCOUNT)
            _check_node(node_id, answer, owners=owners)
            update = check_update(answer, question, node_id=node_id, metrics=_metrics(reply))
            if question.beside:
                update = replace(update, side=side_of(reply))
            if update.account in accepted:
                raise NotAccepted("a second update for this round came from the same account; the first one counts")
            accepted[update.account] = update
        except NotAccepted as error:
            known = (owners or {}).get(node_id, ())
            # A node that gave no answer says no name: its key does, so that its owner can read why nothing counted.
            account = claimed or (known[0] if len(known) == 1 else "")
            refused.append(Refusal(node_id=node_id, account=account, reason=printable(error)))
    return sorted(accepted.values(), key=lambda update: int(update.account, 16)), refused


class NotAccepted(FairshareError):
    """An update does not count in the round that was asked for."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


def _read(reply: Message, question: Question, *, spool: Spool) -> SignedUpdate:
    if reply.has_error():
        raise NotAccepted(f"the node failed: {reply.error.reason}")
    try:
        answer = SignedUpdate.from_record(of_kind(reply.content, ConfigRecord)[RECORD])
    except (KeyError, TypeError, ValueError) as error:
        raise NotAccepted(
            f"the reply has no signed update ({error}); wrap the ClientApp with mods=[clients.sign_updates]"
        ) from error
    blocks = answer.blocks
    if question.block_bits != 16:
        try:
            blocks = widened(blocks, size=question.size)
        except MalformedBlocks as error:
            raise NotAccepted(str(error)) from error
    return replace(answer, blocks=spool.keep_bytes(blocks) if isinstance(blocks, bytes) else blocks)


def _check_node(node_id: int, answer: SignedUpdate, *, owners: Mapping[int, tuple[str, ...]] | None) -> None:
    # A signature alone would let anybody who saw an update hand it in, and a node speak for another's wallet.
    if owners is not None and answer.account not in owners.get(node_id, ()):
        owner = " and ".join(owners.get(node_id, ())) or "no account of this task"
        raise NotAccepted(
            f"the node's key belongs to {owner} and the update says {answer.account}; start the node with the key that "
            "joined"
        )


def _metrics(reply: Message) -> dict[str, float | int]:
    """The first record's single finite numbers: what is written down has to be JSON."""
    records = list(of_kind(reply.content, MetricRecord).values())
    found = {
        printable(key, most=_LONGEST_NAME): value
        for key, value in (records[0].items() if records else ())
        if isinstance(value, (int, float)) and math.isfinite(value)
    }
    return dict(list(found.items())[:_MOST_METRICS])


def check_update(
    answer: SignedUpdate, question: Question, *, node_id: int, metrics: dict[str, float | int]
) -> AcceptedUpdate:
    """Check an update by itself: enrolment, round, base model, blocks, signature.

    Args:
        node_id: Of the node that sent it.
        metrics: That came with it.
    Raises: NotAccepted with the reason.
    """
    round_number, base_model = question.round, question.base_model
    enrolment = question.enrolled.get(answer.account)
    if enrolment is None:
        raise NotAccepted(f"{answer.account} has not joined the task; join with a stake first")
    if not enrolment.weighs_in(round_number):
        since = f"counts from round {enrolment.first_round}" + (
            f" and left before round {enrolment.left_round}" if enrolment.left_round else ""
        )
        raise NotAccepted(f"{answer.account} {since}, this is round {round_number}")
    if answer.round != round_number:
        raise NotAccepted(f"the update is for round {answer.round}, round {round_number} is open; train again")
    if answer.base_model != base_model:
        raise NotAccepted(
            f"the update starts from model {answer.base_model.hex()[:16]}…, this round's is {base_model.hex()[:16]}…; "
            "fetch the model and train again"
        )
    try:
        blocks = Blocks.from_bytes(answer.blocks, size=question.size)
    except MalformedBlocks as error:
        raise NotAccepted(str(error)) from error
    root = block_root(answer.blocks)
    update = Update(
        task_id=question.task_id, round=round_number, client=answer.account, base_model=base_model, update_root=root
    )
    try:
        signer = signer_of(update, domain=question.domain, signature=answer.signature)
    except InvalidSignature as error:
        raise NotAccepted(str(error)) from error
    if signer != answer.account:
        raise NotAccepted(
            f"the update says {answer.account} and is signed by {signer}; sign with the account's own key"
        )
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
