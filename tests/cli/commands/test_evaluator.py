"""`fl evaluator` as processes of their own, against a coordinator's gateway over TLS."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
from contextlib import ExitStack
from dataclasses import replace

import pytest
from audit.liar import Liar, outscored
from audit.test_hostile_bundles import VALUES, changed, places
from cli.commands.evaluating import CLIENTS, index_of, serving
from waiting import DEADLINE_S

from fl.audit.difference import RoundDiffers
from fl.audit.evaluators.remote import NotEvaluator, RemoteEvaluator, SignedAnother, SignedHeaders
from fl.bundle.http_client import ArchiveClient
from fl.bundle.validation_set import VALIDATION, read_validation, write_validation
from fl.chain.record import TaskRecord
from fl.coordinator.quorum.remote import RemoteQuorum, RoundRefused
from fl.coordinator.superlink.certificates import own_tls
from fl.task.strategies import build_strategy

TOKENS = 10**18


def test_two_of_three_on_their_own_machines_sign_every_round(new_world, evaluators, account):
    opened = new_world(rounds=2, evaluators=3, quorum=2)
    numbers = [index_of(account, evaluator) for evaluator in opened.evaluators[:2]]
    with serving(opened) as (quorum, _, path):
        processes = [evaluators(path, number) for number in numbers]
        opened.run(opened.app(opened.downhill), quorum=quorum)
        for process in processes:
            out, err = process.communicate(timeout=DEADLINE_S)
            assert (process.returncode, err) == (0, "")
            lines = out.splitlines()
            assert lines[0].startswith("evaluator 0x")
            assert [line.split(" (")[0].split(",")[0] for line in lines[1:3]] == ["round 1 signed", "round 2 signed"]
            assert lines[3] == "the task is over"
    expected = {evaluator.address for evaluator in opened.evaluators[:2]}
    assert [set(report.evaluators) for report in opened.reports] == [expected, expected]


def test_ctrl_c_ends_it_cleanly(new_world, evaluators, account):
    opened = new_world(rounds=1)
    with serving(opened) as (_, _, path):
        process = evaluators(path, index_of(account, opened.evaluators[0]))
        assert process.stdout.readline().startswith("evaluator 0x")
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err


def test_a_task_that_is_over_is_not_waited_for_though_its_coordinator_is_gone(new_world, evaluators, account):
    opened = new_world(rounds=1)
    opened.run(opened.app(opened.downhill))
    with serving(opened) as (_, _, path):
        pass
    process = evaluators(path, index_of(account, opened.evaluators[0]))
    out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-1] == "the task is over"


class Lying(RemoteQuorum):
    """Offers headers with another price than the bundle's."""

    def sign(self, folder, header, *, view):
        return super().sign(folder, replace(header, price=header.price + 1), view=view)


def test_a_lie_is_refused_with_the_first_difference(new_world, evaluators, account, monkeypatch):
    opened = new_world(rounds=1)
    with serving(opened) as (quorum, _, path):
        monkeypatch.setattr(quorum, "__class__", Lying)
        process = evaluators(path, index_of(account, opened.evaluators[0]), "once=true")
        with pytest.raises(RoundRefused) as caught:
            opened.run(opened.app(opened.downhill), quorum=quorum)
        out, _ = process.communicate(timeout=DEADLINE_S)
    told = re.search(r"the price is (\d+), recomputed (\d+); do not sign it", str(caught.value))
    assert int(told[1]) == int(told[2]) + 1
    assert process.returncode == 1
    assert out.splitlines()[-1] == f"round 1 REFUSED: round 1: {told[0]}"
    assert opened.task.state().posted == 0


# ---- in this process ----------------------------------------------------------------------------------------------------


class Alone(RemoteQuorum):
    """Lets a remote evaluator in this process answer while the round waits."""

    remote = None

    def sign(self, folder, header, *, view):
        import threading  # noqa: PLC0415

        worker = threading.Thread(target=self._answer)
        worker.start()
        try:
            return super().sign(folder, header, view=view)
        finally:
            worker.join(60)

    def _answer(self):
        while (found := self.remote.evaluate_waiting()) is None:
            pass
        self.found = found


@pytest.fixture
def remote(tmp_path):
    """Builds the evaluator of a world's task as another machine would have it."""

    def build(world, invite, **options):
        evaluator = world.evaluators[0]
        client = ArchiveClient.of_gateway(invite, account=options.get("account", evaluator))
        CLIENTS.append(client)
        settings = {"spec": world.spec, "account": evaluator, "folder": tmp_path / "evaluator", **options}
        return RemoteEvaluator(TaskRecord(invite), client, **settings)

    return build


def test_the_models_of_a_strategy_with_a_memory_are_followed(new_world, remote, spec, monkeypatch):
    arguments = {"eta": 0.05, "tau": 0.01}
    told = spec(strategy="fedadam", strategy_arguments=arguments)
    opened = new_world(rounds=3, spec=told)
    with serving(opened) as (quorum, invite, _):
        monkeypatch.setattr(quorum, "__class__", Alone)
        quorum.remote = remote(opened, invite)
        opened.run(opened.app(opened.downhill), build_strategy("fedadam", arguments), quorum=quorum)
    assert len(opened.reports) == 3
    cache = {path.name for path in (quorum.remote.folder / "cache" / "objects").rglob("*") if path.is_file()}
    sums = json.loads((opened.reports[2].bundle / "manifest.json").read_text())
    assert cache == set(sums.values())


def test_a_wrong_model_of_a_strategy_with_a_memory_is_refused(new_world, remote, spec, monkeypatch):
    arguments = {"eta": 0.05, "tau": 0.01}
    opened = new_world(rounds=2, spec=spec(strategy="fedadam", strategy_arguments=arguments))
    forgetful = build_strategy("fedadam", arguments)
    honest = forgetful.aggregate_train

    def aggregate(number, replies):
        forgetful.m_t = forgetful.v_t = None  # as if every round were the first
        return honest(number, replies)

    monkeypatch.setattr(forgetful, "aggregate_train", aggregate)
    with serving(opened) as (quorum, invite, _):
        monkeypatch.setattr(quorum, "__class__", Alone)
        quorum.remote = remote(opened, invite)
        with pytest.raises(RoundRefused, match="the next model is off by .* of what fedadam makes of the updates"):
            opened.run(opened.app(opened.downhill), forgetful, quorum=quorum)
    assert opened.task.state().posted == 1


class Spoiling(Alone):
    """Offers a round whose round.json says something else, again and again, and the honest one in the end."""

    texts = ()

    def sign(self, folder, header, *, view):
        kept = {name: (folder / name).read_bytes() for name in ("round.json", "manifest.json")}
        sums = json.loads(kept["manifest.json"])
        for text in self.texts:
            (folder / "round.json").write_bytes(text)
            manifest = json.dumps({**sums, "round.json": hashlib.sha256(text).hexdigest()}).encode()
            (folder / "manifest.json").write_bytes(manifest)
            with pytest.raises(RoundRefused):
                super().sign(folder, replace(header, bundle=hashlib.sha256(manifest).digest()), view=view)
            assert self.found.refusal, text[:2000]
        for name, data in kept.items():
            (folder / name).write_bytes(data)
        return super().sign(folder, header, view=view)


def test_no_round_json_ends_an_evaluator_or_gets_a_signature(new_world, remote, monkeypatch, tmp_path):
    rehearsal = new_world(rounds=1)
    rehearsal.run(rehearsal.app(rehearsal.downhill))
    honest = json.loads((rehearsal.reports[0].bundle / "round.json").read_text())
    shutil.rmtree(rehearsal.folder / "bundles")
    opened, rng = new_world(rounds=1), random.Random(5)
    ways = [way for way in places(honest) if way and way != ("taskId",)]
    # Of no updates no weights can be made, and the price is told twice.
    texts = [
        b"[" * 100_000,
        *(json.dumps({**honest, **change}).encode() for change in ({"updates": []}, {"price": "5"})),
    ]
    while len(texts) < 40:
        raw = changed(honest, rng.choice(ways), rng.choice([*VALUES, KeyError]))
        if raw != honest:
            texts.append(json.dumps({**raw, "taskId": opened.task.task_id.hex()}).encode())
    with serving(opened) as (quorum, invite, _):
        monkeypatch.setattr(quorum, "__class__", Spoiling)
        quorum.remote, quorum.texts = remote(opened, invite), texts
        opened.run(opened.app(opened.downhill), quorum=quorum)
    assert quorum.found.refusal == ""
    assert opened.task.state().posted == 1


def test_a_second_header_of_a_round_is_never_signed(tmp_path):
    signed = SignedHeaders(tmp_path / "deep" / "signed.json")
    signed.keep(1, b"\x01" * 32)
    signed.keep(1, b"\x01" * 32)
    signed.keep(2, b"\x02" * 32)
    with pytest.raises(SignedAnother) as caught:
        SignedHeaders(tmp_path / "deep" / "signed.json").keep(1, b"\x03" * 32)
    assert str(caught.value).startswith(f"round 1: header 0x{'03' * 32} is offered and 0x{'01' * 32} was signed before")


def test_another_header_after_a_signature_is_refused_on_the_wire(new_world, remote, monkeypatch):
    opened = new_world(rounds=1)
    with serving(opened) as (quorum, invite, _):
        monkeypatch.setattr(quorum, "__class__", Alone)
        quorum.remote = remote(opened, invite)
        SignedHeaders(quorum.remote.folder / "signed.json").keep(1, b"\x07" * 32)
        with pytest.raises(RoundRefused, match=f"0x{'07' * 32} was signed before"):
            opened.run(opened.app(opened.downhill), quorum=quorum)


def test_a_round_that_is_not_the_next_is_refused(new_world, remote):
    opened = new_world(rounds=2)
    opened.run(opened.app(opened.downhill))
    with serving(opened) as (_, invite, _):
        evaluator = remote(opened, invite)
        with pytest.raises(RoundDiffers, match="round 2: the round is 2, recomputed 3: so many are on chain"):
            evaluator._check(opened.reports[1].header)


def test_an_own_validation_set_has_to_be_the_tasks(new_world, remote, rows):
    opened = new_world(rounds=1)
    with serving(opened) as (_, invite, _):
        own = remote(opened, invite, validation=opened.validation)
        assert not (own.folder / VALIDATION).exists()
        fetched = remote(opened, invite)
        assert (fetched.folder / VALIDATION).exists()
        write_validation(fetched.folder / VALIDATION, type(rows)(features=rows.features * 2, labels=rows.labels))
        # What was kept and is not the task's is set aside, and fetched again.
        again = remote(opened, invite)
        kept = (again.folder / VALIDATION).read_bytes()
        assert read_validation(kept, where="", expected=opened.task.terms.validation_hash)


def test_somebody_who_is_no_evaluator_is_refused(new_world, remote, account):
    opened = new_world(rounds=1)
    stranger = account(19)
    with (
        serving(opened) as (_, invite, _),
        pytest.raises(NotEvaluator, match=f"{stranger.address} is not an evaluator"),
    ):
        remote(opened, invite, account=stranger)


def test_bundles_come_over_the_gateway_for_an_audit_too(new_world, fl, account):
    opened = new_world(rounds=1)
    opened.run(opened.app(opened.downhill))
    with serving(opened) as (_, invite, _):
        done = fl("audit", invite.to_string(), f"anvil={index_of(account, opened.evaluators[0])}")
        assert (done.code, done.err) == (0, "")
        assert " ok  direction within" in done.out
        member = fl("audit", invite.to_string(), f"anvil={index_of(account, opened.clients[1])}")
        assert member.code == 1
        assert "not checked in round 1: the scores of 2 clients (their updates are not here)" in member.out
        anybody = fl("audit", invite.to_string())
        assert anybody.code == 1
        assert "the scores of 3 clients" in anybody.out


def test_a_client_challenges_its_own_score_with_what_the_gateway_gives_it(new_world, fl, account, tmp_path):
    liar = Liar(new_world(rounds=1))
    made = liar.honest(1)
    lie = liar.post_leaves(made, outscored(made))
    victim = next(client for client in liar.world.clients if client.address == lie.leaves[0].account)
    liar.world.token.mint(victim.address, liar.escrow.challenge_bond(liar.task.task_id), account=victim)

    def watch(invite, *who):
        return fl("watch", invite.to_string(), "once=true", f"folder={tmp_path / 'watch'}", *who)

    with serving(liar.world) as (_, invite, _):
        stranger = watch(invite, "dry=true")
        assert stranger.code == 0
        assert "round 1: nothing wrong was found; not checked: 3 of 3 scores (updates/0x" in stranger.out
        other = watch(
            invite, f"anvil={index_of(account, next(client for client in liar.world.clients if client is not victim))}"
        )
        assert other.code == 0
        assert "not checked: 2 of 3 scores (updates/0x" in other.out
        done = watch(invite, f"anvil={index_of(account, victim)}")
    assert done.code == 1
    assert f"round 1 FRAUD: the score of {victim.address} is wrong" in done.out
    assert "filed challengeScore in 0x" in done.out
    (opened,) = liar.escrow.challenges(liar.task.task_id)
    assert (opened.challenge.account, opened.challenge.challenger) == (victim.address, victim.address)


# ---- refusals -----------------------------------------------------------------------------------------------------------


def test_without_a_key_it_is_refused(refuses, new_world):
    refuses("evaluator", f"invite={new_world().invite_path}", saying="key is not set; add key=KEYSTORE")


def test_an_invite_without_a_gateway_is_refused(refuses, new_world, account, tmp_path):
    opened = new_world()
    refuses(
        "evaluator", f"invite={opened.invite_path}", f"anvil={index_of(account, opened.evaluators[0])}",
        f"folder={tmp_path / 'own'}", saying="the invite has no gateway",
    )  # fmt: skip


@pytest.mark.parametrize("every", ["0", "-1", "soon", "nan", "inf"])
def test_a_pause_that_is_none_is_refused(refuses, new_world, every):
    refuses(
        "evaluator",
        f"invite={new_world().invite_path}",
        "anvil=2",
        f"every={every}",
        saying=f"every is {every!r}; write a number",
    )


def test_a_second_one_in_the_folder_is_refused(new_world, fl, account, evaluators, tmp_path):
    opened = new_world(rounds=1)
    number = index_of(account, opened.evaluators[0])
    with serving(opened) as (_, _, path):
        first = evaluators(path, number)
        assert first.stdout.readline().startswith("evaluator 0x")
        done = fl("evaluator", f"invite={path}", f"anvil={number}", f"folder={tmp_path / f'evaluator-{number}'}")
    assert done.code == 1
    assert "another `fl evaluator` works in" in done.err


def test_a_certificate_of_somebody_else_is_not_trusted(new_world, fl, account, tmp_path):
    opened = new_world(rounds=1)
    with ExitStack() as stack:
        _, invite, _ = stack.enter_context(serving(opened))
        other = own_tls(tmp_path / "other", names=["127.0.0.1"])
        path = tmp_path / "invite.json"
        invite.served_at(invite.gateway, ca=other.ca, coordinator=opened.task.coordinator).write(path)
        number = index_of(account, opened.evaluators[0])
        done = fl("evaluator", f"invite={path}", f"anvil={number}", f"folder={tmp_path / 'own'}")
    assert done.code == 1
    assert "its certificate is not believed" in done.err
