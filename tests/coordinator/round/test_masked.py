"""Masked rounds over the real message path: paid to the integer, through nodes that fall silent, and each lie of a coordinator."""

import json
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Error, Message
from safetensors.numpy import load, save

from clients.privacy import member
from fl.aggregation.replay import replay_sum
from fl.audit.difference import ChainView, RoundDiffers
from fl.audit.masked import setting_of
from fl.audit.recompute import check_round
from fl.audit.strategy_state import StrategyMemory
from fl.bundle.files import MANIFEST
from fl.bundle.format import Bundle
from fl.bundle.store import BundleStore
from fl.codec import model_hash
from fl.coordinator.engines.local import LocalGrid
from fl.coordinator.round import masked_settle
from fl.privacy.masked_round import question_hash, unmask
from fl.privacy.steps import TELL
from fl.privacy.terms import PrivacyTerms
from fl.privacy.words import update_scale
from fl.protocol import MASKED, RECORD, MaskedMessage, SignedUpdate
from fl.task.strategies import build_strategy

MASKED_SPEC = PrivacyTerms(masked=True, projections=16).to_spec()


class Vanishing(LocalGrid):
    """A grid some of whose nodes do not answer a step any more."""

    def __init__(self, app, nodes, *, silent):
        super().__init__(app, nodes)
        self.silent, self.gone, self.asked = silent, set(), []

    def _answer(self, messages, *, timeout):
        record = messages[0].content.config_records.get(MASKED) if messages else None
        step = MaskedMessage.from_record(record).step if record else "train"
        self.asked.append(step)
        self.gone |= set(self.silent.get(step, ()))
        for reply in super()._answer(messages, timeout=timeout):
            if reply.metadata.src_node_id - 2 in self.gone:
                yield Message(Error(code=1, reason="gone"), reply_to=_question(messages, reply))
            else:
                yield reply


def _question(messages, reply):
    return next(message for message in messages if message.metadata.message_id == reply.metadata.reply_to_message_id)


@pytest.fixture
def masked(new_world, spec):
    """A masked task of five clients that runs one round, some of whom fall silent."""

    def play(*, silent=None, rounds=1, clients=5, **options):
        task = new_world(clients=clients, rounds=rounds, spec=spec(privacy=MASKED_SPEC, **options))
        app = task.app(task.downhill)
        grid = Vanishing(app, {number + 2: task.node_config(number) for number in range(clients)}, silent=silent or {})
        task.run(app, build_strategy(task.spec.strategy, task.spec.strategy_arguments), grid=grid)
        return task, grid

    return play


def test_a_masked_task_pays_what_the_open_one_does_but_for_its_fixed_point(masked, lasting_world, spec):
    task, grid = masked(rounds=2)
    private = [report.scores for report in task.reports]
    plain = lasting_world(clients=5, rounds=2, spec=spec())
    plain.run(plain.app(plain.downhill))
    for ours, theirs in zip(private, [report.scores for report in plain.reports], strict=True):
        assert set(ours) == set(theirs)
        for account, score in theirs.items():
            assert ours[account] == pytest.approx(score, rel=1e-3, abs=2**20)
    assert grid.asked[:7] == ["train", "share", "mask", "agree", "unmask", "tell", "open"]
    assert all(report.header.cumulative for report in task.reports)


@pytest.mark.parametrize("step", ["train", "share", "mask", "agree", "unmask", "tell", "open"])
def test_a_round_goes_on_without_one_that_falls_silent(masked, step):
    task, _ = masked(silent={step: [1]})
    report = task.reports[0]
    inside = set(task.addresses) - ({task.addresses[1]} if step in ("train", "share", "mask") else set())
    assert set(report.scores) == inside
    assert all(score for score in report.scores.values())
    assert report.header.cumulative


def test_too_few_for_the_threshold_make_a_void_round_and_the_next_one_counts(masked):
    task, _ = masked(silent={"mask": [0, 1]}, rounds=1)
    report = task.reports[0]
    assert report.scores == {}
    assert {refusal.reason for refusal in report.refusals if refusal.account == task.addresses[2]} == {
        "the round is void: 3 of the 5 holders of the seeds of "
        + min(task.addresses[2:], key=lambda address: int(address, 16))
        + " sent words, 4 are needed"
    }
    np.testing.assert_array_equal(Bundle.read(report.bundle)[0].next, task.base)


def test_an_open_update_to_a_masked_task_is_refused_and_not_looked_at(masked, new_world, spec):
    class Careless(Vanishing):
        """The first node answers as in an open task."""

        def _answer(self, messages, *, timeout):
            for reply in super()._answer(messages, timeout=timeout):
                if reply.metadata.src_node_id == 2 and self.asked[-1] == "train":
                    update = SignedUpdate(account="x", round=1, base_model=bytes(32), blocks=b"", signature=b"")
                    reply.content[RECORD] = update.to_record()
                yield reply

    task = new_world(clients=5, rounds=1, spec=spec(privacy=MASKED_SPEC))
    app = task.app(task.downhill)
    task.run(app, grid=Careless(app, {number + 2: task.node_config(number) for number in range(5)}, silent={}))
    told = [refusal.reason for refusal in task.reports[0].refusals if refusal.node_id == 2]
    assert told == ["it sent an open update to a masked task, which nobody looks at; update fairshare there"]
    assert len(task.reports[0].scores) == 4


@pytest.fixture
def long_words(monkeypatch, account):
    """Lets a world's first client send words a thousand times longer than it states, in round 1; its account."""
    encode, begin, longer = member.encode, member.Member.begin.__func__, account(5).address
    told = {"vector": None}

    def far(vector, **settings):
        words = encode(vector, **settings)
        if np.array_equal(vector, told["vector"]):
            words[3] += int(1000.00003 * 2.0 ** update_scale(settings["length_q64"]))
        return words

    def beginning(cls, name, vector, *, setting, **settings):
        if name == longer and setting.of.number == 1:
            told["vector"] = vector
        return begin(cls, name, vector, setting=setting, **settings)

    monkeypatch.setattr(member, "encode", far)
    monkeypatch.setattr(member.Member, "begin", classmethod(beginning))
    return longer


@pytest.mark.parametrize("silent", [{}, {"tell": [0]}, {"tell": [0, 1]}])
def test_words_longer_than_stated_void_the_round_and_cost_the_place(masked, long_words, silent):
    """In the model they would be, and in everybody's score, whatever their sender is paid; nor does silence hide them."""
    task, _ = masked(clients=6, rounds=2, silent=silent)
    first, second = task.reports
    assert not first.scores
    assert any("longer than was stated" in one.reason for one in first.refusals if one.account != long_words)
    stayed, _ = Bundle.read(first.bundle)
    assert np.array_equal(stayed.aggregate if stayed.public else stayed.next, stayed.base)
    assert long_words not in second.scores
    assert len(second.scores) == 6 - len(silent.get("tell", [0]))
    if not silent:
        assert "it lied in an earlier round and has lost its place" in {one.reason for one in second.refusals}


def test_a_coordinator_that_keeps_words_longer_than_stated_gets_no_signature(masked, long_words, monkeypatch):
    found = masked_settle.score_round
    monkeypatch.setattr(
        masked_settle, "score_round", lambda *told, **named: replace(found(*told, **named), too_long=())
    )
    with pytest.raises(RoundDiffers, match="the length of the words of"):
        masked()


# What a coordinator could write into a masked round's files, and what an evaluator says of it.
def other_words(files):
    name = next(name for name in files if name.startswith("updates/"))
    files[name] = bytes(8) + files[name][8:]


def a_seed_more(files):
    said = json.loads(files["masked.json"])
    said["own"] = dict.fromkeys(said["own"], "00" * 16)
    files["masked.json"] = json.dumps(said).encode()


def a_score_more(files):
    said = json.loads(files["round.json"])
    leaf = said["leaves"][0]
    leaf["score"] = str(int(leaf["score"]) + 1)
    files["round.json"] = json.dumps(said).encode()


def another_length(files):
    said = json.loads(files["round.json"])
    said["length"] = str(int(said["length"]) + 1)
    files["round.json"] = json.dumps(said).encode()


def another_next_model(files):
    arrays = load(files["next.safetensors"])
    files["next.safetensors"] = save({name: array + np.float32(0.5) for name, array in arrays.items()})


def one_left_out(files):
    said = json.loads(files["round.json"])
    gone = said["updates"].pop()
    del files[f"updates/{gone['account']}.blocks"]
    files["round.json"] = json.dumps(said).encode()


LIES = {
    other_words: "the update root of",
    a_seed_more: "the seed of its own mask is not the one that it committed to",
    a_score_more: "the score in the leaf of",
    another_length: "the round's length",
    another_next_model: "the next model",
    one_left_out: "what 0x",
}


def test_a_coordinators_lie_gets_no_signature(masked, tmp_path):
    task, _ = masked()
    folder = task.reports[0].bundle
    manifest = json.loads((folder / MANIFEST).read_text())
    whole = {name: (folder / name).read_bytes() for name in manifest}
    evaluator = task.signers()[0]
    enrolments, schedule = task.task.enrolments(), task.task.schedule()
    chain = ChainView(
        domain=task.task.domain, terms=task.task.terms, enrolments=enrolments, schedule=schedule, previous=None
    )

    def checked(files):
        bundle = Bundle.parse(files, where="here")
        header = replace(task.reports[0].header, next_model=model_hash(bundle.next))
        return check_round(
            bundle, header, bundle_hash=header.bundle, view=chain, spec=task.spec, game=evaluator.game, past=()
        )

    assert checked(dict(whole)) < 1e-3
    for lie, said in LIES.items():
        files = dict(whole)
        lie(files)
        with pytest.raises(RoundDiffers) as caught:
            checked(files)
        assert said in str(caught.value), lie.__name__


def test_a_proven_liar_is_not_let_into_the_next_round(masked, monkeypatch, account):
    honest = member.Member.tell

    def lying(self, direction, roots, *, setting, sign):
        after, said = honest(self, direction, roots, setting=setting, sign=sign)
        if setting.of.number > 1 or self.account != liar[0]:
            return after, said
        values = {other: value + np.uint64(1 << 30) for other, value in said.values.items()}
        told = replace(said, values=values)
        asked = question_hash(direction, roots=roots)
        return after, replace(told, signature=self._sign(TELL, told.content(asked), setting, sign))

    liar = [account(5).address]  # of the first client of a world
    monkeypatch.setattr(member.Member, "tell", lying)
    task, _ = masked(rounds=2)
    first, second = task.reports
    assert first.scores[liar[0]] == 0
    assert any(
        "is not what the opened mask comes to" in refusal.reason
        for refusal in first.refusals
        if refusal.account == liar[0]
    )
    assert liar[0] not in second.scores
    assert "it lied in an earlier round and has lost its place" in {
        refusal.reason for refusal in second.refusals if refusal.account == liar[0]
    }


@pytest.mark.parametrize("name", ["fedadam", "fedavgm"])
def test_a_server_optimizer_makes_the_same_of_a_masked_sum_and_is_followed_through_it(
    masked, lasting_world, spec, name
):
    arguments = {"fedadam": {"eta": 0.05}, "fedavgm": {"server_momentum": 0.9}}[name]
    settings = {"strategy": name, "strategy_arguments": arguments}
    task, _ = masked(
        rounds=3, **settings
    )  # evaluators signed each round after following the optimizer through those before
    plain = lasting_world(clients=5, rounds=3, spec=spec(**settings))
    plain.run(plain.app(plain.downhill), build_strategy(name, arguments))
    for ours, theirs in zip(task.reports, plain.reports, strict=True):
        assert ours.loss_after == pytest.approx(theirs.loss_after, rel=1e-3)
    bundle, _ = Bundle.read(task.reports[2].bundle)
    view = {"enrolments": task.task.enrolments(), "domain": task.task.domain}
    memory = StrategyMemory(task.spec, BundleStore.at(str(task.reports[0].bundle.parent)))
    forgetful = StrategyMemory(task.spec, memory.source).before(1, **view)
    again = replay_sum(memory.before(3, **view), 3, step_of(bundle, task), base=bundle.base, layout=bundle.layout)
    np.testing.assert_allclose(again, bundle.next, atol=1e-6)
    assert (
        np.abs(replay_sum(forgetful, 3, step_of(bundle, task), base=bundle.base, layout=bundle.layout) - again).max()
        > 1e-6
    )


def step_of(bundle, task):
    """What a masked round moved the model by."""
    setting = setting_of(
        task_id=bundle.task_id, number=bundle.round, size=bundle.layout.size, enrolments=task.task.enrolments(),
        domain=task.task.domain, spec=task.spec,
    )  # fmt: skip
    words = {update.account: np.frombuffer(update.wire, dtype="<u8") for update in bundle.updates}
    return unmask(words, transcript=bundle.masked, setting=setting).step
