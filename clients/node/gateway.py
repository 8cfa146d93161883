"""The coordinator's gateway from a node's side: whether it is there, and what its clock says."""

from __future__ import annotations

import ssl
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from clients.errors import GatewayUnreachable
from fl.bounded_http import BoundedHttp, NoAnswer

_WAIT_S = 20.0


class Gateway:
    """The gateway of an invite, spoken to over TLS.

    Args:
        url: https://host:port.
        ca: PEM of the certificate that its own is signed with; "" for the system's.
    """

    def __init__(self, url: str, *, ca: str) -> None:
        self.url = url.rstrip("/")
        try:
            context = ssl.create_default_context(cadata=ca or None)
        except ssl.SSLError as error:
            problem = f"the invite's certificate cannot be read: {error.reason}"
            raise GatewayUnreachable(gateway=self.url, reason=problem) from error
        self._http = BoundedHttp(verify=context, wait_s=_WAIT_S)

    @property
    def address(self) -> str:
        """host:port."""
        url = httpx.URL(self.url)
        host = f"[{url.host}]" if ":" in url.host else url.host
        return f"{host}:{url.port or 443}"

    def clock_offset_s(self) -> float:
        """The coordinator's clock less this machine's, in seconds; 0 where they agree to within what can be told.

        Raises: GatewayUnreachable.
        """
        before = time.time()
        try:
            answer = self._http.ask("HEAD", f"{self.url}/api/invite", most=0, deadline_s=_WAIT_S)
        except NoAnswer as error:
            raise self._unreachable(error.reason) from error
        after = time.time()
        try:
            told = parsedate_to_datetime(answer.headers["date"]).timestamp()
        except (KeyError, ValueError, OverflowError):
            return 0.0
        # The header is cut to whole seconds: the true time lies within one second after it.
        offset = told + 0.5 - (before + after) / 2
        return offset if abs(offset) > 1.5 + (after - before) / 2 else 0.0

    def close(self) -> None:
        """Let the connection go."""
        self._http.close()

    def _unreachable(self, reason: str) -> GatewayUnreachable:
        if "certificate" in reason.lower():
            # A certificate that is not good yet, or not any more, is as often this machine's clock.
            reason += f"; this machine's clock says {datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC"
        return GatewayUnreachable(gateway=self.url, reason=reason)
