"""A real coordinator that was started with a lying option, and evaluators that sign blindly: `fl audit` and `fl watch` catch it.

One lie each, in round 2 of 3, and everything after it made to fit. What the chain cannot prove, the direction itself, only the
audit sees.
"""

import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest

from fl.bundle.validation_set import VALIDATION, write_validation
from fl.chain.task_state import Status
from fl.chain.typed_data import sign
from fl.codec import Blocks
from fl.coordinator.round import settle as settling
from fl.rewards import RoundTree, settle
from fl.scoring.paid import PaidScoring

TOKENS = 10**18
WATCHER = 15


@dataclass(frozen=True)
class Colluding:
    """Evaluators that sign what they are given."""

    evaluators: tuple

    @property
    def addresses(self):
        """All of them."""
        return frozenset(evaluator.address for evaluator in self.evaluators)

    def sign(self, folder, header, *, view):
        """Look at nothing."""
        return [sign(header, domain=view.domain, account=evaluator) for evaluator in self.evaluators]


class Rounds:
    """Lets a lie begin with the second round, however often a step is taken before."""

    def __init__(self):
        self.settled = 0


def pays_a_friend(monkeypatch, friend):
    """What the others earn in round 2 goes to one client."""
    rounds = Rounds()

    def lying(participants, **given):
        rounds.settled += 1
        made = settle(participants, **given)
        if rounds.settled != 2:
            return made
        pays, leaves = made.payout.pays, made.tree.leaves
        robbed = [
            replace(
                leaf,
                cumulative=leaf.cumulative - pays[leaf.account] + (sum(pays.values()) if leaf.account == friend else 0),
            )
            for leaf in leaves
        ]
        return replace(made, tree=RoundTree(robbed))

    monkeypatch.setattr(settling, "settle", lying)


def scores_a_friend(monkeypatch, friend):
    """One client's score of round 2 is ten times what it was."""
    rounds = Rounds()

    def lying(participants, *, scores, **given):
        rounds.settled += 1
        told = {**scores, friend: 10 * scores[friend]} if rounds.settled == 2 else scores
        return settle(participants, scores=told, **given)

    monkeypatch.setattr(settling, "settle", lying)


def bends_the_direction(monkeypatch, friend):
    """The direction of round 2 is not the gradient; scores and payouts follow from it exactly."""
    rounds, honest = Rounds(), PaidScoring.direction

    def lying(self, **given):
        rounds.settled += 1
        made = honest(self, **given)
        return made + np.linalg.norm(made) * np.eye(len(made))[0] if rounds.settled == 2 else made

    monkeypatch.setattr(PaidScoring, "direction", lying)


@pytest.fixture
def lying_run(new_world, monkeypatch):
    """Runs a task of three rounds with a lie; returns the world, whose folder is the coordinator's."""

    def run(lie):
        opened = new_world(rounds=3)
        lie(monkeypatch, opened.addresses[0])
        opened.run(opened.app(opened.downhill), quorum=Colluding(opened.evaluators))
        monkeypatch.undo()
        write_validation(opened.folder / VALIDATION, opened.validation)
        assert (opened.task.state().status, opened.task.state().posted) == (Status.STARTED, 3)
        return opened

    return run


@pytest.fixture
def audit(fl):
    """Audits a coordinator's folder; the line of round 2, the only one that differs."""

    def call(opened, *arguments):
        done = fl("audit", opened.folder, *arguments)
        assert done.code == 1, done.out
        assert done.out.splitlines()[-1] == "1 of 3 rounds differs: 2"
        return next(line for line in done.out.splitlines() if "DIFFERS" in line)

    return call


@pytest.fixture
def watch(fl, account, tmp_path):
    """Watches a coordinator's folder once."""

    def call(opened):
        watcher = account(WATCHER)
        opened.token.mint(watcher.address, 100 * TOKENS, account=watcher)
        return fl("watch", opened.folder, f"anvil={WATCHER}", "once=true", f"folder={tmp_path / 'watch'}")

    return call


def test_pay_for_a_friend(lying_run, audit, watch):
    opened = lying_run(pays_a_friend)
    assert "the cumulative of 0x" in audit(opened)
    done = watch(opened)
    assert done.code == 1
    assert "round 2 FRAUD: a total or payout does not follow from the round before" in done.out
    assert (opened.task.state().status, opened.task.state().posted) == (Status.HALTED, 1)


def test_a_friends_score(lying_run, audit, watch):
    opened = lying_run(scores_a_friend)
    friend = opened.addresses[0]
    told = audit(opened)
    assert f"the score in the leaf of {friend} is " in told
    done = watch(opened)
    assert done.code == 1
    assert f"round 2 FRAUD: the score of {friend} is wrong" in done.out
    assert "filed challengeScore in 0x" in done.out


def test_a_client_sees_its_own_score_lied_about_with_its_own_part_alone(lying_run, audit, watch):
    opened = lying_run(scores_a_friend)
    friend = opened.addresses[0]
    for path in (opened.folder / "bundles").rglob("*"):
        public = ("header.json", "manifest.json", "round.json", "direction.blocks", f"{friend}.blocks")
        if path.is_file() and path.name not in public:
            path.unlink()
    assert f"the score of {friend} is " in audit(opened, f"account={friend}")
    assert "filed challengeScore in 0x" in watch(opened).out


def test_a_bent_direction_is_seen_by_whoever_has_the_validation_set(lying_run, audit, watch, fl):
    opened = lying_run(bends_the_direction)
    assert "the direction is off by" in audit(opened)
    assert "within 0.001 of the gradient" in audit(opened)
    # The chain cannot prove it, and the documents say so: it rests on the evaluators.
    assert watch(opened).code == 0
    (opened.folder / VALIDATION).unlink()
    assert fl("audit", opened.folder, "partial=true").code == 0


def test_without_the_lie_both_are_content(new_world, fl, watch):
    opened = new_world(rounds=3)
    opened.run(opened.app(opened.downhill), quorum=Colluding(opened.evaluators))
    write_validation(opened.folder / VALIDATION, opened.validation)
    assert fl("audit", opened.folder).code == 0
    assert watch(opened).code == 0


def test_a_finished_run_is_audited_from_the_chain_that_it_kept(fl, fl_process, tmp_path):
    tiny = ["task.rounds=1", "task.steps=2", "data.limit=200", "partition=iid", "partition.clients=3", "model=logistic"]
    assert fl_process("run", *tiny, folder=tmp_path).returncode == 0  # on an Anvil of its own, which is gone now
    run = tmp_path / "runs" / "latest"
    done = fl("audit", run)
    assert (done.code, done.err) == (0, "")
    assert "closed, 1 of 1 round," in done.out
    assert "round 1    ok  direction within" in done.out
    path = run / "bundles" / "round-0001" / "direction.blocks"
    values = Blocks.from_bytes(path.read_bytes(), size=650).decode()
    path.write_bytes(Blocks.encode(2 * values).to_bytes())
    assert fl("audit", run).code == 1
    shutil.move(run / "chain.json", tmp_path)
    done = fl("audit", run)
    assert done.code == 1
    assert "no chain answers at http://127.0.0.1:" in done.err
