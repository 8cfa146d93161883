"""Python and Solidity come to the same bytes on random inputs, through Anvil: trees, leaves, blocks, scores, sums, and
what is signed."""

import json
from dataclasses import replace

import numpy as np
import pytest
import solcx
from eth_abi import decode
from eth_account import Account as Keys
from eth_utils import keccak, to_checksum_address
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web3.exceptions import ContractCustomError

from fl.chain.accounts import anvil_account
from fl.chain.anvil import CHECKOUT_CONTRACTS
from fl.chain.artifacts import artifact
from fl.chain.sender import connect, send
from fl.chain.typed_data import Domain, Header, Join, Receipt, Redirect, Update, compact, digest, sign
from fl.codec import BLOCK_BYTES, Blocks, block_path, block_root
from fl.codec.tree import block_top
from fl.rewards import Account, Leaf, RoundTree, partials, score_of
from fl.rewards.sums import sums_bytes, sums_path, sums_root
from fl.rewards.tree import packed

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
        total=small,
        cumulative=st.integers(0, 2**100),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda leaf: leaf.account,
)
accounts = st.binary(min_size=20, max_size=20).filter(any).map(to_checksum_address)
wallets = st.integers(1, 2**255).map(lambda secret: Keys.from_key(secret.to_bytes(32, "big")))
uint32 = st.integers(0, 2**32 - 1)
uint128 = st.integers(0, 2**128 - 1)
deadlines = st.integers(2**34, 2**40 - 1)  # beyond any time that a test's chain comes to
vectors = st.integers(1, 1500).flatmap(
    lambda size: st.tuples(st.just(size), st.integers(0, 2**32), st.integers(-60, 14), st.integers(-60, 14))
)


@pytest.fixture(scope="module")
def mirrors(anvil):
    """The contracts of Mirror.sol on the session's chain, by name."""
    assert (CHECKOUT_CONTRACTS / "node_modules").exists(), "run npm ci in contracts/; scripts/test does"
    settings_file = json.loads((CHECKOUT_CONTRACTS / "solc.json").read_text())
    files = [*(CHECKOUT_CONTRACTS / "src").rglob("*.sol"), CHECKOUT_CONTRACTS / "test" / "Mirror.sol"]
    request = {
        "language": "Solidity",
        "sources": {str(path.relative_to(CHECKOUT_CONTRACTS)): {"content": path.read_text()} for path in files},
        "settings": {
            **settings_file,
            # For size: a mirror adds to a contract that has next to no room left.
            "optimizer": {"enabled": True, "runs": 1},
            "remappings": ["@openzeppelin/=node_modules/@openzeppelin/"],
            "outputSelection": {"test/Mirror.sol": {"*": ["abi", "evm.bytecode.object"]}},
        },
    }
    output = solcx.compile_standard(request, solc_binary=CHECKOUT_CONTRACTS / "solc", base_path=str(CHECKOUT_CONTRACTS))
    w3 = connect(anvil)

    def deploy(compiled: dict):
        constructor = w3.eth.contract(abi=compiled["abi"], bytecode=compiled["evm"]["bytecode"]["object"]).constructor()
        sent = send(w3, constructor, account=anvil_account(0, chain_id=31337), name="deploy mirror")
        return w3.eth.contract(address=sent.contract, abi=compiled["abi"])

    return {name: deploy(compiled) for name, compiled in output["contracts"]["test/Mirror.sol"].items()}


@pytest.fixture(scope="module")
def mirror(mirrors):
    """The libraries' internal functions."""
    return mirrors["Mirror"].functions


@pytest.fixture(scope="module")
def update_mirror(mirrors):
    """What Disputes takes for a signed update, and the domain that is signed for."""
    contract = mirrors["UpdateMirror"]
    return contract.functions, Domain(chain_id=31337, contract=contract.address)


@pytest.fixture(scope="module")
def receipt_mirror(mirrors):
    """What Disputes takes for a signed receipt, and the domain that is signed for."""
    contract = mirrors["ReceiptMirror"]
    return contract.functions, Domain(chain_id=31337, contract=contract.address)


@pytest.fixture(scope="module")
def opened(lasting_world):
    """An open task on the real contract, its functions, and the domain that is signed for."""
    world = lasting_world(rounds=1)
    contract = world.w3.eth.contract(address=world.escrow.address, abi=artifact("Fairshare").abi)
    return world.task.task_id, contract.functions, world.escrow.domain


def header_of(tree: RoundTree) -> Header:
    zero = bytes(32)
    return Header(
        task_id=zero, round=1, previous=zero, base_model=zero, next_model=zero, validation=zero, direction_root=zero,
        tree_root=tree.root, leaf_count=len(tree), enrolment=zero, cumulative=tree.cumulative, price=0, bundle=zero,
    )  # fmt: skip


def drawn(case: tuple[int, int, int, int]) -> tuple[Blocks, Blocks]:
    """An update and a direction of a random size, seed and scale each."""
    size, seed, scale_u, scale_g = case
    rng = np.random.default_rng(seed)
    return tuple(Blocks.encode(rng.uniform(-1, 1, size) * 2.0**scale) for scale in (scale_u, scale_g))


@few
@given(leaves, st.data())
def test_leaves_trees_and_proofs_agree(mirror, drawn_leaves, data):
    tree = RoundTree(drawn_leaves)
    header = header_of(tree).as_payroll()
    place = data.draw(st.integers(0, len(tree) - 1))
    leaf = tree.leaves[place]
    assert mirror.hashLeaf(leaf.as_tuple()).call() == leaf.hash()
    proof = (place, packed(tree.proof(place)))
    mirror.checkLeaf(header, leaf.as_tuple(), proof).call()
    count = data.draw(st.integers(1, len(tree) - place))
    siblings = packed(tree.range_proof(place, count))
    mirror.checkRange(header, place, [leaf.as_tuple() for leaf in tree.leaves[place : place + count]], siblings).call()


@few
@given(leaves, st.data())
def test_a_damaged_proof_is_refused_by_both(mirror, drawn_leaves, data):
    tree = RoundTree(drawn_leaves)
    place = data.draw(st.integers(0, len(tree) - 1))
    told = list(tree.leaves[place].as_tuple())
    told[5] += 1
    proof = (place, packed(tree.proof(place)))
    with pytest.raises(ContractCustomError):
        mirror.checkLeaf(header_of(tree).as_payroll(), tuple(told), proof).call()


@few
@given(
    before=st.tuples(small, uint128),
    score=small,
    price=uint128,
    slips=st.tuples(st.integers(-1, 1), st.integers(-2, 2)),
)
def test_what_follows_from_a_leaf_and_a_price_agrees(mirrors, before, score, price, slips):
    (total, cumulative), (unit, wei) = before, slips
    functions = mirrors["TransitionMirror"].functions
    worth = Account(total=total + score, cumulative=cumulative).at(price)
    told, paid = total + score + unit, min(max(worth + wei, 0), 2**128 - 1)
    leaf = Leaf(account="0x" + "11" * 20, update_root=bytes(32), weight=0, score=score, total=told, cumulative=paid)
    header = replace(header_of(RoundTree([leaf])), price=price)
    follows = functions.follows(header.as_tuple(), leaf.as_tuple(), total, cumulative).call()
    assert follows == (unit == 0 and paid == worth)


@few
@given(vectors, st.data())
def test_blocks_roots_partials_and_scores_agree(mirror, case, data):
    update, direction = drawn(case)
    wire, other = update.to_bytes(), direction.to_bytes()
    index = data.draw(st.integers(0, len(update) - 1))
    part = slice(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES)
    assert mirror.blockRoot(len(update), block_top(wire)).call() == block_root(wire)
    opening = wire[part] + b"".join(block_path(wire, index=index))
    mirror.checkBlock(block_root(wire), len(update), index, opening).call()
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


def refusal(call, error: str, types: list[str]) -> tuple:
    """The arguments of the custom error, say `BadSignature(address,bytes32)`, with which the contract refuses."""
    with pytest.raises(ContractCustomError) as caught:
        call.call()
    data = bytes.fromhex(caught.value.data.removeprefix("0x"))
    assert data[:4] == keccak(text=f"{error}({','.join(types)})")[:4]
    return decode(types, data[4:])


@few
@given(st.builds(Update, task_id=words, round=uint32, client=accounts, base_model=words, update_root=words))
def test_digests_of_updates_agree(update_mirror, update):
    functions, domain = update_mirror
    unsigned = (update.base_model, update.update_root, (bytes(32), bytes(32)))
    told = functions.updateDigest(update.task_id, update.round, update.client, unsigned).call()
    assert told == digest(update, domain=domain)


@few
@given(st.builds(Receipt, task_id=words, round=st.integers(1, 2**24 - 1), client=accounts, update_root=words), wallets)
def test_the_signer_of_a_receipt_is_its_signer_there(receipt_mirror, receipt, coordinator):
    functions, domain = receipt_mirror
    leaf = Leaf(account=receipt.client, update_root=bytes(32), weight=0, score=0, total=0, cumulative=0)
    header = replace(header_of(RoundTree([leaf])), task_id=receipt.task_id, round=receipt.round)
    signature = compact(sign(receipt, domain=domain, account=coordinator))

    def signer_there(update_root: bytes) -> str:
        call = functions.refuseReceipt(header.as_tuple(), leaf.as_tuple(), (0, b""), update_root, signature)
        return to_checksum_address(refusal(call, "WrongSigner", ["address", "address"])[0])

    assert signer_there(receipt.update_root) == coordinator.address
    assert signer_there(keccak(receipt.update_root)) != coordinator.address


@few
@given(
    st.builds(
        Join, task_id=st.none(), account=accounts, stake=uint128, node_key=st.binary(max_size=200), dataset=words,
        fee=uint128, deadline=deadlines,
    )
)  # fmt: skip
def test_digests_of_enrolments_agree(opened, join):
    task_id, functions, domain = opened
    join = replace(join, task_id=task_id)  # the contract wants a task that is open before it looks at the signature
    order = (join.account, join.stake, join.node_key, join.dataset, join.fee, join.deadline, b"")
    call = functions.joinFor(task_id, order, (0, 0, 0, bytes(32), bytes(32)), [])
    account, told = refusal(call, "BadSignature", ["address", "bytes32"])
    assert to_checksum_address(account) == join.account
    assert told == digest(join, domain=domain)


@few
@given(
    st.builds(
        Redirect, task_id=words, round=uint32, account=accounts, recipient=accounts, fee=uint128, deadline=deadlines
    )
)
def test_digests_of_redirects_agree(opened, redirect):
    _, functions, domain = opened
    leaf = Leaf(account=redirect.account, update_root=bytes(32), weight=0, score=0, total=0, cumulative=0)
    header = replace(header_of(RoundTree([leaf])), task_id=redirect.task_id, round=redirect.round)
    order = (redirect.recipient, redirect.fee, redirect.deadline, b"")
    call = functions.claimTo(header.as_payroll(), leaf.as_tuple(), (0, b""), order)
    assert refusal(call, "BadSignature", ["address", "bytes32"])[1] == digest(redirect, domain=domain)
