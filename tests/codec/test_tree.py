import pytest
from vector_files import cases, unhex

from fl.codec import BLOCK_BYTES, MalformedBlocks, block_path, block_root, verify_block_path

CASES = pytest.mark.parametrize("case", cases("block_tree"), ids=lambda case: f"{case['count']} blocks")


@CASES
def test_roots_and_paths_are_those_of_the_vectors(case):
    data = b"".join(map(unhex, case["blocks"]))
    assert block_root(data) == unhex(case["root"])
    assert [block_path(data, index=i) for i in range(case["count"])] == [[unhex(n) for n in p] for p in case["paths"]]


@CASES
def test_a_path_proves_its_block_under_its_index_and_count_only(case):
    root, count = unhex(case["root"]), case["count"]
    for index, (block, path) in enumerate(zip(case["blocks"], case["paths"])):
        block, path = unhex(block), [unhex(node) for node in path]
        assert verify_block_path(block, index=index, count=count, path=path, root=root)
        damaged = bytes([block[0] ^ 1]) + block[1:]
        assert not verify_block_path(damaged, index=index, count=count, path=path, root=root)
        assert not verify_block_path(block, index=index, count=count + 1, path=path, root=root)
        assert not verify_block_path(block, index=index, count=count, path=[*path, bytes(32)], root=root)
        assert not verify_block_path(block, index=count, count=count, path=path, root=root)
        if path:
            assert not verify_block_path(block, index=index, count=count, path=path[:-1], root=root)
            assert not verify_block_path(block, index=(index + 1) % count, count=count, path=path, root=root)


@pytest.mark.parametrize("length", [0, BLOCK_BYTES + 1])
def test_a_root_needs_whole_blocks(length):
    with pytest.raises(MalformedBlocks, match=f"{length} bytes are not a whole number of 513-byte blocks"):
        block_root(bytes(length))
