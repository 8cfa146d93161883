"""What a run shows while it goes on, in a terminal and in a file."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from fl.cli.terminal.progress import ProgressView
from fl.scoring.game import Evaluation


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr("rich.console.monotonic", lambda: now.seconds)
    return now


def shown(clock, *, terminal):
    """What two rounds of three and seven seconds leave, and the claims after them."""
    out = io.StringIO()
    view = ProgressView(rounds=2, console=Console(file=out, force_terminal=terminal, width=100, color_system=None))
    with view:
        told = view.watcher()
        told.on_setup("enrolling")
        for number, seconds in ((1, 3), (2, 7)):
            told.on_phase(number, "training")
            told.on_reply(1)
            told.on_phase(number, "checking")
            clock.seconds += seconds
            report = SimpleNamespace(round=number, refusals=(), loss_before=2.0, loss_after=1.0, pays={"a": 10**18})
            told.on_round(report, Evaluation(loss=1.0, accuracy=0.5))
        told.on_setup("claiming for everybody")
        clock.seconds += 100
    return out.getvalue()


def test_a_file_gets_a_line_a_round_and_nothing_of_what_is_over(clock):
    assert shown(clock, terminal=False).splitlines() == [
        "round  1/2  accuracy 50.0% loss 2.000→1.000 paid 1.00  3.0 s",
        "round  2/2  accuracy 50.0% loss 2.000→1.000 paid 1.00  7.0 s",
    ]


def test_in_a_terminal_a_rounds_clock_stops_with_the_round_and_no_claim_is_left_standing(clock):
    last = shown(clock, terminal=True).split("✓ round  1/2")[-1]
    assert "3.0 s" in last.splitlines()[0]
    assert "7.0 s" in last.splitlines()[1]
    assert "claiming" not in last.splitlines()[0] + last.splitlines()[1]
    assert "103.0 s" not in last
