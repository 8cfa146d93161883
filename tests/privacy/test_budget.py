"""What noise spends, and that it is there."""

import math
import sys

import numpy as np
import pytest
from masked_party import party
from scipy.stats import kstest

from fl.errors import ConfigError
from fl.privacy.budget import Sampling, epsilon, masked_multiplier, multiplier_for, planned
from fl.privacy.masked_round import round_multiplier
from fl.privacy.noise import noised, normal, pair_noise
from fl.privacy.terms import PrivacyTerms
from fl.privacy.transcript import cap_of, own_deviation

TERMS = PrivacyTerms(masked=True, noise="client", multiplier="3", projections=0)
OPEN = PrivacyTerms(noise="client", multiplier="3")


def test_epsilon_is_that_of_the_gaussian_mechanism():
    # Balle and Wang 2018: the exact δ of one Gaussian mechanism; Rényi accounting is above it, and not by much.
    def exact(eps, sigma):
        cdf = lambda x: 0.5 * math.erfc(-x / math.sqrt(2))  # noqa: E731
        return cdf(1 / (2 * sigma) - eps * sigma) - math.exp(eps) * cdf(-1 / (2 * sigma) - eps * sigma)

    told = epsilon([2.0] * 4, delta=1e-5)  # one of multiplier 1
    assert exact(told, 1.0) <= 1e-5
    assert exact(told * 0.85, 1.0) > 1e-5
    assert epsilon([], delta=1e-5) == 0


def test_the_multiplier_meets_its_budget_and_is_the_smallest():
    found = float(multiplier_for(8.0, rounds=10, terms=OPEN))
    assert epsilon([found] * 10, delta=1e-5) <= 8.0 < epsilon([found * 0.99] * 10, delta=1e-5)
    assert float(multiplier_for(8.0, rounds=10, terms=TERMS)) == pytest.approx(found * math.sqrt(2), rel=0.01)


def test_a_budget_that_the_rounds_cannot_meet_says_how_many_it_allows():
    with pytest.raises(
        ConfigError, match=r"privacy.epsilon is 0.0003 .* it allows 0 rounds and not 3; set a larger epsilon"
    ):
        multiplier_for(0.0003, rounds=3, terms=OPEN)


ROWS = PrivacyTerms(noise="rows", multiplier="1.5", rows=200)
DRAWN = Sampling(steps=20, batch=32, rows=200)


def test_noise_on_rows_spends_what_its_steps_do_and_less_where_a_step_draws_fewer():
    whole = Sampling(steps=20, batch=200, rows=200)
    assert planned(ROWS, rounds=3, sampling=whole) == epsilon([1.5] * 60, delta=1e-5)
    spent = [planned(ROWS, rounds=3, sampling=Sampling(steps=20, batch=32, rows=rows)) for rows in (200, 400, 4000)]
    assert planned(ROWS, rounds=3, sampling=whole) > 3 * spent[0]
    assert spent == sorted(spent, reverse=True)
    assert planned(ROWS, rounds=0, sampling=DRAWN) == 0


def test_noise_on_rows_spends_what_dp_accounting_says():
    # Abadi et al. 2016: q = 0.01, σ = 4, 10,000 steps; their moments accountant gives ε = 1.26 at δ = 10^-5.
    terms = PrivacyTerms(noise="rows", multiplier="4", rows=10_000)
    found = planned(terms, rounds=100, sampling=Sampling(steps=100, batch=100, rows=10_000))
    assert 0.8 < found <= 1.26


def test_a_specs_sampling_is_that_of_whoever_has_fewest_rows_or_of_ones_own():
    told = {"privacy": ROWS.to_spec(), "steps": 20, "batch_size": 32}
    assert Sampling.of(told) == DRAWN
    assert Sampling.of(told, rows=5000).rate == 32 / 5000
    assert Sampling.of({"privacy": OPEN.to_spec()}) is None


def test_the_multiplier_of_noise_on_rows_meets_its_budget_and_is_the_smallest():
    found = float(multiplier_for(4.0, rounds=5, terms=ROWS, sampling=DRAWN))

    def spent(multiplier):
        terms = PrivacyTerms(noise="rows", multiplier=f"{multiplier:.4f}", rows=200)
        return planned(terms, rounds=5, sampling=DRAWN)

    assert spent(found) <= 4.0 < spent(found * 0.98)


@pytest.mark.parametrize(
    ("target", "sampling", "said"),
    [
        (0.02, Sampling(steps=50, batch=100, rows=200), "it allows 3 rounds and not 4; set a larger epsilon, or task.rounds=3, or "
         "task.steps=45 (100 of 200 rows a step)"),
        (0.002, DRAWN, "it allows 0 rounds and not 4; set a larger epsilon: 32 of 200 rows a step are too many; set a "
         "smaller task.batch_size"),
    ],
)  # fmt: skip
def test_a_budget_that_the_steps_cannot_meet_says_how_many_it_allows(target, sampling, said):
    with pytest.raises(ConfigError) as caught:
        multiplier_for(target, rounds=4, terms=ROWS, sampling=sampling)
    assert said in str(caught.value)


def test_without_the_accountant_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    with pytest.raises(ConfigError, match=r"pip install 'fairshare\[privacy\]'"):
        epsilon([1.2345], delta=1e-5)


def test_the_noise_of_an_update_is_normal_and_its_signal_is_held_to_the_clip():
    assert kstest(normal(20_000), "norm").pvalue > 1e-6
    vector = np.full(10_000, 5.0)
    found = noised(vector, clip=1.0, deviation=0.5)
    assert found.mean() == pytest.approx(0.01, abs=0.03)
    assert found.std() == pytest.approx(0.5, rel=0.05)


def test_the_noise_of_a_pair_is_normal_and_the_same_from_its_seed():
    drawn = [pair_noise(number.to_bytes(32, "big"), deviation=10**12) for number in range(1500)]
    assert kstest(np.array(drawn) / 1e12, "norm").pvalue > 1e-6
    assert drawn[:2] == [pair_noise(number.to_bytes(32, "big"), deviation=10**12) for number in range(2)]


def test_a_masked_round_with_noise_is_checked_and_its_scores_are_noisy_but_their_sum_is_not():
    played = party(8, size=30, terms=TERMS, median=False, cap=cap_of(TERMS, norm_cap="10")).whole()
    found = played.checked()
    assert not found.faults
    assert not found.liars
    exact = played.open_scores()
    assert found.scores == played.own_scores()  # which know their own noise, and that of their pairs
    assert all(found.scores[account] != exact[account] for account in exact)
    # The pairs' noise cancels: the scores add up to what the noisy sum moves along the direction.
    along = float(played.summed.step @ played.direction.decode()) * 2**40
    assert sum(found.scores.values()) == pytest.approx(along, rel=1e-3, abs=2**20)


def test_the_sum_has_the_noise_that_the_largest_client_hides_in():
    played = party(9, size=4000, terms=TERMS, median=False, cap=cap_of(TERMS, norm_cap="10")).until_sum()
    plain = sum(played.open_contributions().values())
    noise = (played.summed.total - plain).astype(float)
    length = played.said.length(played.setting)
    own = own_deviation(played.said.roster, played.setting, length_q64=length)
    assert noise.std() == pytest.approx(own * 3, rel=0.05)  # nine clients'
    largest = max(played.stakes) / sum(played.stakes)
    from fl.privacy.words import update_scale  # noqa: PLC0415

    assert noise.std() >= 0.95 * 3 * largest * length / 2**64 * 2.0 ** update_scale(length)


def test_a_round_tells_no_more_than_was_planned():
    found = []
    for number in range(1, 5):
        played = party(10, size=3, terms=TERMS, median=False, cap=cap_of(TERMS, norm_cap="10"), number=number).whole()
        found.append(round_multiplier(played.said, survivors=list(played.words), setting=played.setting))
    assert all(multiplier > 3 / math.sqrt(2) for multiplier in found)
    assert epsilon(found, delta=1e-5) <= planned(TERMS, rounds=4)


def test_without_pairs_a_score_tells_as_much_as_its_own_noise_lets_it():
    assert masked_multiplier(["a", "b"], sensitivities={"a": 1.0, "b": 2.0}, own=4.0, pairs={}) == pytest.approx(1.0)
    assert masked_multiplier([], sensitivities={}, own=1.0, pairs={}) == math.inf


def test_a_client_with_noise_that_states_a_length_is_refused():
    from dataclasses import replace  # noqa: PLC0415

    from fl.privacy.checks import check_commitment  # noqa: PLC0415
    from fl.privacy.seeds import BadSeed  # noqa: PLC0415

    played = party(5, size=3, terms=TERMS, median=False).until_words()
    said = replace(played.said.commitments[played.accounts[0]], length=1)
    with pytest.raises(BadSeed, match="it states a length, which is none of anybody's business under noise"):
        check_commitment(said, played.setting)
