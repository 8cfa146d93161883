"""What `fl coordinator --help` says of a setting is the comment in its source, so every setting has to have one or be plain."""

from dataclasses import dataclass, field

import pytest

from fl.cli.arguments.explained import explained
from fl.coordinator.config import CoordinatorConfig, TaskConfig


@dataclass(kw_only=True)
class Sample:
    """Of every kind of comment."""

    beside: int = 3  # stands beside
    # Stands above,
    # on two lines.
    above: str = "a"
    # fmt: off
    broken: list[str] = field(
        default_factory=list
    )  # after a bracket
    # fmt: on
    none: float | None = None


def test_comments_beside_and_above_are_found_with_defaults():
    told = [(setting.name, setting.default, setting.about) for setting in explained(Sample)]
    assert told == [
        ("beside", 3, "stands beside"),
        ("above", "a", "Stands above, on two lines."),
        ("broken", [], "after a bracket"),
        ("none", None, ""),
    ]


@pytest.mark.parametrize("settings", [CoordinatorConfig, TaskConfig])
def test_every_setting_of_a_coordinator_is_explained(settings):
    assert [setting.name for setting in explained(settings) if not setting.about] == []


def test_the_help_has_every_setting_with_its_words(fl):
    done = fl("coordinator", "--help")
    assert done.code == 0
    words = " ".join(done.out.split()).lower()
    for settings in (CoordinatorConfig, TaskConfig):
        for setting in explained(settings):
            assert f"{setting.name}= {setting.about.rstrip('.')}".lower() in words
