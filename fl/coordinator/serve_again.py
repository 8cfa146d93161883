"""A finished task's gateway: its page, bundles and archive, from its folder alone.

Neither the data nor the chain of its time is needed. What is for everybody once a task is over is served to everybody; what
the page says of the chain it says as far as the chain answers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from web3.exceptions import Web3Exception

from fl.chain.errors import ChainError
from fl.chain.escrow import Escrow
from fl.chain.invite import Invite
from fl.chain.provider import Patience
from fl.chain.rpc_url import shown
from fl.chain.sender import connect
from fl.chain.task_state import Status
from fl.chain.typed_data import Domain
from fl.coordinator.config import CoordinatorConfig
from fl.coordinator.gateway.bundle_api import archive_router
from fl.coordinator.gateway.prometheus import metrics_router
from fl.coordinator.gateway.proxy import running_gateway
from fl.coordinator.service.network import public_address, tls_of
from fl.coordinator.service.setup import ServiceWatcher, Surfaces
from fl.errors import ConfigError

_SUMMARY = "summary.json"  # in the folder
_ASK_S = 5.0  # that the chain has to answer


@dataclass(frozen=True, kw_only=True)
class FinishedTask:
    """What the archive's API asks of a task, as the folder's invite and summary have it."""

    task_id: bytes
    domain: Domain
    terms: SimpleNamespace  # evaluators, rounds, reveal_each_round
    posted: int
    accounts: Sequence[str]

    @classmethod
    def of(cls, folder: Path) -> FinishedTask:
        """Of a coordinator's folder."""
        invite, summary = Invite.read(folder / "invite.json"), json.loads((folder / _SUMMARY).read_text())
        task = summary["task"]
        return cls(
            task_id=invite.id_bytes,
            domain=Domain(chain_id=invite.chain_id, contract=invite.contract),
            terms=SimpleNamespace(
                evaluators=tuple(task["evaluators"]), rounds=task["rounds"], reveal_each_round=task["reveal"] == "round"
            ),
            posted=len(summary["rounds"]),
            accounts=[client["account"] for client in summary["clients"]],
        )

    def state(self) -> SimpleNamespace:
        """Closed."""
        return SimpleNamespace(status=Status.CLOSED, posted=self.posted, rounds=self.posted)

    def enrolments(self) -> dict[str, None]:
        """Who took part."""
        return dict.fromkeys(self.accounts)

    def speakers(self) -> dict[str, str]:
        """Nobody: no evaluator has anything to do."""
        return {}


def serve_again(settings: CoordinatorConfig, *, folder: Path, watcher: ServiceWatcher, surfaces: Surfaces) -> None:
    """Serve what is in the folder of a finished task until Ctrl-C.

    Args:
        settings: Of the coordinator.
        folder: That it left.
        watcher: Is told.
        surfaces: Pages and gateway.
    Raises: KeyboardInterrupt; ConfigError if the chain says that the task is not over.
    """
    written = folder / "invite.json"
    invite = Invite.read(written)
    if reason := _not_known_to_be_over(invite, folder=folder):
        watcher.on_setup(f"{reason}; serving all the same, an audit needs the chain and this does not")
    task, tls = FinishedTask.of(folder), tls_of(settings, folder=folder)
    with ExitStack() as stack:
        gateway = stack.enter_context(
            running_gateway(
                settings.host,
                settings.port,
                tls=tls,
                tls_again=partial(tls_of, settings, folder=folder),
                routers=[
                    archive_router(folder, task=task),
                    metrics_router(folder, turned_away=lambda: gateway.refused),
                    *surfaces.routers,
                ],
                pages=surfaces.pages,
            )
        )
        stack.callback(surfaces.on_close)
        now = replace(invite, gateway=public_address(settings, port=gateway.port), ca=tls.ca)
        if now != invite:
            # Nobody joins a task that is over, and what is audited is held against the chain: no key is asked for.
            now = replace(now, signature="")
            now.write(written)
        watcher.on_invite(now, written)
        watcher.on_setup("the task is over; serving its page, bundles and archive again until Ctrl-C")
        while True:
            time.sleep(1)


def _not_known_to_be_over(invite: Invite, *, folder: Path) -> str:
    """Why the chain does not say that the task is over, "" if it does. Raises: ConfigError if it says that it is not."""
    try:
        w3 = connect(invite.url, chain_id=invite.chain_id, patience=Patience(outage_s=0, limit_s=_ASK_S))
        state = Escrow(w3, invite.contract).task(invite.id_bytes)[1]
    except (ChainError, Web3Exception, ValueError) as error:
        return f"the chain at {shown(invite.url)} does not answer for this task ({type(error).__name__})"
    if state.status not in (Status.HALTED, Status.CLOSED):
        raise ConfigError(f"{folder} is marked finished, and its task is not over on chain; remove its status file")
    return ""
