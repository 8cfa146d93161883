"""The certificate that a gateway shows: the files as they are now, so that an ACME client renews them while it serves."""

from __future__ import annotations

import hashlib
import logging
import ssl
from collections.abc import Callable

from fl.coordinator.superlink.certificates import Tls
from fl.errors import FairshareError

log = logging.getLogger(__name__)


class ShownCertificate:
    """Chooses the certificate for each new connection; those that are open keep theirs.

    Args:
        context: The server's, which has the certificate that it began with.
        tls: What that was read from.
        again: Opens the files anew, as at the start; one of a coordinator's own authority is renewed by that.
    """

    def __init__(self, context: ssl.SSLContext, *, tls: Tls, again: Callable[[], Tls]) -> None:
        self._again, self._context, self._seen = again, context, _digest(tls)
        self._told = ""
        context.sni_callback = self._show  # OpenSSL asks it for every hello, also one without a name

    def _show(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self._context

    def look(self) -> bool:
        """Take what the files hold now, and say whether that is something new.

        A pair that does not fit, as while it is being renewed, is left for the next look: what is shown stays.
        """
        try:
            tls = self._again()
            if (seen := _digest(tls)) == self._seen:
                return False
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
        except (FairshareError, OSError) as error:  # ssl.SSLError is an OSError
            if str(error) != self._told:
                log.warning("the certificate stays as it is: %s", error)
            self._told = str(error)
            return False
        self._context, self._seen, self._told = context, seen, ""
        log.info("new connections are shown the certificate that is in %s now", tls.certificate)
        return True


def _digest(tls: Tls) -> bytes:
    return hashlib.sha256(tls.certificate.read_bytes() + tls.key.read_bytes()).digest()
