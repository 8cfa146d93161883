"""A node's call as bytes, for peers that say no more of it, or say it slowly."""


def head_of(call, headers, *, length=100):
    """The head of a node's call, as bytes."""
    lines = [f"POST /v1/fleet/{call} HTTP/1.1", "host: x", f"content-length: {length}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()
