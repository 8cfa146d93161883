"""What a round takes of this machine, before anybody joins."""

import numpy as np
import pytest

from clients.joining import cost
from clients.joining.cost import RoundCost, TooLittleMemory, check_memory, measure_round, size
from clients.joining.preview import preview
from fl.task.spec import TaskSpec
from fl.task.trust import Trust


def test_a_round_is_as_many_steps_as_the_one_that_was_measured(spec, rows):
    short, long = (measure_round(spec(steps=steps), rows) for steps in (1, 100_000))
    assert 0 < short.seconds < long.seconds
    assert (short.sent, short.disk) == (513, 513)
    assert short.received == 8 * 4
    assert short.memory >= 0


def test_narrow_updates_are_half_as_long_and_keep_what_rounding_took(spec, rows):
    found = measure_round(spec(block_bits=8), rows)
    assert (found.sent, found.disk) == (257, 513 + 8 * 4)


def test_the_owner_is_told_in_words():
    told = RoundCost(seconds=130, memory=1_500_000_000, disk=20_000, received=12_345_678, sent=999).lines()
    assert told == {
        "takes": "about 2 min of training a round here, and 1.5 GB of memory",
        "keeps": "20 kB on this machine's disk",
        "moves": "12 MB down and 999 bytes up in each round",
    }
    assert [cost._duration(seconds) for seconds in (0.2, 5, 7200)] == ["a second", "5 s", "2.0 h"]
    assert size(1_200) == "1.2 kB"


def test_a_model_that_does_not_fit_is_refused_before_it_is_built(spec, rows, monkeypatch):
    monkeypatch.setattr(cost, "_free_memory", lambda: 100 << 20)
    check_memory(36 << 20)
    large = spec(model_arguments={"in_features": 3, "out_features": 3_000_000})
    with pytest.raises(TooLittleMemory) as caught:
        measure_round(large, rows)
    assert str(caught.value) == (
        "training takes about 144 MB of memory, and this machine has 105 MB left; close other programs, or take part from a larger "
        "machine"
    )
    monkeypatch.setattr(cost, "_free_memory", lambda: None)  # nobody knows
    check_memory(1 << 60)


def test_of_a_class_that_needs_values_to_begin_with_nothing_is_known_before(spec, tmp_path, monkeypatch):
    (tmp_path / "needs_values.py").write_text(
        "import torch\nclass Scaled(torch.nn.Linear):\n    def __init__(self, **a):\n        super().__init__(**a)\n"
        "        self.scale = float(self.weight.abs().max())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    raw = spec(model="needs_values:Scaled", model_arguments={"in_features": 4, "out_features": 2}).to_json()
    found = TaskSpec.from_json(raw, trust=Trust.of("needs_values"))
    assert cost.least_memory(found) == 0
    assert found.build_model().scale > 0


def test_a_preview_measures_in_its_own_process(spec, rows):
    found = preview(spec(block_bits=8).to_json(), rows=rows)
    assert found.cost.seconds > 0
    assert found.update_bytes == found.cost.sent == 257
    assert preview(spec().to_json()).cost is None
    assert np.isfinite(found.cost.seconds)
