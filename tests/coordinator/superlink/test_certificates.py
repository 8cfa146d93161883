import datetime as dt
import os
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fl.coordinator.superlink.certificates import BadCertificate, given_tls, own_tls

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


def held(tls):
    """The server certificate, and the names in it."""
    found = x509.load_pem_x509_certificate(tls.certificate.read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found, {str(name.value) for name in names}


def test_keys_are_for_their_owner_alone(tmp_path):
    tls = own_tls(tmp_path / "tls", names=["fl.example.org", "10.1.2.3"])
    for path in (tls.key, tmp_path / "tls" / "ca.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700


def test_the_server_is_known_by_its_names_and_on_this_machine(tmp_path):
    _, names = held(own_tls(tmp_path, names=["fl.example.org", "10.1.2.3"]))
    assert names == {"fl.example.org", "10.1.2.3", "127.0.0.1", "::1", "localhost"}


def test_a_second_start_changes_nothing(tmp_path):
    first, (before, _) = own_tls(tmp_path, names=["a.org"]), held(own_tls(tmp_path, names=["a.org"]))
    again = own_tls(tmp_path, names=["a.org"])
    assert (again.ca, held(again)[0]) == (first.ca, before)


def test_a_new_name_renews_the_server_and_leaves_the_invites_good(tmp_path):
    first = own_tls(tmp_path, names=["a.org"])
    second = own_tls(tmp_path, names=["b.org"])
    assert second.ca == first.ca
    assert "b.org" in held(second)[1]


def test_a_server_certificate_is_renewed_before_it_ends(tmp_path):
    before, _ = held(own_tls(tmp_path, names=[]))
    same, _ = held(own_tls(tmp_path, names=[], now=before.not_valid_after_utc - 31 * DAY))
    after, _ = held(own_tls(tmp_path, names=[], now=before.not_valid_after_utc - 29 * DAY))
    assert same == before
    assert after.not_valid_after_utc > before.not_valid_after_utc + 300 * DAY


def test_a_clock_that_is_some_days_behind_takes_a_fresh_certificate(tmp_path):
    found, _ = held(own_tls(tmp_path, names=[]))
    assert found.not_valid_before_utc < NOW - 6 * DAY


def test_a_damaged_server_certificate_is_made_anew(tmp_path):
    tls = own_tls(tmp_path, names=[])
    tls.certificate.write_text("nonsense")
    held(own_tls(tmp_path, names=[]))


def test_an_authority_that_has_expired_says_what_it_means(tmp_path):
    own_tls(tmp_path, names=[])
    with pytest.raises(
        BadCertificate, match=r"ca\.pem expired on .*; remove its folder, start again and send new invites"
    ):
        own_tls(tmp_path, names=[], now=NOW + 3651 * DAY)


def test_a_damaged_authority_is_not_replaced_behind_ones_back(tmp_path):
    own_tls(tmp_path, names=[])
    (tmp_path / "ca.pem").write_text("nonsense")
    with pytest.raises(BadCertificate, match=r"ca\.pem cannot be read \(ValueError\); name a PEM file"):
        own_tls(tmp_path, names=[])


def test_the_users_own_files_are_taken_as_they_are(tmp_path):
    own = own_tls(tmp_path, names=["fl.example.org"])
    tls = given_tls(own.certificate, own.key, ca=tmp_path / "ca.pem")
    assert (tls.certificate, tls.key, tls.ca) == (own.certificate, own.key, own.ca)
    assert given_tls(own.certificate, own.key).ca == ""


def test_the_users_files_are_checked_before_anybody_connects(tmp_path):
    first, other = own_tls(tmp_path / "one", names=[]), own_tls(tmp_path / "other", names=[])
    for arguments, problem in [
        ((tmp_path / "none.pem", first.key), r"none\.pem cannot be read \(FileNotFoundError\); name a PEM file"),
        ((first.certificate, tmp_path / "none.key"), r"has a key in .*none\.key that cannot be read"),
        ((first.certificate, other.key), "is not of the key in .*; name the two that belong together"),
    ]:
        with pytest.raises(BadCertificate, match=problem):
            given_tls(*arguments)
    with pytest.raises(BadCertificate, match="expired on .*; renew it and start again"):
        given_tls(first.certificate, first.key, now=NOW + 400 * DAY)
    with pytest.raises(BadCertificate, match="is good from .* only; look at this machine's clock"):
        given_tls(first.certificate, first.key, now=NOW - 400 * DAY)
    with pytest.raises(BadCertificate, match=r"none\.pem cannot be read"):
        given_tls(first.certificate, first.key, ca=tmp_path / "none.pem")


def test_a_flipped_byte_renews_the_server_or_is_told(tmp_path):
    """Every twentieth byte in the suite; all by LONG_TESTS=1."""
    folder = tmp_path / "tls"
    authority = own_tls(folder, names=["a.org"]).ca
    step = 1 if os.environ.get("LONG_TESTS") else 20
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for place in range(0, len(whole), step):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            try:
                tls = own_tls(folder, names=["a.org"])
            except BadCertificate:
                path.write_bytes(whole)
                continue
            server = x509.load_pem_x509_certificate(tls.certificate.read_bytes())
            server.verify_directly_issued_by(x509.load_pem_x509_certificate(tls.ca.encode()))
            assert x509.load_pem_x509_certificate(tls.ca.encode()) == x509.load_pem_x509_certificate(authority.encode())
            whole = path.read_bytes() if path.name.startswith("server") else whole
            path.write_bytes(whole)


def test_an_authority_with_a_key_of_another_kind_is_not_ours(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(ec, "generate_private_key", lambda curve: rsa.generate_private_key(65537, 2048))
        with pytest.raises(BadCertificate) as caught:
            own_tls(tmp_path, names=["127.0.0.1"])
    assert "is not what was written there; restore it, or remove its folder" in str(caught.value)
