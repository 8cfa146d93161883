"""From a round's bundle to the call that proves it wrong on chain.

Each function looks for one fraud of the contract's list and returns the call that proves it, or None where there is nothing to
prove. They need what everybody is given: headers, leaves, and for the score the two vectors in question. What each proof
has to show is said in `contracts/src/interfaces/IDisputes.sol`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fl.bundle.format import read_header, read_leaves
from fl.chain.enrolment import Enrolment
from fl.chain.record import ShownLeaves
from fl.chain.task_state import Challenge
from fl.chain.typed_data import Domain, Header, Update, compact, header_hash, signer_of
from fl.codec import Blocks, block_path
from fl.codec.blocks import BLOCK_BYTES
from fl.codec.tree import block_top, siblings_of
from fl.rewards import Account, Leaf, RoundTree, Sibling, partials, score_of
from fl.rewards.sums import fold, span_of, sums_bytes, sums_path
from fl.rewards.tree import join, packed


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of the contract that somebody else can send: the function's name and its arguments in order."""

    function: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Published:
    """A posted round as its bundle tells it: the header, and the leaves in the order of its tree."""

    header: Header
    leaves: tuple[Leaf, ...]

    @classmethod
    def read(cls, folder: Path) -> Published:
        """A round from its bundle's folder, of which header, manifest and round.json are enough. Raises: BrokenBundle."""
        return cls(header=read_header(folder)[0], leaves=read_leaves(folder))

    @cached_property
    def tree(self) -> RoundTree:
        """The tree over the leaves as they stand."""
        return RoundTree(self.leaves, published=True)

    def proven(self, index: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """A leaf and its proof, as the contract takes them."""
        return self.leaves[index].as_tuple(), (index, packed(self.tree.proof(index)))


@dataclass(frozen=True, kw_only=True)
class Signed:
    """A client's signed commitment to one update."""

    base_model: bytes
    update_root: bytes
    signature: bytes  # 65 bytes

    @property
    def commitment(self) -> tuple[bytes, bytes]:
        """What was signed: base model and update root."""
        return self.base_model, self.update_root

    def as_tuple(self) -> tuple[Any, ...]:
        """As the contract takes it."""
        return self.base_model, self.update_root, compact(self.signature)


def prove_transition(
    previous: Published | None, current: Published, *, enrolments: Mapping[str, Enrolment]
) -> Call | None:
    """A total or cumulative that does not follow from the round before and the price, or a score that nobody can have.

    Such is one without an update, or of an account that has left.

    Args:
        previous: The round before; None in round 1. An earlier one, where the round before opens to nobody, shows no more
            than that a cumulative fell, or grew by more than all together.
        enrolments: As the chain says; an account that is not in it never joined.
    """
    number = current.header.round
    before = _places(previous)
    for place, leaf in enumerate(current.leaves):
        enrolment = enrolments.get(leaf.account)
        carried = enrolment is not None and enrolment.first_round < number
        # For an account whose first round this is, the contract does not read what comes before.
        earlier, past = current, None
        if carried:
            if previous is None or leaf.account not in before:
                continue  # the round before lacks its leaf: that is what `prove_missing` shows
            earlier, past = previous, previous.leaves[before[leaf.account]]
        stood = Account(total=past.total, cumulative=past.cumulative) if past else Account()
        if past is None or earlier.header.round + 1 == number:
            sound = _follows(current.header, leaf, stood)
        else:
            sound = 0 <= leaf.cumulative - stood.cumulative <= current.header.cumulative - earlier.header.cumulative
        enrolled = enrolment is not None and enrolment.counts_in(number)
        weighs = enrolment is not None and enrolled and enrolment.weighs_in(number)
        idle = not any(leaf.update_root) or not weighs
        if enrolled and sound and not (idle and (leaf.weight or leaf.score)):
            continue
        leaf_before, proof_before = earlier.proven(before[leaf.account] if carried else place)
        told, proof = current.proven(place)
        return Call(
            function="proveTransition",
            arguments=(
                earlier.header.as_tuple(), leaf_before, proof_before, current.header.as_tuple(), told, proof,
            ),
        )  # fmt: skip
    return None


def prove_broken_chain(previous: Published, current: Published) -> Call | None:
    """A header that does not follow from the one before: another base model, or another previous hash."""
    follows = current.header.base_model == previous.header.next_model
    if follows and current.header.previous == header_hash(previous.header):
        return None
    return Call(function="proveBrokenChain", arguments=(previous.header.as_tuple(), current.header.as_tuple()))


def prove_omission(current: Published, *, account: str, update_root: bytes, receipt: bytes) -> Call | None:
    """A receipt that the coordinator signed for an update which is not in the account's leaf.

    Args:
        current: The round as published.
        account: Whose update is missing.
        update_root: Of the update, 32 bytes.
        receipt: The coordinator's signature that it took it, 65 bytes.
    """
    for place, leaf in enumerate(current.leaves):
        if leaf.account == account and leaf.update_root != update_root:
            told, proof = current.proven(place)
            return Call(
                function="proveOmission",
                arguments=(current.header.as_tuple(), told, proof, update_root, compact(receipt)),
            )
    return None


def prove_disorder(current: Published) -> Call | None:
    """Two leaves of one account, or leaves out of order."""
    for place in range(len(current.leaves) - 1):
        if int(current.leaves[place].account, 16) >= int(current.leaves[place + 1].account, 16):
            return Call(
                function="proveDisorder",
                arguments=(current.header.as_tuple(), *current.proven(place), *current.proven(place + 1)),
            )
    return None


def prove_missing(current: Published, *, enrolments: Mapping[str, Enrolment]) -> Call | None:
    """An enrolled account without a leaf, shown by the neighbours between which it would stand."""
    numbers = [int(leaf.account, 16) for leaf in current.leaves]
    for account, enrolment in enrolments.items():
        number = int(account, 16)
        if not enrolment.counts_in(current.header.round) or number in numbers:
            continue
        above = next((place for place, other in enumerate(numbers) if other > number), len(numbers))
        places = [place for place in (above - 1, above) if 0 <= place < len(numbers)]
        shown = [current.proven(place) for place in places]
        return Call(
            function="proveMissing",
            arguments=(current.header.as_tuple(), account, [leaf for leaf, _ in shown], [proof for _, proof in shown]),
        )
    return None


def prove_bad_sums(header: Header, *, leaves: Sequence[Leaf], levels: Sequence[Sequence[Sibling]]) -> Call | None:
    """A leaf or an inner node whose sum is not what its parent says.

    Args:
        leaves: In the order of the tree.
        levels: What the tree says of each node, leaves' level first, the top alone in the last; who shows a leaf on
            chain shows parts of it.
    """
    for place, leaf in enumerate(leaves):
        said = levels[0][place]
        if said.cumulative != leaf.cumulative:
            proof = (place, packed(siblings_of(levels, index=place)))
            return Call(function="proveBadLeaf", arguments=(header.as_tuple(), leaf.as_tuple(), tuple(said), proof))
    for level in range(1, len(levels)):
        below = levels[level - 1]
        for place, said in enumerate(levels[level]):
            if 2 * place + 1 >= len(below):
                continue  # promoted: the same node a level higher
            left, right = below[2 * place], below[2 * place + 1]
            if said.cumulative != left.cumulative + right.cumulative:
                proof = (place, packed(siblings_of(levels[level:], index=place)))
                return Call(
                    function="proveBadNode",
                    arguments=(header.as_tuple(), level, tuple(left), tuple(right), tuple(said), proof),
                )
    return None


def prove_misstated_sum(current: Published) -> Call | None:
    """A header with the root of its leaves' tree, and another sum than that tree's: no claim from it would be paid."""
    header, tree = current.header, current.tree
    if header.tree_root != tree.root:
        return None
    stated = Sibling(header.tree_root, header.cumulative)
    return prove_bad_sums(header, leaves=current.leaves, levels=[*tree.levels[:-1], [stated]])


def prove_hidden_leaf(current: Published) -> Call | None:
    """A node where a leaf has to be: the published leaves make the posted tree, and are more than its header counts."""
    header, levels = current.header, current.tree.levels
    if current.tree.root != header.tree_root or len(current.leaves) == header.leaf_count:
        return None
    widths = [header.leaf_count]
    while widths[-1] > 1:
        widths.append((widths[-1] + 1) >> 1)
    # A node by its place as the header counts, its place in the tree as it is, and the siblings above it.
    nodes: list[tuple[int, int, int, int, tuple[Sibling, ...]]] = [(len(widths) - 1, 0, len(levels) - 1, 0, ())]
    while nodes:
        level, index, own_level, own_index, above = nodes.pop()
        while level and 2 * index + 1 >= widths[level - 1]:  # promoted
            level, index = level - 1, 2 * index
        while own_level and 2 * own_index + 1 >= len(levels[own_level - 1]):
            own_level, own_index = own_level - 1, 2 * own_index
        if not own_level:
            continue  # a leaf, under which nothing opens
        left, right = levels[own_level - 1][2 * own_index : 2 * own_index + 2]
        if not level:
            said, proof = tuple(levels[own_level][own_index]), (index, packed(above))
            return Call(
                function="proveBadNode", arguments=(header.as_tuple(), 0, tuple(left), tuple(right), said, proof)
            )
        nodes.append((level - 1, 2 * index, own_level - 1, 2 * own_index, (right, *above)))
        nodes.append((level - 1, 2 * index + 1, own_level - 1, 2 * own_index + 1, (left, *above)))
    return None


def prove_shown_sums(header: Header, *, leaves: Sequence[Leaf], shown: ShownLeaves) -> Call | None:
    """Wrong sums in what somebody has shown of a tree that the published leaves do not make.

    Args:
        leaves: As published, in the order of the tree.
        shown: Of this header's tree, on chain.
    """
    said, given = _shown_nodes(shown, count=header.leaf_count)
    honest = RoundTree(leaves, published=True).levels
    for level, index in given:
        node = said[level, index]
        if level >= len(honest) or index >= len(honest[level]):
            continue
        right = honest[level][index]
        if node.node != right.node or node.cumulative == right.cumulative:
            continue  # of leaves that were not published, or as it should be
        proof = (index, packed(_path(said, level=level, index=index, count=header.leaf_count)))
        if level == 0:
            return Call(
                function="proveBadLeaf", arguments=(header.as_tuple(), leaves[index].as_tuple(), tuple(node), proof)
            )
        below = honest[level - 1]
        if 2 * index + 1 < len(below):
            parts = tuple(below[2 * index]), tuple(below[2 * index + 1])
            return Call(function="proveBadNode", arguments=(header.as_tuple(), level, *parts, tuple(node), proof))
    return None


def _shown_nodes(shown: ShownLeaves, *, count: int) -> tuple[dict[tuple[int, int], Sibling], list[tuple[int, int]]]:
    """Every node that is told of, by level and index, and which of them it gives rather than makes."""
    first, last = shown.start, shown.start + len(shown.leaves) - 1
    said = {(0, first + place): Sibling(leaf.hash(), leaf.cumulative) for place, leaf in enumerate(shown.leaves)}
    given, siblings, level = [], iter(shown.siblings), 0
    while count > 1:
        around = ([first - 1] if first & 1 else []) + ([last + 1] if not last & 1 and last + 1 < count else [])
        for index in around:
            said[level, index] = next(siblings)
            given.append((level, index))
        for parent in range(first >> 1, (last >> 1) + 1):
            left, right = said[level, 2 * parent], said.get((level, 2 * parent + 1))
            said[level + 1, parent] = left if right is None else join(left, right)
        first, last, count, level = first >> 1, last >> 1, (count + 1) >> 1, level + 1
    return said, given


def _path(said: Mapping[tuple[int, int], Sibling], *, level: int, index: int, count: int) -> list[Sibling]:
    for _ in range(level):
        count = (count + 1) >> 1
    path = []
    while count > 1:
        if index ^ 1 < count:
            path.append(said[level, index ^ 1])
        level, index, count = level + 1, index >> 1, (count + 1) >> 1
    return path


def prove_equivocation(
    task_id: bytes, *, round_number: int, client: str, first: Signed, second: Signed, domain: Domain
) -> Call | None:
    """Two different updates that one client signed for one round; both signatures have to be its own.

    Args:
        task_id: 32 bytes.
        round_number: Of both updates.
        client: Who signed them.
        first: One of the two.
        second: The other.
        domain: Of the contract, which both signatures are for.
    """
    if first.commitment == second.commitment:
        return None
    for signed in (first, second):
        update = Update(
            task_id=task_id,
            round=round_number,
            client=client,
            base_model=signed.base_model,
            update_root=signed.update_root,
        )
        if signer_of(update, domain=domain, signature=signed.signature) != client:
            return None
    return Call(
        function="proveEquivocation",
        arguments=(task_id, round_number, client, first.as_tuple(), second.as_tuple()),
    )


def challenge_score(current: Published, *, account: str, update: Blocks, direction: Blocks) -> Call | None:
    """A score that is not floor(Σ partials · weight / 2^32): publishes the right sums, with a bond.

    Args:
        current: The round as published.
        account: Whose score it is.
        update: Its blocks, as signed.
        direction: The round's.
    """
    for place, leaf in enumerate(current.leaves):
        if leaf.account != account:
            continue
        right = partials(update, direction)
        if score_of(sum(right), weight=leaf.weight) == leaf.score:
            return None
        return challenge_with(current, place=place, update=update, sums=fold(right, span=span_of(len(update))))
    return None


def challenge_with(current: Published, *, place: int, update: Blocks, sums: Sequence[int]) -> Call:
    """A challenge of the leaf at `place` with these sums, right or wrong.

    Args:
        current: The round as published.
        place: Number of the leaf.
        update: Its client's blocks, as signed.
        sums: The challenger's, right or wrong.
    """
    told, proof = current.proven(place)
    data = update.to_bytes()
    return Call(
        function="challengeScore",
        arguments=(current.header.as_tuple(), told, proof, len(update), block_top(data), sums_bytes(sums)),
    )


def wrong_sum(sums: Sequence[int], *, update: Blocks, direction: Blocks) -> int | None:
    """The first sum of a challenge that the two vectors do not multiply out to, or None: the challenge is right.

    Args:
        sums: Of the challenge.
        update: The client's blocks, as signed.
        direction: The round's.
    """
    right = fold(partials(update, direction), span=span_of(len(update)))
    return next((index for index, (told, true) in enumerate(zip(sums, right, strict=True)) if told != true), None)


def refute(challenge: Challenge, *, sums: Sequence[int], index: int, update: Blocks, direction: Blocks) -> Call:
    """Shows that block `index` is not what the challenger's sums say.

    Args:
        challenge: As its event tells it.
        sums: The challenger's sums or, beyond 4,096 blocks, the partials that it answered for the block's span.
    """
    span = span_of(len(update))
    place = index if span == 1 else index % span
    return Call(
        function="refute",
        arguments=(
            challenge.as_tuple(), index, _opening(update, index), _opening(direction, index), sums[place],
            sums_path(sums, index=place),
        ),
    )  # fmt: skip


def demand(challenge: Challenge, *, place: int) -> Call:
    """Asks the challenger to break one sum down into its blocks."""
    return Call(function="demand", arguments=(challenge.as_tuple(), place))


def answer(challenge: Challenge, *, place: int, sums: Sequence[int], update: Blocks, direction: Blocks) -> Call:
    """Breaks a demanded sum down into the partial sums of its blocks.

    Args:
        challenge: As its event tells it.
        place: Number of the sum that is demanded.
        sums: Of the challenge.
        update: The client's blocks, as signed.
        direction: The round's.
    """
    span = span_of(len(update))
    parts = partials(update, direction)[place * span : (place + 1) * span]
    return Call(
        function="answer",
        arguments=(challenge.as_tuple(), place, sums[place], sums_path(sums, index=place), sums_bytes(parts)),
    )


def _places(published: Published | None) -> dict[str, int]:
    """The place of each account's leaf."""
    return {leaf.account: place for place, leaf in enumerate(published.leaves)} if published else {}


def _follows(header: Header, leaf: Leaf, before: Account) -> bool:
    after = Account(total=before.total + leaf.score, cumulative=before.cumulative)
    return (leaf.total, leaf.cumulative) == (after.total, after.at(header.price))


def _opening(vector: Blocks, index: int) -> bytes:
    """A block and, behind it, its siblings in the block tree."""
    data = vector.to_bytes()
    return data[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES] + b"".join(block_path(data, index=index))
