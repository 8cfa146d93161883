import itertools

from fl.chain.errors import ChainUnreachable
from fl.coordinator.superlink.reconnect import wait_for_return

ALL = {"0xa", "0xb", "0xc"}


def returned(*looks, rejoin_s=400.0):
    """What comes of these looks, the last one for ever: who is absent, how often was looked, and what was said."""
    counted, said = itertools.count(), []
    seen = itertools.chain(looks, itertools.repeat(looks[-1]))

    def look():
        next(counted)
        if isinstance(found := next(seen), Exception):
            raise found
        return found

    absent = wait_for_return(look, rejoin_s=rejoin_s, poll_s=0.01, say=said.append)
    return absent, next(counted), [line.removeprefix("waiting for nodes to come back: ") for line in said]


def test_everybody_who_weighs_is_waited_for():
    absent, looks, said = returned((ALL, set()), (ALL, {"0xa"}), (ALL, {"0xa"}), (ALL, ALL | {"0xd"}))
    assert (absent, looks) == ([], 4)
    assert said == ["0 of 3 connected", "1 of 3 connected", "3 of 3 connected"]


def test_who_stays_away_is_not_waited_for_longer_than_the_others_have():
    absent, looks, _ = returned((ALL, {"0xb"}), rejoin_s=0.1)
    assert absent == ["0xa", "0xc"]
    assert looks > 2


def test_the_time_runs_from_when_the_first_one_is_back():
    absent, looks, _ = returned(*[(ALL, set())] * 20, (ALL, {"0xa"}), (ALL, ALL), rejoin_s=0.1)
    assert (absent, looks) == ([], 22)


def test_a_chain_that_is_away_with_the_nodes_ends_nothing():
    away = ChainUnreachable(url="http://chain.example:8545", reason="no route to host")
    absent, looks, said = returned(away, away, (ALL, set()), away, (ALL, ALL))
    assert (absent, looks) == ([], 5)
    assert said == [str(away), str(away), "0 of 3 connected", str(away), "3 of 3 connected"]


def test_a_client_that_leaves_meanwhile_is_not_waited_for():
    assert returned((ALL, {"0xa", "0xb"}), ({"0xa", "0xb"}, {"0xa", "0xb"}))[0] == []
    assert returned((set(), set()))[:2] == ([], 1)
