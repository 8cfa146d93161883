"""The connection to a chain's node: it waits out an outage, and says so once."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass

import requests
from web3 import HTTPProvider
from web3.types import RPCEndpoint

from fl.chain.errors import ChainUnreachable

log = logging.getLogger(__name__)

_BUSY = (408, 429, 500, 502, 503, 504)  # statuses that a node, or a proxy before it, gives in passing


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to go on when a chain does not do what it was asked."""

    outage_s: float = 120.0  # the node gives no answer: reads and sending are tried again for so long
    stuck_s: float = 45.0  # a transaction is in no block: it is replaced by itself with a higher fee
    give_up_s: float = 900.0  # it is still in none
    look_s: float = 5.0  # between looks at whether the node still knows it


class PatientProvider(HTTPProvider):
    """An HTTP provider that tries again while the node does not answer; every call of ours may be repeated.

    A raw transaction is the same one however often it is sent.
    """

    def __init__(self, url: str, *, patience: Patience, timeout_s: float = 20.0) -> None:
        super().__init__(url, request_kwargs={"timeout": timeout_s}, exception_retry_configuration=None)
        self.patience = patience

    def _make_request(self, method: RPCEndpoint, request_data: bytes) -> bytes:
        end, wait, told = time.monotonic() + self.patience.outage_s, 0.1, False
        while True:
            try:
                answer = super()._make_request(method, request_data)
                json.loads(answer)  # a proxy's page about its own trouble comes with status 200 at times
                if told:
                    log.info("the chain at %s answers again", self.endpoint_uri)
                return answer
            except (requests.RequestException, ValueError) as error:
                if not _passing(error) or time.monotonic() + wait > end:
                    raise ChainUnreachable(url=str(self.endpoint_uri), reason=_reason(error)) from error
                if not told:
                    told = True
                    log.warning(
                        "no chain answers at %s (%s); trying again for %.0f s",
                        self.endpoint_uri,
                        _reason(error),
                        self.patience.outage_s,
                    )
            time.sleep(wait)
            wait = min(2 * wait, 5.0)


def _passing(error: Exception) -> bool:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code in _BUSY
    return isinstance(error, (requests.ConnectionError, requests.Timeout, json.JSONDecodeError))


def _reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    return type(error).__name__
