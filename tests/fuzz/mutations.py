"""Changes an honest input as somebody might who has time: bytes, values of JSON, and what exhausts a reader."""

from __future__ import annotations

import json
import random

VALUES = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 2**200, -(2**200), 0.5, 1e308, -0.0, "", "0", "-1", "x", "0x", "00" * 32, "ff" * 65,
    str(2**128), str(-(2**127) - 1), "0x" + "11" * 20, "0x" + "11" * 32, [], [[]], [-1], [2**62], {}, {"a": 1}, "é", "1e5", "\u0000",
    "1e-999999999", "1e99999999", "9" * 5000, "nan", "inf", "a" * 70_000, [0] * 5000, {str(n): n for n in range(500)}, "../x", "\u202e",
    "\U0001f600", "٣", " 1", "os:system", "torch.nn:Linear", "torch.nn:Transformer", "fl.task.models:MLP", 100_000, 10**9,
]  # fmt: skip
PIECES = [
    b"[" * 2000, b'{"a":' * 500, b"1" * 5000, b"1e999", b"NaN", b"-Infinity", b'"\\ud800"', b"\\u0000", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf",
    b'"a":1,"a":2', b",", b'"', b"\\", b"{", b"}", b"[", b"]", b"null", b"-", b"\n", b"\r", b"e9999999999", b"1e-999999999", b"0" * 300,
    b"${oc.env:HOME}", b"range(1,1000000000)", b"*", b"&", b"!!python/name:os.system", b"~", b"+", b"++", b"=", b"'", b"(", b")", b"|", b";",
]  # fmt: skip


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """One changed copy."""
    if rng.random() < 0.5 and (changed := _changed_json(seed, rng)) is not None:
        return changed
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        _CHANGES[rng.randrange(len(_CHANGES))](data, rng)
    return bytes(data)


def _changed_json(seed: bytes, rng: random.Random) -> bytes | None:
    try:
        raw = json.loads(seed)
    except ValueError:
        return None
    for _ in range(rng.choice((1, 1, 2, 3))):
        raw = _with_another(raw, rng)
    return json.dumps(raw, ensure_ascii=rng.random() < 0.9).encode(errors="surrogatepass")


def _with_another(raw: object, rng: random.Random) -> object:
    """A value with another one in one place, found on the way down; or without it, or with one more."""
    if isinstance(raw, dict | list) and raw and rng.random() < 0.9:
        copy = dict(raw) if isinstance(raw, dict) else list(raw)
        key = rng.choice(list(raw) if isinstance(raw, dict) else range(len(raw)))
        turn = rng.random()
        if turn < 0.1:
            del copy[key]
        elif turn < 0.2 and isinstance(copy, dict):
            copy[rng.choice(("wings", "", "__class__", "device", "sha256", key + "x"))] = rng.choice(VALUES)
        elif turn < 0.2:
            copy.insert(key, copy[key])
        else:
            copy[key] = _with_another(copy[key], rng)
        return copy
    if isinstance(raw, str) and rng.random() < 0.4:
        data = bytearray(raw.encode(errors="surrogatepass"))
        _CHANGES[rng.randrange(len(_CHANGES))](data, rng)
        return data.decode("latin-1")
    return rng.choice(VALUES)


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _cut(data: bytearray, rng: random.Random) -> None:
    if data:
        start = rng.randrange(len(data))
        del data[start : start + rng.choice((1, 2, 10, len(data)))]


def _insert(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice(PIECES)


def _repeat(data: bytearray, rng: random.Random) -> None:
    if data:
        start = rng.randrange(len(data))
        data[start:start] = data[start : start + rng.randrange(1, 40)] * rng.choice((1, 2, 50))


def _random(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.choice((1, 3, 20)))


_CHANGES = (_flip, _cut, _insert, _repeat, _random)
