from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from clients.trainer import train
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec
from fl.task.trust import OWN


def trained(spec, rows, *, seed=0, **options):
    """A trained vector, from the spec's initial model."""
    model = spec.build_model()
    vector, _ = train(
        model, vector_of(model), features=rows.features, labels=rows.labels, spec=spec, seed=seed, **options
    )
    return vector


def test_the_same_seed_trains_the_same_bytes(spec, rows):
    assert trained(spec(), rows).tobytes() == trained(spec(), rows).tobytes()


def test_another_seed_trains_other_bytes(spec, rows):
    assert trained(spec(), rows).tobytes() != trained(spec(), rows, seed=1).tobytes()


def test_training_moves_no_global_random_state(spec, rows):
    before = (torch.random.get_rng_state(), np.random.get_state()[1].copy())
    trained(spec(), rows)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


def test_one_step_is_one_step_of_sgd(spec, rows):
    task_spec = spec(steps=1, batch_size=40, learning_rate=0.5)
    model = task_spec.build_model()
    base = vector_of(model)
    loss = nn.CrossEntropyLoss()(model(torch.from_numpy(rows.features)), torch.from_numpy(rows.labels))
    loss.backward()
    gradient = np.concatenate([parameter.grad.numpy().ravel() for parameter in model.parameters()])
    np.testing.assert_allclose(trained(task_spec, rows), base - 0.5 * gradient, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"proximal_mu": 0.5}])
def test_rows_that_pass_a_few_at_a_time_train_as_all_at_once(spec, rows, options):
    whole = trained(spec(steps=6, batch_size=10), rows, **options)
    for size in (1, 3, 10, 99):
        parts = trained(spec(steps=6, batch_size=10, rows_at_once=size), rows, **options)
        np.testing.assert_allclose(parts, whole, atol=1e-5)
    Counting.batches.clear()
    model, task_spec = Counting(3, 2), spec(steps=1, batch_size=10, rows_at_once=4)
    train(model, vector_of(model), features=rows.features, labels=rows.labels, spec=task_spec, seed=0)
    assert Counting.batches == [4, 4, 2]


def test_a_task_without_parts_says_what_it_always_said(spec):
    assert "rows_at_once" not in spec().to_json()
    told = spec(rows_at_once=2)
    assert TaskSpec.from_json(told.to_json(), trust=OWN) == told


class Counting(nn.Linear):
    """Counts how often and on how many rows it is called."""

    batches: ClassVar[list[int]] = []

    def forward(self, x):
        if self.training:
            Counting.batches.append(len(x))
        return super().forward(x)


@pytest.mark.parametrize(("steps", "batch_size"), [(1, 1), (7, 4), (3, 40), (5, 64)])
def test_work_is_counted_in_steps_of_full_batches(spec, rows, steps, batch_size):
    Counting.batches.clear()
    model, task_spec = Counting(3, 2), spec(steps=steps, batch_size=batch_size)
    train(model, vector_of(model), features=rows.features, labels=rows.labels, spec=task_spec, seed=0)
    assert Counting.batches == [batch_size] * steps  # a shard of 40 rows wraps round


def test_a_shard_of_one_row_trains(spec, rows):
    model, task_spec = spec().build_model(), spec()
    vector, loss = train(
        model, vector_of(model), features=rows.features[:1], labels=rows.labels[:1], spec=task_spec, seed=0
    )
    assert np.isfinite(vector).all()
    assert loss > 0


def test_the_proximal_term_pulls_towards_the_base(spec, rows):
    task_spec = spec(steps=30, learning_rate=0.2)
    base = vector_of(task_spec.build_model())
    free, held = trained(task_spec, rows), trained(task_spec, rows, proximal_mu=2.0)
    assert 0 < np.linalg.norm(held - base) < 0.7 * np.linalg.norm(free - base)


def test_momentum_and_learning_rate_are_the_specs(spec, rows):
    plain = trained(spec(), rows).tobytes()
    assert trained(spec(momentum=0.9), rows).tobytes() != plain
    assert trained(spec(learning_rate=0.2), rows).tobytes() != plain


def test_the_mean_loss_falls_with_the_steps(spec, rows):
    model = spec().build_model()
    base = vector_of(model)
    losses = [
        train(
            spec().build_model(), base, features=rows.features, labels=rows.labels,
            spec=spec(steps=steps, learning_rate=0.5, batch_size=40), seed=0,
        )[1]
        for steps in (1, 20)
    ]  # fmt: skip
    assert losses[1] < losses[0]


def test_the_base_is_what_is_trained_from_whatever_the_model_held(spec, rows):
    task_spec = spec()
    base = vector_of(task_spec.build_model())
    model = task_spec.build_model()
    with torch.no_grad():
        model.weight.fill_(9)
    vector, _ = train(model, base, features=rows.features, labels=rows.labels, spec=task_spec, seed=0)
    np.testing.assert_array_equal(vector, trained(task_spec, rows))
