"""What was signed outlives the process, or nothing is signed."""

import json
from contextlib import suppress

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from train_question import BASE, ask

from clients.errors import BrokenLedger, PastRound, SecondUpdate
from clients.keys.ledger import LAST, FolderLedger
from fl.chain.typed_data import Receipt, sign
from fl.protocol import RECORD, SignedUpdate, TrainRequest

TASK = b"\x07" * 32


def update(**changes):
    """A signed update, with changes."""
    return SignedUpdate(
        **{
            "account": "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
            "round": 3,
            "base_model": b"\x01" * 32,
            "blocks": bytes(range(256)) * 3 + b"\n\n",
            "signature": b"\x02" * 65,
            "seconds_training": 1.5,
            "seconds_signing": 0.25,
            **changes,
        }
    )


def test_an_update_comes_back_as_it_was_kept(tmp_path):
    assert FolderLedger(tmp_path, task_id=TASK).last() is None
    FolderLedger(tmp_path, task_id=TASK).keep(update())
    assert FolderLedger(tmp_path, task_id=TASK).last() == update()
    assert FolderLedger(tmp_path, task_id=b"\x08" * 32).last() is None  # another task's rounds are its own


def test_receipts_come_back_by_round(tmp_path):
    ledger = FolderLedger(tmp_path, task_id=TASK)
    ledger.keep_receipt(round_number=1, update_root=b"\x03" * 32, receipt=b"\x04" * 65)
    ledger.keep_receipt(round_number=2, update_root=b"\x05" * 32, receipt=b"\x06" * 65)
    assert FolderLedger(tmp_path, task_id=TASK).receipts() == {
        1: (b"\x03" * 32, b"\x04" * 65),
        2: (b"\x05" * 32, b"\x06" * 65),
    }


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: b"{}" + content,
        lambda content: b"",
        lambda content: json.dumps({"round": 3}).encode(),
    ],
)
def test_a_damaged_ledger_lets_nothing_be_signed(tmp_path, damage):
    FolderLedger(tmp_path, task_id=TASK).keep(update())
    path = tmp_path / "signed" / TASK.hex() / "last-update"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BrokenLedger) as caught:
        FolderLedger(tmp_path, task_id=TASK).last()
    assert str(caught.value).startswith(f"{path} cannot be read (")
    assert "a second update for a round might be signed, which costs the stake" in str(caught.value)


@pytest.fixture(scope="module")
def task(lasting_world):
    """A task that the tests of this module only read."""
    return lasting_world(joining=0)


def fresh(task, folder):
    """A node's context after a restart: nothing but its configuration is left."""
    config = {**task.node_config(0), "folder": str(folder)}
    return Context(run_id=1, node_id=2, node_config=config, state=RecordDict(), run_config={})


def never(number, round_number, base):
    raise AssertionError("trained twice")


def test_a_node_that_lost_its_memory_answers_from_the_disk(task, tmp_path):
    context = fresh(task, tmp_path)
    first = ask(task, context, BASE)
    assert LAST not in context.state.config_records  # the folder is the one place
    again = ask(task, fresh(task, tmp_path), BASE, moves=never)
    assert dict(again.content[RECORD]) == dict(first.content[RECORD])
    with pytest.raises(SecondUpdate):
        ask(task, fresh(task, tmp_path), BASE + 1, moves=never)
    ask(task, fresh(task, tmp_path), BASE, number=2)
    with pytest.raises(PastRound):
        ask(task, fresh(task, tmp_path), BASE, moves=never)


def test_the_update_is_on_the_disk_before_it_is_sent(task, tmp_path, monkeypatch):
    def full(self, update):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FolderLedger, "keep", full)
    with pytest.raises(OSError, match="No space left"):
        ask(task, fresh(task, tmp_path), BASE, moves=lambda *_: np.full(8, 0.5))


def test_a_genuine_receipt_is_kept_on_the_disk(task, tmp_path):
    root = b"\x0a" * 32
    receipt = Receipt(task_id=task.task.task_id, round=1, client=task.addresses[0], update_root=root)
    request = TrainRequest(
        task_id=task.task.task_id,
        round=2,
        receipt=sign(receipt, domain=task.task.domain, account=task.coordinator),
        receipt_round=1,
        receipt_root=root,
    )
    ask(task, fresh(task, tmp_path), BASE, request=request)
    ledger = FolderLedger(tmp_path, task_id=task.task.task_id)
    assert ledger.receipts() == {1: (root, request.receipt)}


def test_no_flipped_byte_is_signed_over(tmp_path):
    """A round that reads as another one would let a second update be signed; blocks that changed would be sent."""
    FolderLedger(tmp_path, task_id=TASK).keep(update(blocks=bytes(30)))
    path = tmp_path / "signed" / TASK.hex() / "last-update"
    whole = path.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        with suppress(BrokenLedger):
            assert FolderLedger(tmp_path, task_id=TASK).last() == update(blocks=bytes(30))


def test_receipts_that_are_damaged_are_set_aside_and_gathered_anew(tmp_path, caplog):
    ledger = FolderLedger(tmp_path, task_id=TASK)
    ledger.keep_receipt(round_number=1, update_root=b"\x03" * 32, receipt=b"\x04" * 65)
    path = tmp_path / "signed" / TASK.hex() / "receipts.json"
    path.write_bytes(path.read_bytes()[:-20])
    assert ledger.receipts() == {}
    assert f"{path} is damaged (" in caplog.text
    assert path.with_name("receipts.json.damaged-1").exists()
    ledger.keep_receipt(round_number=2, update_root=b"\x05" * 32, receipt=b"\x06" * 65)
    assert ledger.receipts() == {2: (b"\x05" * 32, b"\x06" * 65)}


def test_what_a_node_signed_is_for_its_owner_only(tmp_path):
    ledger = FolderLedger(tmp_path, task_id=TASK)
    ledger.keep(update())
    ledger.keep_receipt(round_number=1, update_root=b"\x03" * 32, receipt=b"\x04" * 65)
    own = tmp_path / "signed" / TASK.hex()
    assert {oct(path.stat().st_mode & 0o777) for path in own.iterdir()} == {"0o600"}
    assert own.stat().st_mode & 0o077 == 0
