"""What everybody is given of a task's rounds, read once, and the vectors of those whose scores are looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fl.audit.disputes.evidence import SeenUpdate
from fl.audit.disputes.proofs import Published, Signed
from fl.bundle.files import DIRECTION, MANIFEST, ROUND, BrokenBundle, BundleFiles, read_manifest, update_file
from fl.bundle.http_client import ArchiveUnreachable
from fl.bundle.round_record import leaves_of, read_round
from fl.bundle.store import BundleSource
from fl.chain.record import PostedRound
from fl.chain.typed_data import Header
from fl.codec import Blocks, MalformedBlocks, block_root
from fl.codec.blocks import BLOCK_BYTES, BLOCK_VALUES
from fl.rewards.tree import leaf_of

# One file that a coordinator does not get itself to send keeps nothing else from being looked at.
UNREADABLE = (BrokenBundle, ArchiveUnreachable)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadRound:
    """What everybody is given of a round."""

    published: Published
    problems: tuple[str, ...]  # of the rest of the bundle; what the leaves are worth, the posted root says

    @property
    def posted(self) -> bool:
        """Whether the leaves are those of the posted tree."""
        header, tree = self.published.header, self.published.tree
        return (tree.root, len(tree)) == (header.tree_root, header.leaf_count)

    @property
    def provable(self) -> bool:
        """Whether the contract takes proofs of these leaves: the header states their sum, too."""
        header, tree = self.published.header, self.published.tree
        return self.posted and tree.cumulative == header.cumulative


class RoundReader:
    """Reads the rounds of one task.

    Args:
        source: Where its bundles can be had.
        remember: Called with each signed update of the bundles.
    """

    def __init__(self, source: BundleSource, *, remember: Callable[[SeenUpdate], None]) -> None:
        self.source = source
        self._remember = remember
        self._read: dict[int, ReadRound] = {}
        self._blocks: dict[tuple[int, str], Blocks] = {}

    def read(self, number: int) -> ReadRound | None:
        """A round, if it was read."""
        return self._read.get(number)

    def last_provable(self, number: int) -> Published | None:
        """The last round before this one whose leaves are here."""
        rounds = (self._read[earlier] for earlier in range(number - 1, 0, -1) if earlier in self._read)
        return next((read.published for read in rounds if read.provable), None)

    def take_in(self, rounds: Mapping[int, PostedRound]) -> tuple[list[str], list[int]]:
        """Read the rounds that are not read whole yet.

        Returns: what cannot be read, and the rounds that another one stands in the place of, after a reorganisation.
        """
        unread, replaced = [], []
        for number, posted in rounds.items():
            known = self._read.get(number)
            if known and known.published.header != posted.header:
                self._forget(number)
                replaced.append(number)
                known = None
            if known and known.posted and not known.problems:
                continue
            try:
                read = self._round(posted.header)
            except UNREADABLE as error:
                unread.append(f"round {number}: {why(error)}")
                continue
            if read.posted or not (known and known.posted):  # what was the posted tree stays it, whatever is sent now
                self._read[number] = read
        return unread, replaced

    def direction(self, number: int) -> Blocks:
        """A round's direction. Raises: BrokenBundle, ArchiveUnreachable."""
        return self._vector(number, DIRECTION, root=self._of(number).published.header.direction_root)

    def vectors(self, number: int, account: str) -> tuple[Blocks, Blocks]:
        """An account's update of a round, and its direction. Raises: BrokenBundle, ArchiveUnreachable."""
        leaf = leaf_of(self._of(number).published.leaves, account)
        name = update_file(account)
        update = self._vector(number, name, root=leaf.update_root if leaf else bytes(32))
        direction = self.direction(number)
        if len(update) != len(direction):
            problem = f"{name} has {len(update)} blocks and {DIRECTION} {len(direction)}"
            raise BrokenBundle(folder=self.source.bundle(number).where, problem=problem)
        return update, direction

    def drop_vectors(self, numbers: set[int]) -> None:
        """Vectors are large: keep those of no round that is done with."""
        self._blocks = {key: blocks for key, blocks in self._blocks.items() if key[0] not in numbers}

    def _forget(self, number: int) -> None:
        del self._read[number]
        self.drop_vectors({number})

    def _round(self, header: Header) -> ReadRound:
        """What everybody is given of a round. Raises: BrokenBundle where that has no leaves, ArchiveUnreachable."""
        files, problems = self.source.bundle(header.round), []
        text = files.read(ROUND)
        leaves = leaves_of(text, where=files.where)
        # Nothing else of a bundle keeps what its leaves prove from being proven.
        try:
            _check_manifest(files, text, header)
            for update in read_round(text, where=files.where).updates:
                signed = Signed(base_model=header.base_model, update_root=update.root, signature=update.signature)
                self._remember(SeenUpdate(round=header.round, client=update.account, signed=signed))
        except UNREADABLE as error:
            problems.append(why(error))
        return ReadRound(published=Published(header=header, leaves=leaves), problems=tuple(problems))

    def _vector(self, number: int, name: str, *, root: bytes) -> Blocks:
        """A vector of a bundle; only one with the root on chain can prove anything. Raises: BrokenBundle."""
        if (number, name) not in self._blocks:
            files = self.source.bundle(number)
            data = files.read(name)
            try:
                # Whole blocks: the chain knows of no padding.
                blocks = Blocks.from_bytes(data, size=len(data) // BLOCK_BYTES * BLOCK_VALUES)
            except MalformedBlocks as error:
                raise BrokenBundle(folder=files.where, problem=f"{name} cannot be read ({error})") from error
            if block_root(data) != root:
                raise BrokenBundle(folder=files.where, problem=f"{name} has another root than the one on chain")
            self._blocks[number, name] = blocks
        return self._blocks[number, name]

    def _of(self, number: int) -> ReadRound:
        if number not in self._read:
            raise BrokenBundle(folder=self.source.where, problem=f"round {number} could not be read")
        return self._read[number]


def why(error: BrokenBundle | ArchiveUnreachable) -> str:
    """Why something cannot be read, for a line that says of which round."""
    return error.problem if isinstance(error, BrokenBundle) else str(error)


def _check_manifest(files: BundleFiles, text: bytes, header: Header) -> None:
    """Raises: BrokenBundle unless the posted header's manifest names this content of round.json."""
    manifest = files.read(MANIFEST)
    if hashlib.sha256(manifest).digest() != header.bundle:
        raise BrokenBundle(folder=files.where, problem=f"{MANIFEST} is not the one that the posted header names")
    if hashlib.sha256(text).hexdigest() != read_manifest(manifest, files).get(ROUND):
        raise BrokenBundle(folder=files.where, problem=f"{ROUND} is not the one that the manifest names")
