"""Material as a destination gets it: a certificate, its chain and its key."""

from __future__ import annotations

from hashlib import sha256

from ca.secret import Secret
from renewers.delivering.material import laid_out
from renewers.publishers import Material


def material(number: int, *, key: bool = True) -> Material:
    """What a destination gets; publishers do not look into it."""
    certificate = f"-----BEGIN CERTIFICATE-----\n{str(number) * 300}\n-----END CERTIFICATE-----\n"
    fingerprint = sha256(certificate.encode()).hexdigest()
    chain = certificate.replace(str(number), "c")
    secret = Secret(f"-----BEGIN PRIVATE KEY-----\n{str(number) * 100}\n-----END PRIVATE KEY-----\n") if key else None
    return laid_out("edge", f"edge-{number}-{fingerprint[:12]}", fingerprint, certificate, chain, secret)


A, B, C = material(1), material(2), material(3)
