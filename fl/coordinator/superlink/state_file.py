"""The SuperLink's database before it is opened: a malformed one would keep the SuperLink from starting, for ever and without advice.

What it holds can be had again: nodes are registered from the chain, and what was collected is in the coordinator's journal.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

from fl.chain.whole_file import set_aside

log = logging.getLogger(__name__)

STATE = "state.db"
_BESIDE = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a database


def set_damaged_aside(path: Path) -> None:
    """Move a database that SQLite does not find whole out of the way, with what lies beside it, and say so."""
    if not path.exists() or (problem := _damage(path)) is None:
        return
    away = set_aside(path)
    for suffix in _BESIDE:
        if (beside := path.with_name(path.name + suffix)).exists():
            set_aside(beside)
    log.warning(
        "the SuperLink's state %s is damaged (%s); it is now %s, and a new one begins: nodes are registered again from the chain and "
        "connect by themselves",
        path, problem, away,
    )  # fmt: skip


def _damage(path: Path) -> str | None:
    """What is wrong with a database; None if it is whole."""
    try:
        with closing(sqlite3.connect(path, timeout=5)) as database:
            found = [str(row[0]) for row in database.execute("PRAGMA integrity_check(1)")]
            database.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except sqlite3.OperationalError as error:
        # Held by another process, or in a folder that cannot be written to: not for us to move.
        return None if "locked" in str(error) or "unable to open" in str(error) else str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == ["ok"] else "; ".join(found)[:300]
