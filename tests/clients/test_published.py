"""What a client finds out from what was published."""

import numpy as np
import pytest
from safetensors.numpy import save

from clients.published import known_before
from fl.bundle.store import BundleStore
from fl.codec import Blocks, Layout

OWN = "0x" + "11" * 20
LAYOUT = Layout(names=("w",), shapes=((3,),))
BASE = np.zeros(3, dtype=np.float32)


@pytest.fixture
def bundles(tmp_path):
    """Four rounds; the first took no update of ours, and the second's model is gone."""
    for number in range(1, 5):
        folder = tmp_path / f"round-{number:04d}"
        (folder / "updates").mkdir(parents=True)
        vector = np.full(3, number, dtype=np.float32)
        if number != 2:
            (folder / "base.safetensors").write_bytes(save({"w": vector}))
        (folder / "direction.blocks").write_bytes(Blocks.encode(10.0 * vector).to_bytes())
        if number > 1:
            (folder / "updates" / f"{OWN}.blocks").write_bytes(Blocks.encode(100.0 * vector).to_bytes())
    return BundleStore.at(str(tmp_path))


def known(bundles, number, *, reveals=True):
    """As a client knows it."""
    return known_before(number, base=BASE, layout=LAYOUT, account=OWN, source=bundles, reveals=reveals)


def test_the_rounds_before_are_known(bundles):
    found = known(bundles, 5)
    assert [model[0] for model in found.models] == [3.0, 4.0]
    assert [direction[0] for direction in found.directions] == [10.0, 20.0, 30.0, 40.0]
    assert found.first.tolist() == [200.0] * 3
    assert found.step().tolist() == [-4.0] * 3


def test_before_the_first_round_nothing_is_known(bundles):
    found = known(bundles, 1)
    assert (list(found.models), list(found.directions), found.first) == ([], [], None)


def test_directions_that_are_not_revealed_are_not_known(bundles):
    assert list(known(bundles, 5, reveals=False).directions) == []


def test_what_cannot_be_read_is_passed_over(bundles, tmp_path):
    (tmp_path / "round-0003" / "base.safetensors").write_bytes(b"no model")
    (tmp_path / "round-0004" / "base.safetensors").write_bytes(save({"w": np.zeros(2, np.float32)}))
    (tmp_path / "round-0001" / "direction.blocks").write_bytes(b"no blocks")
    found = known(bundles, 5)
    assert list(found.models) == []
    assert [direction[0] for direction in found.directions] == [20.0, 30.0, 40.0]
