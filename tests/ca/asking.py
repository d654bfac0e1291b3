"""Asks a responder as clients do, and judges what it says as they would: signer, times, status, what was asked.

Nothing here is a test; `tests/ca/test_ocsp.py` and its neighbours are.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca import clock, der
from ca.installation import Installation
from ca.issuance import Issued
from ca.keys.algorithms import key_type_of, scheme_of
from ca.ocsp.asked import read_request
from ca.ocsp.responder import OcspPolicy, Responder

SHA1, SHA256 = hashes.SHA1(), hashes.SHA256()


def make_responder(installation: Installation, policy: OcspPolicy | None = None) -> Responder:
    """One that looks for revocations each time."""
    return Responder(installation, policy or OcspPolicy())


def ca_of(installation: Installation, name: str = "issuing-1") -> x509.Certificate:
    """A CA's certificate, parsed."""
    return x509.load_der_x509_certificate(installation.authorities.get(name).certificate)


def request_about(
    certificate: x509.Certificate | int,
    issuer: x509.Certificate,
    *,
    algorithm: hashes.HashAlgorithm = SHA1,
    nonce: bytes | None = None,
) -> bytes:
    """A request as `cryptography` makes it, about a certificate or a serial number."""
    builder = ocsp.OCSPRequestBuilder()
    if isinstance(certificate, int):
        name, key = hashes.Hash(algorithm), hashes.Hash(algorithm)
        name.update(issuer.subject.public_bytes())
        identifier = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key()).digest  # SHA-1 of the key
        assert isinstance(algorithm, hashes.SHA1), "only by SHA-1"
        key.update(b"")
        builder = builder.add_certificate_by_hash(name.finalize(), identifier, certificate, algorithm)
    else:
        builder = builder.add_certificate(certificate, issuer, algorithm)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def request_about_several(*requests: bytes) -> bytes:
    """One request about all that these ask about."""
    singles = [der.sequence(read_request(one).certificates[0].encoded) for one in requests]
    return der.sequence(der.sequence(der.sequence(*singles)))


def ask(
    installation: Installation, responder: Responder, issued: Issued | x509.Certificate, issuer: str = "issuing-1"
) -> ocsp.OCSPResponse:
    """The verified answer about one certificate, after a look at what was revoked."""
    certificate = issued if isinstance(issued, x509.Certificate) else x509.load_der_x509_certificate(issued.certificate)
    responder._fresh_until = float("-inf")
    request = request_about(certificate, ca_of(installation, issuer))
    return judged(responder.answer(request).body, ca_of(installation, issuer), certificate.serial_number)


def judged(body: bytes, issuer: x509.Certificate, serial: int) -> ocsp.OCSPResponse:
    """The answer, if a client would accept it for this certificate of this CA."""
    found = ocsp.load_der_ocsp_response(body)
    assert found.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    assert found.serial_number == serial
    must_be_signed(found, issuer)
    now = clock.now()
    assert found.this_update_utc <= now <= (found.next_update_utc or now)
    assert found.produced_at_utc <= now
    return found


def must_be_signed(found: ocsp.OCSPResponse, issuer: x509.Certificate) -> None:
    """By the CA itself, or by whom it named for it (RFC 6960 section 4.2.2.2)."""
    signer = issuer
    certificates: Sequence[x509.Certificate] = found.certificates
    if certificates:
        (signer,) = certificates
        signer.verify_directly_issued_by(issuer)
        values = {type(e.value): e.value for e in signer.extensions}
        assert list(values[x509.ExtendedKeyUsage]) == [ExtendedKeyUsageOID.OCSP_SIGNING]  # type: ignore[call-overload]
        assert x509.OCSPNoCheck in values
        assert signer.not_valid_before_utc <= clock.now() <= signer.not_valid_after_utc
    assert found.responder_key_hash == x509.SubjectKeyIdentifier.from_public_key(signer.public_key()).digest
    key_type = key_type_of(signer.public_key())  # type: ignore[arg-type]
    assert key_type is not None
    assert scheme_of(key_type).verify(signer.public_key(), found.signature, found.tbs_response_bytes)  # type: ignore[arg-type]
