"""`fl events` against a real chain: what it writes is what happened, for Python's csv, pandas and Arrow alike."""

import csv
import importlib.util
from dataclasses import replace
from decimal import Decimal

import pandas
import pyarrow.parquet
import pytest

from fl.chain.invite import Invite


@pytest.fixture
def trained(new_world):
    """A task with two posted rounds."""
    world = new_world()
    world.run(world.app(world.downhill))
    return world


def test_the_tables_hold_every_event_in_both_forms(fl, trained, tmp_path):
    out = tmp_path / "deep" / "events"
    done = fl("events", trained.invite_path, f"out={out}")
    assert done.code == 0, done.err
    assert "joined" in done.out
    assert f"written to {out} as csv and parquet" in done.out
    with (out / "posted.csv").open() as file:
        rows = list(csv.DictReader(file))
    arrow = pyarrow.parquet.read_table(out / "posted.parquet").to_pylist()
    assert len(rows) == len(arrow) == len(trained.reports)
    for report, row, typed in zip(trained.reports, rows, arrow, strict=True):
        assert int(row["cumulative"]) == typed["cumulative"] == report.header.cumulative
        assert isinstance(typed["cumulative"], Decimal)
        assert row["transaction"] == typed["transaction"] == report.transaction
        assert typed["time"].strftime("%Y-%m-%dT%H:%M:%SZ") == row["time"]
    assert {path.stem for path in out.glob("*.csv")} == {path.stem for path in out.glob("*.parquet")}


def test_pandas_sums_the_stakes_to_the_wei(fl, trained, tmp_path):
    assert fl("events", trained.invite_path, f"out={tmp_path}", "format=parquet").code == 0
    joined = pandas.read_parquet(tmp_path / "joined.parquet")
    assert int(joined["stake"].sum()) == sum(trained.stakes)
    assert not list(tmp_path.glob("*.csv"))


def test_a_task_is_named_by_its_folder_or_its_one_line_invite_too(fl, trained, tmp_path):
    for task in (trained.folder, Invite.read(trained.invite_path).to_string()):
        done = fl("events", task, f"out={tmp_path / 'out'}", "format=csv")
        assert done.code == 0, done.err
    assert (tmp_path / "out" / "opened.csv").exists()


def test_without_pyarrow_it_writes_csv_and_says_what_is_missing(fl, refuses, trained, tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyarrow" else real(name))
    done = fl("events", trained.invite_path, f"out={tmp_path}")
    assert done.code == 0
    assert "for Parquet too: pip install 'fairshare[events]'" in done.out
    assert not list(tmp_path.glob("*.parquet"))
    refuses(
        "events", trained.invite_path, "format=parquet",
        saying="format is 'parquet' and pyarrow is not installed; pip install 'fairshare[events]', or set format=csv",
    )  # fmt: skip


def test_a_kind_of_event_that_never_happened_has_no_file_and_is_named(fl, trained, tmp_path):
    done = fl("events", trained.invite_path, f"out={tmp_path / 'out'}", "format=csv")
    assert "never happened, and has no file: " in done.out
    assert "slashed" in done.out
    assert not (tmp_path / "out" / "slashed.csv").exists()


def test_a_task_without_events_says_so_and_writes_nothing(fl, trained, tmp_path):
    invite = replace(Invite.read(trained.invite_path), block=trained.w3.eth.block_number + 1)
    done = fl("events", invite.to_string(), f"out={tmp_path / 'out'}")
    assert (done.code, done.out) == (
        0, f"task {invite.task_id} has no events from block {invite.block} on; nothing was written\n",
    )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_what_it_cannot_do_is_refused(refuses, trained, tmp_path):
    refuses("events", saying="no task is named; write fl events TASK")
    refuses("events", trained.invite_path, "format=xlsx", saying="format is 'xlsx'; choose csv, parquet or csv,parquet")
    refuses(
        "events",
        tmp_path / "none.json",
        saying=f"there is no file or folder {tmp_path / 'none.json'}; name an invite, a run's or a coordinator's folder, or an archive",
    )
