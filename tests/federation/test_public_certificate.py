"""A coordinator with a certificate that the clients' systems know, as an ACME client gets one: the invite pins nothing."""

import httpx
import pytest

from fl.chain.invite import Invite
from fl.coordinator.superlink.certificates import own_tls


@pytest.fixture
def public(town):
    """The pair of files that certbot leaves, of an authority that every system here trusts."""
    tls = own_tls(town.folder / "authority", names=["localhost"])
    town.environment["SSL_CERT_FILE"] = str(town.folder / "authority" / "ca.pem")
    return tls


def test_nodes_and_browsers_trust_it_by_themselves_and_are_paid(town, public):
    coordinator = town.coordinator(
        *town.settings(clients=2, rounds=2), "names=[localhost]",
        f"certificate={public.certificate}", f"certificate_key={public.key}",
    )  # fmt: skip
    link = coordinator.says("as a link: ").rpartition(" ")[2]
    assert link == f"https://localhost:{town.port}/"
    assert "own authority" not in coordinator.said()
    assert httpx.get(link, verify=public.trust()).status_code == 200
    nodes = [town.node(number) for number in range(2)]
    assert [node.ends() for node in nodes] == [0, 0], [node.said() for node in nodes]
    assert coordinator.ends() == 0, coordinator.said()
    assert Invite.read(town.folder / "coordinator" / "invite.json").ca == ""
    assert all("claimed:" in node.said() or "earned: 0 tokens" in node.said() for node in nodes)
