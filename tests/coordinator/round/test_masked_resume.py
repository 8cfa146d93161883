"""A coordinator that is killed inside a masked round and comes back: nothing is lost, and no client's two seeds are ever asked back."""

import json
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ArrayRecord, Error, Message

from clients.privacy.member import Member
from fl.coordinator.engines.local import LocalGrid
from fl.privacy.masked_round import question_hash
from fl.privacy.steps import TELL
from fl.privacy.terms import PrivacyTerms
from fl.protocol import MASKED, RECORD, MaskedMessage, TrainRequest

MASKED_SPEC = PrivacyTerms(masked=True, projections=4).to_spec()
STEPS = ["train", "share", "mask", "agree", "unmask", "tell", "open"]
CLIENTS = 5


class Killed(BaseException):
    """Ends a run as a signal would: nothing catches it."""


class Killing(LocalGrid):
    """A grid whose coordinator dies once, when everybody has answered a step and it has seen none of it.

    Args:
        dies: The step, of the second round.
        gone: Nodes that are silent from the death on, in that round.
    """

    def __init__(self, app, nodes, *, dies, gone=()):
        super().__init__(app, nodes)
        self.dies, self.gone, self.dead = dies, set(gone), False
        self.own, self.pairs = {}, {}  # round -> owners whose seeds somebody gave a secret, or a share, of

    def _answer(self, messages, *, timeout):
        records = messages[0].content.config_records
        asked = MaskedMessage.from_record(records[MASKED]) if MASKED in records else None
        step = asked.step if asked else "train"
        number = asked.round if asked else TrainRequest.from_record(records[RECORD]).round
        replies = list(super()._answer(messages, timeout=timeout))
        for reply in replies:
            if step == "unmask" and not reply.has_error():
                said = MaskedMessage.from_record(reply.content.config_records[MASKED])
                body = json.loads(said.body)
                self.own.setdefault(said.round, set()).update([said.account, *body["silent"]])
                self.pairs.setdefault(said.round, set()).update(body["pairs"])
        if (step, number) == (self.dies, 2) and not self.dead:
            self.dead = True
            raise Killed
        for question, reply in zip(messages, replies, strict=True):
            silent = self.dead and number == 2 and question.metadata.dst_node_id in self.gone
            yield Message(Error(code=1, reason="gone"), reply_to=question) if silent else reply


@pytest.fixture
def killed(new_world, spec):
    """A masked task of three rounds whose coordinator dies in the second, and comes back."""

    def play(step, *, gone=(), rounds=3):
        task = new_world(clients=CLIENTS, rounds=rounds, spec=spec(privacy=MASKED_SPEC))
        app = task.app(task.downhill)
        grid = Killing(app, {number + 2: task.node_config(number) for number in range(CLIENTS)}, dies=step, gone=gone)
        initial = ArrayRecord(task.spec.build_model().state_dict())
        with pytest.raises(Killed):
            task.strategy().start(grid, initial)
        grid.rounds_before = len(task.reports)
        task.strategy().start(grid, initial)
        return task, grid

    return play


def paid(task):
    """What everybody has earned, by the last round's leaves."""
    return {leaf.account: leaf.cumulative for leaf in task.reports[-1].leaves}


@pytest.fixture(scope="module")
def expected(lasting_world, spec):
    """Scores of each round where nobody is killed."""
    task = lasting_world(clients=CLIENTS, rounds=2, spec=spec(privacy=MASKED_SPEC))
    task.run(task.app(task.downhill))
    return [report.scores for report in task.reports]


@pytest.mark.parametrize("step", STEPS)
def test_whoever_comes_back_gets_the_same_answers(killed, expected, step):
    task, grid = killed(step, rounds=2)
    assert grid.rounds_before == 1
    assert [report.round for report in task.reports] == [1, 2]
    assert [report.scores for report in task.reports] == expected
    assert task.task.state().posted == 2
    assert sum(paid(task).values()) == task.task.state().cumulative
    for number in (1, 2):
        assert grid.own[number] == set(task.addresses)
        assert not grid.pairs[number]


@pytest.mark.parametrize("step", ["train", "share", "unmask", "tell"])
def test_one_that_is_gone_by_then_gives_back_one_seed_at_most(killed, step):
    task, grid = killed(step, gone=[3])
    first, second, third = task.reports
    assert not grid.own.get(2, set()) & grid.pairs.get(2, set())
    # Once seeds are shared with a roster no other one is: the round is void, loses nobody anything, and the next one counts.
    void = step != "train"
    assert len(second.scores) == (0 if void else CLIENTS - 1)
    assert len(first.scores) == len(third.scores) == CLIENTS
    assert third.header.cumulative > second.header.cumulative >= first.header.cumulative
    if void:
        assert [leaf.total for leaf in second.leaves] == [leaf.total for leaf in first.leaves]
        assert second.header.next_model == second.header.base_model


def test_a_liar_of_an_earlier_life_stays_outside(killed, monkeypatch, account):
    liar, honest = account(5).address, Member.tell  # the first client of a world

    def lying(self, direction, roots, *, setting, sign):
        after, said = honest(self, direction, roots, setting=setting, sign=sign)
        if setting.of.number > 1 or self.account != liar:
            return after, said
        told = replace(said, values={other: value + np.uint64(1 << 30) for other, value in said.values.items()})
        asked = question_hash(direction, roots=roots)
        return after, replace(told, signature=self._sign(TELL, told.content(asked), setting, sign))

    monkeypatch.setattr(Member, "tell", lying)
    task, _ = killed("train", rounds=2)
    first, second = task.reports
    assert first.scores[liar] == 0
    assert set(second.scores) == set(task.addresses) - {liar}
    assert "it lied in an earlier round and has lost its place" in {refusal.reason for refusal in second.refusals}
