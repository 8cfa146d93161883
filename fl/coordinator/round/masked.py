"""A masked round as its coordinator goes through it: seven questions to the clients, of which each may stay unanswered by some.

    train     keys and lengths                                     (the round's train message)
    share     sealed shares of the seeds, carried from client to client
    mask      the words
    agree     that these words are in
    unmask    the seeds of the masks; again, for the shares of those who fell silent
    tell      what the closed masks come to along the direction
    open      the pairs that the public draw opens

A client that falls silent before its words are in is left out; one that does later is in the sum, and scores what the others tell.
Where too few are left for the sum to be unmasked, the round is void: nobody scores, the model stays, the next round begins.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import Message, RecordDict

from fl.chain.typed_data import InvalidSignature, Update, signer_of
from fl.codec import Blocks
from fl.coordinator.round.collect import Refusal
from fl.errors import ConfigError
from fl.foreign.json_text import BadJson, hex_of, number_of, object_of, read_json
from fl.plain_text import plural, printable
from fl.privacy.checks import (
    check_agreement,
    check_commitment,
    check_opened,
    check_own,
    check_pairs,
    check_sharing,
    check_telling,
)
from fl.privacy.graph import by_number, pair_of
from fl.privacy.masked_round import Draw, draw, question_hash
from fl.privacy.seeds import KEY_BYTES, SECRET_BYTES, BadSeed, commitment, joined
from fl.privacy.steps import (
    Commitment,
    PeerKeys,
    Sharing,
    Telling,
    account_of,
    sealed_of,
    sealed_to_text,
    words_root,
)
from fl.privacy.terms import LEAST_CLIENTS
from fl.privacy.transcript import Setting, Transcript, context_of, noise_parts
from fl.privacy.words import Words
from fl.protocol import MASKED, RECORD, MaskedMessage

log = logging.getLogger(__name__)

_MOST_BODY = 64 << 20
_SHARE = 18
_NOT_THIS = (KeyError, TypeError, ValueError, BadJson, BadSeed)

# Sends a question to each node and gives the answers that came: nodes and records.
Asks = Callable[[Sequence[tuple[int, RecordDict]]], Iterable[Message]]


@dataclass(kw_only=True, eq=False)
class MaskedWords:
    """Everything that was said in a masked round so far."""

    setting: Setting
    base_model: bytes
    said: Transcript = field(default_factory=Transcript)
    words: dict[str, Words] = field(default_factory=dict)
    roots: dict[str, bytes] = field(default_factory=dict)
    signatures: dict[str, bytes] = field(default_factory=dict)
    nodes: dict[str, int] = field(default_factory=dict)  # account -> the node that speaks for it
    refusals: list[Refusal] = field(default_factory=list)
    seconds_training: dict[str, float] = field(default_factory=dict)
    void: str = ""  # why the round comes to nothing

    @property
    def survivors(self) -> list[str]:
        """Whose words are in the sum, ascending; nobody in a void round."""
        return [] if self.void else by_number(self.words)


class MaskedRound:
    """Goes through one masked round.

    Args:
        setting: By chain and spec.
        base_model: Hash of the model that was sent.
        ask: Sends questions and waits for their answers.
        owners: Accounts that joined with the key of each node; None where nodes have no keys.
        barred: Accounts that were proven to have lied in an earlier round; they are not let in.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        base_model: bytes,
        ask: Asks,
        owners: Mapping[int, tuple[str, ...]] | None,
        barred: frozenset[str] = frozenset(),
    ) -> None:
        self.state = MaskedWords(setting=setting, base_model=base_model)
        self._ask, self._owners, self._barred = ask, owners, barred

    # ---- until the sum -----------------------------------------------------------------------------------------------

    def collect(self, replies: Iterable[Message]) -> MaskedWords:
        """From the answers to the train message to a sum that can be unmasked, or a void round that says why."""
        state = self.state
        for reply in replies:
            self._take(reply, self._commitment)
        if len(state.said.commitments) < LEAST_CLIENTS:
            return self._void(
                f"{plural(len(state.said.commitments), 'client')} committed, and {LEAST_CLIENTS} hide each other"
            )
        sealed = self._shared()
        self._masked(sealed)
        if not self._enough(state.words, what="sent words"):
            return state
        self._agreed()
        if not self._enough(state.said.agreements, what="agreed whose words are in"):
            return state
        self._unmasked()
        return state

    def _commitment(self, node: int, body: Mapping[str, Any], blob: bytes) -> None:
        state = self.state
        said = Commitment.from_json(body["commitment"])
        self._check_speaker(node, said.account)
        if said.account in self._barred:
            raise BadSeed(account=said.account, problem="it lied in an earlier round and has lost its place")
        if said.account in state.said.commitments:
            raise BadSeed(account=said.account, problem="it committed twice; the first one counts")
        if hex_of(body["base_model"], size=32) != state.base_model:
            raise BadSeed(account=said.account, problem="it trained from another model than this round's; train again")
        check_commitment(said, state.setting)
        state.said.commitments[said.account] = said
        state.nodes[said.account] = node
        state.seconds_training[said.account] = max(0.0, number_of(body["seconds_training"]))

    def _shared(self) -> dict[str, dict[str, bytes]]:
        """Sealed shares, by their reader and their owner."""
        state, setting = self.state, self.state.setting
        said = state.said
        roster = {account: str(length) for account, length in said.roster.items()}
        questions = {}
        for account in said.commitments:
            peers = [peer for peer in setting.graph[account] if peer in said.commitments]
            keys = [PeerKeys.of(said.commitments[peer], reader=account).to_json() for peer in peers]
            questions[account] = {"roster": roster, "peers": keys}
        sealed: dict[str, dict[str, bytes]] = {}

        def take(node: int, body: Mapping[str, Any], blob: bytes) -> None:
            sharing = Sharing.from_json(body["sharing"])
            self._check_speaker(node, sharing.account)
            check_sharing(sharing, said, setting)
            parts = {str(reader): sealed_of(part) for reader, part in object_of(body["sealed"]).items()}
            others = set(sharing.shares) - {sharing.account}
            if set(parts) != others or any(
                hashlib.sha256(parts[reader]).digest() != sharing.shares[reader][2] for reader in others
            ):
                raise BadSeed(account=sharing.account, problem="what it sealed is not what it signed")
            said.sharings[sharing.account] = sharing
            for reader, part in parts.items():
                sealed.setdefault(reader, {})[sharing.account] = part

        self._question("share", questions, take)
        return sealed

    def _masked(self, sealed: Mapping[str, Mapping[str, bytes]]) -> None:
        state, setting = self.state, self.state.setting
        said = state.said
        if len(said.sharings) < LEAST_CLIENTS:
            return
        questions = {
            account: {"sealed": {owner: sealed_to_text(part) for owner, part in sealed.get(account, {}).items()}}
            for account in said.sharings
        }
        roster = context_of(said)

        def take(node: int, body: Mapping[str, Any], blob: bytes) -> None:
            account = self._account_of(node)
            if len(blob) != 8 * setting.size:
                raise BadSeed(
                    account=account,
                    problem=f"it sent {len(blob)} bytes, and {setting.size} masked words have {8 * setting.size}",
                )
            words = np.frombuffer(blob, dtype="<u8").astype(np.uint64, copy=False)
            root = words_root(words, roster=roster, partners=said.partners(account, setting))
            signature = hex_of(body["signature"], size=65)
            update = Update(
                task_id=setting.of.task_id,
                round=setting.of.number,
                client=account,
                base_model=state.base_model,
                update_root=root,
            )
            try:
                signer = signer_of(update, domain=setting.domain, signature=signature)
            except InvalidSignature as error:
                raise BadSeed(account=account, problem=str(error)) from error
            if signer != account:
                raise BadSeed(account=account, problem="its words are not those that it signed for these partners")
            state.words[account], state.roots[account], state.signatures[account] = words, root, signature

        self._question("mask", questions, take)

    def _agreed(self) -> None:
        state, setting = self.state, self.state.setting
        survivors = by_number(state.words)

        def take(node: int, body: Mapping[str, Any], blob: bytes) -> None:
            account, signature = self._account_of(node), hex_of(body["signature"], size=65)
            check_agreement(signature, account=account, survivors=survivors, setting=setting)
            state.said.agreements[account] = signature

        self._question("agree", {account: {"in": survivors} for account in survivors}, take)

    def _unmasked(self) -> None:
        state, setting = self.state, self.state.setting
        said, survivors = state.said, by_number(state.words)
        shares_of_pairs: dict[str, dict[str, bytes]] = {}
        shares_of_own: dict[str, dict[str, bytes]] = {}

        def take(node: int, body: Mapping[str, Any], blob: bytes) -> None:
            account, own = self._account_of(node), hex_of(body["own"], size=SECRET_BYTES)
            check_own(own, account=account, transcript=said)
            said.own[account] = own
            for into, name, place in ((shares_of_pairs, "pairs", 1), (shares_of_own, "silent", 0)):
                for owner, text in object_of(body[name]).items():
                    share = hex_of(text, size=_SHARE)
                    if owner not in said.sharings or account not in said.sharings[owner].shares:
                        raise BadSeed(account=account, problem=f"it gives a share of {owner}, which it does not hold")
                    if commitment(share) != said.sharings[owner].shares[account][place]:
                        # Its own fault or the owner's, who sealed another one: there are others.
                        log.warning("round %d: the share of %s that %s gives is not of what was committed to",
                                    setting.of.number, owner, account)  # fmt: skip
                        continue
                    into.setdefault(owner, {})[account] = share

        def questions(silent: Sequence[str]) -> dict[str, dict[str, Any]]:
            found = {}
            for account in said.agreements:
                holders = said.holders(account, setting)
                agreed = {holder: said.agreements[holder].hex() for holder in holders if holder in said.agreements}
                found[account] = {"agreements": agreed, "silent": list(silent)}
            return found

        self._question("unmask", questions([]), take)
        if silent := [account for account in survivors if account not in said.own]:
            self._question("unmask", questions(silent), take)
            for account in silent:
                if (secret := self._joined(shares_of_own.get(account, {}), account)) is not None:
                    said.own[account] = secret
        lost = {other for account in survivors for other in said.partners(account, setting) if other not in state.words}
        for account in by_number(lost):
            if (secret := self._joined(shares_of_pairs.get(account, {}), account)) is not None:
                said.pairs[account] = secret
        try:
            for account in survivors:
                if account not in said.own:
                    self._void(f"too few are left to bring back the mask of {account}")
                    return
                check_own(said.own[account], account=account, transcript=said)
            for account in by_number(lost):
                if account not in said.pairs:
                    self._void(f"too few are left to bring back the masks with {account}")
                    return
                check_pairs(said.pairs[account], account=account, transcript=said, setting=setting)
        except BadSeed as error:
            # Its shares are what it committed to, so it shared something other than its seeds.
            self._refuse(state.nodes.get(error.account, 0), error.account, str(error))
            self._void(str(error))

    def _joined(self, shares: Mapping[str, bytes], account: str) -> bytes | None:
        holders = self.state.said.holders(account, self.state.setting)
        needed = self.state.setting.terms.threshold_of(len(holders))
        if len(shares) < needed:
            return None
        return joined([shares[holder] for holder in by_number(shares)[:needed]])

    def _enough(self, accounts: Iterable[str], *, what: str) -> bool:
        state, setting = self.state, self.state.setting
        there = set(accounts)
        if len(there) < LEAST_CLIENTS:
            self._void(f"{plural(len(there), 'client')} {what}, and {LEAST_CLIENTS} hide each other")
            return False
        if setting.terms.noise == "client" and len(state.words) < (least := noise_parts(len(state.said.commitments))):
            self._void(f"{plural(len(state.words), 'client')} {what}, and the noise is counted on {least}")
            return False
        for account in by_number(state.words):
            holders = state.said.holders(account, setting)
            left, needed = len(there & set(holders)), setting.terms.threshold_of(len(holders))
            if left < needed:
                self._void(
                    f"{left} of the {len(holders)} holders of the seeds of {account} {what}, {needed} are needed"
                )
                return False
        return True

    # ---- once the direction is known ---------------------------------------------------------------------------------

    def tell(self, direction: Blocks) -> Transcript:
        """Ask what the closed masks come to along the direction, and have the drawn pairs opened."""
        state, setting = self.state, self.state.setting
        said, survivors = state.said, state.survivors
        asked = question_hash(direction, roots=state.roots)
        body = {"roots": {account: state.roots[account].hex() for account in survivors}}

        def take(node: int, answer: Mapping[str, Any], blob: bytes) -> None:
            telling = Telling.from_json(answer["telling"])
            self._check_speaker(node, telling.account)
            check_telling(telling, question=asked, transcript=said, setting=setting, survivors=survivors)
            said.tellings[telling.account] = telling

        # Those who fell silent may be back: whoever answers helps.
        self._question("tell", dict.fromkeys(survivors, body), take, blob=direction.to_bytes())
        drawn = draw(said, survivors=survivors, question=asked, setting=setting)
        self._opened(drawn)
        return said

    def _opened(self, drawn: Draw) -> None:
        said, wanted = self.state.said, set(drawn.pairs)

        def take(node: int, body: Mapping[str, Any], blob: bytes) -> None:
            account = self._account_of(node)
            for other, text in object_of(body["keys"]).items():
                pair = pair_of(account, account_of(other))
                if pair not in wanted:
                    raise BadSeed(account=account, problem="it opens a pair that was not drawn")
                key = hex_of(text, size=KEY_BYTES)
                check_opened(pair, account, key, transcript=said)
                said.opened.setdefault(pair, (account, key))

        def by_end(end: int) -> dict[str, dict[str, Any]]:
            asked: dict[str, dict[str, Any]] = {}
            for pair in drawn.pairs:
                if pair not in said.opened:
                    asked.setdefault(pair[end], {"pairs": []})["pairs"].append(pair[1 - end])
            return asked

        # One end's key is enough; where it stays silent, the other's is asked for.
        for end in (0, 1):
            if questions := by_end(end):
                self._question("open", questions, take)

    # ---- questions and answers ---------------------------------------------------------------------------------------

    def _question(
        self,
        step: str,
        bodies: Mapping[str, dict[str, Any]],
        take: Callable[[int, Mapping[str, Any], bytes], None],
        *,
        blob: bytes = b"",
    ) -> None:
        of = self.state.setting.of
        sent = []
        for account, body in bodies.items():
            asked = MaskedMessage.of(step, of.number, task_id=of.task_id, body=body, blob=blob)
            sent.append((self.state.nodes[account], RecordDict({MASKED: asked.to_record()})))
        answered = 0
        for reply in self._ask(sent):
            answered += self._take(reply, take, step=step)
        log.info("round %d: %s: %d of %d clients answered", of.number, step, answered, len(sent))

    def _take(
        self, reply: Message, take: Callable[[int, Mapping[str, Any], bytes], None], *, step: str = "commit"
    ) -> bool:
        node = reply.metadata.src_node_id
        account = self._account_of(node)
        if reply.has_error():
            self._refuse(node, account, f"the node failed: {reply.error.reason}")
            return False
        try:
            if step == "commit" and RECORD in reply.content.config_records:
                raise BadSeed(
                    account=account or f"node {node}",
                    problem="it sent an open update to a masked task, which nobody looks at; update fairshare there",
                )
            said = MaskedMessage.from_record(reply.content.config_records[MASKED])
            if (said.step, said.round) != (step, self.state.setting.of.number):
                raise BadSeed(account=account, problem=f"it answers step {said.step} of round {said.round}")
            take(node, object_of(read_json(said.body, most=_MOST_BODY)), said.blob)
        except BadSeed as error:
            self._refuse(node, account or error.account, error.problem)
        except ConfigError as error:
            self._refuse(node, account, str(error))
        except _NOT_THIS as error:
            self._refuse(node, account, f"its answer cannot be read ({type(error).__name__}: {error})")
        else:
            return True
        return False

    def _refuse(self, node: int, account: str, reason: str) -> None:
        refusal = Refusal(node_id=node, account=printable(account, most=42), reason=printable(reason))
        log.warning("round %d: node %d refused: %s", self.state.setting.of.number, node, refusal.reason)
        if all((earlier.node_id, earlier.account) != (node, refusal.account) for earlier in self.state.refusals):
            self.state.refusals.append(refusal)

    def _void(self, why: str) -> MaskedWords:
        log.warning("round %d is void: %s", self.state.setting.of.number, why)
        self.state.void = self.state.void or why
        return self.state

    def _check_speaker(self, node: int, account: str) -> None:
        known = self._account_of(node)
        if known and known != account:
            raise BadSeed(account=known, problem=f"it speaks for {account}")
        if self._owners is not None and account not in self._owners.get(node, ()):
            raise BadSeed(
                account=account, problem="the key of its node belongs to another account; start the node that joined"
            )

    def _account_of(self, node: int) -> str:
        found = [account for account, own in self.state.nodes.items() if own == node]
        if found:
            return found[0]
        known = (self._owners or {}).get(node, ())
        return known[0] if len(known) == 1 else ""
