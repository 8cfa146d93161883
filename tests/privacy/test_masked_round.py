"""A masked round against the same integers in the open, through drop-outs at every step; and each lie in it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_party import Party, party, wallet

from fl.privacy.checks import check_transcript
from fl.privacy.graph import by_number
from fl.privacy.masked_round import added, score_round
from fl.privacy.seeds import BadSeed, split
from fl.privacy.terms import PrivacyTerms

STEPS = ["share", "mask", "agree", "unmask", "tell", "open"]


@st.composite
def parties(draw):
    """Up to seven clients with random updates, stakes, lengths and drop-outs, no more than a threshold of two thirds takes."""
    clients = draw(st.integers(4, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.sampled_from([1, 7, 33]))
    vectors = [rng.normal(size=size) * draw(st.sampled_from([0.0, 1e-9, 0.02, 1.0, 400.0])) for _ in range(clients)]
    stakes = [draw(st.integers(1, 10**24)) for _ in range(clients)]
    gone = draw(st.lists(st.tuples(st.sampled_from(STEPS[1:]), st.integers(0, clients - 1)), max_size=1))
    silent = {step: [place] for step, place in gone}
    return Party(
        vectors=vectors,
        stakes=stakes,
        silent=silent,
        terms=PrivacyTerms(masked=True, projections=8),
        median=draw(st.booleans()),
        number=draw(st.integers(1, 2**31)),
    )


@settings(max_examples=25, deadline=None)
@given(played=parties())
def test_sum_and_scores_are_those_of_the_open_round_to_the_integer(played):
    played.whole()
    contributions = played.open_contributions()
    np.testing.assert_array_equal(played.summed.total, sum(contributions.values()))
    found = played.checked()
    expected = played.open_scores()
    told = {account: score for account, score in found.scores.items() if account not in found.faults}
    assert told == {account: expected[account] for account in told}
    assert found.liars == ()
    # Whoever loses its place is one that fell silent, or a neighbour of two that did.
    if not played.silent:
        assert not found.faults


@pytest.mark.parametrize("size", [1, 33])
@pytest.mark.parametrize("length", [1e-19, 1e-15, 1.04900117e-10, 3e-8])
def test_an_update_that_is_hardly_there_is_no_longer_than_it_stated(length, size):
    vectors = [*np.zeros((3, size)), np.full(size, length / np.sqrt(size))]
    for terms in (PrivacyTerms(masked=True, projections=8), PrivacyTerms(masked=True, projections=64)):
        played = Party(vectors=vectors, stakes=[1] * 4, terms=terms, median=True)
        played.whole()
        assert not played.checked().faults


@pytest.mark.parametrize("step", STEPS)
def test_a_third_that_falls_silent_at_a_step_changes_nobody_elses_pay(step):
    gone = [0, 3, 7]
    played = party(10, silent={step: gone}).whole()
    found, expected = played.checked(), played.open_scores()
    lost = {played.accounts[place] for place in gone}
    for account in played.accounts:
        if account not in lost:
            assert found.scores[account] == expected[account]
    inside = lost & set(found.scores)
    assert inside == (set() if step in ("share", "mask") else lost)
    if step in ("agree", "unmask", "tell"):
        # Two that are silent share a mask that nobody tells of.
        assert set(found.faults) == lost


def test_one_that_falls_silent_once_its_words_are_in_is_paid_by_what_the_others_tell():
    played = party(6, silent={"agree": [2]}).whole()
    assert played.checked().scores == played.open_scores()
    assert played.own_scores().items() <= played.open_scores().items()


def test_the_scores_of_a_sparse_graph_are_those_of_the_open_round():
    played = party(
        40, size=5, terms=PrivacyTerms(masked=True, neighbours=8, projections=4), silent={"mask": [5]}
    ).whole()
    assert {len(others) for others in played.setting.graph.values()} == {8}
    assert played.checked().scores == played.open_scores()


def test_at_least_half_of_everybodys_pairs_stay_closed():
    played = party(9).whole()
    opened = [end for pair in played.said.opened for end in pair]
    assert all(opened.count(account) <= 4 for account in played.accounts)
    assert len(played.said.opened) >= 12  # of 36: nearly a half


def shifted(partner, *, by):
    """A telling whose value along the direction is off for one partner."""

    def change(played, told):
        other = played.accounts[partner]
        value, sign = told.values[other].copy(), 1 if added(told.account, other) else -1
        value[:1] -= np.array([sign * by], dtype=np.int64).view(np.uint64)
        return replace(told, values={**told.values, other: value})

    return change


def test_a_client_that_lies_about_a_pair_is_found_by_opening_it_and_its_partner_is_paid():
    played = party(6, tells={1: shifted(4, by=10**9)}).whole()
    found, expected = played.checked(), played.open_scores()
    liar = played.accounts[1]
    assert found.liars == (liar,)
    assert found.scores == {**expected, liar: 0}
    assert "is not what the opened mask comes to" in found.faults[liar]


def test_one_that_lies_about_all_its_pairs_takes_nobody_with_it():
    def all_off(played, told):
        return replace(told, values={other: value + np.uint64(1 << 30) for other, value in told.values.items()})

    played = party(5, tells={1: all_off}).whole()
    found, expected = played.checked(), played.open_scores()
    assert found.liars == (played.accounts[1],)
    assert found.scores == {**expected, played.accounts[1]: 0}


def test_two_that_agree_on_a_lie_are_both_found_when_their_pair_is_drawn():
    outcomes = []
    for number in range(1, 9):
        played = party(6, number=number, tells={1: shifted(4, by=10**9), 4: shifted(1, by=-(10**9))}).whole()
        ring = {played.accounts[1], played.accounts[4]}
        found, expected = played.checked(), played.open_scores()
        drawn = any(set(pair) == ring for pair in played.drawn.pairs)
        outcomes.append(drawn)
        assert set(found.liars) == (ring if drawn else set())
        if not drawn:  # and otherwise one has handed its score to the other, no more
            assert sum(found.scores[account] for account in ring) - sum(expected[account] for account in ring) in (
                -1,
                0,
                1,
            )
    assert any(outcomes)


def test_a_score_beyond_its_bound_is_none():
    far = 2**59
    played = party(6, tells={1: shifted(4, by=far), 4: shifted(1, by=-far)}).whole()
    found = played.checked()
    ring = {played.accounts[1], played.accounts[4]}
    assert all(found.scores[account] == 0 for account in ring)
    assert all(
        "more than an update of its length can have" in found.faults[account] for account in ring - set(found.liars)
    )


def test_an_update_longer_than_it_stated_scores_nothing():
    played = party(6, size=400, long={2: 4}).whole()
    found, account = played.checked(), played.accounts[2]
    assert found.faults == {account: "its update is longer than it stated"}
    assert found.scores[account] == 0
    assert found.too_long == (account,)


def test_two_that_fall_silent_together_hide_no_length():
    honest = party(7, size=400, silent={"tell": [2, 3]}).whole().checked()
    assert not honest.too_long
    played = party(7, size=400, silent={"tell": [2, 3]}, long={2: 40}).whole()
    assert set(played.checked().too_long) == {played.accounts[2], played.accounts[3]}


def test_a_pair_that_nobody_opens_hides_no_length():
    played = party(7, size=400, long={2: 40}).whole()
    pair = next(pair for pair in played.drawn.pairs if played.accounts[2] in pair)
    del played.said.opened[pair]
    assert played.checked().too_long == (played.accounts[2],)


def test_a_pair_that_nobody_opens_costs_both_ends_their_score():
    played = party(6).whole()
    pair = played.drawn.pairs[0]
    del played.said.opened[pair]
    found = score_round(
        played.words, roots=played.roots, direction=played.direction, transcript=played.said, setting=played.setting
    )
    assert set(found.faults) == set(pair)
    assert "was drawn, and nobody opened it" in found.faults[pair[0]]


# What a coordinator could change in what it publishes, and what an evaluator then says.
def another_length(played):
    account = played.accounts[0]
    commitment = played.said.commitments[account]
    played.said.commitments[account] = replace(commitment, length=commitment.length + 1)


def a_strangers_commitment(played):
    stranger = wallet(77).address
    played.said.commitments[stranger] = replace(played.said.commitments[played.accounts[0]], account=stranger)


def another_share(played):
    account = played.accounts[0]
    sharing = played.said.sharings[account]
    holder = next(iter(sharing.shares))
    played.said.sharings[account] = replace(sharing, shares={**sharing.shares, holder: (bytes(32),) * 3})


def another_own_seed(played):
    played.said.own[played.accounts[0]] = bytes(16)


def a_lost_client_that_is_not_lost(played):
    account = played.accounts[0]
    played.said.pairs[account] = played.members[account].secrets.pairs


def another_pair_secret(played):
    played.said.pairs[played.accounts[5]] = bytes(16)


def no_pair_secret(played):
    del played.said.pairs[played.accounts[5]]


def too_few_agreements(played):
    for account in by_number(played.said.agreements)[:3]:
        del played.said.agreements[account]


def an_agreement_of_somebody_else(played):
    account, other = played.accounts[:2]
    played.said.agreements[account] = played.said.agreements[other]


def another_told_value(played):
    account = played.accounts[0]
    told = played.said.tellings[account]
    other = next(iter(told.values))
    played.said.tellings[account] = replace(told, values={**told.values, other: told.values[other] + np.uint64(1)})


def a_missing_told_pair(played):
    account = played.accounts[0]
    told = played.said.tellings[account]
    values = dict(told.values)
    values.popitem()
    played.said.tellings[account] = replace(told, values=values)


def another_opened_key(played):
    pair = played.drawn.pairs[0]
    played.said.opened[pair] = (pair[0], bytes(32))


def a_pair_that_was_not_drawn(played):
    drawn = set(played.drawn.pairs)
    inside = by_number(played.words)
    pair = next(
        (account, other)
        for account in inside
        for other in inside
        if added(account, other) and (account, other) not in drawn
    )
    played.said.opened[pair] = (pair[0], bytes(32))


LIES = {
    another_length: "is signed by",
    a_strangers_commitment: "it has no weight in this round",
    another_share: "is signed by",
    another_own_seed: "the seed of its own mask is not the one that it committed to",
    a_lost_client_that_is_not_lost: "both its seeds are open, which nobody may ask for",
    another_pair_secret: "the secret of its pairs is not the one that it committed to",
    no_pair_secret: "its words are not in, and the secret of its pairs is not here",
    too_few_agreements: "of its holders agreed whose words are in, 5 are needed",
    an_agreement_of_somebody_else: "is signed by",
    another_told_value: "is signed by",
    a_missing_told_pair: "what it tells is not of its pairs whose words are in",
    another_opened_key: "is not the one that it signed",
    a_pair_that_was_not_drawn: "is open, and was not drawn",
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_transcript_with_a_lie_in_it_is_refused(lie):
    played = party(6, silent={"mask": [5]}).whole()
    played.checked()  # it is in order before
    lie(played)
    with pytest.raises(BadSeed, match=LIES[lie]):
        check_transcript(played.said, survivors=by_number(played.words), question=played.asked, setting=played.setting)


def test_shares_below_the_threshold_give_nothing_back():
    from fl.privacy.seeds import joined  # noqa: PLC0415

    secret = bytes(range(16))
    shares = split(secret, holders=6, threshold=5)
    assert joined(shares[1:]) == secret
    assert joined(shares[:4]) != secret
