"""Clients that go through a masked round in one process, each by its own part of the protocol, and what it comes to in the open."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache

import numpy as np
from eth_account import Account

from clients.privacy.member import Member
from fl.chain.typed_data import Domain, MaskedStep, sign
from fl.codec import Blocks
from fl.privacy.checks import check_pairs, check_transcript
from fl.privacy.graph import by_number
from fl.privacy.masked_round import draw, question_hash, score_round, unmask
from fl.privacy.seeds import Round, joined
from fl.privacy.steps import TELL, PeerKeys, roster_hash, words_root
from fl.privacy.terms import PrivacyTerms
from fl.privacy.transcript import Setting, Transcript, context_of
from fl.privacy.words import direction_words, encode, score_of_words

DOMAIN = Domain(chain_id=31337, contract="0x5FbDB2315678afecb367f032d93F642f64180aa3")


@cache
def wallet(number):
    """A client's key."""
    return Account.from_key(hashlib.sha256(b"masked" + bytes([number // 256, number % 256])).digest())


@dataclass(kw_only=True)
class Party:
    """A masked round of some clients.

    Args:
        vectors: What each trained, by its number.
        stakes: Of each, wei.
        silent: Step -> numbers of those who do not answer it any more.
        tells: Number -> what it makes of its telling before it signs it.
        long: Number -> how many times longer its words are than it stated.
    """

    vectors: list
    stakes: list
    terms: PrivacyTerms = field(default_factory=lambda: PrivacyTerms(masked=True))
    silent: dict = field(default_factory=dict)
    direction: Blocks | None = None
    number: int = 1
    median: bool = True
    cap: int = 10 << 64
    tells: dict = field(default_factory=dict)
    long: dict = field(default_factory=dict)

    def __post_init__(self):
        self.accounts = [wallet(place).address for place in range(len(self.vectors))]
        self.of = {account: place for place, account in enumerate(self.accounts)}
        self.setting = Setting(
            of=Round(task_id=b"\x07" * 32, number=self.number),
            domain=DOMAIN,
            terms=self.terms,
            stakes=dict(zip(self.accounts, self.stakes, strict=True)),
            size=len(self.vectors[0]),
            cap=self.cap,
            median=self.median,
        )
        self.said, self.words, self.roots, self.members = Transcript(), {}, {}, {}

    def signer(self, account):
        """Signs steps with the account's key."""
        return lambda step: sign(step, domain=DOMAIN, account=wallet(self.of[account]))

    def here(self, step):
        """Who answers a step, ascending."""
        order = ["commit", "share", "mask", "agree", "unmask", "tell", "open"]
        gone = {place for name in order[: order.index(step) + 1] for place in self.silent.get(name, ())}
        return [account for account in by_number(self.accounts) if self.of[account] not in gone]

    def until_words(self):
        """Keys, shares and words."""
        setting = self.setting
        for account in self.here("commit"):
            self.members[account] = Member.begin(account, self.vectors[self.of[account]], setting=setting)
            said = self.members[account].commit(setting=setting, sign=self.signer(account))
            self.said.commitments[account] = said
        sealed = {}
        for account in self.here("share"):
            others = [peer for peer in setting.graph[account] if peer in self.said.commitments]
            peers = [PeerKeys.of(self.said.commitments[peer], reader=account) for peer in others]
            self.members[account], self.said.sharings[account], sealed[account] = self.members[account].share(
                self.said.roster, peers, setting=setting, sign=self.signer(account)
            )
        for account in self.here("mask"):
            partners = self.said.partners(account, setting)
            member = self.members[account]
            after, words, root = member.mask(
                {partner: sealed[partner][account] for partner in partners}, setting=setting
            )
            if factor := self.long.get(self.of[account]):
                words = words + self._contribution(account).view(np.uint64) * np.uint64(factor - 1)
                root = words_root(words, roster=roster_hash(after.roster), partners=partners)
            self.members[account], self.words[account], self.roots[account] = after, words, root
        return self

    def until_sum(self):
        """Agreements and seeds."""
        self.until_words()
        setting, survivors, shares, pairs = self.setting, by_number(self.words), {}, {}
        for account in self.here("agree"):
            if account in self.words:
                self.members[account], self.said.agreements[account] = self.members[account].agree(
                    survivors, setting=setting, sign=self.signer(account)
                )
        there = [account for account in self.here("unmask") if account in self.words]
        silent = [account for account in survivors if account not in there]
        for account in there:
            own, lost, asked = self.members[account].unmask(self.said.agreements, silent=silent, setting=setting)
            self.said.own[account] = own
            for into, told in ((pairs, lost), (shares, asked)):
                for owner, share in told.items():
                    into.setdefault(owner, []).append(share)
        for into, found in (
            (self.said.own, {account: shares[account] for account in silent}),
            (self.said.pairs, pairs),
        ):
            for owner, parts in found.items():
                needed = self.terms.threshold_of(len(self.said.holders(owner, setting)))
                assert len(parts) >= needed, "too few are left"
                into[owner] = joined(parts[:needed])
        for account, secret in self.said.pairs.items():
            check_pairs(secret, account=account, transcript=self.said, setting=setting)
        self.summed = unmask(self.words, transcript=self.said, setting=setting)
        return self

    def whole(self):
        """Everything, with the scores."""
        self.until_sum()
        setting, survivors = self.setting, by_number(self.words)
        if self.direction is None:
            rng = np.random.default_rng(self.number)
            self.direction = Blocks.encode(rng.normal(size=setting.size) * 0.01)
        self.asked = question_hash(self.direction, roots=self.roots)
        for account in self.here("tell"):
            if account not in self.words:
                continue
            self.members[account], told = self.members[account].tell(
                self.direction, self.roots, setting=setting, sign=self.signer(account)
            )
            if change := self.tells.get(self.of[account]):
                told = change(self, told)
                step = MaskedStep(
                    task_id=setting.of.task_id,
                    round=self.number,
                    client=account,
                    step=TELL,
                    content=told.content(self.asked),
                )
                told = replace(told, signature=self.signer(account)(step))
            self.said.tellings[account] = told
        self.drawn = draw(self.said, survivors=survivors, question=self.asked, setting=setting)
        there = set(self.here("open"))
        for pair in self.drawn.pairs:
            for end, other in (pair, pair[::-1]):
                if end in there and pair not in self.said.opened:
                    self.members[end], keys = self.members[end].open([other], setting=setting)
                    self.said.opened[pair] = (end, keys[other])
        return self

    def checked(self):
        """What an evaluator makes of it. Raises: BadSeed."""
        check_transcript(self.said, survivors=by_number(self.words), question=self.asked, setting=self.setting)
        for account, words in self.words.items():
            partners = self.said.partners(account, self.setting)
            assert words_root(words, roster=context_of(self.said), partners=partners) == self.roots[account]
        return score_round(
            self.words, roots=self.roots, direction=self.direction, transcript=self.said, setting=self.setting
        )

    def _contribution(self, account):
        share = Fraction(self.setting.stakes[account], self.said.roster_stake(self.setting))
        return encode(self.vectors[self.of[account]], share=share, length_q64=self.said.length(self.setting))

    def own_scores(self):
        """What each client that knows whose words are in comes to by itself."""
        there = [account for account in self.words if self.members[account].survivors]
        return {account: self.members[account].own_score(self.direction, setting=self.setting) for account in there}

    def open_contributions(self):
        """The same updates on the same fixed point, in the open: account -> integers, shape (P,)."""
        return {account: self._contribution(account) for account in self.words}

    def open_scores(self):
        """What an open round pays for the same integers."""
        exact, scale = direction_words(self.direction)
        staked = sum(self.setting.stakes[account] for account in self.words)
        return {
            account: score_of_words(
                int((own.astype(object) * exact.astype(object)).sum()),
                length_q64=self.said.length(self.setting),
                direction_scale=scale,
                roster=self.said.roster_stake(self.setting),
                survivors=staked,
            )
            for account, own in self.open_contributions().items()
        }


def party(clients=5, *, size=40, seed=0, **options):
    """A party of clients with random updates and unequal stakes."""
    rng = np.random.default_rng(seed)
    vectors = [rng.normal(size=size) * rng.uniform(0.01, 0.3) for _ in range(clients)]
    stakes = [int(rng.integers(1, 1000)) * 10**15 for _ in range(clients)]
    return Party(vectors=vectors, stakes=stakes, **options)
