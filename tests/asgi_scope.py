"""A request as an ASGI server hands it to an app, for tests that play the server."""

from __future__ import annotations

from collections.abc import Sequence


def scope_of(
    path: str,
    *,
    method: str = "GET",
    scheme: str = "http",
    headers: Sequence[tuple[bytes, bytes]] = (),
    host: str = "127.0.0.1",
) -> dict[str, object]:
    """The scope of one request.

    Args:
        path: Asked for.
        method: Of HTTP.
        scheme: http or https.
        headers: Names in lower case.
        host: Address of who asks.
    """
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": scheme,
        "headers": list(headers),
        "client": (host, 1),
        "server": ("127.0.0.1", 2),
    }
