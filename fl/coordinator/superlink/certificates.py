"""TLS certificates: a private authority that is made on first start, or files that the user has.

Clients get the authority's certificate with the invite and trust nothing else, so a task needs no public name and no third
party. What is signed with it is renewed by itself; the authority stays, or every invite that is out would be void.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fl.chain.whole_file import write_whole
from fl.errors import FairshareError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_AUTHORITY_DAYS = 3650
_SERVER_DAYS = 397  # the longest that common TLS stacks take
_RENEW_DAYS = 30
# A node whose clock is behind would call a fresh certificate "not yet valid".
_BACKDATED = dt.timedelta(days=7)


class BadCertificate(FairshareError):
    """A certificate file is absent, expired, or does not belong to its key."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"certificate {self.path} {self.problem}"


@dataclass(frozen=True, kw_only=True)
class Tls:
    """The files that a TLS server serves with, and what its clients have to trust."""

    certificate: Path  # PEM, the server's own first
    key: Path  # PEM, not encrypted
    ca: str  # PEM of the authority for the invite; "" where the system's authorities know the certificate

    def trust(self) -> ssl.SSLContext:
        """What a client of this server verifies with."""
        return ssl.create_default_context(cadata=self.ca or None)


def own_tls(folder: Path, *, names: Sequence[str], now: dt.datetime | None = None) -> Tls:
    """Open, or make on first start, a private authority and a server certificate for these names and for loopback.

    The server's certificate is made anew when it ends within 30 days or lacks one of the names; keys are readable by their
    owner alone.

    Args:
        names: Host names and addresses by which clients reach the server.
        now: Time of day, for tests.
    Raises: BadCertificate if the authority has expired or its files are damaged.
    """
    now = now or dt.datetime.now(dt.UTC)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca_path, ca_key_path = folder / "ca.pem", folder / "ca.key"
    if not ca_path.exists():
        _make_authority(ca_path, ca_key_path, now=now)
    ca, ca_key = _open(ca_path, ca_key_path)
    try:
        if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
            raise TypeError("the key is of another kind")
        ca.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise BadCertificate(
            path=str(ca_path),
            problem="is not what was written there; restore it, or remove its folder, start again and send new invites",
        ) from error
    if ca.not_valid_after_utc <= now:
        raise BadCertificate(
            path=str(ca_path),
            problem=f"expired on {ca.not_valid_after_utc:%Y-%m-%d}; remove its folder, start again and send new invites",
        )
    wanted = list(dict.fromkeys([*names, *LOOPBACK]))
    path, key_path = folder / "server.pem", folder / "server.key"
    if not _still_good(path, key_path, ca=ca, names=wanted, now=now):
        _make_server(path, key_path, ca=ca, ca_key=ca_key, names=wanted, now=now)
    return Tls(certificate=path, key=key_path, ca=ca_path.read_text())


def given_tls(certificate: Path, key: Path, *, ca: Path | None = None, now: dt.datetime | None = None) -> Tls:
    """Use the user's own files; without `ca`, clients trust what their system trusts.

    Args:
        certificate: PEM file of the server's, with the chain behind it.
        key: PEM file of its private key.
        ca: PEM file of the authority that clients are to trust.
        now: Time of day, for tests.
    Raises: BadCertificate if a file is absent or no PEM, if the certificate has expired or is of another key.
    """
    now = now or dt.datetime.now(dt.UTC)
    found, _ = _open(certificate, key)
    if found.not_valid_after_utc <= now:
        raise BadCertificate(
            path=str(certificate), problem=f"expired on {found.not_valid_after_utc:%Y-%m-%d}; renew it and start again"
        )
    if found.not_valid_before_utc > now:
        raise BadCertificate(
            path=str(certificate),
            problem=f"is good from {found.not_valid_before_utc:%Y-%m-%d} only; look at this machine's clock",
        )
    try:
        authority = ca.read_text() if ca else ""
        if authority:
            x509.load_pem_x509_certificates(authority.encode())
    except (OSError, ValueError) as error:
        raise BadCertificate(
            path=str(ca), problem=f"cannot be read ({type(error).__name__}); name a PEM file"
        ) from error
    return Tls(certificate=certificate, key=key, ca=authority)


def _make_authority(path: Path, key_path: Path, *, now: dt.datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Fairshare coordinator's own authority")])
    signed = (
        _certificate(name, issuer=name, key=key, now=now, days=_AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_key(key_path, key)
    write_whole(path, signed.public_bytes(serialization.Encoding.PEM), mode=0o644)


def _make_server(
    path: Path,
    key_path: Path,
    *,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    names: Sequence[str],
    now: dt.datetime,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Fairshare coordinator")])
    signed = (
        _certificate(name, issuer=ca.subject, key=key, now=now, days=_SERVER_DAYS, last=ca.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([_general_name(word) for word in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    _write_key(key_path, key)
    write_whole(path, signed.public_bytes(serialization.Encoding.PEM), mode=0o644)


def _certificate(
    name: x509.Name,
    *,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
    days: int,
    last: dt.datetime | None = None,
) -> x509.CertificateBuilder:
    end = now + dt.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(min(end, last) if last else end)
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _still_good(path: Path, key_path: Path, *, ca: x509.Certificate, names: Sequence[str], now: dt.datetime) -> bool:
    try:
        found, _ = _open(path, key_path)
        found.verify_directly_issued_by(ca)
        held = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # absent, damaged, of another authority: whatever it is, a new one is made
        return False
    renewable = ca.not_valid_after_utc > found.not_valid_after_utc
    ends_soon = found.not_valid_after_utc <= now + dt.timedelta(days=_RENEW_DAYS)
    return not (ends_soon and renewable) and set(map(_general_name, names)) <= set(held)


def _open(path: Path, key_path: Path) -> tuple[x509.Certificate, PrivateKeyTypes]:
    try:
        certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
        public = certificate.public_key()
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise BadCertificate(
            path=str(path), problem=f"cannot be read ({type(error).__name__}); name a PEM file"
        ) from error
    try:
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadCertificate(
            path=str(path),
            problem=f"has a key in {key_path} that cannot be read ({type(error).__name__}); name a PEM file that is not encrypted",
        ) from error
    if key.public_key() != public:
        raise BadCertificate(
            path=str(path), problem=f"is not of the key in {key_path}; name the two that belong together"
        )
    return certificate, key


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_whole(path, text, mode=0o600)
