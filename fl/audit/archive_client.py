"""A coordinator's public API from the other side: bundles over HTTPS, and for evaluators the round that waits.

Who asks for what is not for everybody signs a short-lived token with its wallet (`fl.chain.access`); it is sent to the
coordinator's gateway only, whose certificate the invite carries.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from eth_account.signers.local import LocalAccount

from fl.audit.bundle import BrokenBundle, BundleFiles
from fl.audit.store import Withheld, refuse_outside, round_folder
from fl.chain.access import LIFETIME_S, access_token
from fl.chain.invite import Invite
from fl.chain.typed_data import Domain
from fl.errors import ConfigError, FairshareError

_TIMEOUT_S = 60


class ArchiveUnreachable(FairshareError):
    """Nobody answers where bundles should be had, or it is somebody else."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"{self.url} does not answer ({self.reason}); is the coordinator running, and the invite of this task?"


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
        self._http = httpx.Client(verify=context, timeout=_TIMEOUT_S)

    @classmethod
    def of_gateway(cls, invite: Invite, *, account: LocalAccount | None = None) -> ArchiveClient:
        """The API of an invite's gateway. Raises: ConfigError for an invite without one."""
        if not invite.gateway:
            raise ConfigError(
                "the invite names no gateway; it is of a task on one machine, whose bundles are in a folder"
            )
        domain = Domain(chain_id=invite.chain_id, contract=invite.contract)
        return cls(f"{invite.gateway}/api", ca=invite.ca, account=account, domain=domain, task_id=invite.id_bytes)

    def get(self, path: str) -> bytes:
        """The body of an answer. Raises: ArchiveUnreachable; ArchiveRefused."""
        return self._ask("GET", path).content

    def get_json(self, path: str) -> Any:
        """A JSON answer, None where there is nothing yet (204). Raises: ArchiveUnreachable; ArchiveRefused."""
        answer = self._ask("GET", path)
        return None if answer.status_code == 204 else self._json(answer)

    def post(self, path: str, values: Mapping[str, object]) -> Any:
        """Send JSON, get JSON. Raises: ArchiveUnreachable; ArchiveRefused."""
        return self._json(self._ask("POST", path, json=dict(values)))

    def close(self) -> None:
        """Drop the connection."""
        self._http.close()

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        url = f"{self.url}/{path}"
        headers = {}
        if self.account is not None:
            token = access_token(
                self.account, domain=self.domain, task_id=self.task_id, expires=int(time.time()) + LIFETIME_S
            )
            headers["Authorization"] = f"Bearer {token}"
        try:
            answer = self._http.request(method, url, headers=headers, **options)
        except httpx.HTTPError as error:
            raise ArchiveUnreachable(url=url, reason=f"{type(error).__name__}: {error}") from error
        if answer.status_code >= 300:
            raise ArchiveRefused(url=url, status=answer.status_code, reason=_reason(answer))
        return answer

    def _json(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError as error:
            raise ArchiveUnreachable(url=str(answer.url), reason="the answer is no JSON") from error


@dataclass(frozen=True)
class HttpBundles:
    """Bundles under a URL: a gateway's API, or any web server over a folder of them."""

    client: ArchiveClient
    path: str = ""  # of the bundles, under the client's URL

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
        """One file. Raises: Withheld if it is not for this reader; BrokenBundle; ArchiveUnreachable."""
        refuse_outside(name, where=self.where)
        path = "/".join(part for part in (self.source.path, round_folder(self.number), name) if part)
        try:
            return self.source.client.get(path)
        except ArchiveRefused as error:
            if error.status in (401, 403):
                raise Withheld(folder=self.where, problem=f"{name} is withheld ({error.reason})") from error
            raise BrokenBundle(folder=self.where, problem=f"{name} cannot be read ({error.status})") from error


def _reason(answer: httpx.Response) -> str:
    try:
        told = answer.json()
    except ValueError:
        told = None
    return str(told["detail"]) if isinstance(told, dict) and "detail" in told else answer.reason_phrase
