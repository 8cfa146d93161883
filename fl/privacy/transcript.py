"""What is known of a masked round before anybody says anything, and everything that was said in it but the words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, cached_property

from fl.chain.typed_data import Domain
from fl.privacy.graph import Pair, by_number, neighbours
from fl.privacy.lengths import agreed_length
from fl.privacy.noise import score_deviation
from fl.privacy.seeds import (
    Round,
)
from fl.privacy.steps import (
    Commitment,
    Sharing,
    Telling,
    roster_hash,
)
from fl.privacy.terms import PrivacyTerms
from fl.privacy.words import (
    longest,
    update_scale,
)
from fl.rewards import cap_q64


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of a masked round before anybody says anything, the same for everybody who reads the chain."""

    of: Round
    domain: Domain
    terms: PrivacyTerms
    stakes: Mapping[str, int]  # wei, of everybody who weighs in the round
    size: int  # P
    cap: int  # `cap_of`, units of 2^−64
    median: bool  # whether the median of the stated lengths holds it lower

    @cached_property
    def graph(self) -> dict[str, tuple[str, ...]]:
        """Each client's neighbours."""
        return neighbours(list(self.stakes), of=self.of, terms=self.terms)


def cap_of(terms: PrivacyTerms, *, norm_cap: str) -> int:
    """What a masked round's length is at most, units of 2^−64: the sensitivity of the noise, or the task's norm cap."""
    return cap_q64(terms.clip if terms.noise == "client" else norm_cap)


@dataclass(frozen=True, kw_only=True, eq=False)
class Transcript:
    """Everything that was said in a masked round but the words themselves."""

    commitments: dict[str, Commitment] = field(default_factory=dict)
    sharings: dict[str, Sharing] = field(default_factory=dict)
    agreements: dict[str, bytes] = field(default_factory=dict)  # account -> signature over whose words are in
    own: dict[str, bytes] = field(default_factory=dict)  # secrets of own masks, of those whose words are in
    pairs: dict[str, bytes] = field(default_factory=dict)  # secrets of pair keys, of those whose words are not
    tellings: dict[str, Telling] = field(default_factory=dict)
    opened: dict[Pair, tuple[str, bytes]] = field(default_factory=dict)  # who opened it, and its private key

    @property
    def roster(self) -> dict[str, int]:
        """Who committed, and to which lengths."""
        return {account: commitment.length for account, commitment in self.commitments.items()}

    def length(self, setting: Setting) -> int:
        """What the round's updates are held to, units of 2^−64."""
        roster = self.roster
        accounts = by_number(roster)
        return agreed_length(
            accounts=accounts,
            stakes=[setting.stakes[account] for account in accounts],
            lengths=[roster[account] for account in accounts],
            cap=setting.cap,
            median=setting.median,
        )

    def roster_stake(self, setting: Setting) -> int:
        """Wei of everybody who committed: what a client's share is of."""
        return sum(setting.stakes[account] for account in self.commitments)

    def partners(self, account: str, setting: Setting) -> tuple[str, ...]:
        """Whose pair masks a client's words hold: its neighbours who shared, ascending."""
        return tuple(peer for peer in setting.graph[account] if peer in self.sharings)

    def holders(self, account: str, setting: Setting) -> tuple[str, ...]:
        """Who holds shares of a client's seeds: its neighbours who committed, and itself, ascending."""
        return tuple(by_number([account, *(peer for peer in setting.graph[account] if peer in self.commitments)]))


def noise_parts(clients: int) -> int:
    """How many clients' noise the noise of a sum is counted on, of so many who committed; with fewer words the round is void."""
    return 2 * clients // 3 + 1


def own_deviation(roster: Mapping[str, int], setting: Setting, *, length_q64: int) -> float:
    """Standard deviation of the noise that each client adds to each value, units of 2^−F; 0 without noise.

    The sum of `noise_parts` of them hides the client with the largest share.

    Args:
        roster: Lengths by account.
        setting: Of the round.
        length_q64: Of the round, units of 2^−64.
    """
    if setting.terms.noise != "client":
        return 0.0
    staked = [setting.stakes[account] for account in roster]
    largest = (
        Fraction(max(staked), sum(staked)) * Fraction(length_q64, 1 << 64) * Fraction(2) ** update_scale(length_q64)
    )
    return setting.terms.sigma * float(largest) / math.sqrt(noise_parts(len(staked)))


def score_noise_deviation(
    roster: Mapping[str, int], setting: Setting, *, length_q64: int, squared: int
) -> Callable[[Pair], int]:
    """Standard deviation of each pair's noise on its ends' scores, in the unit of ⟨x, g⟩; 0 without noise.

    Args:
        roster: Lengths by account.
        setting: Of the round.
        length_q64: Of the round, units of 2^−64.
        squared: ‖g‖² of the round's direction, as integers.
    """
    if setting.terms.noise != "client":
        return lambda pair: 0
    staked = sum(setting.stakes[account] for account in roster)

    @cache  # of a thousand clients each is asked about with all its partners
    def of_client(account: str) -> tuple[int, int]:
        share = Fraction(setting.stakes[account], staked)
        most = longest(share=share, length_q64=length_q64, size=setting.size)
        return most, closed_at_least(account, roster, setting)

    def of_pair(pair: Pair) -> int:
        ends = [of_client(account) for account in pair]
        return score_deviation(
            longest=max(most for most, _ in ends),
            squared=squared,
            multiplier=setting.terms.multiplier,
            closed=min(closed for _, closed in ends),
        )

    return of_pair


def closed_at_least(account: str, roster: Mapping[str, int], setting: Setting) -> int:
    """How many pairs of a client stay closed at least: half of those whose ends could give its seeds back, and one.

    Args:
        account: Whose pairs.
        roster: Accounts of the round.
        setting: Of the round.
    """
    holders = 1 + sum(peer in roster for peer in setting.graph[account])
    return max(1, setting.terms.threshold_of(holders) // 2)


def context_of(transcript: Transcript) -> bytes:
    """What words are bound to beside themselves: who committed to which lengths, 32 bytes."""
    return roster_hash(transcript.roster)
