"""Training with noise on rows: what one row can move, how much noise there is, and that nobody can draw it again."""

import numpy as np
import pytest
import torch
from scipy.stats import binom, kstest

from clients.cohort import why_not
from clients.privacy import dpsgd
from clients.privacy.consent import seen
from clients.privacy.dpsgd import drawn_rows
from clients.privacy.spent import check_rows, over_limit, spent_line
from clients.trainer import train
from fl.errors import ConfigError
from fl.privacy.budget import Sampling, planned
from fl.privacy.terms import PrivacyTerms
from fl.task.model_vector import vector_of

SILENT = "0.000000001"  # a multiplier that leaves the clipped mean to be seen


@pytest.fixture
def trained(spec, rows):
    """What one round of DP-SGD moves the spec's model by, shape (P,)."""

    def run(*, data=rows, multiplier=SILENT, clip="1", mu=0.0, least=40, **options):
        terms = PrivacyTerms(noise="rows", multiplier=multiplier, clip=clip, rows=least)
        told = spec(**{"steps": 1, "batch_size": 40, "learning_rate": 0.5, **options, "privacy": terms.to_spec()})
        model = told.build_model()
        base = vector_of(model)
        made, _ = train(model, base, features=data.features, labels=data.labels, spec=told, seed=0, proximal_mu=mu)
        return made.astype(np.float64) - base

    return run


def gradients(spec, rows):
    """Of each row alone, shape (N, P)."""
    model = spec().build_model()
    found = []
    for x, y in zip(torch.from_numpy(rows.features), torch.from_numpy(rows.labels), strict=True):
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(x[None]), y[None]).backward()
        found.append(np.concatenate([parameter.grad.numpy().ravel() for parameter in model.parameters()]))
    return np.array(found)


@pytest.mark.parametrize("clip", [100.0, 0.3])
def test_a_step_moves_along_the_mean_of_gradients_that_are_held_to_the_clip(trained, spec, rows, clip):
    alone = gradients(spec, rows)
    norms = np.linalg.norm(alone, axis=1, keepdims=True)
    held = alone * np.minimum(1, clip / norms)
    assert (norms > clip).any() == (clip < 1)
    np.testing.assert_allclose(trained(clip=str(clip)), -0.5 * held.mean(0), atol=1e-6)


def test_one_row_moves_a_step_by_the_clip_at_most(trained, rows):
    from dataclasses import replace  # noqa: PLC0415

    wild = replace(rows, features=np.concatenate([rows.features[:39], rows.features[39:] * 1e6]))
    apart = np.linalg.norm(trained(clip="0.01") - trained(clip="0.01", data=wild))
    assert apart <= 2 * 0.5 * 0.01 / 40 * 1.001
    ruined = replace(rows, features=np.concatenate([rows.features[:39], np.full_like(rows.features[39:], np.nan)]))
    assert np.isfinite(trained(data=ruined)).all()


def test_rows_that_are_taken_some_at_a_time_move_it_alike(trained, monkeypatch):
    whole = trained(steps=3)
    monkeypatch.setattr(dpsgd, "_MOST_BYTES", 1)
    np.testing.assert_allclose(trained(steps=3), whole, atol=1e-6)


@pytest.mark.parametrize("options", [{"momentum": 0.9}, {"optimizer": "adam"}])
def test_noise_comes_before_the_optimizers_memory(trained, options):
    made = trained(steps=3, multiplier="5", **options)
    assert np.isfinite(made).all()
    assert made.any()


def test_the_noise_of_a_step_is_the_multiplier_times_the_clip(trained):
    # 400 values of 50 rounds; what the rows add is a hundredth of it.
    drawn = np.concatenate([trained(multiplier="300", clip="0.5") for _ in range(50)])
    scale = 0.5 * 300 * 0.5 / 40
    assert kstest(drawn / scale, "norm").pvalue > 1e-6


def test_nobody_trains_the_same_twice(trained):
    assert not np.array_equal(trained(multiplier="1"), trained(multiplier="1"))


def test_each_row_is_drawn_with_the_same_chance_and_a_step_may_draw_none():
    counts = np.zeros(50)
    sizes = []
    for _ in range(2000):
        drawn = drawn_rows(50, rate=0.1)
        counts[drawn] += 1
        sizes.append(len(drawn))
    low, high = binom.ppf([1e-8, 1 - 1e-8], 2000, 0.1)
    assert ((low < counts) & (counts < high)).all()
    assert np.var(sizes) == pytest.approx(50 * 0.1 * 0.9, rel=0.3)
    assert drawn_rows(50, rate=1.0).tolist() == list(range(50))
    assert not len(drawn_rows(50, rate=0.0))


def test_a_step_that_draws_nobody_is_noise_alone(trained, monkeypatch):
    monkeypatch.setattr(dpsgd, "drawn_rows", lambda count, *, rate: np.array([], dtype=np.int64))
    assert np.abs(trained()).max() < 1e-8
    assert np.abs(trained(multiplier="1")).max() > 0.001


def test_fedprox_pulls_behind_the_noise(trained, monkeypatch):
    free, pulled = (trained(steps=4, mu=mu) for mu in (0.0, 1.0))
    assert np.linalg.norm(pulled) < np.linalg.norm(free)


def test_training_moves_no_global_random_state(trained):
    before = torch.random.get_rng_state()
    trained(multiplier="1")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_such_clients_are_not_trained_in_one_batch(spec):
    terms = PrivacyTerms(noise="rows", multiplier="1", rows=40)
    told = spec(model="fl.task.models:LogisticRegression", model_arguments={}, privacy=terms.to_spec())
    assert why_not(told) == "the task has noise on rows, whose gradients are taken row by row"


def test_a_client_with_too_few_rows_or_an_app_of_its_own_is_told_before_it_stakes():
    terms = PrivacyTerms(noise="rows", multiplier="1", rows=100)
    check_rows(terms, rows=100)
    check_rows(PrivacyTerms(), rows=1, own_app="mine:app")
    with pytest.raises(ConfigError, match="you have 99 rows, and this task's noise hides each of 100 or more"):
        check_rows(terms, rows=99)
    with pytest.raises(
        ConfigError, match="app is mine:app, and this task's noise is in the steps of Fairshare's own trainer"
    ):
        check_rows(terms, rows=100, own_app="mine:app")


def test_a_client_with_more_rows_spends_less_and_its_limit_is_kept_by_its_own():
    terms = PrivacyTerms(noise="rows", multiplier="1", rows=100)
    few, many = (Sampling(steps=10, batch=20, rows=rows) for rows in (100, 2000))
    limit = planned(terms, rounds=2, sampling=few)
    assert over_limit(terms, limit * 0.99, rounds=1, sampling=few)
    assert not over_limit(terms, limit * 0.99, rounds=1, sampling=many)
    told = spent_line(terms, rounds=2, sampling=many)
    assert (
        told == f"; privacy spent of each of your 2,000 rows: ε {planned(terms, rounds=2, sampling=many):.2f} at δ 1e-5"
    )


def test_an_owner_is_told_what_noise_on_rows_spends_and_that_it_is_its_own_nodes_word():
    terms = PrivacyTerms(noise="rows", multiplier="1.5", clip="0.5", rows=100)
    told = seen({"privacy": terms.to_spec(), "steps": 10, "batch_size": 20}, rounds=3, rows=400)
    spent = planned(terms, rounds=3, sampling=Sampling(steps=10, batch=20, rows=400))
    assert told.startswith(
        f"noise: in each step this node holds the gradient of each row to 0.5 and adds 1.5 times that, for ε {spent:.2f} at δ 1e-5 of "
        "each of your 400 rows over 3 rounds"
    )
    assert "that it does so nobody else can check" in told
    assert told.endswith("coordinator and evaluators see every update with its noise")
