"""One bundle, audited with other thread counts and other kernels: the same integers from the same direction, and a direction within
tolerance.

Each variant is a process of its own, since torch chooses its kernels when it is loaded.
"""

import json
import subprocess
from functools import cache

import numpy as np
import pytest

from fl.bundle.validation_set import write_validation
from fl.task.data import Dataset
from fl.task.spec import TaskSpec

AUDIT = """
import hashlib, json, sys
from pathlib import Path
import torch

threads, mkldnn, folder = int(sys.argv[1]), sys.argv[2] == "on", Path(sys.argv[3])
torch.set_num_threads(threads)
torch.backends.mkldnn.set_flags(mkldnn)

from fl.bundle.format import Bundle
from fl.audit.strategy_state import participants_of
from fl.bundle.validation_set import read_validation
from fl.rewards import Account, direction_scores, settle, weigh
from fl.scoring.direction import weighted_step
from fl.scoring.lengths import agreed_length
from fl.scoring.paid import PaidScoring
from fl.scoring.game import ValidationGame
from fl.task.spec import TaskSpec
from fl.task.trust import OWN

spec = TaskSpec.from_json((folder / "spec.json").read_text(), trust=OWN)
bundle, _ = Bundle.read(folder / "bundles" / "round-0001")
data = read_validation((folder / "validation").read_bytes(), where="here", expected=bytes.fromhex(sys.argv[4]))
game = ValidationGame(
    spec.build_model(), loss=spec.build_loss(), features=data.features, labels=data.labels, device="cpu"
)
participants = participants_of(bundle, spec=spec)
weights = weigh(participants, cap=agreed_length(participants, spec=spec))
scoring = PaidScoring(spec, game=game)
step = weighted_step(((sender.blocks, weights[sender.account]) for sender in participants), size=bundle.layout.size)
own = scoring.direction(base=bundle.base, step=step)
posted = bundle.direction.decode().astype("float64")
scores = direction_scores(participants, weights=weights, direction=bundle.direction)
accounts = {leaf.account: Account() for leaf in bundle.leaves}
settled = settle(participants, weights=weights, scores=scores, accounts=accounts, allowed=10**21)
print(json.dumps({
    "threads": torch.get_num_threads(),
    "mkldnn": torch.backends.mkldnn.enabled,
    "capability": torch.backends.cpu.get_cpu_capability(),
    "root": settled.tree.root.hex(),
    "scores": scores,
    "weights": weights,
    "pays": settled.payout.pays,
    "distance": float(((own - posted) ** 2).sum() ** 0.5 / (own ** 2).sum() ** 0.5),
    "bits": hashlib.sha256(own.tobytes()).hexdigest(),
}))
"""


@pytest.fixture(scope="module")
def world(lasting_world):
    """One round of LeNet, whose convolutions have a kernel for every taste."""
    rng = np.random.default_rng(7)
    labels = np.arange(60) % 10
    features = rng.normal(size=(60, 1, 28, 28)).astype(np.float32) + 0.3 * labels[:, None, None, None].astype(
        np.float32
    )
    spec = TaskSpec(model="fl.task.models:LeNet", feature_shape=(1, 28, 28), num_classes=10, steps=1, batch_size=4)
    world = lasting_world(rounds=1, spec=spec, validation=Dataset(features=features, labels=labels.astype(np.int64)))
    world.run(world.app(world.downhill))
    write_validation(world.folder / "validation", world.validation)
    (world.folder / "spec.json").write_text(spec.to_json())
    return world


@pytest.fixture(scope="module")
def audited(world, python, environment):
    """Audits the round in a process of its own."""

    @cache
    def run(*, threads=1, mkldnn="on", capability=None):
        variables = {key: value for key, value in environment.items() if key != "OMP_NUM_THREADS"}
        if capability:
            variables["ATEN_CPU_CAPABILITY"] = capability
        validation = world.task.terms.validation_hash.hex()
        done = subprocess.run(
            [python, "-c", AUDIT, str(threads), mkldnn, str(world.folder), validation],
            env=variables,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def usual(audited):
    """One thread, and the kernels that torch takes here by itself."""
    return audited()


@pytest.mark.parametrize(
    "variant",
    [
        {"threads": 2},
        {"mkldnn": "off"},
        {"capability": "default"},
        {"capability": "avx2"},
        {"mkldnn": "off", "capability": "default"},
    ],
    ids=lambda variant: ",".join(f"{key}={value}" for key, value in variant.items()),
)
def test_the_integers_are_the_same_and_the_direction_is_within_tolerance(world, usual, audited, variant):
    other = audited(**variant)
    assert other["threads"] == variant.get("threads", 1)
    assert other["mkldnn"] == (variant.get("mkldnn", "on") == "on")
    if variant.get("capability") == "default":
        assert other["capability"] == "DEFAULT"
    for key in ("root", "scores", "weights", "pays"):
        assert other[key] == usual[key]
    assert other["root"] == world.reports[0].header.tree_root.hex()
    assert other["distance"] < world.spec.tolerance


def test_the_kernels_do_differ_in_their_last_bits(usual, audited):
    # Otherwise the test above would show nothing.
    plain = audited(mkldnn="off", capability="default")
    assert plain["bits"] != usual["bits"]
