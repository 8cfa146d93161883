"""A coordinator's public API from the other side: bundles over HTTPS, and for evaluators the round that waits.

Who asks for what is not for everybody signs a short-lived token with its wallet (`fl.chain.access`); it is sent to the
coordinator's gateway only, whose certificate the invite carries.

Nobody vouches for who answers: what comes is bounded in size and time (`fl.bounded_http`), and words in it are made
printable before anything is raised with them.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from eth_account.signers.local import LocalAccount

from fl.bounded_http import Answer, BoundedHttp, NoAnswer, UnusableAnswer
from fl.bundle.files import BrokenBundle, BundleFiles, most_bytes, round_folder
from fl.bundle.store import Withheld, refuse_outside
from fl.chain.access import LIFETIME_S, access_token
from fl.chain.invite import Invite
from fl.chain.typed_data import Domain
from fl.errors import ConfigError, FairshareError
from fl.foreign.json_text import MOST_BYTES, BadJson, read_json
from fl.plain_text import printable

_WAIT_S = 60.0  # for an answer that is small, and for each piece of a larger one
_SLOWEST = 256 << 10  # bytes a second of a line that is borne; what may be larger may take longer
_LONGEST_NAME = 200  # of a file in a bundle
_PASSING = (408, 425, 429)  # beside all from 500 on: of a gateway, or of a coordinator whose chain is away


class ArchiveUnreachable(FairshareError):
    """Nobody answers where bundles should be had, not now, or it is somebody else: ask again later."""

    def __init__(self, url: str, reason: str, status: int | None = None) -> None:
        super().__init__(url, reason, status)
        self.url, self.reason, self.status = url, reason, status

    def __str__(self) -> str:
        return f"{self.url} does not answer ({self.reason}); is the coordinator running, and the invite of this task?"


class ArchiveUnusable(ArchiveUnreachable):
    """What answers there sends what no coordinator sends: more than there can be, or something packed."""

    def __str__(self) -> str:
        return f"the answer of {self.url} cannot be used: {self.reason}; ask the coordinator what is wrong there"


class ArchiveRefused(FairshareError):
    """The coordinator's archive says no, and why."""

    def __init__(self, url: str, status: int, reason: str) -> None:
        super().__init__(url, status, reason)
        self.url, self.status, self.reason = url, status, reason

    def __str__(self) -> str:
        return f"{self.url} answers {self.status}: {self.reason}"


class ArchiveClient:
    """Asks an archive, as an account or as nobody.

    Args:
        url: What paths are under, such as https://host:port/api.
        ca: PEM of the certificate authority; "" for the system's.
        account: Who asks; None asks as anybody.
        domain: With `task_id`, what its tokens are good for.
    Raises: ConfigError for a certificate that is none.
    """

    def __init__(
        self, url: str, *, ca: str = "", account: LocalAccount | None = None, domain: Domain, task_id: bytes
    ) -> None:
        try:
            context = ssl.create_default_context(cadata=ca or None)
        except ssl.SSLError as error:
            raise ConfigError(
                f"the invite's certificate cannot be read ({error}); ask the coordinator for the invite"
            ) from error
        self.url, self.account, self.domain, self.task_id = url.rstrip("/"), account, domain, task_id
        self._http = BoundedHttp(verify=context, wait_s=_WAIT_S)

    @classmethod
    def of_gateway(cls, invite: Invite, *, account: LocalAccount | None = None) -> ArchiveClient:
        """The API of an invite's gateway. Raises: ConfigError for an invite without one."""
        if not invite.gateway:
            raise ConfigError(
                "the invite has no gateway: its task runs on one machine, and its bundles are in a folder there"
            )
        domain = Domain(chain_id=invite.chain_id, contract=invite.contract)
        return cls(f"{invite.gateway}/api", ca=invite.ca, account=account, domain=domain, task_id=invite.id_bytes)

    def get(self, path: str, *, most: int | None = None) -> bytes:
        """The body of an answer.

        Args:
            path: Under the client's URL.
            most: Bytes that it may have; by default what suits the kind of file.
        Raises: ArchiveUnreachable, also for what passes (a status from 500 on, 429); ArchiveUnusable; ArchiveRefused.
        """
        return self._ask("GET", path, most=most_bytes(path) if most is None else most).body

    def get_json(self, path: str) -> Any:
        """A JSON answer, None where there is nothing yet (204). Raises: as `get`."""
        answer = self._ask("GET", path, most=MOST_BYTES)
        return None if answer.status == 204 else self._json(path, answer)

    def post(self, path: str, values: Mapping[str, object]) -> Any:
        """Send JSON, get JSON. Raises: as `get`."""
        return self._json(path, self._ask("POST", path, most=MOST_BYTES, values=dict(values)))

    def close(self) -> None:
        """Drop the connection."""
        self._http.close()

    def _ask(self, method: str, path: str, *, most: int, values: object = None) -> Answer:
        url = self._url(path)
        headers = {}
        if self.account is not None:
            token = access_token(
                self.account, domain=self.domain, task_id=self.task_id, expires=int(time.time()) + LIFETIME_S
            )
            headers["Authorization"] = f"Bearer {token}"
        try:
            answer = self._http.ask(
                method, url, headers=headers, json=values, most=most, deadline_s=_WAIT_S + most / _SLOWEST
            )
        except UnusableAnswer as error:
            raise ArchiveUnusable(url=url, reason=error.reason) from error
        except NoAnswer as error:
            raise ArchiveUnreachable(url=url, reason=error.reason) from error
        if answer.status >= 500 or answer.status in _PASSING:
            raise ArchiveUnreachable(url=url, reason=f"status {answer.status}: {_reason(answer)}", status=answer.status)
        if answer.status >= 300:
            raise ArchiveRefused(url=url, status=answer.status, reason=_reason(answer))
        return answer

    def _url(self, path: str) -> str:
        # Paths hold names out of manifests, which are somebody else's text.
        return f"{self.url}/{quote(path, errors='replace')}"

    def _json(self, path: str, answer: Answer) -> Any:
        try:
            return read_json(answer.body)
        except BadJson as error:
            raise ArchiveUnusable(url=self._url(path), reason=printable(error.problem, most=300)) from error


@dataclass(frozen=True)
class HttpBundles:
    """Bundles under a URL: a gateway's API, or any web server over a folder of them.

    Args:
        client: Who is asked.
        path: Of the bundles, under the client's URL.
        model_size: P, how many values the task's model has, for who knows it: a bundle's models and vectors are bounded by it.
    """

    client: ArchiveClient
    path: str = ""
    model_size: int | None = None

    @property
    def where(self) -> str:
        """The URL."""
        return f"{self.client.url}/{self.path}".rstrip("/")

    def bundle(self, number: int) -> BundleFiles:
        """The files of a round."""
        return _HttpBundle(self, number)


@dataclass(frozen=True)
class _HttpBundle:
    source: HttpBundles
    number: int

    @property
    def where(self) -> str:
        """The round's URL."""
        return f"{self.source.where}/{round_folder(self.number)}"

    def read(self, name: str) -> bytes:
        """One file. Raises: Withheld if it is not for this reader; BrokenBundle; ArchiveUnreachable, which passes."""
        if not (name.isascii() and name.isprintable() and len(name) <= _LONGEST_NAME):
            told = printable(name, most=_LONGEST_NAME)
            raise BrokenBundle(folder=self.where, problem=f"{told} is not a name of a file in a bundle")
        refuse_outside(name, where=self.where)
        path = "/".join(part for part in (self.source.path, round_folder(self.number), name) if part)
        try:
            size = self.source.model_size
            return self.source.client.get(
                path, most=most_bytes(name) if size is None else most_bytes(name, model_size=size)
            )
        except ArchiveUnusable as error:
            raise BrokenBundle(folder=self.where, problem=f"{name} cannot be read ({error.reason})") from error
        except ArchiveRefused as error:
            if error.status in (401, 403):
                raise Withheld(folder=self.where, problem=f"{name} is withheld ({error.reason})") from error
            raise BrokenBundle(folder=self.where, problem=f"{name} cannot be read ({error.status})") from error


def _reason(answer: Answer) -> str:
    try:
        told = read_json(answer.body)
    except BadJson:
        told = None
    return printable(told["detail"], most=300) if isinstance(told, dict) and "detail" in told else answer.phrase
