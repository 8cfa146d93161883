"""A second start of a coordinator: what the task has frozen is refused if it changed, and each change is named."""

from dataclasses import replace

import pytest

from fl.cli.arguments.frozen import OtherSettings, check_frozen
from fl.coordinator.config import ChainConfig, CoordinatorConfig, RunConfig, TaskConfig

BEFORE = RunConfig(task=TaskConfig(rounds=14, budget="100"))


def test_every_frozen_setting_that_changed_is_named():
    now = replace(
        BEFORE,
        task=TaskConfig(rounds=20, budget="900"),
        coordinator=CoordinatorConfig(clients=3, evaluators=["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"]),
    )
    with pytest.raises(OtherSettings) as caught:
        check_frozen(BEFORE, now, folder="coordinator")
    assert str(caught.value) == (
        "coordinator holds a task that was opened with other settings: coordinator.clients was 2 and is 3 now; "
        "coordinator.evaluators was not set and is ['0x70997970C51812dc3A010C7d01b50e0d17dc79C8'] now; task.budget was 100 and is "
        "900 now; task.rounds was 14 and is 20 now; start it without them, or open another task with folder=NAME"
    )


def test_how_it_is_reached_and_what_it_keeps_may_change():
    coordinator = CoordinatorConfig(
        port=9000, names=["hub.example.org"], deadline=30.0, stay="rounds", description="other words"
    )
    check_frozen(
        BEFORE,
        replace(
            BEFORE,
            coordinator=coordinator,
            chain=ChainConfig(name="rpc", url="http://127.0.0.1:1", key="sponsor.json"),
            loggers=["tensorboard"],
        ),
        folder="coordinator",
    )
