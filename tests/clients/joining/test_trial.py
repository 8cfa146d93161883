"""The round that a client tries before it stakes: on rows that can be learnt it scores, on others it says that it would not."""

from dataclasses import replace

import numpy as np
import pytest

from clients.joining.preview import Preview, Previewing, Trial
from clients.joining.terms import Offer
from clients.joining.trial import try_round
from fl.chain.task_state import TaskState
from fl.task.data import Dataset
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec


@pytest.fixture(scope="module")
def spec():
    """Logistic regression of two columns."""
    return TaskSpec(
        model="torch.nn:Linear",
        model_arguments={"in_features": 2, "out_features": 2},
        feature_shape=(2,),
        num_classes=2,
        steps=30,
        batch_size=8,
        learning_rate=0.5,
    )


def shard(count, *, flipped=0.0, seed=0):
    """Rows whose class is the sign of the first column, or its opposite with this chance."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 2)).astype(np.float32)
    labels = (features[:, 0] > 0) ^ (rng.random(count) < flipped)
    return Dataset(features=features, labels=labels.astype(np.int64))


def test_what_can_be_learnt_scores_on_the_rows_that_were_held_out(spec):
    found = try_round(spec, shard(200), base=vector_of(spec.build_model()))
    assert (found["trained"], found["held_out"], found["steps"]) == (160, 40, 30)
    fell = found["loss_before"] - found["loss_after"]
    assert found["score"] == pytest.approx(fell, rel=0.02)  # of an only client, the value is all that the loss fell
    assert fell > 0.1
    assert found["accuracy_after"] > 0.9
    assert found["round_s"] > 0


def test_what_is_half_a_lie_scores_less(spec):
    base = vector_of(spec.build_model())
    honest, lied = (try_round(spec, shard(200, flipped=flipped), base=base) for flipped in (0.0, 0.5))
    assert lied["score"] < honest["score"] / 2
    assert lied["accuracy_after"] < 0.75


def test_of_few_rows_none_is_held_out(spec):
    found = try_round(spec, shard(9), base=vector_of(spec.build_model()))
    assert (found["trained"], found["held_out"]) == (9, 0)
    assert "score" not in found


def test_a_round_that_takes_long_is_tried_by_some_of_its_steps(spec, monkeypatch):
    monkeypatch.setattr("clients.joining.trial._TRIAL_S", 0.0)
    found = try_round(spec, shard(50), base=vector_of(spec.build_model()))
    assert found["steps"] == 1
    assert found["held_out"] == 10


def test_no_child_outlives_a_client_that_asked_for_no_trial(spec):
    with Previewing(spec.to_json()) as previewing:
        child = previewing._child
        assert child.poll() is None
    assert child.poll() is not None


@pytest.mark.parametrize(
    ("trial", "told"),
    [
        (None, None),
        (
            {"score": 0.25, "loss_before": 0.7, "loss_after": 0.45, "accuracy_before": 0.5, "accuracy_after": 0.8},
            "one round on 8 of your rows took the loss on 2 others from 0.7000 to 0.4500: a score of +0.2500, accuracy "
            "50% → 80%. The task scores on rows of the coordinator's, which may say otherwise; a round takes about 30 s here",
        ),
        (
            {"score": -0.1, "loss_before": 0.7, "loss_after": 0.8},
            "one round on 8 of your rows took the loss on 2 others from 0.7000 to 0.8000: a score of -0.1000; such an update "
            "would earn nothing. The task scores on rows of the coordinator's, which may say otherwise; a round takes about "
            "30 s here",
        ),
        (
            {"steps": 3},
            "one round on your 8 rows; they are too few to hold any out for a score; a round takes about 30 s here (3 of its "
            "steps were tried)",
        ),
    ],
)
def test_a_trial_is_told_in_words(offer, trial, told):
    defaults = {"trained": 8, "held_out": 2, "steps": 30, "round_s": 30.0}
    assert offer(trial and Trial(**{**defaults, **trial}))._trial() == told


def test_the_first_client_is_told_what_there_is_to_earn(offer):
    state = TaskState.__new__(TaskState)
    object.__setattr__(state, "budget", 1000 * 10**18)
    object.__setattr__(state, "cumulative", 0)
    alone = offer(None, state=state, others=())
    assert alone._expected().startswith(
        "1,000 tokens are to be earned, and nobody else has joined yet: about 500 with one other client"
    )


@pytest.mark.slow
def test_a_client_reads_of_outputs_that_are_not_what_the_loss_takes_and_whom_to_tell(
    spec, offer, tmp_path, monkeypatch
):
    (tmp_path / "sigmoid_first.py").write_text(
        "import torch\n"
        "class Model(torch.nn.Linear):\n"
        "    def forward(self, x):\n"
        "        return super().forward(x).sigmoid()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Previewing(replace(spec, model="sigmoid_first:Model").to_json(), trust="sigmoid_first") as previewing:
        found = previewing.of(shard(40))
    made = offer(None, preview=found)
    assert made._doubtful() == (
        "the model's outputs lie between 0 and 1 whatever it learns, and the loss takes logits: no class is ever far from another; "
        "leave out the sigmoid at the end of forward: tell its coordinator, whose model it is"
    )
    assert offer(None)._doubtful() is None


@pytest.fixture
def offer():
    """Makes an offer of which only what is asked for is there."""

    def make(trial, **known):
        made = Offer.__new__(Offer)
        preview = Preview(
            parameters=6, update_bytes=513, base_model=bytes(32), steps=30, batch_size=8, strategy="fedavg", trial=trial
        )
        for name, value in {"preview": preview, **known}.items():
            object.__setattr__(made, name, value)
        return made

    return make
