"""Clients that are trained in one batch get what each gets alone, up to the last bits of a float."""

import numpy as np
import pytest

from clients.cohort import Job, train_together, why_not
from clients.together import trains_together
from clients.trainer import train
from fl.task.data import Dataset
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec


def spec_of(model="MLP", **changes):
    values = {"feature_shape": (6,), "num_classes": 3, "steps": 4, "batch_size": 8, "learning_rate": 0.1}
    return TaskSpec(model=f"fl.task.models:{model}", **{**values, **changes})


def jobs_of(*sizes):
    draw = np.random.default_rng(0)
    return [
        Job(features=draw.normal(size=(size, 6)).astype(np.float32), labels=draw.integers(0, 3, size), seed=place)
        for place, size in enumerate(sizes)
    ]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("mu", [0.0, 0.3])
@pytest.mark.parametrize(("model", "arguments"), [("MLP", {"hidden": (7, 5)}), ("LogisticRegression", {})])
def test_a_batch_of_clients_is_each_of_them_alone(model, arguments, mu, momentum):
    spec = spec_of(model, model_arguments=arguments, momentum=momentum)
    base, jobs = vector_of(spec.build_model()), jobs_of(30, 8, 3, 100)  # shards larger and smaller than a batch
    together = train_together(spec, base, jobs, proximal_mu=mu)
    for job, (vector, loss) in zip(jobs, together, strict=True):
        alone, own_loss = train(
            spec.build_model(), base, features=job.features, labels=job.labels, spec=spec, seed=job.seed, proximal_mu=mu
        )
        assert np.abs(alone - base).max() > 0.01
        np.testing.assert_allclose(vector, alone, atol=1e-5)
        assert loss == pytest.approx(own_loss, abs=1e-5)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (spec_of("LeNet", feature_shape=(1, 8, 8)), "the model is fl.task.models:LeNet, and only"),
        (
            spec_of(loss="torch.nn:MultiMarginLoss"),
            "the loss is torch.nn:MultiMarginLoss, and only the plain cross-entropy",
        ),
    ],
)
def test_what_cannot_be_trained_together_says_why(spec, why):
    assert why_not(spec).startswith(why)
    assert trains_together(spec, [], wanted="true") == (False, why_not(spec))


def test_a_trial_decides_and_says_what_it_measured():
    shards = [Dataset(features=job.features, labels=job.labels) for job in jobs_of(30, 30)]
    assert trains_together(spec_of(), shards, wanted="false") == (False, "not asked for")
    assert trains_together(spec_of(), shards, wanted="true") == (True, "asked for")
    _, told = trains_together(spec_of(steps=1), shards, wanted="auto")
    assert told.startswith("a trial took ")
    assert "s for 2 clients in one batch and" in told
