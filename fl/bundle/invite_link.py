"""An invite by its link: the coordinator's gateway serves it, and the link says whose certificate the gateway has to show."""

from __future__ import annotations

import hmac
import re
import ssl
from urllib.parse import urldefrag, urlsplit

from fl.bounded_http import BoundedHttp, NoAnswer
from fl.chain.invite import BadInvite, Invite, fingerprint
from fl.plain_text import printable

_MOST_BYTES = 1 << 20  # of an invite
_WAIT_S = 20.0
_OK = 200
UNREACHED = "cannot be fetched"  # how a refusal begins that may pass
_FINGERPRINT = re.compile(r"[A-Za-z0-9_-]{43}")


def load_invite(text: str) -> Invite:
    """The invite that a text names: a file, the one line that holds it all, or a link.

    A link to a gateway is https://host:port/, one to a file anywhere ends in its path. After # it may name the sha256 of
    the authority that the gateway's certificate is signed with; without, the system's authorities have to know it.

    Raises: BadInvite.
    """
    if text.startswith("http://"):
        raise BadInvite(
            path=printable(text, most=100), problem="is not over TLS, so anybody on the way could change it"
        )
    if not text.startswith("https://"):
        return Invite.load(text)
    url, named = urldefrag(text.strip())
    try:
        path = urlsplit(url).path
    except ValueError as error:
        raise BadInvite(path=printable(text, most=100), problem=f"is not an address ({error})") from error
    url = f"{url.rstrip('/')}/api/invite" if path in ("", "/") else url
    shown = printable(text, most=100)
    if not named:
        return Invite.from_bytes(_get(url, context=ssl.create_default_context(), shown=shown), where=shown)
    if not _FINGERPRINT.fullmatch(named):
        problem = f"is damaged or cut short: behind # there are {len(named)} characters, and 43 are meant; copy the whole link"
        raise BadInvite(path=shown, problem=problem)
    # Nobody has vouched for this certificate yet: what comes is believed only as far as the link's fingerprint goes.
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    invite = Invite.from_bytes(_get(url, context=unchecked, shown=shown), where=shown)
    try:
        fits = hmac.compare_digest(fingerprint(invite.ca), named)
    except ValueError:
        fits = False
    if not fits:
        raise BadInvite(path=shown, problem="leads to a gateway with another certificate than the link names")
    checked = ssl.create_default_context(cadata=invite.ca)
    return Invite.from_bytes(_get(url, context=checked, shown=shown), where=shown)


def _get(url: str, *, context: ssl.SSLContext, shown: str) -> bytes:
    http = BoundedHttp(verify=context, wait_s=_WAIT_S)
    try:
        answer = http.ask("GET", url, most=_MOST_BYTES, deadline_s=_WAIT_S)
    except NoAnswer as error:
        problem = f"{UNREACHED} ({error.reason})"
        if "certificate" in error.reason and context.verify_mode != ssl.CERT_NONE:
            problem += "; a gateway with a certificate of its own has a link that ends in # and 43 characters"
        raise BadInvite(path=shown, problem=problem) from error
    finally:
        http.close()
    if answer.status != _OK:
        raise BadInvite(path=shown, problem=f"{UNREACHED} (the server answers {answer.status})")
    return answer.body
