"""The gas bench says which figures are worse, gone or new."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHES = Path(__file__).resolve().parents[1] / "scripts" / "benches"


@pytest.fixture
def differences(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHES))
    spec = importlib.util.spec_from_file_location("gas_bench", BENCHES / "gas.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.differences
    sys.modules.pop("measurement", None)


def test_a_figure_within_two_percent_or_below_is_no_difference(differences):
    assert differences({"post": 1000, "claim": 1000}, {"post": 1020, "claim": 1}) == []


def test_a_worse_figure_is_named_with_both_numbers(differences):
    assert differences({"post": 1000}, {"post": 1021}) == ["post takes 1021 gas, the snapshot says 1000"]


def test_a_figure_that_vanished_or_is_new_is_named(differences):
    assert differences({"old": 1}, {"new": 1}) == [
        "old is in the snapshot and was not measured",
        "new was measured and is not in the snapshot",
    ]
