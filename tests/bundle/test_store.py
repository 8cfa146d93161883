"""Bundles by URL: one object a hash, every hash checked, and what a payout rests on never dropped."""

import json
import shutil
import uuid

import pytest

from fl.bundle.files import BrokenBundle
from fl.bundle.format import Bundle, read_header, read_leaves
from fl.bundle.store import KEPT, BundleStore
from fl.errors import ConfigError


@pytest.fixture(scope="module")
def world(lasting_world):
    """Three rounds that are on chain."""
    world = lasting_world(rounds=3)
    world.run(world.app(world.downhill))
    return world


@pytest.fixture(params=["folder", "memory"])
def store(request, world, tmp_path):
    """A store of the three rounds."""
    url = str(tmp_path / "store") if request.param == "folder" else f"memory://{uuid.uuid4().hex}"
    made = BundleStore.at(url)
    for report in world.reports:
        made.put(report.round, report.bundle)
    return made


def test_what_was_stored_is_read_back_with_every_hash(world, store):
    assert store.rounds() == [1, 2, 3]
    for report in world.reports:
        files = store.bundle(report.round)
        bundle, bundle_hash = Bundle.read(files)
        assert bundle_hash == report.header.bundle
        assert bundle.leaves == report.leaves
        assert read_header(files) == read_header(report.bundle)
        assert read_leaves(files) == report.leaves


def objects_of(store):
    return [path for path in store.fs.find(store.root) if "/objects/" in path]


def test_a_model_that_two_rounds_share_is_stored_once(world, store):
    sums = [json.loads((report.bundle / "manifest.json").read_text()) for report in world.reports]
    assert sums[1]["base.safetensors"] == sums[0]["next.safetensors"]
    assert len(objects_of(store)) == len({sha for manifest in sums for sha in manifest.values()})
    before = objects_of(store)
    store.put(2, world.reports[1].bundle)
    assert objects_of(store) == before


def test_an_object_that_was_changed_is_no_object(world, store):
    sums = json.loads((world.reports[1].bundle / "manifest.json").read_text())
    sha = sums["direction.blocks"]
    path = next(path for path in objects_of(store) if path.endswith(sha))
    data = bytearray(store.fs.cat_file(path))
    data[5] ^= 1
    store.fs.pipe_file(path, bytes(data))
    assert store.object(sha) is None
    with pytest.raises(BrokenBundle, match="direction.blocks cannot be read"):
        Bundle.read(store.bundle(2))


def test_a_folder_under_its_names_is_a_store_too(world):
    plain = BundleStore.at(str(world.folder / "bundles"))
    assert plain.rounds() == [1, 2, 3]
    assert Bundle.read(plain.bundle(2))[1] == world.reports[1].header.bundle


def test_pruning_keeps_the_last_rounds_whole_and_the_payouts_of_all(world, store):
    assert store.prune(keep=1) > 0
    assert Bundle.read(store.bundle(3))[1] == world.reports[2].header.bundle
    for report in world.reports:
        assert read_leaves(store.bundle(report.round)) == report.leaves
    with pytest.raises(BrokenBundle, match=r"base.safetensors cannot be read \(FileNotFoundError\)"):
        Bundle.read(store.bundle(1))
    assert store.prune(keep=1) == 0


def test_pruning_a_plain_folder_leaves_what_payouts_rest_on(world, tmp_path):
    shutil.copytree(world.folder / "bundles", tmp_path / "bundles")
    plain = BundleStore.at(str(tmp_path / "bundles"))
    plain.prune(keep=2)
    left = {path.name for path in (tmp_path / "bundles" / "round-0001").rglob("*") if path.is_file()}
    assert left == set(KEPT)
    assert Bundle.read(plain.bundle(2))[1] == world.reports[1].header.bundle


def test_nothing_is_pruned_where_a_manifest_is_missing(store):
    store.fs.rm_file(f"{store.root}/round-0002/manifest.json")
    before = objects_of(store)
    assert store.prune(keep=1) == 0
    assert objects_of(store) == before


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "updates/../../outside", ""])
def test_a_name_out_of_the_bundle_is_refused(store, name):
    with pytest.raises(BrokenBundle, match="lies outside the bundle"):
        store.bundle(1).read(name)


def test_a_bundle_that_is_broken_is_not_stored(world, tmp_path):
    folder = shutil.copytree(world.reports[0].bundle, tmp_path / "round-0001")
    (folder / "direction.blocks").write_bytes(b"x")
    with pytest.raises(BrokenBundle, match="direction.blocks has sha256"):
        BundleStore.at(str(tmp_path / "store")).put(1, folder)


def test_an_empty_store_has_no_rounds(tmp_path):
    assert BundleStore.at(str(tmp_path / "nothing")).rounds() == []


def test_a_url_that_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match="bundles are to be at gopher://x, which cannot be reached"):
        BundleStore.at("gopher://x")


def test_a_manifest_cannot_have_dropped_what_is_not_in_its_bundle(world, tmp_path):
    bundles = shutil.copytree(world.folder / "bundles", tmp_path / "bundles")
    (tmp_path / "precious").write_text("kept")
    (bundles / "round-0001" / "refusals.json").write_text("{}")
    path = bundles / "round-0001" / "manifest.json"
    foreign = {"../../precious": "0" * 64, "base.safetensors": "../../precious"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **foreign}))
    BundleStore.at(str(bundles)).prune(keep=1)
    assert (tmp_path / "precious").read_text() == "kept"
    assert (bundles / "round-0001" / "refusals.json").exists()
