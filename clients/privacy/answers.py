"""A node's answers in a masked round: the first to a train message, with the app's training; the others to queries that follow it.

Whether a task is masked stands in the spec that the owner accepted, so no message talks a node into an open update.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context, Message, RecordDict
from numpy.typing import NDArray

from clients.errors import PastRound, SecondUpdate, UnreadableRequest
from clients.keys.ledger import ledger_of
from clients.keys.wallet import Wallet, read_invite
from clients.privacy.member import Member, NotSaid
from clients.privacy.own_score import OwnScore, OwnScores
from clients.privacy.shelf import Kept, Shelf, shelf_of
from clients.privacy.spent import check_limit, limit_of
from fl.chain.enrolment import Enrolments
from fl.chain.record import TaskRecord
from fl.chain.typed_data import Domain
from fl.codec import Blocks, MalformedBlocks, block_root
from fl.foreign.json_text import BadJson, decimal_of, hex_of, list_of, object_of, read_json
from fl.privacy.budget import Sampling
from fl.privacy.noise import noised
from fl.privacy.seeds import Round
from fl.privacy.steps import PeerKeys, account_of, sealed_of, sealed_to_text
from fl.privacy.terms import PrivacyTerms
from fl.privacy.transcript import Setting, cap_of
from fl.protocol import MASKED, MaskedMessage, SignedUpdate
from fl.task.bounds import read_spec
from fl.task.held_arrays import ReceivedModel

log = logging.getLogger(__name__)

_ROUNDS = 8  # that are remembered, of all tasks of a process
_MOST_BODY = 64 << 20  # of what a coordinator asks


def terms_of(context: Context) -> PrivacyTerms:
    """The privacy of the task that the owner accepted; a node of a simulation has no invite, and its updates are open."""
    invite = context.node_config.get("invite")
    return PrivacyTerms() if invite is None else _terms(str(invite))


@cache
def _terms(invite: str) -> PrivacyTerms:
    return PrivacyTerms.of(read_spec(read_invite(invite).spec).get("privacy"))


def check_budget(context: Context, *, round_number: int, wallet: Wallet) -> None:
    """See that one more round is within what the client's owner allows.

    Args:
        context: Of the node.
        round_number: That is asked for.
        wallet: Of the client.
    Raises: NotSaid for a round that would spend more of the client's privacy than its owner allows.
    """
    terms, limit = terms_of(context), limit_of(str(context.node_config.get("privacy-limit", "")))
    if limit is None or terms.noise == "none":
        return
    invite = str(context.node_config["invite"])
    own = _enrolments(invite, round_number).get(wallet.address)
    sampling = Sampling.of(read_spec(read_invite(invite).spec), rows=int(context.node_config.get("rows", 0)))
    check_limit(terms, limit, round_number=round_number, first_round=own.first_round if own else 1, sampling=sampling)


def noised_update(context: Context, vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """A difference as it leaves the node of a task with noise: held to the sensitivity, and hidden by as much noise as its spec says."""
    terms = terms_of(context)
    if not np.isfinite(vector).all():
        raise NotSaid("training ended in values that are not numbers; lower the learning rate")
    return noised(vector, clip=float(terms.clip), deviation=float(terms.clip) * terms.sigma)


def commit(
    message: Message,
    context: Context,
    *,
    round_number: int,
    received: ReceivedModel,
    wallet: Wallet,
    train: Callable[[], tuple[NDArray[np.float64], float] | Message],
) -> Message:
    """Answer a train message: train, keep what came of it, and say keys and length alone.

    Args:
        train: Trains and gives the difference, shape (P,), and its seconds; or the app's error reply.
    Raises: SecondUpdate for another base model in a round that was committed to; PastRound; NotSaid.
    """
    shelf = shelf_of(context, task_id=wallet.task_id)
    kept = shelf.read()
    if kept is not None and kept.round > round_number:
        raise PastRound(seen=round_number, last=kept.round)
    if kept is not None and kept.round == round_number and kept.base_model != received.hash:
        raise SecondUpdate(round_number=round_number)
    setting = setting_of(context, wallet=wallet, round_number=round_number, size=received.layout.size)
    if kept is None or kept.round != round_number:
        _check_weight(setting, wallet)
        done = train()
        if isinstance(done, Message):
            return done
        vector, seconds = done
        if not np.isfinite(vector).all():
            raise NotSaid("training ended in values that are not numbers; lower the learning rate")
        member = Member.begin(wallet.address, vector, setting=setting)
        kept = Kept(
            round=round_number,
            base_model=received.hash,
            size=received.layout.size,
            member=member,
            seconds_training=seconds,
        )
        shelf.keep(kept)
    said = kept.member.commit(setting=setting, sign=wallet.sign_step)
    body = {
        "commitment": said.to_json(),
        "base_model": kept.base_model.hex(),
        "seconds_training": kept.seconds_training,
    }
    return _reply(message, MaskedMessage.of("commit", round_number, account=wallet.address, body=body))


def answer(message: Message, context: Context, *, wallet: Wallet) -> Message:
    """Answer a query of a masked round.

    Args:
        message: The query.
        context: Of the node.
        wallet: Signs each step.
    Raises: NotSaid for what this client does not say; UnreadableRequest; BrokenLedger.
    """
    started = time.perf_counter()
    try:
        asked = MaskedMessage.from_record(message.content.config_records[MASKED])
        body = object_of(read_json(asked.body, most=_MOST_BODY))
    except (KeyError, TypeError, BadJson) as error:
        raise UnreadableRequest(problem=str(error)) from error
    if asked.task_id != wallet.task_id:
        raise NotSaid("asked in a task that this node's owner did not accept")
    shelf = shelf_of(context, task_id=wallet.task_id)
    kept = shelf.read()
    if kept is None or kept.round != asked.round:
        raise NotSaid(f"asked in round {asked.round}, to which this client did not commit")
    setting = setting_of(context, wallet=wallet, round_number=asked.round, size=kept.size)
    try:
        told, blob = _STEPS[asked.step](
            body, asked.blob, kept=kept, shelf=shelf, setting=setting, wallet=wallet, context=context
        )
    except (KeyError, BadJson, MalformedBlocks, ValueError) as error:
        raise UnreadableRequest(problem=f"step {asked.step}: {type(error).__name__}: {error}") from error
    told["seconds"] = time.perf_counter() - started
    return _reply(message, MaskedMessage.of(asked.step, asked.round, account=wallet.address, body=told, blob=blob))


def _share(
    body: Any, blob: bytes, *, kept: Kept, shelf: Shelf, setting: Setting, wallet: Wallet, context: Context
) -> Any:
    roster = {
        account_of(address): decimal_of(length, bits=128) for address, length in object_of(body["roster"]).items()
    }
    peers = [PeerKeys.from_json(raw) for raw in list_of(body["peers"])]
    member, said, sealed = kept.member.share(roster, peers, setting=setting, sign=wallet.sign_step)
    shelf.keep(replace(kept, member=member))
    return {"sharing": said.to_json(), "sealed": {reader: sealed_to_text(part) for reader, part in sealed.items()}}, b""


def _mask(
    body: Any, blob: bytes, *, kept: Kept, shelf: Shelf, setting: Setting, wallet: Wallet, context: Context
) -> Any:
    ledger = ledger_of(context, task_id=wallet.task_id)
    last = ledger.last()
    known = last if last is not None and last.round == kept.round else None
    member = kept.member
    if member.vector is not None:
        sealed = {account_of(address): sealed_of(part) for address, part in object_of(body["sealed"]).items()}
        member, words, root = member.mask(sealed, setting=setting)
        made = SignedUpdate(
            account=wallet.address,
            round=kept.round,
            base_model=kept.base_model,
            blocks=words.astype("<u8").tobytes(),
            signature=wallet.sign_update(round_number=kept.round, base_model=kept.base_model, update_root=root),
        )
        if known is not None and known.signature != made.signature:
            raise NotSaid("other words of this round were signed before, and a second update would cost the stake")
        ledger.keep(made)  # before it is sent: after a crash the same words go out again, and no others
        shelf.keep(replace(kept, member=member))
        log.info("round %d: signed %d masked words as %s", kept.round, len(words), wallet.address)
        known = made
    if known is None:
        raise NotSaid("the words of this round were signed, and are not here any more")
    return {"signature": known.signature.hex()}, known.blocks


def _agree(
    body: Any, blob: bytes, *, kept: Kept, shelf: Shelf, setting: Setting, wallet: Wallet, context: Context
) -> Any:
    survivors = [account_of(address) for address in list_of(body["in"])]
    member, signature = kept.member.agree(survivors, setting=setting, sign=wallet.sign_step)
    shelf.keep(replace(kept, member=member))
    return {"signature": signature.hex()}, b""


def _unmask(
    body: Any, blob: bytes, *, kept: Kept, shelf: Shelf, setting: Setting, wallet: Wallet, context: Context
) -> Any:
    agreements = {
        account_of(address): hex_of(value, size=65) for address, value in object_of(body["agreements"]).items()
    }
    silent = [account_of(address) for address in list_of(body["silent"])]
    own, pairs, asked = kept.member.unmask(agreements, silent=silent, setting=setting)
    return {
        "own": own.hex(),
        "pairs": {owner: share.hex() for owner, share in pairs.items()},
        "silent": {owner: share.hex() for owner, share in asked.items()},
    }, b""


def _tell(
    body: Any, blob: bytes, *, kept: Kept, shelf: Shelf, setting: Setting, wallet: Wallet, context: Context
) -> Any:
    direction = Blocks.from_bytes(blob, size=setting.size)
    roots = {account_of(address): hex_of(root, size=32) for address, root in object_of(body["roots"]).items()}
    member, said = kept.member.tell(direction, roots, setting=setting, sign=wallet.sign_step)
    shelf.keep(replace(kept, member=member))
    if folder := str(context.node_config.get("folder", "")):
        own = OwnScore(
            score=member.own_score(direction, setting=setting), direction_root=block_root(direction.to_bytes())
        )
        OwnScores(Path(folder), task_id=wallet.task_id).note(kept.round, own)
    return {"telling": said.to_json()}, b""


def _open(
    body: Any, blob: bytes, *, kept: Kept, shelf: Shelf, setting: Setting, wallet: Wallet, context: Context
) -> Any:
    member, keys = kept.member.open([account_of(address) for address in list_of(body["pairs"])], setting=setting)
    shelf.keep(replace(kept, member=member))
    return {"keys": {peer: key.hex() for peer, key in keys.items()}}, b""


_STEPS: dict[str, Callable[..., tuple[dict[str, Any], bytes]]] = {
    "share": _share,
    "mask": _mask,
    "agree": _agree,
    "unmask": _unmask,
    "tell": _tell,
    "open": _open,
}


def setting_of(context: Context, *, wallet: Wallet, round_number: int, size: int) -> Setting:
    """What this client knows of a round by the chain and the spec that its owner accepted.

    Args:
        context: Of the node.
        wallet: Knows the task.
        round_number: The round.
        size: P, values of the model.
    Raises: ChainError.
    """
    return _setting(str(context.node_config["invite"]), wallet.domain, wallet.task_id, round_number, size)


@lru_cache(maxsize=_ROUNDS)
def _setting(invite: str, domain: Domain, task_id: bytes, round_number: int, size: int) -> Setting:
    spec = read_spec(read_invite(invite).spec)
    return Setting(
        of=Round(task_id=task_id, number=round_number),
        domain=domain,
        terms=PrivacyTerms.of(spec.get("privacy")),
        stakes={
            account: enrolment.stake
            for account, enrolment in _enrolments(invite, round_number).items()
            if enrolment.weighs_in(round_number)
        },
        size=size,
        cap=cap_of(PrivacyTerms.of(spec.get("privacy")), norm_cap=str(spec.get("norm_cap", "10"))),
        median=spec.get("length", "median") == "median",
    )


@lru_cache(maxsize=_ROUNDS)  # who weighs in a round was settled before it began, and all nodes of a process ask at once
def _enrolments(invite: str, round_number: int) -> Enrolments:
    return TaskRecord(read_invite(invite)).enrolments()


def _check_weight(setting: Setting, wallet: Wallet) -> None:
    if wallet.address not in setting.stakes:
        raise NotSaid(f"{wallet.address} has no weight in round {setting.of.number} by the chain")


def _reply(message: Message, said: MaskedMessage) -> Message:
    return Message(RecordDict({MASKED: said.to_record()}), reply_to=message)
