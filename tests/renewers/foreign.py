"""Certificates and CRLs that others made, well and badly: built as bytes, so that anything can be odd in them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ca import clock, der
from ca.installation import Installation
from ca.keys.algorithms import KeyType, PrivateKey, spki
from ca.keys.sealed import Sealer
from ca.secret import Secret
from ca.x509.bundle import pem_chain
from ca.x509.names import encode_all, parse
from renewers.inventory.facts import Facts, read_certificate
from renewers.inventory.track import track
from renewers.issuers.memory import MemoryIssuer
from renewers.lifecycle import Lifecycle
from tests import rig

DAY = 86400
ECDSA = der.sequence(der.oid("1.2.840.10045.4.3.2"))
V3 = der.explicit(0, der.integer(2))


@cache
def sealer() -> Sealer:
    """One for all tests: deriving its key is slow on purpose."""
    return Sealer(Secret("inventory"), b"salt")


def lifecycle(installation: Installation, **choices: object) -> Lifecycle:
    """The parts of this floor over an installation, with an issuer called `internal`."""
    issuers = {"internal": MemoryIssuer(), "other": MemoryIssuer()}
    return Lifecycle(installation, sealer(), **{"issuers": issuers, **choices})  # type: ignore[arg-type]


def dn(text: bytes = b"someone", *, tag: int = 0x0C, oid: str = "2.5.4.3") -> bytes:
    """A distinguished name of one attribute."""
    return der.sequence(der.tagged(0x31, der.sequence(der.oid(oid), der.tagged(tag, text))))


def extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    """One extension with any bytes in it."""
    return der.sequence(der.oid(oid), der.BOOLEAN_TRUE if critical else b"", der.octet_string(value))


def san(*names: str) -> bytes:
    """A subject alternative name extension as it should be."""
    return extension("2.5.29.17", encode_all([parse(name) for name in names]))


CA = extension("2.5.29.19", der.sequence(der.BOOLEAN_TRUE), critical=True)


def certificate(
    *names: str,
    version: bytes = V3,
    serial: bytes = b"\x02\x01\x05",
    issuer: bytes | None = None,
    subject: bytes | None = None,
    begin: int | None = None,
    days: float = 90,
    extensions: Sequence[bytes] = (),
    key: bytes | None = None,
    times: bytes | None = None,
) -> bytes:
    """A certificate whose signature is nobody's."""
    start = clock.timestamp() if begin is None else begin
    held = [san(*names)] if names else []
    tbs = der.sequence(
        version,
        serial,
        ECDSA,
        dn(b"Other CA") if issuer is None else issuer,
        times or der.sequence(der.time(start), der.time(start + int(days * DAY))),
        dn() if subject is None else subject,
        spki(rig.pooled_key().public_key()) if key is None else key,
        der.explicit(3, der.sequence(*held, *extensions)) if held or extensions else b"",
    )
    return der.sequence(tbs, ECDSA, der.bit_string(b"nobody's"))


def numbered(number: int) -> bytes:
    """A serial number."""
    return der.integer(number)


def facts(*names: str, **choices: object) -> Facts:
    """The facts of such a certificate."""
    return read_certificate(certificate(*names, **choices))  # type: ignore[arg-type]


def tracked(life: Lifecycle, found: Facts, source: str = "scanned", **choices: object) -> int:
    """Track it in a transaction of its own."""
    return life.store.write(lambda tx: track(tx, found, source=source, **choices))  # type: ignore[arg-type]


def signed(
    *names: str, by: PrivateKey, issuer: str = "A CA", begin: int | None = None, days: int = 90, is_ca: bool = False
) -> bytes:
    """A certificate that really is signed; a CA's own when `is_ca`."""
    start = clock.timestamp() if begin is None else begin
    who = rig.common_name(issuer)
    builder = (
        x509.CertificateBuilder()
        .issuer_name(who)
        .subject_name(who if is_ca else x509.Name([]))
        .public_key(by.public_key() if is_ca else rig.pooled_key().public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(clock.from_timestamp(start))
        .not_valid_after(clock.from_timestamp(start + days * DAY))
    )
    if is_ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if names:
        general = [rig.general_name(parse(name)) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    return builder.sign(by, hashes.SHA256()).public_bytes(Encoding.DER)


def crl(*, by: PrivateKey, issuer: str = "A CA", begin: int, days: int = 7, number: int = 1, url: str = "") -> bytes:
    """A CRL without entries."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(rig.common_name(issuer))
        .last_update(clock.from_timestamp(begin))
        .next_update(clock.from_timestamp(begin + days * DAY))
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    if url:
        point = x509.IssuingDistributionPoint(
            [x509.UniformResourceIdentifier(url)], None, False, False, None, False, False
        )
        builder = builder.add_extension(point, critical=True)
    return builder.sign(by, hashes.SHA256()).public_bytes(Encoding.DER)


def another_key(place: int = 1) -> PrivateKey:
    """A key that is not the pooled one."""
    return rig.pooled_key(KeyType.P256, place)


def bundle(*certificates: bytes) -> str:
    """Certificates as PEM text."""
    return pem_chain(certificates)


read = read_certificate
