"""What a client does not say in a masked round, whoever asks."""

import json
from dataclasses import replace

import numpy as np
import pytest
from masked_party import party, wallet

from clients.errors import BrokenLedger
from clients.privacy.consent import seen, sent, signed
from clients.privacy.member import Member, NotSaid
from clients.privacy.own_score import OwnScore, OwnScores
from clients.privacy.spent import check_limit, limit_of, over_limit, spent_line
from fl.codec import Blocks
from fl.errors import ConfigError
from fl.privacy.budget import planned
from fl.privacy.steps import PeerKeys, sealed_of
from fl.privacy.terms import PrivacyTerms

MASKED = PrivacyTerms(masked=True)
NOISY = PrivacyTerms(noise="client", multiplier="3")


@pytest.fixture
def played():
    """A whole round of five, and its first client at each point of it."""
    return party(5, size=6).whole()


def keys(played, account):
    return [PeerKeys.of(played.said.commitments[peer], reader=account) for peer in played.setting.graph[account]]


def again(played, account):
    """The client as it was when it had committed."""
    whole = played.members[account]
    return Member(account=account, secrets=whole.secrets, vector=np.ones(6), length=whole.length)


def test_what_a_client_keeps_is_read_back_as_it_was(played):
    member = played.members[played.accounts[0]]
    assert Member.from_bytes(member.to_bytes()).to_bytes() == member.to_bytes()
    before = again(played, played.accounts[0])
    np.testing.assert_array_equal(Member.from_bytes(before.to_bytes()).vector, np.ones(6))


def refused(said, call):
    with pytest.raises(NotSaid) as caught:
        call()
    assert said in str(caught.value)
    assert str(caught.value).endswith("; nothing was signed or shown")


def test_shares_go_to_nobody_who_is_not_enrolled_or_has_not_signed_its_key(played):
    account, setting = played.accounts[0], played.setting
    member, roster, sign = again(played, account), played.said.roster, played.signer(account)

    def share(roster, peers):
        return lambda: member.share(roster, peers, setting=setting, sign=sign)

    peers = keys(played, account)
    stranger = wallet(50).address
    refused("who has no weight in this round by the chain", share({**roster, stranger: 1}, peers))
    few = {peer: roster[peer] for peer in sorted(roster)[:2]}
    refused("3 hide each other", share(few, peers))
    refused("it does not have what this client stated", share({**roster, account: roster[account] + 1}, peers))
    refused("are not those of this client's neighbours who committed", share(roster, peers[1:]))
    forged = [replace(peers[0], mask=bytes(32)), *peers[1:]]
    refused("is signed by", share(roster, forged))
    longer = {**roster, peers[0].account: roster[peers[0].account] + 1}
    refused("its length in the roster is not the one that it signed", share(longer, peers))
    after, said, sealed = member.share(roster, peers, setting=setting, sign=sign)
    _, again_said, again_sealed = after.share(roster, peers, setting=setting, sign=sign)
    assert (again_said, again_sealed) == (said, sealed)  # a coordinator that lost its answer gets the same one
    refused(
        "asked to share seeds with another roster than before",
        lambda: after.share(longer, peers, setting=setting, sign=sign),
    )


def test_words_are_made_once_and_for_shares_that_open(played):
    account, setting = played.accounts[0], played.setting
    member = again(played, account)
    refused("asked for words before shares, or for words again", lambda: member.mask({}, setting=setting))
    shared, _, _ = member.share(played.said.roster, keys(played, account), setting=setting, sign=played.signer(account))
    refused(
        "0 of 4 neighbours shared their seeds, and 3 have to hide an update", lambda: shared.mask({}, setting=setting)
    )
    refused("who is not a neighbour that committed", lambda: shared.mask({wallet(50).address: b""}, setting=setting))
    refused(
        "its sealed shares do not open with the key that it signed",
        lambda: shared.mask({played.accounts[1]: bytes(60)}, setting=setting),
    )
    refused("or for words again", lambda: played.members[account].mask({}, setting=setting))


def test_a_coordinator_with_two_accounts_cannot_be_all_who_hide_an_update():
    """It passes on the shares of its own two accounts alone; of everybody else's masks none would be in the words."""
    played = party(12, size=6).until_words()
    victim, *others = played.accounts
    setting, accomplices = played.setting, others[:2]
    shared, _, _ = again(played, victim).share(
        played.said.roster, keys(played, victim), setting=setting, sign=played.signer(victim)
    )
    for few in (accomplices, others[:7]):
        refused(
            f"{len(few)} of 11 neighbours shared their seeds, and 8 have to hide an update",
            lambda few=few: shared.mask(sealed_for(played, few, victim), setting=setting),
        )
    after, _, _ = shared.mask(sealed_for(played, others[:8], victim), setting=setting)
    assert len(after.partners) == 8


def test_agreements_count_of_those_whose_masks_stay_in_the_words():
    """Nine agree, but the masks of some are not in the words, or their own words are not in: they hide nothing."""
    played = party(12, size=6).until_sum()
    victim, *others = played.accounts
    setting, member = played.setting, played.members[victim]
    without = replace(member, partners=tuple(others[:7]))
    nine = {account: played.said.agreements[account] for account in [*others[2:10], victim]}
    refused(
        "6 holders of this client's seeds agreed whose words are in, 9 are needed",
        lambda: without.unmask(nine, silent=[], setting=setting),
    )
    assert member.unmask(nine, silent=[], setting=setting)[0] == member.secrets.own


def sealed_for(played, owners, reader):
    """What these owners sealed for a reader, as they said it."""
    return {owner: sealed_of(json.loads(played.members[owner].shared)[1][reader]) for owner in owners}


def test_one_list_of_words_is_agreed_to_and_seeds_follow_it(played):
    account, setting = played.accounts[0], played.setting
    member, sign = played.members[account], played.signer(account)
    others = [other for other in played.accounts if other != account]
    refused("another list of words than before", lambda: member.agree(others, setting=setting, sign=sign))
    fresh = replace(member, survivors=())
    refused("lacks this client's own", lambda: fresh.agree(others, setting=setting, sign=sign))
    refused("2 words are in, 3 hide each other", lambda: fresh.agree([account, others[0]], setting=setting, sign=sign))
    refused("before it agreed whose words are in", lambda: fresh.unmask({}, silent=[], setting=setting))
    few = dict(list(played.said.agreements.items())[:3])
    refused(
        "3 holders of this client's seeds agreed whose words are in, 4 are needed",
        lambda: member.unmask(few, silent=[], setting=setting),
    )
    forged = {**played.said.agreements, others[0]: played.said.agreements[others[1]]}
    refused("is signed by", lambda: member.unmask(forged, silent=[], setting=setting))


def test_both_seeds_of_a_client_are_never_given(played):
    account = played.accounts[0]
    member = played.members[account]
    # It agreed that everybody's words are in: no pair secret leaves it, whoever is said to be silent.
    _, pairs, own = member.unmask(played.said.agreements, silent=played.accounts, setting=played.setting)
    assert pairs == {}
    assert set(own) == set(played.accounts)
    lost = replace(member, survivors=tuple(other for other in member.survivors if other != played.accounts[1]))
    agreements = {
        survivor: replace(played.members[survivor], survivors=()).agree(
            lost.survivors, setting=played.setting, sign=played.signer(survivor)
        )[1]
        for survivor in lost.survivors
    }
    _, pairs, own = lost.unmask(agreements, silent=played.accounts, setting=played.setting)
    assert set(pairs) == {played.accounts[1]}
    assert played.accounts[1] not in own


def test_one_direction_is_answered_about_and_half_of_the_pairs_stay_closed(played):
    account, setting = played.accounts[0], played.setting
    member, sign = played.members[account], played.signer(account)
    other = Blocks.encode(np.eye(6)[0])
    refused(
        "asked about a second direction in this round",
        lambda: member.tell(other, played.roots, setting=setting, sign=sign),
    )
    refused(
        "asked about other words than those that it agreed are in",
        lambda: member.tell(other, dict(list(played.roots.items())[1:]), setting=setting, sign=sign),
    )
    others = [other for other in played.accounts if other != account]
    refused("of 4 pairs; half of them stay closed", lambda: member.open(others, setting=setting))
    refused("or pairs that it does not have", lambda: member.open([wallet(50).address], setting=setting))


def test_a_client_notes_what_its_own_update_comes_to(played, tmp_path):
    account = played.accounts[0]
    member = Member.from_bytes(played.members[account].to_bytes())
    assert member.own_score(played.direction, setting=played.setting) == played.checked().scores[account]
    refused(
        "asked what an update scores that is in no round",
        lambda: again(played, account).own_score(played.direction, setting=played.setting),
    )
    scores = OwnScores(tmp_path, task_id=bytes(32))
    assert scores.of(1) is None
    scores.note(1, OwnScore(score=-7, direction_root=b"\x01" * 32))
    scores.note(2, OwnScore(score=8, direction_root=b"\x02" * 32))
    assert scores.of(1) == OwnScore(score=-7, direction_root=b"\x01" * 32)
    path = tmp_path / "signed" / bytes(32).hex() / "own-scores.json"
    path.write_text('{"1": {"score": "seven"}}')
    with pytest.raises(BrokenLedger, match="round 1 cannot be read"):
        scores.of(1)
    path.write_text("nonsense")
    with pytest.raises(BrokenLedger, match="it is not JSON"):
        scores.of(1)


def spec(terms):
    return {"privacy": terms.to_spec()}


def test_an_owner_is_told_what_is_masked_and_what_still_leaks():
    told = seen(spec(MASKED), rounds=3)
    assert (
        "coordinator and evaluators see the sum of everybody's updates, the length of your update, your score" in told
    )
    assert "What still leaks: the sum itself" in told
    assert "about 80 bytes a round" in sent(spec(MASKED), parameters=10, open_bytes=5)
    assert "MaskedSteps" in signed(spec(MASKED))
    assert seen(spec(PrivacyTerms()), rounds=3) == "no masks: coordinator and evaluators see every update"
    assert sent(spec(PrivacyTerms()), parameters=10, open_bytes=513).startswith("513 bytes a round")
    noisy = seen(spec(NOISY), rounds=3)
    assert f"for ε {planned(NOISY, rounds=3):.2f} at δ 1e-5 over 3 rounds" in noisy
    assert noisy.endswith("see every update with its noise")


def test_a_limit_is_kept_before_the_round_that_would_exceed_it():
    limit = planned(NOISY, rounds=2) + 0.01
    assert not over_limit(NOISY, limit, rounds=1)
    assert over_limit(NOISY, limit, rounds=2)
    assert not over_limit(MASKED, limit, rounds=100)
    check_limit(NOISY, limit, round_number=5, first_round=4)
    with pytest.raises(NotSaid, match=r"round 6 would spend more of this client's privacy than its limit of ε"):
        check_limit(NOISY, limit, round_number=6, first_round=4)
    assert spent_line(NOISY, rounds=2) == f"; privacy spent: ε {planned(NOISY, rounds=2):.2f} at δ 1e-5"
    assert spent_line(MASKED, rounds=2) == ""


@pytest.mark.parametrize("text", ["much", "-1", "0", "nan"])
def test_a_limit_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="write the ε that the node may spend, such as privacy.limit=8"):
        limit_of(text)


def test_no_limit_is_none():
    assert limit_of("") is None
    assert limit_of("8") == 8.0
