"""Bundles are copied before anything of them is dropped, and what payouts rest on is never dropped."""

import json
import shutil
import uuid

import pytest

from fl.bundle.format import Bundle, read_leaves
from fl.bundle.store import KEPT, BundleStore
from fl.coordinator.config import CoordinatorConfig
from fl.coordinator.lifecycle.retention import RetentionPolicy
from fl.errors import ConfigError


@pytest.fixture(scope="module")
def world(lasting_world, spec):
    """Three rounds that are on chain."""
    world = lasting_world(rounds=3, spec=spec(public_rounds=0))
    world.run(world.app(world.downhill))
    return world


@pytest.fixture
def bundles(world, tmp_path):
    """A copy of the coordinator's bundles."""
    return shutil.copytree(world.folder / "bundles", tmp_path / "bundles", ignore=shutil.ignore_patterns("journal*"))


@pytest.fixture
def archive():
    """URL of a store that nobody else uses."""
    return f"memory://{uuid.uuid4().hex}"


def files(folder):
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_every_round_is_copied_and_old_ones_lose_their_models(world, bundles, archive):
    RetentionPolicy(bundles, archive=archive, keep=1, spec=world.spec).after_round()
    store = BundleStore.at(archive)
    for report in world.reports:
        assert Bundle.read(store.bundle(report.round))[1] == report.header.bundle
        assert read_leaves(bundles / f"round-{report.round:04d}") == report.leaves
    assert files(bundles / "round-0001") == set(KEPT)
    assert Bundle.read(bundles / "round-0003")[1] == world.reports[2].header.bundle


def test_rounds_that_are_public_keep_their_models(world, bundles, spec):
    RetentionPolicy(bundles, archive=None, keep=1, spec=spec(public_rounds=2)).after_round()
    assert "next.safetensors" in files(bundles / "round-0001")
    RetentionPolicy(bundles, archive=None, keep=1, spec=spec(public_rounds=1)).after_round()
    assert files(bundles / "round-0001") == set(KEPT)
    assert "next.safetensors" in files(bundles / "round-0002")


def test_nothing_is_dropped_without_a_copy(world, bundles, archive, caplog):
    path = next((bundles / "round-0002" / "updates").iterdir())
    path.write_bytes(b"damaged")
    before = files(bundles / "round-0001")
    RetentionPolicy(bundles, archive=archive, keep=1, spec=world.spec).after_round()
    assert files(bundles / "round-0001") == before
    assert f"bundles are not copied to {archive}" in caplog.text
    assert "tried again after the next round" in caplog.text


def test_without_settings_everything_stays(world, bundles):
    before = files(bundles)
    RetentionPolicy(bundles, archive=None, keep=0, spec=world.spec).after_round()
    assert files(bundles) == before


def test_a_strategy_that_remembers_keeps_every_round(bundles, spec, caplog):
    before = files(bundles)
    RetentionPolicy(bundles, archive=None, keep=1, spec=spec(strategy="fedadam")).after_round()
    assert files(bundles) == before
    assert "fedadam remembers every round, so every bundle is kept" in caplog.text


def test_an_archive_that_nobody_knows_is_refused_at_once(world, bundles):
    with pytest.raises(ConfigError, match="bundles are to be at gopher://x, which cannot be reached"):
        RetentionPolicy(bundles, archive="gopher://x", keep=0, spec=world.spec)


def test_a_copied_round_is_not_copied_again(world, bundles, archive):
    policy = RetentionPolicy(bundles, archive=archive, keep=0, spec=world.spec)
    policy.after_round()
    manifest = bundles / "round-0001" / "manifest.json"
    manifest.write_text(json.dumps({}))  # would be noticed
    policy.after_round()
    assert Bundle.read(BundleStore.at(archive).bundle(1))[1] == world.reports[0].header.bundle


def test_fewer_than_no_rounds_are_refused():
    with pytest.raises(ConfigError, match="coordinator.keep is -1; set 1 or more rounds, or 0 to keep all"):
        CoordinatorConfig(keep=-1)


def test_what_refutes_a_false_challenge_is_not_dropped_without_a_copy():
    said = r"coordinator.keep is 2, which drops what a false challenge .* is refuted with; set coordinator.archive too"
    with pytest.raises(ConfigError, match=said):
        CoordinatorConfig(keep=2)
    assert CoordinatorConfig(keep=2, archive="s3://bucket/task").keep == 2
