"""A node's key: made once, readable by its owner only, and the same node on chain and for Flower."""

import os
import stat
from contextlib import suppress

import pytest
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, uses_nist_ec_curve

from fl.chain.node_key import BadNodeKey, create_node_key, flower_public_key, node_key_of, open_node_key


def test_a_key_reads_back_and_is_its_owners_only(tmp_path):
    made = create_node_key(tmp_path / "node" / "node.key")
    assert len(made) == 49
    assert open_node_key(tmp_path / "node" / "node.key") == made
    assert stat.S_IMODE((tmp_path / "node" / "node.key").stat().st_mode) == 0o600


def test_flower_takes_the_public_half_and_gives_it_back(tmp_path):
    made = create_node_key(tmp_path / "node.key")
    assert uses_nist_ec_curve(bytes_to_public_key(flower_public_key(made)))
    assert node_key_of(flower_public_key(made)) == made


def test_a_key_is_never_overwritten(tmp_path):
    create_node_key(tmp_path / "node.key")
    with pytest.raises(BadNodeKey, match="is there already; open it, or name another file"):
        create_node_key(tmp_path / "node.key")


def test_a_key_that_others_can_read_is_refused(tmp_path):
    create_node_key(tmp_path / "node.key")
    os.chmod(tmp_path / "node.key", 0o644)
    with pytest.raises(BadNodeKey, match="can be read by others; run chmod 600"):
        open_node_key(tmp_path / "node.key")


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
def test_a_file_that_is_no_key_is_refused(tmp_path, content):
    path = tmp_path / "node.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(BadNodeKey, match="is not a P-384 key in OpenSSH form"):
        open_node_key(path)


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(BadNodeKey, match="none.key is not there; name the file"):
        open_node_key(tmp_path / "none.key")


@pytest.mark.parametrize("node_key", [b"", bytes(49), b"\x02" + b"\xff" * 48, b"\x04" + bytes(96)])
def test_bytes_on_chain_that_are_no_point_are_refused(node_key):
    with pytest.raises(BadNodeKey, match="is not a compressed point of P-384"):
        flower_public_key(node_key)


def test_a_public_key_of_another_kind_is_refused():
    with pytest.raises(BadNodeKey, match="is not a P-384 public key"):
        node_key_of(b"-----BEGIN PUBLIC KEY-----")


def test_a_flipped_byte_is_told_or_changes_nothing(tmp_path):
    path = tmp_path / "node_key"
    public = create_node_key(path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with suppress(BadNodeKey):
            assert open_node_key(path) == public
