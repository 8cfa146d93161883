from dataclasses import replace

import pytest
from vector_files import cases, unhex

from fl.rewards import Leaf, RoundTree, Sibling, verify_leaf

CASES = pytest.mark.parametrize("case", cases("round_tree"), ids=lambda case: f"{len(case['leaves'])} leaves")


def tree_of(case: dict) -> RoundTree:
    return RoundTree(
        [
            Leaf(
                account=leaf["account"],
                update_root=unhex(leaf["updateRoot"]),
                **{name: int(leaf[name]) for name in ("weight", "score", "total", "cumulative")},
            )
            for leaf in reversed(case["leaves"])  # the tree sorts by itself
        ]
    )


@CASES
def test_hashes_sums_and_proofs_are_those_of_the_vectors(case):
    tree = tree_of(case)
    assert [leaf.hash() for leaf in tree.leaves] == [unhex(digest) for digest in case["leafHashes"]]
    assert tree.root == unhex(case["root"])
    assert tree.cumulative == int(case["cumulative"])
    for index, proof in enumerate(case["proofs"]):
        expected = [Sibling(unhex(s["node"]), int(s["cumulative"])) for s in proof]
        assert tree.proof(index) == expected
        assert tree.index(case["leaves"][index]["account"].upper().replace("0X", "0x")) == index


@CASES
def test_a_damaged_proof_is_refused(case):
    tree = tree_of(case)
    count = len(tree)
    totals = {"root": tree.root, "cumulative": tree.cumulative}
    for index, leaf in enumerate(tree.leaves):
        proof = tree.proof(index)
        assert verify_leaf(leaf, index=index, count=count, proof=proof, **totals)
        richer = replace(leaf, cumulative=leaf.cumulative + 1)
        assert not verify_leaf(richer, index=index, count=count, proof=proof, **totals)
        assert not verify_leaf(
            leaf, index=index, count=count, proof=[*proof, proof[0] if proof else Sibling(tree.root, 0)], **totals
        )
        assert not verify_leaf(leaf, index=count, count=count, proof=proof, **totals)
        if proof:
            forged = [proof[0]._replace(cumulative=proof[0].cumulative + 1), *proof[1:]]
            assert not verify_leaf(leaf, index=index, count=count, proof=forged, **totals)
            assert not verify_leaf(leaf, index=index, count=count, proof=proof[:-1], **totals)
            assert not verify_leaf(leaf, index=(index + 1) % count, count=count, proof=proof, **totals)


def leaf(account: str) -> Leaf:
    return Leaf(account=account, update_root=bytes(32), weight=0, score=0, total=0, cumulative=0)


def test_a_tree_needs_a_leaf():
    with pytest.raises(ValueError, match="at least one leaf"):
        RoundTree([])


def test_one_account_has_one_leaf():
    with pytest.raises(ValueError, match="two leaves have the same account"):
        RoundTree([leaf("0x" + "ab" * 20), leaf("0x" + "AB" * 20)])
