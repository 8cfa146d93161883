"""A renewed certificate is shown to whoever connects next, without a restart; half of one never is."""

import socket

import pytest
from cryptography import x509
from waiting import wait_for

from fl.coordinator.gateway import proxy
from fl.coordinator.gateway.proxy import running_gateway
from fl.coordinator.superlink.certificates import given_tls, own_tls


@pytest.fixture
def lineage(tmp_path):
    """A public authority's stand-in: `renew(part)` lays fullchain.pem or privkey.pem of a new pair where the first one was."""
    folder = tmp_path / "live"
    folder.mkdir()

    def renew(*parts):
        fresh = own_tls(tmp_path / "authority", names=["127.0.0.1"])
        for name, file in {"fullchain.pem": fresh.certificate, "privkey.pem": fresh.key}.items():
            if name in parts:
                (folder / name).write_bytes(file.read_bytes())
        fresh.certificate.unlink()  # so that the next one is another
        return fresh

    renew.folder = folder
    renew("fullchain.pem", "privkey.pem")
    return renew


@pytest.fixture
def shown(lineage, tmp_path):
    """Serial number of what a gateway shows to a newcomer who trusts the stand-in and asks for the name."""
    certificate, key, ca = (
        lineage.folder / "fullchain.pem",
        lineage.folder / "privkey.pem",
        tmp_path / "authority" / "ca.pem",
    )
    opened = given_tls(certificate, key, ca=ca)
    with running_gateway("127.0.0.1", 0, tls=opened, tls_again=lambda: given_tls(certificate, key, ca=ca)) as gateway:

        def serial(name="127.0.0.1"):
            context = opened.trust()
            context.check_hostname = name is not None
            with (
                socket.create_connection(("127.0.0.1", gateway.port)) as raw,
                context.wrap_socket(raw, server_hostname=name) as tls,
            ):
                return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True)).serial_number

        yield gateway, serial


def serial_in(lineage):
    return x509.load_pem_x509_certificate((lineage.folder / "fullchain.pem").read_bytes()).serial_number


def test_a_renewed_pair_is_shown_with_and_without_a_name_and_half_of_one_is_not(lineage, shown, caplog):
    gateway, serial = shown
    first = serial()
    assert first == serial_in(lineage)
    assert gateway._certificate.look() is False
    lineage("fullchain.pem")  # the key comes a moment later
    assert gateway._certificate.look() is False
    assert gateway._certificate.look() is False
    assert caplog.text.count("the certificate stays as it is: certificate ") == 1
    assert "is not of the key in" in caplog.text
    assert serial() == first
    lineage("fullchain.pem", "privkey.pem")
    assert gateway._certificate.look() is True
    assert serial() == serial(None) == serial_in(lineage) != first
    (lineage.folder / "fullchain.pem").unlink()
    assert gateway._certificate.look() is False
    assert serial() != first


def test_a_gateway_looks_by_itself(monkeypatch, lineage, request):
    monkeypatch.setattr(proxy, "_LOOK_S", 0.05)
    _, serial = request.getfixturevalue("shown")
    first = serial()
    lineage("fullchain.pem", "privkey.pem")
    assert wait_for(lambda: serial() == serial_in(lineage) != first, what="the renewed certificate")
