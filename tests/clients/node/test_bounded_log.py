"""What a coordinator's words come to in the log of a node's SuperNode."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys

import pytest

from clients.node.bounded_log import MOST_LOG, Bounded, make_room


@pytest.fixture
def logged():
    """A logger as Flower has one, whose handler is bounded, and what it wrote."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(Bounded(20_000))
    logger = logging.Logger("as Flower's")
    logger.addHandler(handler)
    return logger, written


def test_a_record_of_megabytes_is_cut(logged):
    logger, written = logged
    logger.info("[RUN %s, ROUND %s]", 5, "a" * (1 << 20))
    logger.info("Receiving: %s message (ID: %s)", "train", "7")
    first, second = written.getvalue().splitlines()
    assert first == f"[RUN 5, ROUND {'a' * (2000 - len('[RUN 5, ROUND '))}…"
    assert second == "Receiving: train message (ID: 7)"


def test_a_traceback_of_megabytes_is_cut_from_its_beginning(logged):
    logger, written = logged
    try:
        raise ValueError("b" * (1 << 20) + " at the end")
    except ValueError:
        logger.exception("it failed")
    assert len(written.getvalue()) < 3000
    assert written.getvalue().endswith("b at the end\n")


def test_records_without_end_come_to_an_end(logged):
    logger, written = logged
    for number in range(10_000):
        logger.info("message %d", number)
    assert len(written.getvalue()) < 20_000
    assert written.getvalue().endswith("so much was logged that nothing more is\n")


def test_a_record_that_cannot_be_written_is_one_line(logged):
    logger, written = logged
    logger.info("%d", "no number")
    assert written.getvalue() == "a record that cannot be written (TypeError)\n"


def test_flowers_own_logger_is_bounded_in_the_supernode():
    script = (
        "import logging, flwr.supercore.logger; from clients.node.bounded_log import bound_log; bound_log()\n"
        "logging.getLogger('flwr').info('[RUN %s]', 'c' * 5_000_000)"
    )
    environment = {**os.environ, "FLWR_TELEMETRY_ENABLED": "0"}
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, env=environment)
    assert 2000 < len(done.stdout + done.stderr) < 4000


def test_a_log_that_has_grown_is_put_aside_once(tmp_path):
    log = tmp_path / "supernode.log"
    make_room(log)
    log.write_bytes(b"small")
    make_room(log)
    assert log.read_bytes() == b"small"
    for last in (b"1", b"2"):
        with log.open("wb") as file:
            file.truncate(MOST_LOG)
            file.seek(0, os.SEEK_END)
            file.write(last)
        make_room(log)
        assert not log.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["supernode.log.1"]
    assert (tmp_path / "supernode.log.1").read_bytes()[-1:] == b"2"
