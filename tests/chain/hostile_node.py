"""A node of the chain that answers as a real one does, and lies where it is told to."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from fuzz.mutations import VALUES

from fl.chain.rpc_transport import RpcAnswer, transport_to

Lie = Callable[[str, dict], object]  # method, honest answer → what is sent: a JSON value, or bytes
HOSTILE = [
    *VALUES,
    "0x" + "f" * 64,
    "0x" + "f" * 65,
    "0x-1",
    "0x0x0",
    "0x" + "00" * 31,
    "0xzz",
    [{}],
    [None],
    {"0x": None},
    "latest",
]


class LyingNode:
    """Takes the place of every connection; what was asked before is answered from memory, as an unchanged chain would."""

    def __init__(self) -> None:
        self.known: dict[bytes, bytes] = {}
        self.lie: Lie | None = None
        self.asked: list[str] = []

    @contextmanager
    def instead(self) -> Iterator[LyingNode]:
        """Connections that are opened in the context are to it."""
        with patch("fl.chain.provider.transport_to", lambda url, *, wait_s: _Connection(self, url)):
            yield self


class _Connection:
    def __init__(self, node: LyingNode, url: str) -> None:
        self._node, self._true = node, transport_to(url, wait_s=5)

    def ask(self, data: bytes, *, deadline_s: float) -> RpcAnswer:
        call = json.loads(data)
        self._node.asked.append(call["method"])
        key = json.dumps([call["method"], call["params"]]).encode()
        if key not in self._node.known:
            self._node.known[key] = self._true.ask(data, deadline_s=deadline_s).body
        body = self._node.known[key]
        if self._node.lie is not None:
            told = self._node.lie(call["method"], json.loads(body))
            body = told if isinstance(told, bytes) else json.dumps(told).encode()
        return RpcAnswer(status=200, body=body)

    def close(self) -> None:
        self._true.close()


def changed(value: object, rng: random.Random) -> object:
    """A value with something else in one place of it: another kind, another size, another number."""
    if isinstance(value, dict) and value and rng.random() < 0.95:
        key = rng.choice(sorted(value))
        without = {name: inner for name, inner in value.items() if name != key}
        return without if rng.random() < 0.1 else {**value, key: changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place, turn = rng.randrange(len(value)), rng.random()
        instead = [] if turn < 0.1 else [value[place]] * 2 if turn < 0.2 else [changed(value[place], rng)]
        return [*value[:place], *instead, *value[place + 1 :]]
    if isinstance(value, str) and value.startswith("0x") and rng.random() < 0.7:
        return _changed_hex(value, rng)
    return rng.choice(HOSTILE)


def _changed_hex(value: str, rng: random.Random) -> str:
    digits = value[2:]
    words = len(digits) // 64
    turn = rng.random()
    if words and turn < 0.6:
        place = 64 * rng.randrange(words)
        word = rng.choice(
            ("f" * 64, "0" * 64, "8" + "0" * 63, f"{rng.randrange(1 << rng.choice((8, 32, 64, 256))):064x}")
        )
        digits = digits[:place] + word + digits[place + 64 :]
    elif turn < 0.75:
        digits = digits[: rng.randrange(len(digits) + 1)]
    elif turn < 0.85:
        digits += rng.choice(("0", "ab", "0" * 64, "f" * 6400))
    elif digits:
        place = rng.randrange(len(digits))
        digits = digits[:place] + rng.choice("0f8g") + digits[place + 1 :]
    return "0x" + digits
