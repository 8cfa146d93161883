"""Long vectors in unnamed files: the same values as in memory, and nothing left behind."""

import errno
import gc
import os
import tempfile

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from fl.codec import Blocks, MalformedBlocks, block_root, parts_of, whole
from fl.protocol import RECORD, SignedUpdate, keep_blocks
from fl.rewards.score import partials
from fl.spool import Spool, Spooled

LONG = 3000 * 256 - 7  # values: more blocks than are looked at at once


def vector(seed=0, *, size=LONG):
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


def open_files():
    return {
        os.readlink(f"/proc/self/fd/{number}")
        for number in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{number}")
    }


def test_a_slice_of_what_is_kept_is_what_was_given():
    spool = Spool(held=0)
    values, others = vector(), vector(1)
    kept, more = spool.keep(values, dtype=np.float32), spool.keep(others, dtype=np.float64)
    assert isinstance(kept, Spooled)
    assert len(kept) == LONG
    np.testing.assert_array_equal(kept[17:31], values[17:31])
    np.testing.assert_array_equal(kept[LONG - 90 : LONG + 10], values[-90:])
    np.testing.assert_array_equal(more[:], others.astype(np.float64))
    assert kept[5:5].shape == (0,)
    with pytest.raises(ValueError, match="in order"):
        kept[::2]


def test_what_is_short_stays_in_memory():
    values = vector(size=100)
    assert Spool(held=0).keep(values, dtype=np.float32) is values
    assert Spool().keep_bytes(b"short") == b"short"


def test_what_comes_after_the_first_megabytes_is_on_disk():
    spool = Spool(held=9_000_000)
    kept = [spool.keep(vector(seed), dtype=np.float32) for seed in range(4)]
    assert [isinstance(each, Spooled) for each in kept] == [False, False, True, True]
    assert kept[1].dtype == np.float32
    np.testing.assert_array_equal(spool.keep(vector(), dtype=np.float64)[:], vector().astype(np.float64))


def test_the_file_is_gone_with_the_last_of_what_it_keeps():
    before = open_files()
    spool = Spool(held=0)
    first, second = spool.keep(vector(), dtype=np.float32), spool.keep(vector(1), dtype=np.float32)
    assert len(open_files() - before) == 1
    del spool, first
    gc.collect()
    np.testing.assert_array_equal(second[:10], vector(1)[:10])
    del second
    gc.collect()
    assert not open_files() - before


def test_a_full_disk_leaves_it_in_memory_and_says_so(monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    values = vector()
    monkeypatch.setattr(os, "pwrite", full)
    assert Spool(held=0).keep(values, dtype=np.float32) is values
    assert "3 MB stay in memory: no temporary file takes them ([Errno 28] No space left on device)" in caplog.text
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    assert Spool(held=0).keep_bytes(bytes(70_000)) == bytes(70_000)


def test_blocks_on_disk_are_those_in_memory():
    held = Blocks.encode(vector())
    wire = Spool(held=0).keep_bytes(held.to_bytes())
    assert isinstance(wire, Spooled)
    read = Blocks.from_bytes(wire, size=LONG)
    np.testing.assert_array_equal(read.decode(), held.decode())
    np.testing.assert_array_equal(read.decode_part(300_000, 700_001), held.decode()[300_000:700_001])
    assert read.to_bytes() == held.to_bytes() == whole(wire) == b"".join(map(bytes, parts_of(wire, size=1000)))
    assert read.squared_q128 == held.squared_q128
    assert block_root(wire) == block_root(held.to_bytes())
    direction = Blocks.encode(vector(1))
    assert partials(read, direction) == partials(held, direction)


@pytest.mark.parametrize("number", [0, 1023, 1024, 2999])
def test_a_block_that_is_not_in_form_is_named_by_its_number(number):
    data = bytearray(Blocks.encode(vector()).to_bytes())
    data[513 * number] = 7
    expected = f"block {number} has exponent 7, outside"
    for wire in (bytes(data), Spool(held=0).keep_bytes(bytes(data))):
        with pytest.raises(MalformedBlocks, match=expected):
            Blocks.from_bytes(wire, size=LONG)


def test_padding_is_counted_from_the_vectors_end():
    data = bytearray(Blocks.encode(vector()).to_bytes())
    data[-1] = 1
    with pytest.raises(MalformedBlocks, match=f"padding after value {LONG} is not zero"):
        Blocks.from_bytes(bytes(data), size=LONG)


def test_an_answers_blocks_are_kept_as_it_comes_and_read_as_they_were():
    update = SignedUpdate(
        account="0x1", round=3, base_model=b"m", blocks=Blocks.encode(vector()).to_bytes(), signature=b"s"
    )
    content = RecordDict({RECORD: update.to_record()})
    keep_blocks(content, Spool(held=0))
    read = SignedUpdate.from_record(content[RECORD])
    assert isinstance(read.blocks, Spooled)
    assert read.to_record()["blocks"] == update.blocks


@pytest.mark.parametrize("record", [None, ConfigRecord({"blocks": 3}), ConfigRecord({})])
def test_an_answer_without_blocks_is_left_as_it_is(record):
    content = RecordDict({} if record is None else {RECORD: record})
    keep_blocks(content, Spool(held=0))
    assert content == RecordDict({} if record is None else {RECORD: record})
