"""What a spec may say of privacy, and what it may not."""

import pytest

from fl.errors import ConfigError
from fl.privacy.terms import PrivacyTerms
from fl.task.bounds import check_bounds

MASKED = PrivacyTerms(masked=True).to_spec()
NOISY = PrivacyTerms(noise="client", multiplier="2").to_spec()
ROWS = {"privacy": PrivacyTerms(noise="rows", multiplier="2", rows=50).to_spec(), "steps": 20, "batch_size": 32}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threshold": -1}, "privacy.threshold is -1; set a whole number of 0 or more"),
        ({"masked": "yes"}, "privacy.masked is yes; set true or false"),
        ({"projections": 5000}, "privacy.projections is 5000; set 1024 or less"),
        ({"noise": "loud"}, "privacy.noise is 'loud'; set none, client or rows"),
        ({"noise": "client"}, "privacy.noise is client and privacy.multiplier 0; set both, or neither"),
        ({"multiplier": "much"}, "privacy.multiplier is much; write a decimal number"),
        ({"delta": "1"}, "privacy.delta is 1; set it above 0 and below 1"),
        ({"noise": "rows", "multiplier": "1"}, "privacy.noise is rows and privacy.rows 0; set both, or neither"),
        ({"rows": 5}, "privacy.noise is none and privacy.rows 5; set both, or neither"),
        ({"clip": "0"}, "privacy.clip is 0; set it above 0"),
        (
            {"masked": True, "noise": "client", "multiplier": "1"},
            "privacy.projections is 64; set 0 under privacy.noise=client",
        ),
    ],
)
def test_terms_that_make_no_sense_are_refused(changes, said):
    with pytest.raises(ConfigError) as caught:
        PrivacyTerms(**changes)
    assert said in str(caught.value)


def test_a_spec_holds_them_and_an_open_one_says_nothing():
    assert PrivacyTerms().to_spec() is None
    assert PrivacyTerms.of(None) == PrivacyTerms()
    assert PrivacyTerms.of(MASKED) == PrivacyTerms(masked=True)
    with pytest.raises(ConfigError, match=r"has unknown keys \['mask'\]; update fairshare on this machine"):
        PrivacyTerms.of({"mask": True})
    with pytest.raises(ConfigError, match="the task spec's privacy is 7"):
        PrivacyTerms.of(7)


def test_a_threshold_lies_between_half_and_all_of_the_holders():
    assert [PrivacyTerms().threshold_of(holders) for holders in (3, 4, 10, 32)] == [3, 3, 7, 22]
    with pytest.raises(ConfigError, match="privacy.threshold is 9 and a client has 4 holders of its seeds"):
        PrivacyTerms(threshold=9).threshold_of(4)
    with pytest.raises(ConfigError, match="privacy.threshold is 5 of 10 holders; set more than half of them"):
        PrivacyTerms(threshold=5).threshold_of(10)


def test_a_client_has_few_neighbours_among_many():
    assert [PrivacyTerms().degree(clients) for clients in (4, 32, 33, 1000)] == [3, 31, 32, 80]
    assert PrivacyTerms(neighbours=10).degree(1000) == 10


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"privacy": MASKED, "strategy": "krum"},
            "needs each client's update, and privacy=masked shows their sum alone; set strategy=fedavg",
        ),
        ({"privacy": MASKED, "scorer": "shapley"}, "privacy=masked shows inner products alone; set scorer=direction"),
        (
            {"privacy": MASKED, "duplicate_cosine": "0.9"},
            "scorer.duplicate_cosine compares updates, which privacy=masked hides",
        ),
        (ROWS | {"training": "app"}, "the noise is in the steps of Fairshare's own trainer"),
        (ROWS | {"training": "together"}, "privacy.noise=rows and task.training='together'"),
        (ROWS | {"batch_size": 51}, "task.batch_size is 51 and privacy.rows 50: every step would draw all rows"),
        ({"privacy": ROWS["privacy"], "steps": 20}, "privacy.noise=rows and no task.batch_size in the spec"),
        ({"privacy": NOISY}, "privacy.noise=client needs task.length=capped"),
    ],
)
def test_a_spec_of_what_masks_and_noise_cannot_do_is_refused(changes, said):
    with pytest.raises(ConfigError) as caught:
        check_bounds(changes)
    assert said in str(caught.value)
