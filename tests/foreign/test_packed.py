"""Packed files are unpacked up to a size, whatever they are packed with."""

import bz2
import gzip
import lzma
import zlib

import pytest

from fl.foreign.packed import Swells, unpacked

PACKERS = [gzip.compress, bz2.compress, lzma.compress]


@pytest.mark.parametrize("pack", PACKERS)
def test_what_swells_is_not_unpacked(pack):
    with pytest.raises(Swells, match="it holds more than 1,000 bytes; unpack it, and see what is in it"):
        unpacked(pack(bytes(5_000_000)), most=1000)
    with pytest.raises(Swells):
        unpacked(pack(b"a" * 600) + pack(b"b" * 600), most=1000)
    assert unpacked(pack(b"a" * 600) + pack(b"b" * 400) + bytes(8), most=1000) == b"a" * 600 + b"b" * 400


@pytest.mark.parametrize("pack", PACKERS)
def test_what_is_cut_short_or_damaged_is_no_content(pack):
    whole = pack(b"some rows" * 100)
    with pytest.raises(EOFError, match="it ends before its end"):
        unpacked(whole[:-9])


def test_an_xz_file_that_asks_for_memory_without_measure_is_refused():
    small = lzma.compress(b"rows")
    head = small[12:16] + b"\x28" + small[17:20]  # the block's own head, with a dictionary of 4 GiB
    with pytest.raises(lzma.LZMAError, match="limit"):
        unpacked(small[:12] + head + zlib.crc32(head).to_bytes(4, "little") + small[24:])


def test_what_is_not_packed_is_as_it_was():
    assert unpacked(b"a,b\n", most=2) == b"a,b\n"
