"""The quorum takes k of n: slow, absent, wrong and refusing evaluators do not hold a round up while the quorum is well."""

import json
import threading
import time

import pytest

from fl.audit.difference import ChainView
from fl.bundle.round_record import header_from_json
from fl.chain.errors import ChainError
from fl.chain.typed_data import contract_signature, evaluator_of, sign
from fl.coordinator.quorum.local import EvaluatorQuorum
from fl.coordinator.quorum.remote import NotWaiting, RemoteQuorum, RoundRefused, WrongAnswer


@pytest.fixture(scope="module")
def world(lasting_world):
    """One round that is on chain, of a task that takes two of three evaluators."""
    world = lasting_world(rounds=1, evaluators=3, quorum=2)
    world.run(world.app(world.downhill))
    return world


class Open:
    """A quorum at which the world's round waits, in a thread of its own."""

    def __init__(self, world, folder, **options):
        self.world, self.header = world, world.reports[0].header
        self.quorum = RemoteQuorum(world.task.terms.evaluators, domain=world.task.domain, **options)
        self.result, self.error = None, None
        view = ChainView(
            domain=world.task.domain,
            terms=world.task.terms,
            enrolments=world.task.enrolments(),
            schedule=world.task.schedule(),
            previous=None,
        )

        def wait():
            try:
                self.result = self.quorum.sign(folder, self.header, view=view)
            except Exception as error:
                self.error = error

        self.thread = threading.Thread(target=wait)
        self.thread.start()
        until = time.monotonic() + 60
        while self.quorum.waiting("anybody") is None and self.thread.is_alive() and time.monotonic() < until:
            time.sleep(0.01)

    def signature(self, number):
        return sign(self.header, domain=self.world.task.domain, account=self.world.evaluators[number])

    def accept(self, number, **changes):
        told = {"round_number": 1, "signature": self.signature(number), **changes}
        self.quorum.accept(self.world.evaluators[number].address, **told)

    def refuse(self, number, reason="the price is wrong"):
        self.quorum.refuse(self.world.evaluators[number].address, round_number=1, reason=reason)

    def end(self):
        self.thread.join(60)
        assert not self.thread.is_alive()
        if self.error:
            raise self.error
        return {
            evaluator_of(self.header, domain=self.world.task.domain, signature=signature) for signature in self.result
        }


@pytest.fixture
def opened(world, tmp_path):
    """Opens a quorum with the round; whatever the test does, the thread ends."""
    quorums = []

    def build(**options):
        quorums.append(Open(world, tmp_path, **{"deadline_s": 60, **options}))
        return quorums[-1]

    yield build
    for quorum in quorums:
        quorum.thread.join(60)


def addresses(world, *numbers):
    return {world.evaluators[number].address for number in numbers}


def test_a_remote_quorum_asks_all_evaluators(world):
    quorum: EvaluatorQuorum = RemoteQuorum(world.task.terms.evaluators, domain=world.task.domain)
    assert quorum.addresses == {evaluator.address for evaluator in world.evaluators}


def test_two_of_three_are_enough_and_the_third_may_be_absent(world, opened):
    quorum = opened()
    quorum.accept(0)
    quorum.accept(2)
    assert quorum.end() == addresses(world, 0, 2)


def test_the_round_that_waits_is_told_until_one_has_answered(world, opened):
    quorum = opened()
    first, second = world.evaluators[0].address, world.evaluators[1].address
    waiting = quorum.quorum.waiting(first)
    assert header_from_json(json.loads(json.dumps(waiting))["header"]) == quorum.header
    assert 0 < waiting["seconds_left"] <= 60
    quorum.accept(0)
    assert quorum.quorum.waiting(first) is None
    assert quorum.quorum.waiting(second) is not None
    quorum.accept(1)
    quorum.end()
    assert quorum.quorum.waiting(second) is None


def test_one_that_refuses_is_kept_and_does_not_stop_the_round(world, opened, tmp_path, caplog):
    quorum = opened()
    quorum.refuse(1, "the price\nis wrong " + "x" * 2000)
    quorum.accept(0)
    quorum.accept(2)
    assert quorum.end() == addresses(world, 0, 2)
    kept = json.loads((tmp_path / "refusals.json").read_text())
    assert list(kept) == [world.evaluators[1].address]
    assert kept[world.evaluators[1].address].startswith("the price is wrong xxx")
    assert len(kept[world.evaluators[1].address]) == 1000
    assert f"evaluator {world.evaluators[1].address} does not sign: the price is wrong" in caplog.text


def test_one_that_changes_its_mind_counts_as_it_said_last(world, opened):
    quorum = opened()
    quorum.refuse(0)
    quorum.accept(0)
    quorum.accept(1)
    assert quorum.end() == addresses(world, 0, 1)


def test_refusals_that_make_the_quorum_impossible_end_the_round_at_once(world, opened):
    quorum = opened(deadline_s=3600)
    quorum.accept(0)
    quorum.refuse(1)
    quorum.refuse(2, "the tree is wrong")
    with pytest.raises(RoundRefused) as caught:
        quorum.end()
    assert (caught.value.signed, caught.value.quorum) == (1, 2)
    assert str(caught.value).startswith("round 1 has 1 of 2 signatures, and these evaluators refuse it: ")
    assert f"{world.evaluators[2].address}: the tree is wrong" in str(caught.value)


def test_at_the_deadline_there_is_what_came(world, opened):
    quorum = opened(deadline_s=0.5)
    quorum.accept(1)
    assert quorum.end() == addresses(world, 1)


def test_an_answer_that_comes_late_is_told_so(world, opened):
    quorum = opened(deadline_s=0.2)
    quorum.end()
    with pytest.raises(NotWaiting, match="an answer for round 1 came, no round waits; it was late, or is not needed"):
        quorum.accept(0)


def test_an_answer_for_another_round_is_told_so(opened):
    quorum = opened(deadline_s=5)
    with pytest.raises(NotWaiting, match="an answer for round 7 came, round 1 waits"):
        quorum.accept(0, round_number=7)
    quorum.accept(0)
    quorum.accept(1)
    quorum.end()


def test_wrong_signatures_do_not_count(world, opened, account):
    quorum = opened()
    first = world.evaluators[0].address
    with pytest.raises(WrongAnswer, match=f"the signature of {first} is by {world.evaluators[1].address}"):
        quorum.accept(0, signature=quorum.signature(1))
    with pytest.raises(WrongAnswer, match="cannot be read"):
        quorum.accept(0, signature=b"x" * 65)
    other = sign(
        type(quorum.header)(**{**vars(quorum.header), "price": 1}),
        domain=world.task.domain,
        account=world.evaluators[0],
    )
    with pytest.raises(WrongAnswer, match="or over another header"):
        quorum.accept(0, signature=other)
    stranger = account(19)
    with pytest.raises(WrongAnswer, match="is not wanted: it is not an evaluator of the task"):
        quorum.quorum.accept(
            stranger.address,
            round_number=1,
            signature=sign(quorum.header, domain=world.task.domain, account=stranger),
        )
    assert quorum.thread.is_alive()
    quorum.accept(0)
    quorum.accept(1)
    assert quorum.end() == addresses(world, 0, 1)


def test_some_may_be_in_this_process(world, tmp_path):
    folder = world.reports[0].bundle
    quorum = Open(world, folder, here=world.signers()[:1], deadline_s=60)
    quorum.accept(2)
    assert quorum.end() == addresses(world, 0, 2)


def test_one_in_this_process_that_refuses_is_one_of_n(world, tmp_path):
    # The folder has no bundle, which nobody signs.
    quorum = Open(world, tmp_path, here=world.signers()[:1], deadline_s=60)
    quorum.accept(1)
    quorum.accept(2)
    assert quorum.end() == addresses(world, 1, 2)
    kept = json.loads((tmp_path / "refusals.json").read_text())
    assert "manifest.json cannot be read" in kept[world.evaluators[0].address]


# ---- evaluators that are contracts: in the third's place ---------------------------------------------------------------


class Wallets:
    """Approves what it is asked to, but for these."""

    def __init__(self, refused=()):
        self.refused, self.asked = refused, []

    def __call__(self, header, contract, signature):
        self.asked.append((header, contract, signature))
        if contract in self.refused:
            raise ChainError("BadSignature")


def test_a_contract_is_asked_on_chain_where_its_signature_is_needed(world, opened):
    contract, wallets = world.evaluators[2].address, Wallets()
    waiting = opened(approve=wallets)
    waiting.quorum.accept_of_contract(contract, round_number=1, signature=b"any length")
    assert waiting.quorum.waiting(contract) is None
    assert wallets.asked == []  # nobody knows yet whether it is needed
    waiting.accept(0)
    assert waiting.end() == {contract, world.evaluators[0].address}
    assert wallets.asked == [(waiting.header, contract, b"any length")]
    assert contract_signature(contract) in waiting.result


def test_a_contract_is_not_asked_where_keys_are_enough(world, opened):
    wallets = Wallets()
    waiting = opened(approve=wallets)
    with waiting.quorum._changed:  # both before the quorum looks
        waiting.quorum._waiting.by_contracts[world.evaluators[2].address] = b"s"
        waiting.quorum._waiting.signatures[world.evaluators[0].address] = waiting.signature(0)
        waiting.quorum._waiting.signatures[world.evaluators[1].address] = waiting.signature(1)
        waiting.quorum._changed.notify_all()
    assert waiting.end() == {evaluator.address for evaluator in world.evaluators[:2]}
    assert wallets.asked == []


def test_a_contract_that_takes_no_signature_loses_its_own_alone(world, opened):
    contract = world.evaluators[2].address
    waiting = opened(approve=Wallets(refused={contract}))
    waiting.quorum.accept_of_contract(contract, round_number=1, signature=b"s")
    waiting.accept(0)
    until = time.monotonic() + 30
    while contract not in waiting.quorum._waiting.refusals and time.monotonic() < until:
        time.sleep(0.01)
    assert waiting.quorum._waiting.refusals[contract] == "the contract did not take its signature: BadSignature"
    waiting.accept(1)
    assert waiting.end() == {evaluator.address for evaluator in world.evaluators[:2]}


def test_nothing_empty_endless_or_unasked_is_kept_of_a_contract(world, opened):
    contract = world.evaluators[2].address
    waiting = opened(approve=Wallets())
    for signature in (b"", b"s" * 4097):
        with pytest.raises(WrongAnswer) as refused:
            waiting.quorum.accept_of_contract(contract, round_number=1, signature=signature)
        assert str(refused.value) == (
            f"the signature of {contract} has {len(signature)} bytes, 1 to 4096 are taken of a contract; sign the header that waits "
            "with the account's own key"
        )
    with pytest.raises(WrongAnswer, match="is not an evaluator of the task"):
        waiting.quorum.accept_of_contract(world.addresses[0], round_number=1, signature=b"s")
    with pytest.raises(NotWaiting):
        waiting.quorum.accept_of_contract(contract, round_number=2, signature=b"s")
    waiting.accept(0)
    waiting.accept(1)
    waiting.end()
    alone = opened()
    with pytest.raises(WrongAnswer):
        alone.quorum.accept_of_contract(contract, round_number=1, signature=b"s")
    alone.accept(0)
    alone.accept(1)
    alone.end()
