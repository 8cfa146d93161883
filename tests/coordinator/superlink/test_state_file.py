"""A database that SQLite does not find whole is moved aside with a sentence; one that it does is left alone."""

import logging
import random
import sqlite3
from contextlib import closing

import pytest

from fl.coordinator.superlink.state_file import set_damaged_aside


@pytest.fixture
def state(tmp_path):
    """A database of a few pages."""
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE node (id INTEGER PRIMARY KEY, key BLOB UNIQUE, name TEXT)")
        database.executemany(
            "INSERT INTO node VALUES (?, ?, ?)",
            [(n, bytes([n % 256]) * 40 + bytes([n // 256]), f"n{n}") for n in range(400)],
        )
        database.commit()
    return path


def test_a_whole_database_stays_where_it_is(state, caplog):
    content = state.read_bytes()
    set_damaged_aside(state)
    assert state.read_bytes() == content
    assert not caplog.records


def test_no_database_is_nothing_to_say(tmp_path, caplog):
    set_damaged_aside(tmp_path / "state.db")
    assert not caplog.records


@pytest.mark.parametrize(
    "content", [b"", b"garbage" * 100, b"SQLite format 3\0" + bytes(84)], ids=["empty", "text", "head"]
)
def test_a_file_that_is_no_database_is_moved_aside(tmp_path, caplog, content):
    state = tmp_path / "state.db"
    state.write_bytes(content)
    (tmp_path / "state.db-wal").write_bytes(b"wal")
    with caplog.at_level(logging.WARNING):
        set_damaged_aside(state)
    if content:  # an empty file is an empty database
        assert not state.exists()
        assert (tmp_path / "state.db.damaged-1").read_bytes() == content
        assert not (tmp_path / "state.db-wal").exists()  # which would be taken for the new one's
        assert "a new one begins: nodes are registered again from the chain and connect by themselves" in caplog.text


def test_wherever_a_page_is_overwritten_the_next_start_finds_a_database(state, tmp_path):
    whole, rng = state.read_bytes(), random.Random(1)
    aside = 0
    for _ in range(60):
        data = bytearray(whole)
        start = rng.randrange(len(data))
        data[start : start + 64] = rng.randbytes(len(data[start : start + 64]))
        state.write_bytes(bytes(data))
        set_damaged_aside(state)
        if state.exists():
            with closing(sqlite3.connect(state)) as database:
                assert database.execute("PRAGMA integrity_check(1)").fetchall() == [("ok",)]
        else:
            aside += 1
    assert aside > 10
