import hashlib
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fl.bundle.files import BrokenBundle, BundleFolder
from fl.bundle.format import Bundle, read_header, write_header
from fl.bundle.round_record import leaf_from_json, leaf_to_json, read_round
from fl.rewards import Leaf


@pytest.fixture(scope="module")
def world(lasting_world):
    """Two rounds that are on chain."""
    world = lasting_world()
    world.run(world.app(world.downhill))
    return world


@pytest.fixture
def folder(world, tmp_path):
    """A copy of round 2's bundle."""
    return shutil.copytree(world.reports[1].bundle, tmp_path / "round-0002")


def test_a_bundle_reads_back_as_it_was_written(folder, tmp_path):
    bundle, bundle_hash = Bundle.read(folder)
    assert bundle.write(tmp_path / "again") == bundle_hash
    again, again_hash = Bundle.read(tmp_path / "again")
    assert again_hash == bundle_hash
    assert (again.task_id, again.round, again.price, again.layout) == (
        bundle.task_id, bundle.round, bundle.price, bundle.layout,
    )  # fmt: skip
    assert (again.leaves, again.previous) == (bundle.leaves, bundle.previous)
    assert [vars(update) for update in again.updates] == [vars(update) for update in bundle.updates]
    np.testing.assert_array_equal(again.base, bundle.base)
    np.testing.assert_array_equal(again.next, bundle.next)
    assert again.direction.to_bytes() == bundle.direction.to_bytes()


def test_the_manifests_hash_is_the_headers(world, folder):
    assert Bundle.read(folder)[1] == world.reports[1].header.bundle


def test_a_bundle_holds_what_its_report_says(world, folder):
    bundle, _ = Bundle.read(folder)
    assert bundle.leaves == world.reports[1].leaves
    assert bundle.previous == world.reports[0].leaves
    assert bundle.price == world.reports[1].header.price


def test_a_header_reads_back(world, tmp_path):
    header = world.reports[1].header
    write_header(tmp_path, header, signatures=[b"s" * 65])
    assert read_header(tmp_path) == (header, [b"s" * 65])


def test_a_leaf_reads_back_with_amounts_beyond_what_json_numbers_hold():
    leaf = Leaf(
        account="0x" + "11" * 20,  # digits only, so it is its own checksum
        update_root=b"u" * 32, weight=2**63 + 1, score=-(2**100) - 1, total=-1,
        cumulative=10**27 + 1,
    )  # fmt: skip
    text = json.dumps(leaf_to_json(leaf))
    assert leaf_from_json(json.loads(text)) == leaf
    assert str(10**27 + 1) in text


def test_a_deep_models_public_step_has_a_coefficient_for_each_array_and_16_more(folder):
    told = json.loads((folder / "round.json").read_text())
    names = [f"layers.{number}.weight" for number in range(100)]
    told |= {"names": names, "shapes": [[4]] * 100, "public": {"coefficients": [(0.5).hex()] * 116, "rate": "0x1p+0"}}
    assert read_round(json.dumps(told).encode(), where="here").public.coefficients == (0.5,) * 116
    told["public"]["coefficients"].append((0.5).hex())
    with pytest.raises(BrokenBundle) as error:
        read_round(json.dumps(told).encode(), where="here")
    assert str(error.value) == (
        "bundle here: round.json cannot be read (BadJson: the public step has 117 coefficients, 116 are the most for 100 arrays; ask "
        "for it again); fetch it again, and ask the coordinator if it stays so"
    )


FILES = ["base.safetensors", "next.safetensors", "direction.blocks", "round.json", "updates"]


def file_of(folder, name):
    """A file of the bundle; `updates` stands for the first update."""
    return next((folder / "updates").iterdir()) if name == "updates" else folder / name


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_found_in_every_file(folder, name):
    path = file_of(folder, name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BrokenBundle) as caught:
        Bundle.read(folder)
    assert caught.value.folder == str(folder)
    assert str(caught.value).startswith(f"bundle {folder}: {path.relative_to(folder)} has sha256 ")
    assert str(caught.value).endswith("; fetch it again, and ask the coordinator if it stays so")


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_file_is_named(folder, name):
    path = file_of(folder, name)
    path.unlink()
    with pytest.raises(BrokenBundle) as caught:
        Bundle.read(folder)
    assert caught.value.problem == f"{path.relative_to(folder)} cannot be read (FileNotFoundError)"


def test_a_changed_manifest_has_another_hash(world, folder):
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes() + b"\n")
    assert Bundle.read(folder)[1] != world.reports[1].header.bundle


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "updates/../../outside"])
def test_a_manifest_may_not_point_out_of_its_folder(folder, name):
    (folder.parent / "outside").write_text("secret")
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: "0" * 64}))
    with pytest.raises(BrokenBundle) as caught:
        Bundle.read(folder)
    assert caught.value.problem == f"manifest.json and round.json do not name the same files: {name}"
    with pytest.raises(BrokenBundle, match="lies outside the bundle"):
        BundleFolder(folder).read(name)


def test_a_link_out_of_the_folder_is_refused(folder, tmp_path):
    (tmp_path / "secret").write_text("secret")
    path = folder / "direction.blocks"
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(BrokenBundle, match="direction.blocks lies outside the bundle"):
        Bundle.read(folder)


def rewrite(folder, name, data):
    """Replace a file and its sum in the manifest, as a coordinator could."""
    (folder / name).write_bytes(data)
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: hashlib.sha256(data).hexdigest()}))


@pytest.mark.parametrize("name", ["base.safetensors", "next.safetensors", "direction.blocks", "round.json"])
@pytest.mark.parametrize(
    "data", [b"", b"garbage", b"{}", b"[]", b"\xff" * 600, b"null"], ids=lambda content: repr(content[:8])
)
def test_garbage_under_a_right_sum_is_a_broken_bundle(folder, name, data):
    rewrite(folder, name, data)
    with pytest.raises(BrokenBundle, match="cannot be read"):
        Bundle.read(folder)


@pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b"null", b"5", b'{"round.json": 5}', b"\xff"])
def test_a_manifest_that_is_none_is_a_broken_bundle(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BrokenBundle):
        Bundle.read(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("account", "nobody"),
        ("account", "0x12"),
        ("weight", str(2**64)),
        ("weight", "-1"),
        ("total", str(2**127)),
        ("cumulative", "-5"),
        ("update_root", "12"),
    ],
)
def test_a_leaf_that_no_tree_holds_is_a_broken_bundle(folder, key, value):
    raw = json.loads((folder / "round.json").read_text())
    raw["previous"][0][key] = value
    rewrite(folder, "round.json", json.dumps(raw).encode())
    with pytest.raises(BrokenBundle, match="cannot be read"):
        Bundle.read(folder)


@pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b"{}", b'{"header": {}}', b"\xff", b"[" * 100_000])
def test_a_header_file_that_is_none_is_a_broken_bundle(folder, content):
    (folder / "header.json").write_bytes(content)
    with pytest.raises(BrokenBundle, match="header.json cannot be read"):
        read_header(folder)


def test_a_header_is_there_whole_or_not_at_all(folder, monkeypatch):
    header, signatures = read_header(folder)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_header(folder, replace(header, price=5), signatures=[])
    assert read_header(folder) == (header, signatures)


def test_a_bundle_without_its_header_is_named(folder):
    (folder / "header.json").unlink()
    with pytest.raises(BrokenBundle, match="header.json cannot be read"):
        read_header(folder)
