"""Connections, shared fairly by address, from before the TLS handshake on.

Whoever connects costs a file, a handshake and memory before it has said a word. So a connection is counted when it is accepted:
each address has a part of them, opens no more than some a second, and, when none is left, the address that has the most gives
one up for a newcomer.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache

_AT_ONCE_CLOSED = struct.pack("ii", 1, 0)  # SO_LINGER: a reset, so that nothing of it stays here
Peer = tuple[str, int]  # host and port
Address = Peer | tuple[str, int, int, int]  # as a socket tells it; that of IPv6 has two more
_MOST_REMEMBERED = 10_000  # addresses without a connection whose pace is still known


@lru_cache(maxsize=4096)
def address_of(host: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 one, of which a subscriber has all."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


class Slots:
    """Who has how many connections.

    Args:
        most: Connections of everybody together.
        most_of_one: Of one address.
        rate: Connections that an address may open each second, in the long run.
        burst: And at once.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        most: int,
        most_of_one: int,
        rate: float,
        burst: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most, self.most_of_one, self.rate, self.burst = most, most_of_one, rate, burst
        self.turned_away = 0
        self._clock = clock
        self._open: dict[str, dict[Peer, Accepted]] = {}  # by address, oldest first
        self._known: dict[Peer, Accepted] = {}  # by the peer's host and port
        self._pace: dict[str, tuple[float, float]] = {}  # address -> what is left of its burst, and when that was

    def __len__(self) -> int:
        return len(self._known)

    def admit(self, accepted: Accepted) -> bool:
        """Take a connection, or say no; may end another one for it."""
        address = address_of(accepted.peer[0])
        own = self._open.get(address, {})
        if not self._in_pace(address) or len(own) >= self.most_of_one or not self._has_room(len(own)):
            self.turned_away += 1
            return False
        self._open.setdefault(address, {})[accepted.peer] = accepted
        self._known[accepted.peer] = accepted
        return True

    def trust(self, peer: Address) -> None:
        """Keep a connection for as long as others can be ended: a key that is enrolled speaks through it."""
        if found := self._known.get(_peer(peer)):
            found.trusted = True

    def end(self, peer: Address) -> None:
        """End a connection now, whatever it is in the middle of."""
        if found := self._known.get(_peer(peer)):
            found.end()

    def release(self, accepted: Accepted) -> None:
        """A connection is closed."""
        address = address_of(accepted.peer[0])
        self._known.pop(accepted.peer, None)
        own = self._open.get(address, {})
        own.pop(accepted.peer, None)
        if not own:
            self._open.pop(address, None)

    def _has_room(self, own: int) -> bool:
        if len(self._known) < self.most:
            return True
        crowd = max(self._open.values(), key=len)
        if len(crowd) <= own + 1:
            return False
        for connection in crowd.values():
            if not connection.trusted:
                connection.end()
                self.release(connection)  # its place is taken now, whenever its socket is closed
                return True
        return False

    def _in_pace(self, address: str) -> bool:
        now = self._clock()
        left, since = self._pace.get(address, (self.burst, now))
        left = min(self.burst, left + (now - since) * self.rate)
        if len(self._pace) > _MOST_REMEMBERED:
            self._pace = {known: pace for known, pace in self._pace.items() if known in self._open}
        if left < 1:
            self._pace[address] = (left, now)
            return False
        self._pace[address] = (left - 1, now)
        return True


class Accepted(socket.socket):
    """A connection that somebody opened; says when it is closed."""

    __slots__ = ("_slots", "peer", "trusted")

    def __init__(self, listener: Listener, descriptor: int, peer: Address) -> None:
        super().__init__(listener.family, listener.type, listener.proto, fileno=descriptor)
        self._slots, self.peer, self.trusted = listener.slots, _peer(peer), False

    def end(self) -> None:
        """Make whatever waits for it, a handshake too, see its end."""
        with suppress(OSError):
            self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE_CLOSED)
            self.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """As of any socket."""
        self._slots.release(self)
        super().close()


class Listener(socket.socket):
    """A listening socket that accepts what there is a slot for, and closes the rest at once."""

    __slots__ = ("slots",)

    def __init__(self, listening: socket.socket, slots: Slots) -> None:
        super().__init__(listening.family, listening.type, listening.proto, fileno=listening.detach())
        self.slots = slots

    def accept(self) -> tuple[Accepted, Address]:
        """The next connection that is admitted. Raises: BlockingIOError when there is none."""
        while True:
            connection, peer = super().accept()
            accepted = Accepted(self, connection.detach(), peer)
            if self.slots.admit(accepted):
                return accepted, peer
            with suppress(OSError):
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE_CLOSED)
            accepted.close()


def _peer(address: Address) -> Peer:
    return address[0], address[1]
