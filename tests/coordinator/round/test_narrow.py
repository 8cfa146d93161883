"""A task whose updates travel in 8 bits: sent, scored, audited and refuted like any other."""

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from train_question import ask

from clients.keys.ledger import FolderLedger
from fl.audit.disputes import proofs
from fl.audit.disputes.proofs import Published
from fl.bundle.format import Bundle
from fl.codec import Blocks
from fl.codec.narrow import NARROW_BYTES
from fl.errors import ConfigError
from fl.protocol import RECORD, SignedUpdate
from fl.rewards.sums import fold

BASE = np.zeros(8, dtype=np.float32)
MOVE = np.array([1.0, 0.003, -0.001, 0.0, 0.0, 0.0, 0.0, 0.0])  # 0.003 is less than half of a 127th


@pytest.fixture(scope="module")
def world(lasting_world, spec):
    """Two rounds of three clients."""
    return lasting_world(spec=spec(block_bits=8))


def sent(world, context, number):
    """What the first client's node answers in a round."""
    answer = ask(world, context, BASE, moves=lambda *_: MOVE, number=number)
    return SignedUpdate.from_record(answer.content[RECORD]).blocks


def context_of(world, **settings):
    return Context(
        run_id=1, node_id=2, node_config={**world.node_config(0), **settings}, state=RecordDict(), run_config={}
    )


@pytest.mark.parametrize("kept", ["context", "folder"])
def test_what_rounding_took_is_in_the_next_update(world, kept, tmp_path):
    context = context_of(world, **({"folder": str(tmp_path)} if kept == "folder" else {}))
    total = np.zeros(256)
    for number in range(1, 5):
        data = sent(world, context, number)
        assert len(data) == NARROW_BYTES
        exponent, values = np.frombuffer(data, dtype="i1")[0], np.frombuffer(data, dtype="i1")[1:]
        total += np.ldexp(values.astype(float), int(exponent) + 8)
    # Without it 0.003 would be 0 for ever, and so would −0.001.
    np.testing.assert_allclose(total[:8] / 4, MOVE, atol=1 / 128 / 4)
    assert total[1] > 0


def test_a_remainder_that_cannot_be_read_or_is_of_another_update_is_left_out(world, tmp_path, caplog):
    context = context_of(world, folder=str(tmp_path))
    sent(world, context, 1)
    ledger = FolderLedger(tmp_path, task_id=world.task.task_id)
    assert ledger.remainder(size=8) is not None
    assert ledger.remainder(size=9) is None
    ledger.keep_remainder(BASE, round_number=2)  # and then the node was killed
    assert ledger.remainder(size=8) is None
    next(tmp_path.rglob("remainder")).write_bytes(b"{}\n")
    assert ledger.remainder(size=8) is None
    assert "remainder is left out (" in caplog.text


def test_rounds_of_narrow_updates_are_paid_and_a_false_challenge_is_refuted_on_chain(world, account):
    world.run(world.app(world.downhill))
    for report in world.reports:
        assert not report.refusals
        assert all(score > 0 for score in report.scores.values())
    bundle, _ = Bundle.read(world.folder / "bundles" / "round-0002")
    posted = Published.read(world.folder / "bundles" / "round-0002")
    update = Blocks.from_bytes(bundle.updates[0].wire, size=8)
    assert not (update.quanta % 256).any()
    outsider = account(9)
    world.token.mint(outsider.address, world.task.terms.bond, account=world.sponsor)
    world.token.approve(world.escrow.address, world.task.terms.bond, purpose="bond", account=outsider)
    place = next(at for at, leaf in enumerate(posted.leaves) if leaf.account == bundle.updates[0].account)
    sums = fold(proofs.partials(update, bundle.direction), span=1)
    sums[0] += 1 << 50
    call = proofs.challenge_with(posted, place=place, update=update, sums=sums)
    world.escrow.submit(call.function, call.arguments, account=outsider)
    (opened,) = world.escrow.challenges(world.task.task_id)
    index = proofs.wrong_sum(opened.sums, update=update, direction=bundle.direction)
    call = proofs.refute(opened.challenge, sums=opened.sums, index=index, update=update, direction=bundle.direction)
    world.escrow.submit(call.function, call.arguments, account=world.coordinator)
    assert not world.escrow.standing_of(opened.id)[0]


def test_an_update_of_sixteen_bits_is_refused_in_a_task_of_eight(lasting_world, spec, monkeypatch):
    world = lasting_world(spec=spec(block_bits=8), rounds=1)
    monkeypatch.setattr("clients.keys.wallet.block_bits", lambda text: 16)
    world.run(world.app(world.downhill))
    assert [refusal.reason for refusal in world.reports[0].refusals] == [
        "not a block vector: 513 bytes were given for 8 values of 8 bits, 257 are expected; encode it with fl.codec.Blocks.encode"
    ] * 3


@pytest.mark.parametrize("bits", [4, True, "8"])
def test_other_widths_are_refused(spec, bits):
    with pytest.raises(ConfigError, match=r"task.block_bits is .*; set 16 or 8"):
        spec(block_bits=bits)
