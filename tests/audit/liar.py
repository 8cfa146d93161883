"""A coordinator that commits every fraud of the contract's list, with evaluators that sign whatever it says.

Its updates and directions are drawn, not trained: what the chain can prove does not know the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fl.audit.disputes.proofs import Published
from fl.bundle.files import hash_of
from fl.bundle.format import Bundle, BundledUpdate, write_header
from fl.chain.typed_data import ZERO_HASH, Header, Update, header_hash, sign
from fl.codec import Blocks, Layout, block_root
from fl.rewards import (
    Account,
    Leaf,
    Participant,
    RoundTree,
    Settlement,
    Sibling,
    direction_scores,
    settle,
    settle_round,
    weigh,
)
from fl.rewards.tree import join

TOKENS = 10**18
VALUES = 700  # three blocks
NO_CAP = (1 << 128) - 1


@dataclass(kw_only=True)
class Round:
    """What the coordinator made of a round before it lied."""

    participants: list[Participant]
    direction: Blocks
    settlement: Settlement
    header: Header


class Liar:
    """Posts rounds of a real task, honest ones and others."""

    def __init__(self, world, *, values: int = VALUES) -> None:
        self.world, self.values = world, values
        self.task, self.escrow = world.task, world.escrow
        self.task.start()
        self.accounts = dict.fromkeys(world.addresses, Account())
        self.previous: Header | None = None
        self.leaves: tuple[Leaf, ...] = ()
        self.bundles = world.folder / "bundles"

    def honest(self, number: int) -> Round:
        """The round as it should be."""
        rng = np.random.default_rng(number)
        direction = Blocks.encode(rng.normal(size=self.values) * 0.1)
        participants = []
        for account, stake in zip(self.world.addresses, self.world.stakes, strict=True):
            blocks = Blocks.encode(rng.normal(size=self.values) + direction.decode() * 50)
            root = block_root(blocks.to_bytes())
            participants.append(Participant(account=account, stake=stake, blocks=blocks, root=root))
        terms = self.task.terms
        allowed = self.task.schedule().allowed(number)
        weights = weigh(participants, cap=NO_CAP)
        scores = direction_scores(participants, weights=weights, direction=direction)
        settlement = settle(participants, weights=weights, scores=scores, accounts=self.accounts, allowed=allowed)
        header = Header(
            task_id=self.task.task_id,
            round=number,
            previous=header_hash(self.previous) if self.previous else ZERO_HASH,
            base_model=self.previous.next_model if self.previous else terms.base_model,
            next_model=bytes([number]) * 32,
            validation=terms.validation_hash,
            direction_root=block_root(direction.to_bytes()),
            tree_root=settlement.tree.root,
            leaf_count=len(settlement.tree),
            enrolment=self.task.enrolments().hash(number),
            cumulative=settlement.tree.cumulative,
            price=settlement.payout.price,
            bundle=bytes(32),
        )
        self.made = Round(participants=participants, direction=direction, settlement=settlement, header=header)
        return self.made

    def _bundle(self, header: Header, leaves: tuple[Leaf, ...]) -> Bundle:
        """What is published of a round: the leaves as they are told, updates and direction as they came."""
        told = {leaf.account: leaf for leaf in leaves}
        return Bundle(
            task_id=header.task_id,
            round=header.round,
            layout=Layout(names=("w",), shapes=((self.values,),)),
            base=np.zeros(self.values, dtype=np.float32),
            next=np.zeros(self.values, dtype=np.float32),
            updates=tuple(self._bundled(participant, header, told) for participant in self.made.participants),
            direction=self.made.direction,
            previous=self.leaves,
            leaves=tuple(leaves),
            price=header.price,
            length=NO_CAP,
        )

    def _bundled(self, participant: Participant, header: Header, told: dict[str, Leaf]) -> BundledUpdate:
        owner = next(client for client in self.world.clients if client.address == participant.account)
        update = Update(
            task_id=header.task_id,
            round=header.round,
            client=participant.account,
            base_model=header.base_model,
            update_root=participant.root,
        )
        return BundledUpdate(
            account=participant.account,
            stake=participant.stake,
            weight=told[participant.account].weight if participant.account in told else 0,
            selected=True,
            root=participant.root,
            signature=sign(update, domain=self.task.domain, account=owner),
            wire=participant.blocks.to_bytes(),
        )

    def post(
        self, header: Header, leaves: tuple[Leaf, ...], *, spoil: Callable[[Path], None] = lambda folder: None
    ) -> Published:
        """Post a header that the evaluators sign without looking, with a bundle that fits it once it is spoiled."""
        folder = self.bundles / f"round-{header.round:04d}"
        self._bundle(header, leaves).write(folder)
        spoil(folder)
        header = replace(header, bundle=hash_of(folder))
        signatures = [sign(header, domain=self.task.domain, account=evaluator) for evaluator in self.world.evaluators]
        write_header(folder, header, signatures=signatures)
        self.task.post(header, signatures=signatures)
        self.previous, self.leaves = header, tuple(leaves)
        self.accounts = {leaf.account: Account(total=leaf.total, cumulative=leaf.cumulative) for leaf in leaves}
        return Published(header=header, leaves=leaves)

    def post_honest(self, number: int) -> Published:
        """An honest round."""
        made = self.honest(number)
        return self.post(made.header, made.settlement.tree.leaves)

    def post_leaves(
        self,
        made: Round,
        leaves: list[Leaf],
        *,
        published: bool = False,
        spoil: Callable[[Path], None] = lambda folder: None,
    ) -> Published:
        """The round with other leaves, and a sum that the contract takes."""
        tree = RoundTree(leaves, published=published)
        header = replace(made.header, tree_root=tree.root, leaf_count=len(tree), cumulative=tree.cumulative)
        return self.post(header, tree.leaves, spoil=spoil)


def robbed(made: Round) -> list[Leaf]:
    """The second client's pay goes to the first."""
    first, second, *others = made.settlement.tree.leaves
    pay = made.settlement.payout.pays[second.account]
    return [
        replace(first, cumulative=first.cumulative + pay),
        replace(second, cumulative=second.cumulative - pay),
        *others,
    ]


def forged_levels(leaves: tuple[Leaf, ...], *, level: int) -> list[list[Sibling]]:
    """The nodes of a tree that promises a thousand wei more than its leaves, from `level` on upwards."""
    nodes = [Sibling(leaf.hash(), leaf.cumulative) for leaf in leaves]
    levels = [nodes]
    while True:
        if len(levels) - 1 == level:
            levels[-1][0] = levels[-1][0]._replace(cumulative=levels[-1][0].cumulative + 1000)
        nodes = levels[-1]
        if len(nodes) == 1:
            return levels
        joined = []
        for left in range(0, len(nodes) - 1, 2):
            joined.append(join(nodes[left], nodes[left + 1]))
        levels.append(joined + nodes[len(joined) * 2 :])


def rescored(made: Round, changes: dict[str, int]) -> list[Leaf]:
    """Other scores for some accounts, and everything after them follows, the price included."""
    payout, told = made.settlement.payout, made.settlement.scores
    before = {
        account: Account(total=after.total - told.get(account, 0), cumulative=after.cumulative - payout.pays[account])
        for account, after in payout.accounts.items()
    }
    scores = {**told, **changes}
    other = settle_round(before, scores=scores, allowed=payout.allowed)
    made.header = replace(made.header, price=other.price)
    return [
        replace(
            leaf,
            score=scores[leaf.account],
            total=other.accounts[leaf.account].total,
            cumulative=other.accounts[leaf.account].cumulative,
        )
        for leaf in made.settlement.tree.leaves
    ]


def outscored(made: Round) -> list[Leaf]:
    """The first client's score is halved, and everything after it follows."""
    victim = made.settlement.tree.leaves[0].account
    return rescored(made, {victim: made.settlement.scores[victim] // 2})


def bonded(liar: Liar, account) -> None:
    """Tokens for a challenge's bond, approved."""
    liar.world.token.mint(account.address, 100 * TOKENS, account=account)
    liar.world.token.approve(liar.escrow.address, 100 * TOKENS, purpose="bond", account=account)
