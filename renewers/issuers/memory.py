"""A throwaway CA in memory, for tests and drills: it signs at once, or fails as it is told to.

It keeps the promise of the port: one reference, one certificate, however often it is asked. Nobody trusts it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca import clock
from ca.errors import IssuerRefusal
from ca.issuance import new_serial
from ca.x509.names import to_general_name
from renewers.issuers import Memory, Obtained, Wanted, Window

YEAR = timedelta(days=365)


class MemoryIssuer:
    """An `Issuer`. `trouble(wanted)` may raise what a real issuer would."""

    def __init__(
        self,
        *,
        lifetime: timedelta = timedelta(days=90),
        trouble: Callable[[Wanted], None] = lambda _wanted: None,
    ) -> None:
        self._lifetime = lifetime
        self._trouble = trouble
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Throwaway CA")])
        self._issued: dict[str, Obtained] = {}
        self._lock = threading.Lock()
        self.asked = 0
        """How often it was asked."""
        self._own = self._sign(self._name, self._key.public_key(), 40 * YEAR)

    @property
    def certificate(self) -> bytes:
        """Its own certificate, DER."""
        return self._own

    @property
    def count(self) -> int:
        """How many certificates it has signed."""
        return len(self._issued)

    def obtain(self, wanted: Wanted, memory: Memory) -> Obtained:
        """Sign, once a reference."""
        self.asked += 1
        self._trouble(wanted)
        if not memory.is_finalized:
            memory.commit()
        with self._lock:
            if wanted.reference not in self._issued:
                self._issued[wanted.reference] = self._answer(wanted)
            return self._issued[wanted.reference]

    def check(self) -> None:
        """It is there."""

    def _answer(self, wanted: Wanted) -> Obtained:
        csr = x509.load_der_x509_csr(wanted.csr)
        if not csr.is_signature_valid:
            raise IssuerRefusal("the request is not signed by its own key", code="bad-csr")
        lifetime = self._lifetime if wanted.lifetime is None else timedelta(seconds=wanted.lifetime)
        san = x509.SubjectAlternativeName([to_general_name(name) for name in wanted.names])
        leaf = self._sign(x509.Name([]), csr.public_key(), lifetime, san)
        return Obtained(leaf, (self._own,))

    def _sign(self, subject: x509.Name, key: Any, lifetime: timedelta, *names: x509.ExtensionType) -> bytes:
        now, is_own = clock.now(), subject == self._name
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(new_serial())
            .not_valid_before(now)
            .not_valid_after(now + lifetime - timedelta(seconds=1))
            .add_extension(x509.BasicConstraints(ca=is_own, path_length=None), critical=True)
        )
        for extension in names:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)


class OpinionatedIssuer(MemoryIssuer):
    """The same with an opinion on when to renew, which is whatever `suggested` is at the time."""

    suggested: Window | None = None

    def window(self, _certificate: bytes, _issuer: bytes | None) -> Window | None:
        """What it was told to suggest."""
        return self.suggested
