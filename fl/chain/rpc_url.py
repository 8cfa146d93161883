"""URLs of RPC nodes: what of one may be shown and kept, and what is a key.

A paid node is reached by a URL that holds a key, whose owner pays for every call. It belongs into no invite, run folder or log.
There the URL stands without it; who has the key sets it in the environment, and it is used wherever its host is named.
"""

from __future__ import annotations

import os
import re
from urllib.parse import SplitResult, urlsplit

RPC_URL_VARIABLE = "FAIRSHARE_RPC_URL"  # URLs with keys, separated by commas
_SCHEMES = ("http", "https", "ws", "wss")
# A part of a path that no person would think of: long, and with a digit, or longer than any word.
_KEY = re.compile(r"(?=[^/]*\d)[\w.~-]{16,}|[\w.~-]{25,}")
_used: dict[str, str] = {}  # by host: URLs with keys that this process was given


def usable(url: str) -> bool:
    """Whether a URL is of a kind that can be asked."""
    parts = _split(url)
    return parts is not None and parts.scheme in _SCHEMES and bool(parts.hostname)


def with_scheme(url: str) -> str:
    """A URL that was written without its scheme, with the one that is likely meant; "" for one that has a scheme."""
    if "://" in url or (parts := _split(f"https://{url}")) is None or not parts.hostname:
        return ""
    # A public service has a certificate and no port of its own; a devnet is the other way round.
    return f"http{'' if parts.port or is_loopback(f'//{url}') else 's'}://{url}"


def is_loopback(url: str) -> bool:
    """Whether a URL names the machine that asks, whichever that is."""
    parts = _split(url)
    host = (parts.hostname or "") if parts is not None else ""
    return host in ("localhost", "::1") or host.startswith("127.")


def carries_key(url: str) -> bool:
    """Whether a URL holds what looks like a key: a user, a query, or a part of its path that is not a word."""
    parts = _split(url)
    if parts is None:
        return False
    return bool(
        parts.username or parts.query or parts.fragment or any(_KEY.fullmatch(part) for part in parts.path.split("/"))
    )


def without_key(url: str) -> str:
    """The URL as it may be kept and given away; one that holds a key is cut down to its host."""
    parts = _split(url)
    return f"{parts.scheme}://{_host(parts)}" if parts is not None and carries_key(url) else url


def shown(url: str) -> str:
    """The URL as it may be logged."""
    return f"{without_key(url)}/…" if carries_key(url) else url


def key_note(url: str) -> str:
    """What whoever gave a URL with a key has to know; empty for one without."""
    if not carries_key(url):
        return ""
    return (
        f"the URL of {without_key(url)} holds a key, which is kept out of every file; for commands that read those, set "
        f"{RPC_URL_VARIABLE} to the whole URL"
    )


def with_key(url: str) -> str:
    """The URL to ask in place of one that was kept: the one with a key that this process, or its environment, has for its host."""
    parts = _split(url)
    if parts is None or not parts.netloc:
        return url
    if carries_key(url):
        _used[_host(parts)] = url
        return url
    if parts.path.strip("/"):
        return url  # a whole one, that needs none
    named = [part.strip() for part in os.environ.get(RPC_URL_VARIABLE, "").split(",")]
    known = {_host(found): url for url in named if (found := _split(url)) is not None}
    return {**known, **_used}.get(_host(parts), url)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (raises for one that is not a number)
    except ValueError:
        return None
    return parts


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2].lower()
