"""One client's part in one masked round, step by step. It knows its own secrets and believes nobody else's word.

What it refuses is what would open its update: words for a second roster, shares of both seeds of one client, answers about a second
direction, words that too few of its neighbours' masks hide, more opened pairs than leave half of its pairs closed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.errors import NodeRefusal
from fl.chain.typed_data import MaskedStep
from fl.codec import Blocks
from fl.plain_text import plural, printable
from fl.privacy.checks import check_agreement
from fl.privacy.graph import LEAST_CLOSED, by_number, pair_of
from fl.privacy.lengths import agreed_length
from fl.privacy.masked_round import added, question_hash, question_of
from fl.privacy.noise import normal, pair_noise
from fl.privacy.seeds import (
    BadSeed,
    Secrets,
    commitment,
    mask_seed,
    own_mask_seed,
    pair_key,
    public_key,
    score_seed,
    seal,
    split,
    unseal,
)
from fl.privacy.steps import (
    AGREE,
    COMMIT,
    SHARE,
    TELL,
    Commitment,
    PeerKeys,
    Sharing,
    Telling,
    agreement,
    roster_hash,
    sealed_of,
    sealed_to_text,
    words_root,
)
from fl.privacy.terms import LEAST_CLIENTS
from fl.privacy.transcript import Setting, own_deviation, score_noise_deviation
from fl.privacy.words import (
    Words,
    direction_words,
    dot,
    encode,
    length_of_vector,
    score_of_words,
    signed,
    squared_of,
    stream,
)

_SHARE = 18  # bytes of one


class NotSaid(NodeRefusal):
    """The client does not say what would open its update, or another's."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"{printable(self.problem, most=400)}; nothing was signed or shown"


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """What a client knows of a masked round at one moment; each step returns the next moment and what it says."""

    account: str
    secrets: Secrets
    vector: NDArray[np.float64] | None  # what it trained, shape (P,), until its words are made
    length: int  # that it stated, units of 2^−64
    contribution: NDArray[np.int64] | None = None  # what its words hide, shape (P,), once they are made
    roster: dict[str, int] | None = None
    peers: dict[str, tuple[bytes, bytes]] = field(
        default_factory=dict
    )  # neighbour who committed -> its keys for this client
    shares: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)  # owner -> its shares of own and of pairs
    shared: str = ""  # what it said of its shares, JSON: a coordinator that lost it gets the same ones again
    partners: tuple[str, ...] = ()  # whose masks its words hold
    survivors: tuple[str, ...] = ()  # whose words are in, as it agreed
    question: bytes = b""  # that it answered
    opened: tuple[str, ...] = ()  # the partners whose pairs it opened

    @classmethod
    def begin(cls, account: str, vector: NDArray[np.floating], *, setting: Setting) -> Member:
        """A client that trained; its secrets are new.

        Args:
            account: Of the client.
            vector: What it trained, shape (P,).
            setting: Of the round.
        """
        told = 0 if setting.terms.noise == "client" else length_of_vector(vector)
        return cls(account=account, secrets=Secrets.draw(), vector=vector.astype(np.float64), length=told)

    def commit(self, *, setting: Setting, sign: Callable[[MaskedStep], bytes]) -> Commitment:
        """A key for each neighbour, and its length."""
        keys = {
            other: (public_key(self._pair(other, setting)), public_key(self._channel(other, setting)))
            for other in setting.graph[self.account]
        }
        said = Commitment(account=self.account, length=self.length, keys=keys)
        return replace(said, signature=self._sign(COMMIT, said.content(), setting, sign))

    def share(
        self,
        roster: Mapping[str, int],
        peers: Sequence[PeerKeys],
        *,
        setting: Setting,
        sign: Callable[[MaskedStep], bytes],
    ) -> tuple[Member, Sharing, dict[str, bytes]]:
        """Shares of its seeds for its neighbours who committed, sealed, and what binds it to them.

        Args:
            roster: Everybody who committed, and to which length.
            peers: The keys of its neighbours among them.
        Raises: NotSaid for another roster than before, strangers in it, keys that are not signed, or too few to hide among.
        """
        roster = dict(roster)
        if self.roster is not None and self.roster != roster:
            raise NotSaid("asked to share seeds with another roster than before in this round")
        if self.shared:
            said, sealed = json.loads(self.shared)
            return self, Sharing.from_json(said), {owner: sealed_of(part) for owner, part in sealed.items()}
        if strangers := set(roster) - set(setting.stakes):
            raise NotSaid(f"the roster has {min(strangers)}, who has no weight in this round by the chain")
        if len(roster) < LEAST_CLIENTS or roster.get(self.account) != self.length:
            raise NotSaid(
                f"the roster has {plural(len(roster), 'client')} and {LEAST_CLIENTS} hide each other, or it does not have what this client stated"
            )
        known = {peer.account: peer for peer in peers}
        expected = [peer for peer in setting.graph[self.account] if peer in roster]
        if by_number(known) != expected:
            raise NotSaid("the keys that came are not those of this client's neighbours who committed")
        try:
            for peer in peers:
                if peer.length != roster[peer.account]:
                    raise BadSeed(
                        account=peer.account, problem="its length in the roster is not the one that it signed"
                    )
                peer.check(reader=self.account, of=setting.of, domain=setting.domain)
        except BadSeed as error:
            raise NotSaid(str(error)) from error
        holders = by_number([*expected, self.account])
        needed = setting.terms.threshold_of(len(holders))
        own = dict(zip(holders, self._split(self.secrets.own, holders, needed), strict=True))
        pairs = dict(zip(holders, self._split(self.secrets.pairs, holders, needed), strict=True))
        sealed = {
            peer: seal(
                own[peer] + pairs[peer],
                private=self._channel(peer, setting),
                public=known[peer].channel,
                of=setting.of,
                owner=self.account,
                other=peer,
            )
            for peer in expected
        }
        bound = {
            holder: (
                commitment(own[holder]),
                commitment(pairs[holder]),
                hashlib.sha256(sealed.get(holder, b"")).digest(),
            )
            for holder in holders
        }
        said = Sharing(
            account=self.account,
            pairs=commitment(self.secrets.pairs),
            own=commitment(self.secrets.own),
            shares=bound,
        )
        said = replace(said, signature=self._sign(SHARE, said.content(), setting, sign))
        after = replace(
            self,
            roster=roster,
            peers={peer: (known[peer].mask, known[peer].channel) for peer in expected},
            shares={self.account: (own[self.account], pairs[self.account])},
            shared=json.dumps([said.to_json(), {peer: sealed_to_text(part) for peer, part in sealed.items()}]),
        )
        return after, said, sealed

    def mask(self, sealed: Mapping[str, bytes], *, setting: Setting) -> tuple[Member, Words, bytes]:
        """Its words, and their root; the partners are those whose shares came, each of which has to open.

        Raises: NotSaid for shares of strangers or that do not open, of fewer neighbours than hide it, and for a second time.
        """
        if self.roster is None or self.vector is None:
            raise NotSaid("asked for words before shares, or for words again")
        if strangers := set(sealed) - set(self.peers):
            raise NotSaid(f"shares came of {min(strangers)}, who is not a neighbour that committed")
        shares = dict(self.shares)
        for owner, content in sealed.items():
            try:
                opened = unseal(
                    content,
                    private=self._channel(owner, setting),
                    public=self.peers[owner][1],
                    of=setting.of,
                    owner=owner,
                    other=self.account,
                )
            except BadSeed as error:
                raise NotSaid(str(error)) from error
            if len(opened) != 2 * _SHARE:
                raise NotSaid(f"{owner}: its shares have {len(opened)} bytes, {2 * _SHARE} are expected")
            shares[owner] = (opened[:_SHARE], opened[_SHARE:])
        partners = tuple(by_number(sealed))
        # As many as have to agree later. Were fewer enough, a coordinator with two accounts would pass on the shares of those two
        # alone, know every pair mask in the words, and take them off once the own mask is open.
        if len(partners) < (least := max(LEAST_CLOSED, self._needed(setting) - 1)):
            raise NotSaid(
                f"{len(partners)} of {len(self.peers)} neighbours shared their seeds, and {least} have to hide an update"
            )
        roster = self.roster
        length = self._agreed(setting)
        share = Fraction(setting.stakes[self.account], sum(setting.stakes[account] for account in roster))
        deviation = own_deviation(roster, setting, length_q64=length)
        noise = deviation * normal(setting.size) if deviation else 0.0
        contribution = encode(self.vector, share=share, length_q64=length, noise=noise)
        words = contribution.view(np.uint64).copy()
        words += stream(own_mask_seed(self.secrets.own, of=setting.of, owner=self.account), setting.size)
        for other in partners:
            mask = self._mask(other, setting)
            words = words + mask if added(self.account, other) else words - mask
        root = words_root(words, roster=roster_hash(roster), partners=partners)
        after = replace(self, shares=shares, partners=partners, vector=None, contribution=contribution)
        return after, words, root

    def agree(
        self, survivors: Sequence[str], *, setting: Setting, sign: Callable[[MaskedStep], bytes]
    ) -> tuple[Member, bytes]:
        """Its signature that these words are in.

        Args:
            survivors: Accounts whose words are in.
            setting: Of the round.
            sign: Signs a step.
        Raises: NotSaid if it agreed to others before, or its own words, which it sent, are said to be missing.
        """
        told = tuple(by_number(survivors))
        if self.survivors and self.survivors != told:
            raise NotSaid("asked to agree to another list of words than before in this round")
        if self.account not in told or self.roster is None or not set(told) <= set(self.roster):
            raise NotSaid("the list of words lacks this client's own, or has those of somebody who did not commit")
        if len(told) < LEAST_CLIENTS:
            raise NotSaid(f"{len(told)} words are in, {LEAST_CLIENTS} hide each other")
        return replace(self, survivors=told), self._sign(AGREE, agreement(told), setting, sign)

    def unmask(
        self, agreements: Mapping[str, bytes], *, silent: Sequence[str], setting: Setting
    ) -> tuple[bytes, dict[str, bytes], dict[str, bytes]]:
        """Its own secret; its shares of the pair secrets of those whose words are not in; and of the own secrets of the silent.

        One client's holders come to one list, as more than half of them have to agree: so they give back one seed and never both.

        Args:
            agreements: Signatures by account.
            silent: Accounts that fell silent since.
            setting: Of the round.
        Raises: NotSaid unless enough holders of this client's seeds, whose masks hide it, agreed to the list that it agreed to.
        """
        if not self.survivors:
            raise NotSaid("asked for seeds before it agreed whose words are in")
        try:
            for account, signature in agreements.items():
                check_agreement(signature, account=account, survivors=self.survivors, setting=setting)
        except BadSeed as error:
            raise NotSaid(str(error)) from error
        # Only those whose masks are in its words, and whose own words are in: their pairs stay closed when its own mask opens.
        hiding = {*self.partners, self.account} & set(self.survivors)
        agreed = len(hiding & set(agreements))
        if agreed < (needed := self._needed(setting)):
            raise NotSaid(f"{agreed} holders of this client's seeds agreed whose words are in, {needed} are needed")
        inside = set(self.survivors)
        lost = {owner: shares[1] for owner, shares in self.shares.items() if owner not in inside}
        asked = {owner: self.shares[owner][0] for owner in silent if owner in inside and owner in self.shares}
        return self.secrets.own, lost, asked

    def tell(
        self,
        direction: Blocks,
        roots: Mapping[str, bytes],
        *,
        setting: Setting,
        sign: Callable[[MaskedStep], bytes],
    ) -> tuple[Member, Telling]:
        """What the masks of its pairs come to along the direction and the projections.

        Args:
            direction: Of the round.
            roots: Of the words, by account.
            setting: Of the round.
            sign: Signs a step.
        Raises: NotSaid for a second direction, which would be a second number about its update.
        """
        if set(roots) != set(self.survivors) or not self.survivors:
            raise NotSaid("asked about other words than those that it agreed are in")
        asked = question_hash(direction, roots=roots)
        if self.question and self.question != asked:
            raise NotSaid(
                "asked about a second direction in this round, and one number is what a client's update tells"
            )
        partners = [partner for partner in self.partners if partner in roots]
        question = question_of(direction, roots=roots, setting=setting)
        values: dict[str, Words] = {}
        if partners:
            told = question.functionals(np.stack([self._mask(partner, setting) for partner in partners]))
            values = dict(zip(partners, told, strict=True))
            noise_of = self._score_noise(question.squared, setting)
            for other in partners:
                noise = np.array([noise_of(other)], dtype=np.int64)
                values[other][:1] += noise.view(np.uint64)  # an array's sum wraps, and says nothing of it
        said = Telling(account=self.account, values=values)
        said = replace(said, signature=self._sign(TELL, said.content(asked), setting, sign))
        return replace(self, question=asked), said

    def own_score(self, direction: Blocks, *, setting: Setting) -> int:
        """What its own update scores along a direction, units of 2^−40 of loss, as everybody has to come to it.

        Raises: NotSaid before its words are made and it agreed whose are in.
        """
        if self.contribution is None or self.roster is None or not self.survivors:
            raise NotSaid("asked what an update scores that is in no round")
        exact, scale = direction_words(direction)
        raw = dot(self.contribution.view(np.uint64), exact)
        noise_of = self._score_noise(squared_of(exact), setting)
        for other in self.partners:
            if other in self.survivors:
                noise = noise_of(other)
                raw += -noise if added(self.account, other) else noise
        return score_of_words(
            signed(raw),
            length_q64=self._agreed(setting),
            direction_scale=scale,
            roster=sum(setting.stakes[account] for account in self.roster),
            survivors=sum(setting.stakes[account] for account in self.survivors),
        )

    def open(self, others: Sequence[str], *, setting: Setting) -> tuple[Member, dict[str, bytes]]:
        """Its private keys of the pairs that were drawn.

        Raises: NotSaid for others than its pairs whose words are in, or so many that fewer than half of its pairs would stay closed.
        """
        closed = {partner for partner in self.partners if partner in self.survivors}
        wanted = {*others, *self.opened}
        if not self.question or not set(others) <= closed:
            raise NotSaid("asked to open pairs before it told of them, or pairs that it does not have")
        if len(wanted) > max(0, min(len(closed) // 2, len(closed) - LEAST_CLOSED)):
            raise NotSaid(
                f"asked to open {len(wanted)} of {len(closed)} pairs; half of them stay closed, and two at least"
            )
        return replace(self, opened=tuple(by_number(wanted))), {peer: self._pair(peer, setting) for peer in others}

    def _needed(self, setting: Setting) -> int:
        """How many holders of its seeds give one of them back."""
        return setting.terms.threshold_of(len(self.peers) + 1)

    def _agreed(self, setting: Setting) -> int:
        roster = self.roster or {}
        accounts = by_number(roster)
        return agreed_length(
            accounts=accounts,
            stakes=[setting.stakes[account] for account in accounts],
            lengths=[roster[account] for account in accounts],
            cap=setting.cap,
            median=setting.median,
        )

    def _pair(self, other: str, setting: Setting) -> bytes:
        return pair_key(self.secrets.pairs, of=setting.of, owner=self.account, other=other)

    def _channel(self, other: str, setting: Setting) -> bytes:
        return pair_key(self.secrets.channels, of=setting.of, owner=self.account, other=other)

    def _mask(self, other: str, setting: Setting) -> Words:
        seed = mask_seed(
            self._pair(other, setting), self.peers[other][0], of=setting.of, owner=self.account, other=other
        )
        return stream(seed, setting.size)

    def _score_noise(self, squared: int, setting: Setting) -> Callable[[str], int]:
        """What each pair's noise comes to, along a direction of this squared norm."""
        deviation_of = score_noise_deviation(
            self.roster or {}, setting, length_q64=self._agreed(setting), squared=squared
        )

        def with_partner(other: str) -> int:
            if not (deviation := deviation_of(pair_of(self.account, other))):
                return 0
            seed = score_seed(
                self._pair(other, setting), self.peers[other][0], of=setting.of, owner=self.account, other=other
            )
            return pair_noise(seed, deviation=deviation)

        return with_partner

    @staticmethod
    def _split(secret: bytes, holders: Sequence[str], threshold: int) -> list[bytes]:
        return split(secret, holders=len(holders), threshold=threshold)

    def _sign(self, step: int, content: bytes, setting: Setting, sign: Callable[[MaskedStep], bytes]) -> bytes:
        of = setting.of
        return sign(MaskedStep(task_id=of.task_id, round=of.number, client=self.account, step=step, content=content))

    def to_bytes(self) -> bytes:
        """As a node keeps it between two messages: a line of JSON, then the values of the vector."""
        told: dict[str, Any] = {
            "account": self.account,
            "secrets": [self.secrets.pairs.hex(), self.secrets.own.hex(), self.secrets.channels.hex()],
            "length": str(self.length),
            "roster": self.roster and {account: str(length) for account, length in self.roster.items()},
            "peers": {peer: [key.hex() for key in keys] for peer, keys in self.peers.items()},
            "shares": {owner: [share.hex() for share in shares] for owner, shares in self.shares.items()},
            "shared": self.shared,
            "partners": self.partners,
            "survivors": self.survivors,
            "question": self.question.hex(),
            "opened": self.opened,
            "values": "vector" if self.vector is not None else "contribution" if self.contribution is not None else "",
        }
        values = b""
        if self.vector is not None:
            values = self.vector.astype("<f8").tobytes()
        elif self.contribution is not None:
            values = self.contribution.astype("<i8").tobytes()
        return json.dumps(told).encode() + b"\n" + values

    @classmethod
    def from_bytes(cls, data: bytes) -> Member:
        """What `to_bytes` wrote, on this machine."""
        head, _, values = data.partition(b"\n")
        told: dict[str, Any] = json.loads(head)
        pairs, own, channels = map(bytes.fromhex, told["secrets"])
        return cls(
            account=told["account"],
            secrets=Secrets(pairs=pairs, own=own, channels=channels),
            vector=np.frombuffer(values, dtype="<f8") if told["values"] == "vector" else None,
            contribution=np.frombuffer(values, dtype="<i8") if told["values"] == "contribution" else None,
            length=int(told["length"]),
            roster=told["roster"] and {account: int(length) for account, length in told["roster"].items()},
            peers={peer: (bytes.fromhex(a), bytes.fromhex(b)) for peer, (a, b) in told["peers"].items()},
            shares={owner: (bytes.fromhex(a), bytes.fromhex(b)) for owner, (a, b) in told["shares"].items()},
            shared=told["shared"],
            partners=tuple(told["partners"]),
            survivors=tuple(told["survivors"]),
            question=bytes.fromhex(told["question"]),
            opened=tuple(told["opened"]),
        )
