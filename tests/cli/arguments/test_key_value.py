"""Settings of the small commands: a word without a key is one by its place, and one that is said twice is said once."""

import pytest

from fl.cli.arguments.key_value import named, parse
from fl.errors import ConfigError

KNOWN = {"invite": "the invite", "tokens": "how many"}


def test_a_setting_that_is_said_twice_otherwise_is_refused_with_both():
    with pytest.raises(ConfigError, match=r"^tokens is said twice, 1 and 5; say it once$"):
        parse(["invite=i.json", "tokens=1", "tokens=5"], known=KNOWN, command="mint INVITE")
    words = named(["a.json", "invite=b.json"], "invite", command="mint")
    with pytest.raises(ConfigError, match=r"^invite is said twice, a.json and b.json; say it once$"):
        parse(words, known=KNOWN, command="mint INVITE")


def test_a_setting_that_is_said_twice_alike_is_taken():
    assert parse(["tokens=1", "tokens=1"], known=KNOWN, command="mint INVITE") == {"tokens": "1"}
