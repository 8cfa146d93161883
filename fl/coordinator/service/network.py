"""What the world sees of a coordinator: SuperLink, gateway and invite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from fl.audit.evaluators.local import Evaluator
from fl.chain.invite import Invite
from fl.coordinator.config import CoordinatorConfig, RunConfig
from fl.coordinator.gateway.bundle_api import archive_router
from fl.coordinator.gateway.faucet import faucet_router
from fl.coordinator.gateway.labels import label_router
from fl.coordinator.gateway.prometheus import metrics_router
from fl.coordinator.gateway.proxy import check_port, running_gateway
from fl.coordinator.lifecycle.refuter import refuting_challenges
from fl.coordinator.quorum.remote import RemoteQuorum
from fl.coordinator.service.nodes import Nodes
from fl.coordinator.service.opening import OpenTask
from fl.coordinator.service.setup import Setup, Surfaces
from fl.coordinator.superlink.certificates import Tls, given_tls, own_tls
from fl.coordinator.superlink.process import running_superlink
from fl.coordinator.training import game_on
from fl.task.model_vector import vector_of
from fl.task.spec import TaskSpec

_OBJECT_SLACK = 4 << 20  # bytes, for names and metrics


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """What listens."""

    invite: Invite
    quorum: RemoteQuorum
    nodes: Nodes | None  # None of a task that is over: no node has anything to do


@contextmanager
def listening(setup: Setup, opened: OpenTask, surfaces: Surfaces) -> Iterator[Network]:
    """Start SuperLink and gateway, write the invite, and let in whoever joins, for as long as the context lasts.

    Args:
        setup: Of the coordinator.
        opened: Its task.
        surfaces: What else the gateway shows.
    Raises: SuperLinkFailed; GatewayFailed; BadCertificate.
    """
    setup.watcher.on_setup("starting the SuperLink")
    settings, task, roles = setup.settings, opened.task, opened.roles
    here = [
        Evaluator(account=account, spec=setup.spec, game=game_on(setup.data.validation, spec=setup.spec))
        for account in roles.evaluators
    ]
    quorum = RemoteQuorum(
        task.terms.evaluators, domain=task.domain, here=here, deadline_s=settings.evaluation, approve=task.approve
    )
    with ExitStack() as stack:
        superlink = None if opened.over else stack.enter_context(running_superlink(setup.folder / "superlink"))
        tls, faucet = tls_of(setup.settings, folder=setup.folder), faucet_router(task, account=roles.sponsor)
        gateway = stack.enter_context(
            running_gateway(
                settings.host,
                settings.port,
                tls=tls,
                tls_again=partial(tls_of, setup.settings, folder=setup.folder),
                superlink=superlink,
                largest_request=_largest_object(setup.spec),
                routers=[
                    archive_router(setup.folder, task=task, quorum=quorum),
                    label_router(setup.folder, task=task),
                    *([faucet] if faucet else []),
                    metrics_router(setup.folder, turned_away=lambda: gateway.refused),
                    *surfaces.routers,
                ],
                pages=surfaces.pages,
            )
        )
        stack.callback(surfaces.on_close)
        invite = _invite(setup, opened, port=gateway.port, ca=tls.ca)
        invite.write(setup.invite)
        setup.watcher.on_invite(invite, setup.invite)
        nodes = None if superlink is None else Nodes(setup, task, superlink)
        if nodes is not None:
            stack.enter_context(nodes.looked_after())
        yield Network(invite=invite, quorum=quorum, nodes=nodes)


def guarded(setup: Setup, opened: OpenTask, network: Network) -> AbstractContextManager[None]:
    """Answer false challenges, for as long as the context lasts.

    Args:
        setup: Of the coordinator.
        opened: Its task.
        network: With the invite.
    """
    return refuting_challenges(
        replace(network.invite, url=opened.deployment.url),
        bundles=setup.bundles,
        archive=setup.settings.archive,
        account=opened.roles.coordinator,
    )


def _invite(setup: Setup, opened: OpenTask, *, port: int, ca: str) -> Invite:
    config = setup.config
    # A paid node's URL carries its key: whoever has one names another for the clients with chain.public_url.
    url = config.chain.public_url or opened.deployment.url
    return opened.task.invite(url=url, spec=setup.spec.to_json()).served_at(
        public_address(setup.settings, port=port),
        ca=ca,
        coordinator=opened.roles.coordinator,
        name=config.name if config.name != RunConfig.name else "",
        description=setup.settings.description,
    )


def check_listening(setup: Setup) -> None:
    """See, before anything is escrowed, whether the gateway has a port and a certificate. Raises: GatewayFailed; BadCertificate."""
    tls_of(setup.settings, folder=setup.folder)
    check_port(setup.settings.host, setup.settings.port)


def tls_of(settings: CoordinatorConfig, *, folder: Path) -> Tls:
    """The gateway's certificate: the one that was given, or one of the folder's own authority.

    Args:
        settings: Of the coordinator.
        folder: The coordinator's.
    Raises: BadCertificate.
    """
    if settings.certificate and settings.certificate_key:
        ca = Path(settings.ca) if settings.ca else None
        return given_tls(Path(settings.certificate), Path(settings.certificate_key), ca=ca)
    return own_tls(folder / "tls", names=_names(settings))


def public_address(settings: CoordinatorConfig, *, port: int) -> str:
    """Where clients reach a gateway.

    Args:
        settings: Of the coordinator.
        port: That it listens on.
    """
    name = _names(settings)[0]
    return f"https://{f'[{name}]' if ':' in name else name}:{settings.public_port or port}"


def _names(settings: CoordinatorConfig) -> list[str]:
    if settings.names:
        return list(settings.names)
    # Without names it is for this machine, or for machines that know it by the address that it listens on.
    return ["127.0.0.1"] if settings.host in ("0.0.0.0", "::", "127.0.0.1") else [settings.host]


def _largest_object(spec: TaskSpec) -> int:
    """Bytes that one part of a node's answer may have: an update takes two a parameter, an app of one's own may send floats."""
    return _OBJECT_SLACK + 4 * len(vector_of(spec.build_model()))
