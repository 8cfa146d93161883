"""The desk takes k of n: slow, absent, wrong and refusing evaluators do not hold a round up while the quorum is well."""

import json
import threading
import time

import pytest

from fl.audit.recompute import ChainView
from fl.bundle.format import header_from_json
from fl.chain.typed_data import ZERO_HASH, sign, signer_of
from fl.coordinator.quorum.local import Panel
from fl.coordinator.quorum.remote import EvaluationDesk, NotWaiting, RoundRefused, WrongAnswer


@pytest.fixture(scope="module")
def world(lasting_world):
    """One round that is on chain, of a task that takes two of three evaluators."""
    one = lasting_world(rounds=1, evaluators=3, quorum=2)
    one.run(one.app(one.downhill))
    return one


class Open:
    """A desk at which the world's round waits, in a thread of its own."""

    def __init__(self, world, folder, **options):
        self.world, self.header = world, world.reports[0].header
        self.desk = EvaluationDesk(world.task.terms.evaluators, domain=world.task.domain, **options)
        self.result, self.error = None, None
        view = ChainView(
            domain=world.task.domain,
            terms=world.task.terms,
            enrolments=world.task.enrolments(),
            previous=None,
            previous_digest=ZERO_HASH,
        )

        def wait():
            try:
                self.result = self.desk.sign(folder, self.header, view=view)
            except Exception as error:
                self.error = error

        self.thread = threading.Thread(target=wait)
        self.thread.start()
        until = time.monotonic() + 60
        while self.desk.waiting("anybody") is None and self.thread.is_alive() and time.monotonic() < until:
            time.sleep(0.01)

    def signature(self, number):
        return sign(self.header, domain=self.world.task.domain, account=self.world.evaluators[number])

    def accept(self, number, **changes):
        told = {"round_number": 1, "signature": self.signature(number), **changes}
        self.desk.accept(self.world.evaluators[number].address, **told)

    def refuse(self, number, reason="the pot is wrong"):
        self.desk.refuse(self.world.evaluators[number].address, round_number=1, reason=reason)

    def end(self):
        self.thread.join(60)
        assert not self.thread.is_alive()
        if self.error:
            raise self.error
        return {signer_of(self.header, domain=self.world.task.domain, signature=one) for one in self.result}


@pytest.fixture
def opened(world, tmp_path):
    """Opens a desk with the round; whatever the test does, the thread ends."""
    desks = []

    def build(**options):
        desks.append(Open(world, tmp_path, **{"deadline_s": 60, **options}))
        return desks[-1]

    yield build
    for one in desks:
        one.thread.join(60)


def addresses(world, *numbers):
    return {world.evaluators[number].address for number in numbers}


def test_a_desk_is_a_panel_of_all_evaluators(world):
    panel: Panel = EvaluationDesk(world.task.terms.evaluators, domain=world.task.domain)
    assert panel.addresses == {one.address for one in world.evaluators}


def test_two_of_three_are_enough_and_the_third_may_be_absent(world, opened):
    desk = opened()
    desk.accept(0)
    desk.accept(2)
    assert desk.end() == addresses(world, 0, 2)


def test_the_round_that_waits_is_told_until_one_has_answered(world, opened):
    desk = opened()
    first, second = world.evaluators[0].address, world.evaluators[1].address
    waiting = desk.desk.waiting(first)
    assert header_from_json(json.loads(json.dumps(waiting))["header"]) == desk.header
    assert 0 < waiting["seconds_left"] <= 60
    desk.accept(0)
    assert desk.desk.waiting(first) is None
    assert desk.desk.waiting(second) is not None
    desk.accept(1)
    desk.end()
    assert desk.desk.waiting(second) is None


def test_one_that_refuses_is_kept_and_does_not_stop_the_round(world, opened, tmp_path, caplog):
    desk = opened()
    desk.refuse(1, "the pot\nis wrong " + "x" * 2000)
    desk.accept(0)
    desk.accept(2)
    assert desk.end() == addresses(world, 0, 2)
    kept = json.loads((tmp_path / "refusals.json").read_text())
    assert list(kept) == [world.evaluators[1].address]
    assert kept[world.evaluators[1].address].startswith("the pot is wrong xxx")
    assert len(kept[world.evaluators[1].address]) == 1000
    assert f"evaluator {world.evaluators[1].address} does not sign: the pot is wrong" in caplog.text


def test_one_that_changes_its_mind_counts_as_it_said_last(world, opened):
    desk = opened()
    desk.refuse(0)
    desk.accept(0)
    desk.accept(1)
    assert desk.end() == addresses(world, 0, 1)


def test_refusals_that_make_the_quorum_impossible_end_the_round_at_once(world, opened):
    desk = opened(deadline_s=3600)
    desk.accept(0)
    desk.refuse(1)
    desk.refuse(2, "the tree is wrong")
    with pytest.raises(RoundRefused) as caught:
        desk.end()
    assert (caught.value.signed, caught.value.quorum) == (1, 2)
    assert str(caught.value).startswith("round 1 has 1 of 2 signatures, and these evaluators refuse it: ")
    assert f"{world.evaluators[2].address}: the tree is wrong" in str(caught.value)


def test_at_the_deadline_there_is_what_came(world, opened):
    desk = opened(deadline_s=0.5)
    desk.accept(1)
    assert desk.end() == addresses(world, 1)


def test_an_answer_that_comes_late_is_told_so(world, opened):
    desk = opened(deadline_s=0.2)
    desk.end()
    with pytest.raises(NotWaiting, match="an answer for round 1 came, no round waits; it was late, or is not needed"):
        desk.accept(0)


def test_an_answer_for_another_round_is_told_so(opened):
    desk = opened(deadline_s=5)
    with pytest.raises(NotWaiting, match="an answer for round 7 came, round 1 waits"):
        desk.accept(0, round_number=7)
    desk.accept(0)
    desk.accept(1)
    desk.end()


def test_wrong_signatures_do_not_count(world, opened, account):
    desk = opened()
    first = world.evaluators[0].address
    with pytest.raises(WrongAnswer, match=f"the signature of {first} is by {world.evaluators[1].address}"):
        desk.accept(0, signature=desk.signature(1))
    with pytest.raises(WrongAnswer, match="cannot be read"):
        desk.accept(0, signature=b"x" * 65)
    other = sign(
        type(desk.header)(**{**vars(desk.header), "pot": 1}), domain=world.task.domain, account=world.evaluators[0]
    )
    with pytest.raises(WrongAnswer, match="or over another header"):
        desk.accept(0, signature=other)
    stranger = account(19)
    with pytest.raises(WrongAnswer, match="is not wanted: it is no evaluator of the task"):
        desk.desk.accept(
            stranger.address,
            round_number=1,
            signature=sign(desk.header, domain=world.task.domain, account=stranger),
        )
    assert desk.thread.is_alive()
    desk.accept(0)
    desk.accept(1)
    assert desk.end() == addresses(world, 0, 1)


def test_some_may_be_in_this_process(world, tmp_path):
    folder = world.reports[0].bundle
    desk = Open(world, folder, here=world.signers()[:1], deadline_s=60)
    desk.accept(2)
    assert desk.end() == addresses(world, 0, 2)


def test_one_in_this_process_that_refuses_is_one_of_n(world, tmp_path):
    # The folder holds no bundle, which nobody signs.
    desk = Open(world, tmp_path, here=world.signers()[:1], deadline_s=60)
    desk.accept(1)
    desk.accept(2)
    assert desk.end() == addresses(world, 1, 2)
    kept = json.loads((tmp_path / "refusals.json").read_text())
    assert "manifest.json cannot be read" in kept[world.evaluators[0].address]
