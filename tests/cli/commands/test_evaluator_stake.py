"""The stake behind `fl evaluator`: put there, defended, brought home."""

import os
import re
import signal

from chain.wallet import deployed_wallet
from cli.commands.evaluating import index_of, serving
from waiting import DEADLINE_S, wait_for
from world import SPONSOR, STRANGER, test_key

from fl.audit.disputes import proofs
from fl.audit.disputes.proofs import Published
from fl.bundle.files import update_file
from fl.chain.clock import pass_time
from fl.chain.payment import pay
from fl.codec import Blocks
from fl.codec.address import checksummed
from fl.task.model_vector import vector_of

TOKENS = 10**18


def lines_until(process, start):
    """A process's lines up to the first that begins so."""
    seen = []
    while not (line := process.stdout.readline()).startswith(start):
        assert line, (seen, process.stderr.read())
        seen.append(line.rstrip())
    return [*seen, line.rstrip()]


def test_an_evaluator_stakes_answers_a_false_challenge_and_gets_its_stake_back(new_world, evaluators, account):
    opened = new_world(rounds=1, evaluator_stake=20 * TOKENS)
    own = opened.evaluators[0].address
    opened.token.mint(own, 20 * TOKENS, account=opened.sponsor)
    held = opened.token.balance(own)
    with serving(opened) as (quorum, _, path):
        process = evaluators(path, index_of(account, opened.evaluators[0]), "accept=true")
        told = lines_until(process, "staked")
        assert told[0].startswith(
            "this task takes an evaluator's signature only with 20 tokens behind it. They come back to "
        )
        assert told[-1].startswith(f"staked 20 tokens for {own} in 0x")
        assert opened.escrow.backer(opened.task.task_id, own).stake == 20 * TOKENS
        opened.run(opened.app(opened.downhill), quorum=quorum)
        lines_until(process, "round 1 signed")
        # The coordinator is gone: nobody else has update and direction.
        challenge_first_score(opened)
        wait_for(lambda: not opened.task.state().open_challenges, what="the challenge is still open")
        assert opened.task.state().void_from == 0
        pass_time(opened.w3, until=opened.w3.eth.get_block("latest")["timestamp"] + 300)
        opened.escrow.close(opened.task.task_id, account=opened.sponsor)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert re.search(r"round 1: the challenge of 0x\w+ is false; filed refute in 0x\w+, 31.25 tokens came in", err)
    assert out.splitlines()[-1] == "the task is over"
    assert opened.token.balance(own) > held  # half of the challenge's bond came with it
    assert opened.escrow.backer(opened.task.task_id, own).stake == 0


def challenge_first_score(world):
    """A challenge of a client's score with sums that its update does not make."""
    report = world.reports[0]
    published = Published(header=report.header, leaves=report.leaves)
    place = next(place for place, leaf in enumerate(report.leaves) if any(leaf.update_root))
    size = vector_of(world.spec.build_model()).size
    update = Blocks.from_bytes((report.bundle / update_file(report.leaves[place].account)).read_bytes(), size=size)
    call = proofs.challenge_with(published, place=place, update=update, sums=[1 << 60])
    liar, bond = test_key(STRANGER), world.escrow.challenge_bond(world.task.task_id)
    world.token.mint(liar.address, bond, account=world.sponsor)
    pay(
        world.escrow,
        world.token,
        function=call.function,
        arguments=call.arguments,
        amount=bond,
        purpose="a lie",
        account=liar,
    )


def test_an_evaluator_that_is_a_contract_signs_by_its_owners_key(chain, new_world, evaluators):
    w3, _, token = chain.connect()
    owner = test_key(STRANGER)
    wallet = deployed_wallet(w3, owner=owner.address, account=test_key(SPONSOR))
    opened = new_world(rounds=1, evaluators=0, contracts=[wallet], evaluator_stake=20 * TOKENS)
    token.mint(owner.address, 20 * TOKENS, account=opened.sponsor)
    with serving(opened) as (quorum, _, path):
        process = evaluators(path, STRANGER, f"contract={wallet}", "accept=true")
        assert lines_until(process, "staked")[-1].startswith(f"staked 20 tokens for {wallet} in 0x")
        lines_until(process, f"evaluator {wallet} of task")
        opened.run(opened.app(opened.downhill), quorum=quorum)
        lines_until(process, "round 1 signed")
        assert [report.evaluators for report in opened.reports] == [(wallet,)]
        pass_time(opened.w3, until=opened.w3.eth.get_block("latest")["timestamp"] + 300)
        opened.escrow.close(opened.task.task_id, account=opened.sponsor)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-2:] == [f"20 tokens came back to {owner.address}", "the task is over"]


def test_who_cannot_stake_or_speak_is_told_before_anything_is_sent(new_world, fl, account, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wallet = checksummed(bytes(19) + b"\xfe")
    opened = new_world(rounds=1, contracts=[wallet], evaluator_stake=10**28)
    own = opened.evaluators[0]
    nonce = opened.w3.eth.get_transaction_count(own.address)
    told = {}
    with serving(opened) as (_, _, path):
        number = index_of(account, own)
        for setting in ("", f"contract={wallet}", "contract=0xfe", f"contract={own.address}"):
            done = fl("evaluator", str(path), f"anvil={number}", *filter(None, [setting]))
            assert done.code == 1, done.err
            told[setting] = done.err.strip()
        done = fl("evaluator", str(path), f"anvil={STRANGER}")
    assert "is not an evaluator of the task" in done.err
    assert re.search(r"evaluator's stake", told[""])
    assert (
        f"there is no contract at {wallet} on chain 31337; leave contract= out for a key of its own"
        in told[f"contract={wallet}"]
    )
    assert "contract is '0xfe'; write its address with the capitals of its checksum" in told["contract=0xfe"]
    assert "there is no contract at" in told[f"contract={own.address}"]
    assert opened.w3.eth.get_transaction_count(own.address) == nonce


def test_finish_fetches_the_stake_of_an_evaluator_that_was_stopped(new_world, evaluators, account, fl, tmp_path):
    opened = new_world(rounds=1, evaluator_stake=20 * TOKENS)
    own = opened.evaluators[0].address
    opened.token.mint(own, 20 * TOKENS, account=opened.sponsor)
    held, number = opened.token.balance(own), index_of(account, opened.evaluators[0])
    with serving(opened) as (_, _, path):
        process = evaluators(path, number, "accept=true")
        lines_until(process, "evaluator 0x")
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=DEADLINE_S)
    folder = tmp_path / f"evaluator-{number}"

    lacks = fl("finish", folder)
    assert lacks.code == 1
    assert (
        f"add key=KEYSTORE of {own}, which signs for evaluator {own}; its stake comes home to who paid it" in lacks.err
    )
    waits = f"a stake of 20 tokens stays with evaluator {own} until the task is closed; run `fl finish` again then\n"
    assert fl("finish", folder, f"anvil={number}").out == waits
    told = fl("status", f"invite={path}", f"account={own}").out
    assert f"20 tokens are staked for evaluator {own}, back when the task is closed; lost if it signed" in told
    pass_time(opened.w3, until=opened.w3.eth.get_block("latest")["timestamp"] + 1000)
    opened.escrow.expire(opened.task.task_id, account=opened.sponsor)
    told = fl("status", f"invite={path}", f"account={own}").out
    assert f"20 tokens are staked for evaluator {own}; the task is closed, `fl finish` fetches them" in told
    assert fl("finish", folder, f"anvil={number}").out.splitlines()[-1] == f"{own} got 20 tokens back"
    assert fl("finish", folder, f"anvil={number}").out == f"the contract owes {own} nothing\n"
    assert opened.token.balance(own) == held
    assert f"no stake is behind evaluator {own} any more" in fl("status", f"invite={path}", f"account={own}").out


def test_where_nobody_answers_nothing_is_staked(new_world, evaluators, account):
    opened = new_world(rounds=1, evaluator_stake=20 * TOKENS)
    own = opened.evaluators[0].address
    opened.token.mint(own, 20 * TOKENS, account=opened.sponsor)
    nonce = opened.w3.eth.get_transaction_count(own)
    with serving(opened) as (_, _, path):
        out, err = evaluators(path, index_of(account, opened.evaluators[0])).communicate(timeout=DEADLINE_S)
    assert out.splitlines()[-1].startswith("stake them? [y/N] ")
    assert err.endswith("nothing was staked or signed; answer y, or add accept=true where nobody is there to answer\n")
    assert opened.w3.eth.get_transaction_count(own) == nonce
    assert opened.escrow.backer(opened.task.task_id, own).stake == 0
