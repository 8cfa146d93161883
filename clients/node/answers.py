"""What a SuperNode takes from its gateway: answers of a bounded size, unpacked ones, and messages of so many pieces.

Flower's own client reads an answer to its end, however long it is, and unpacks what calls itself compressed; and of the code that
a coordinator bundles it unpacks the settings. A gateway that answers without end would fill the memory of the machine that
the wallet is on.
"""

from __future__ import annotations

import importlib
import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from fl.task.bounds import MOST_MODEL

MOST_ANSWER = 32 << 20  # bytes; Flower cuts an array into pieces of 5 MiB
_MOST_MESSAGE = 4 * MOST_MODEL + (64 << 20)  # bytes of all pieces of one message: the largest model, in float32
_MOST_PIECES = 5000  # of one message
_MOST_BUNDLE = 1 << 20  # bytes of bundled code: this project's coordinators bundle an empty app
# Bytes of its settings, unpacked. Flower's reader of TOML takes time by the square of a key's parts: 200 packed bytes that become
# 80,000 keep it for half a minute, and a megabyte for hours.
_MOST_SETTINGS = 8 << 10


class TooMuch(RuntimeError):
    """A gateway sends more than any coordinator has to. A RuntimeError, which Flower takes as a message that did not come."""


def bound_answers() -> None:
    """Have this process's Flower clients refuse an answer that is larger than there can be, or packed."""
    client = importlib.import_module("flwr.supercore.protobuf.client").ProtobufClient
    send = client._send

    def bounded(self: Any, context: Any, *, stream: bool = False) -> httpx.Response:
        context.request.headers["accept-encoding"] = "identity"
        if not isinstance(self._client, _Bounded):
            self._client = _Bounded(self._client)
        return send(self, context, stream=stream)

    client._send = bounded


def bound_messages() -> None:
    """Have the SuperNode drop a message of more pieces or bytes than a model has, and bundled code that would swell."""
    client: Any = importlib.import_module("flwr.supernode.start_client_internal")
    pull_and_store = client._pull_and_store_message
    pieces = importlib.import_module("flwr.supercore.inflatable.inflatable_object").iterate_object_tree

    def pulled(**told: Any) -> int | None:
        receive, get_fab = told["receive"], told["get_fab"]

        def received() -> Any:
            if (found := receive()) is not None and _more_than(_MOST_PIECES, pieces(found[1])):
                raise TooMuch(f"a message has more than {_MOST_PIECES} pieces")
            return found

        def bundled(*arguments: Any) -> Any:
            check_bundle((fab := get_fab(*arguments)).content)
            return fab

        told |= {"receive": received, "get_fab": bundled, "pull_object": _together(told["pull_object"], _MOST_MESSAGE)}
        return pull_and_store(**told)

    client._pull_and_store_message = pulled


def check_bundle(content: bytes) -> None:
    """Look at bundled code whose settings Flower is about to unpack. Raises: TooMuch."""
    if len(content) > _MOST_BUNDLE:
        raise TooMuch(f"the bundled code has {len(content):,} bytes, {_MOST_BUNDLE:,} are the most")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as bundle:
            # What Flower unpacks ends there, whatever the packed bytes would become.
            told = max(entry.file_size for entry in bundle.infolist() if entry.filename == "pyproject.toml")
            # Beside deflate there are ways to pack that make a million of one.
            if any(
                entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in bundle.infolist()
            ):
                raise TooMuch("the bundled code is packed in a way that no coordinator packs it")
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise TooMuch(f"the bundled code is not a ZIP file with settings ({error})") from None
    if told > _MOST_SETTINGS:
        raise TooMuch(f"the settings of the bundled code have {told:,} bytes; {_MOST_SETTINGS:,} are the most")


class _Bounded:
    """An httpx client whose answers have a largest size; of all else it is the client that it stands for."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        """Send; what is streamed is bounded by whoever reads it."""
        answer = self._client.send(request, stream=True)
        if stream:
            return answer
        try:
            packed = answer.headers.get("content-encoding", "identity").strip().lower()
            if packed != "identity":
                raise httpx.DecodingError("an answer is compressed, which was not asked for", request=request)
            body = bytearray()
            for part in answer.iter_raw():
                body += part
                if len(body) > MOST_ANSWER:
                    raise httpx.DecodingError(f"an answer has more than {MOST_ANSWER:,} bytes", request=request)
        finally:
            answer.close()
        return httpx.Response(answer.status_code, headers=answer.headers, content=bytes(body), request=request)


def _together(fetch: Callable[..., bytes], most: int) -> Callable[..., bytes]:
    """A fetch that several threads use and that gives no more than so many bytes in all."""
    lock, taken = threading.Lock(), 0

    def fetched(*arguments: Any) -> bytes:
        nonlocal taken
        piece = fetch(*arguments)
        with lock:
            taken += len(piece)
            if taken > most:
                raise TooMuch(f"a message has more than {most:,} bytes")
        return piece

    return fetched


def _more_than(most: int, found: Iterator[Any]) -> bool:
    return any(number > most for number, _ in enumerate(found, 1))
