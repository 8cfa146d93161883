"""Connections by address, without a network: who is admitted, who has to go."""

import socket

import pytest

from fl.coordinator.gateway.slots import Accepted, Listener, Slots, address_of


@pytest.fixture
def opened():
    """Lets an address open a connection; gives it, or None if it was not admitted."""
    ends, ports = [], iter(range(1000, 9000))

    def connect(slots, host):
        listener = Listener(socket.socket(socket.AF_UNIX), slots)
        near, far = socket.socketpair()
        accepted = Accepted(listener, near.detach(), (host, next(ports)))
        ends.extend([listener, accepted, far])
        return accepted if slots.admit(accepted) else None

    yield connect
    for end in ends:
        end.close()


def slots(**changes):
    return Slots(**{"most": 4, "most_of_one": 4, "rate": 100, "burst": 100, "clock": lambda: 0.0, **changes})


def ended(connection):
    """Whether a connection was ended from here."""
    return connection.recv(1) == b""


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("?", "?"),
    ],
)
def test_an_address_is_what_one_subscriber_has(host, address):
    assert address_of(host) == address


def test_when_all_are_taken_the_address_with_the_most_gives_one_up(opened):
    few = slots()
    crowd = [opened(few, "192.0.2.1") for _ in range(4)]
    assert opened(few, "192.0.2.2")
    assert ended(crowd[0])
    assert len(few) == 4
    # The one who has the most gets no more in place of others.
    assert opened(few, "192.0.2.1") is None


def test_a_connection_on_which_an_enrolled_key_spoke_is_not_given_up(opened):
    few = slots()
    crowd = [opened(few, "192.0.2.1") for _ in range(4)]
    few.trust(crowd[0].peer)
    assert opened(few, "192.0.2.2")
    assert ended(crowd[1])
    for connection in crowd:
        few.trust(connection.peer)
    assert opened(few, "192.0.2.3") is None


def test_one_address_has_a_part_of_all(opened):
    few = slots(most_of_one=2)
    assert [opened(few, "192.0.2.1") is not None for _ in range(3)] == [True, True, False]
    assert few.turned_away == 1


def test_a_closed_connection_makes_room(opened):
    few = slots(most=1)
    opened(few, "192.0.2.1").close()
    assert len(few) == 0
    assert opened(few, "192.0.2.2")


def test_an_address_opens_so_many_connections_at_once_and_so_many_a_second(opened):
    now = [0.0]
    few = slots(most=100, most_of_one=100, rate=2, burst=3, clock=lambda: now[0])
    assert [opened(few, "192.0.2.1") is not None for _ in range(4)] == [True, True, True, False]
    assert opened(few, "192.0.2.2")  # everybody has a pace of its own
    now[0] = 1.0
    assert [opened(few, "192.0.2.1") is not None for _ in range(3)] == [True, True, False]


def test_what_is_remembered_of_addresses_that_left_has_a_limit(opened, monkeypatch):
    monkeypatch.setattr("fl.coordinator.gateway.slots._MOST_REMEMBERED", 5)
    few = slots()
    for number in range(20):
        opened(few, f"192.0.2.{number}").close()
    assert len(few._pace) <= 6
