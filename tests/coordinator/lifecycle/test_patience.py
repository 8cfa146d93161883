"""A task whose loss stands still is stopped by its sponsor; one that still learns, or has one round left, goes on."""

import pytest

from fl.coordinator.config import TaskConfig
from fl.coordinator.lifecycle.patience import has_stalled, patience_of, stop_when_stalled
from fl.errors import ConfigError


@pytest.mark.parametrize(
    ("losses", "patience", "stalled"),
    [
        ([1.0, 0.9, 0.8], 2, False),  # it falls
        ([1.0, 0.8, 0.9, 0.85], 2, True),
        ([1.0, 0.8, 0.9, 0.7], 2, False),  # the last one is the best
        ([1.0, 0.8, 0.8, 0.8], 2, True),  # as low as before is not lower
        ([1.0, 1.1], 2, False),  # too few rounds to tell
        ([1.0, 1.1, 1.2], 2, True),
        ([1.0, 1.1, 1.2], 0, False),  # no patience was set
    ],
)
def test_a_loss_has_stalled_when_no_round_of_the_last_was_the_best(losses, patience, stalled):
    assert has_stalled(losses, patience=patience) is stalled


@pytest.mark.parametrize("setting", ["5", "patience", "patience:", "patience:0", "patience:-1", "patience:x", "loss:3"])
def test_another_rule_is_refused_with_an_example(setting):
    with pytest.raises(ConfigError, match=f"task.stop is '{setting}'; write patience:N, as in patience:5"):
        TaskConfig(stop=setting)


def test_a_task_with_patience_may_be_stopped():
    assert patience_of("patience:3") == 3
    assert TaskConfig(stop="patience:3").may_stop
    assert not TaskConfig().may_stop
    assert TaskConfig(may_stop=True).may_stop


def test_on_chain_the_round_under_way_becomes_the_last_one(new_world):
    world = new_world(rounds=9, may_stop=True)
    world.run(world.app(world.downhill), on_round=stopping(world, losses=[1.0, 0.5, 0.6, 0.7], patience=2))
    state = world.task.state()
    assert (state.stopping, state.rounds, state.posted) == (True, 2, 2)
    assert (
        state.cumulative == world.task.terms.budget
    )  # nobody is cheated of what the rounds that never were would have paid


def stopping(world, *, losses, patience):
    """Stops the task after its first round, and asks again after the last."""

    def after(report):
        world.reports.append(report)
        last = stop_when_stalled(world.task, losses, patience=patience, sponsor=world.sponsor)
        assert last == (2 if report.round == 1 else None)

    return after


def test_who_may_not_stop_it_goes_on(new_world, caplog):
    world = new_world(rounds=3)
    assert stop_when_stalled(world.task, [1.0, 2.0], patience=1, sponsor=world.sponsor) is None
    assert "the loss has stalled, and the task could not be stopped" in caplog.text
    assert not world.task.state().stopping
