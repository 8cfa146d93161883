"""Python and Solidity come to the same bytes on random inputs: trees, leaves, blocks, scores and sums, through Anvil."""

import json

import numpy as np
import pytest
import solcx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web3.exceptions import ContractCustomError

from fl.chain.accounts import anvil_account
from fl.chain.anvil import CHECKOUT_CONTRACTS
from fl.chain.sender import connect, send
from fl.chain.typed_data import Header
from fl.codec import BLOCK_BYTES, Blocks, block_path, block_root
from fl.codec.tree import block_top
from fl.rewards import Leaf, RoundTree, partials, score_of
from fl.rewards.sums import sums_bytes, sums_path, sums_root

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

words = st.binary(min_size=32, max_size=32)
int128 = st.integers(-(2**127), 2**127 - 1)
small = st.integers(-(2**100), 2**100)
leaves = st.lists(
    st.builds(
        Leaf,
        account=st.integers(1, 2**160 - 1).map(lambda number: f"0x{number:040x}"),
        update_root=words,
        weight=st.integers(0, 2**64 - 1),
        score=int128,
        balance=small,
        cumulative=st.integers(0, 2**100),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda leaf: leaf.account,
)
vectors = st.integers(1, 1500).flatmap(
    lambda size: st.tuples(st.just(size), st.integers(0, 2**32), st.integers(-60, 14), st.integers(-60, 14))
)


@pytest.fixture(scope="module")
def mirror(anvil):
    """The libraries' internal functions on the session's chain."""
    assert (CHECKOUT_CONTRACTS / "node_modules").exists(), "run npm ci in contracts/; scripts/test does"
    settings_file = json.loads((CHECKOUT_CONTRACTS / "solc.json").read_text())
    files = [*(CHECKOUT_CONTRACTS / "src").rglob("*.sol"), CHECKOUT_CONTRACTS / "test" / "Mirror.sol"]
    request = {
        "language": "Solidity",
        "sources": {str(one.relative_to(CHECKOUT_CONTRACTS)): {"content": one.read_text()} for one in files},
        "settings": {
            **settings_file,
            "remappings": ["@openzeppelin/=node_modules/@openzeppelin/"],
            "outputSelection": {"test/Mirror.sol": {"*": ["abi", "evm.bytecode.object"]}},
        },
    }
    output = solcx.compile_standard(request, solc_binary=CHECKOUT_CONTRACTS / "solc", base_path=str(CHECKOUT_CONTRACTS))
    compiled = output["contracts"]["test/Mirror.sol"]["Mirror"]
    w3 = connect(anvil)
    constructor = w3.eth.contract(abi=compiled["abi"], bytecode=compiled["evm"]["bytecode"]["object"]).constructor()
    sent = send(w3, constructor, account=anvil_account(0, chain_id=31337), name="deploy mirror")
    return w3.eth.contract(address=sent.contract, abi=compiled["abi"]).functions


def header_of(tree: RoundTree) -> tuple:
    zero = bytes(32)
    return Header(
        task_id=zero, round=1, previous=zero, base_model=zero, next_model=zero, validation=zero, direction_root=zero,
        tree_root=tree.root, leaf_count=len(tree), entitlement=tree.entitlement, cumulative=tree.cumulative, pot=0,
        bundle=zero,
    ).as_tuple()  # fmt: skip


def drawn(case: tuple[int, int, int, int]) -> tuple[Blocks, Blocks]:
    """An update and a direction of a random size, seed and scale each."""
    size, seed, scale_u, scale_g = case
    rng = np.random.default_rng(seed)
    return tuple(Blocks.encode(rng.uniform(-1, 1, size) * 2.0**scale) for scale in (scale_u, scale_g))


@few
@given(leaves, st.data())
def test_leaves_trees_and_proofs_agree(mirror, drawn_leaves, data):
    tree = RoundTree(drawn_leaves)
    header = header_of(tree)
    place = data.draw(st.integers(0, len(tree) - 1))
    leaf = tree.leaves[place]
    assert mirror.hashLeaf(leaf.as_tuple()).call() == leaf.hash()
    proof = (place, [tuple(one) for one in tree.proof(place)])
    mirror.checkLeaf(header, leaf.as_tuple(), proof).call()
    count = data.draw(st.integers(1, len(tree) - place))
    siblings = [tuple(one) for one in tree.range_proof(place, count)]
    mirror.checkRange(header, place, [one.as_tuple() for one in tree.leaves[place : place + count]], siblings).call()


@few
@given(leaves, st.data())
def test_a_damaged_proof_is_refused_by_both(mirror, drawn_leaves, data):
    tree = RoundTree(drawn_leaves)
    place = data.draw(st.integers(0, len(tree) - 1))
    told = list(tree.leaves[place].as_tuple())
    told[5] += 1
    proof = (place, [tuple(one) for one in tree.proof(place)])
    with pytest.raises(ContractCustomError):
        mirror.checkLeaf(header_of(tree), tuple(told), proof).call()


@few
@given(vectors, st.data())
def test_blocks_roots_partials_and_scores_agree(mirror, case, data):
    update, direction = drawn(case)
    wire, other = update.to_bytes(), direction.to_bytes()
    index = data.draw(st.integers(0, len(update) - 1))
    part = slice(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES)
    assert mirror.blockRoot(len(update), block_top(wire)).call() == block_root(wire)
    mirror.checkBlock(block_root(wire), len(update), index, (wire[part], block_path(wire, index=index))).call()
    sums = partials(update, direction)
    assert mirror.partialSum(wire[part], other[part]).call() == sums[index]
    weight = data.draw(st.integers(0, 2**32))
    assert mirror.score(sum(sums), weight).call() == score_of(sum(sums), weight=weight)
    root, total = mirror.buildSums(sums_bytes(sums)).call()
    assert (root, total) == (sums_root(sums), sum(sums))
    mirror.checkSum(root, len(sums), index, sums[index], sums_path(sums, index=index)).call()


@few
@given(st.lists(int128, min_size=1, max_size=70), st.data())
def test_sum_trees_agree(mirror, sums, data):
    index = data.draw(st.integers(0, len(sums) - 1))
    root, total = mirror.buildSums(sums_bytes(sums)).call()
    assert (root, total) == (sums_root(sums), sum(sums))
    mirror.checkSum(root, len(sums), index, sums[index], sums_path(sums, index=index)).call()
