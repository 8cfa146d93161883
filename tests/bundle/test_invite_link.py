"""An invite by its link: it is what the gateway of that certificate serves, or there is none."""

import json
from dataclasses import asdict

import pytest
from fastapi import APIRouter, Response

from fl.bundle.invite_link import load_invite
from fl.chain.invite import BadInvite, Invite, fingerprint
from fl.coordinator.gateway.proxy import running_gateway
from fl.coordinator.superlink.certificates import own_tls

ACCOUNT = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A gateway that serves whatever invite the test puts there, its link, and another authority's certificate."""
    folder = tmp_path_factory.mktemp("tls")
    tls, other = own_tls(folder / "own", names=[]), own_tls(folder / "other", names=[])
    router, content = APIRouter(prefix="/api"), {}

    @router.get("/invite")
    def invite() -> Response:
        return Response(content["text"], status_code=content.get("status", 200), media_type="application/json")

    with running_gateway("127.0.0.1", 0, tls=tls, routers=[router]) as gateway:
        told = Invite(
            chain_id=31337, url="http://127.0.0.1:8545", contract=ACCOUNT, token=ACCOUNT, block=1, task_id="0x" + "ab" * 32,
            coordinator=ACCOUNT, spec="{}", gateway=f"https://127.0.0.1:{gateway.port}", ca=tls.ca, name="Task", description="of a test",
        )  # fmt: skip
        yield told, content, other.ca


@pytest.fixture
def invite(served):
    """The invite as the gateway serves it."""
    told, content, _ = served
    content.clear()
    content["text"] = json.dumps(asdict(told))
    return told


def test_a_link_leads_to_the_whole_invite(invite):
    assert invite.link == f"{invite.gateway}/#{fingerprint(invite.ca)}"
    assert len(invite.link.partition("#")[2]) == 43
    assert load_invite(invite.link) == invite


def test_a_file_and_the_one_line_are_read_as_well(invite, tmp_path):
    invite.write(tmp_path / "invite.json")
    assert load_invite(str(tmp_path / "invite.json")) == load_invite(invite.to_string()) == invite


def test_a_gateway_with_another_certificate_is_not_believed(invite, served):
    _, content, other = served
    with pytest.raises(BadInvite, match="leads to a gateway with another certificate than the link names; ask the"):
        load_invite(f"{invite.gateway}/#{fingerprint(other)}")
    # Nor one that says that it has the right certificate, and serves with another.
    content["text"] = json.dumps({**asdict(invite), "ca": other})
    with pytest.raises(BadInvite, match="cannot be fetched .its certificate is not believed"):
        load_invite(f"{invite.gateway}/#{fingerprint(other)}")
    content["text"] = json.dumps({**asdict(invite), "ca": "none"})
    with pytest.raises(BadInvite, match="another certificate than the link names"):
        load_invite(invite.link)


@pytest.mark.parametrize(
    ("damage", "left"), [(lambda link: link[:-1], 42), (lambda link: link[:-30], 13), (lambda link: link + "Z", 44)]
)
def test_a_link_that_was_cut_says_so_before_anybody_is_asked(invite, damage, left):
    with pytest.raises(
        BadInvite,
        match=rf"is damaged or cut short: behind # there are {left} characters, and 43 are meant; copy the whole link",
    ):
        load_invite(damage(invite.link.replace(invite.gateway, "https://127.0.0.1:1")))


def test_without_a_fingerprint_the_systems_authorities_have_to_know_the_certificate(invite):
    with pytest.raises(
        BadInvite, match="a gateway with a certificate of its own has a link that ends in # and 43 characters"
    ):
        load_invite(f"{invite.gateway}/")


def test_a_link_without_tls_is_refused(invite):
    with pytest.raises(BadInvite, match="is not over TLS, so anybody on the way could change it"):
        load_invite(invite.link.replace("https", "http"))


def test_what_is_served_and_is_no_invite_is_refused(invite, served):
    content = served[1]
    content["text"] = "[1, 2]"
    with pytest.raises(BadInvite, match="is not one .a list of 2 is not an object"):
        load_invite(invite.link)
    content["status"] = 404
    with pytest.raises(BadInvite, match="cannot be fetched .the server answers 404"):
        load_invite(invite.link)


def test_a_gateway_that_is_away_is_told_in_words(invite):
    with pytest.raises(BadInvite, match="cannot be fetched .nobody listens there, or the name is not known"):
        load_invite("https://127.0.0.1:9/#" + "a" * 43)


def test_an_invite_without_a_gateway_has_no_link(invite):
    assert Invite(**{**asdict(invite), "gateway": ""}).link == ""
