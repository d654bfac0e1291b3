"""The TLS listener's own certificate, issued by our CA, and the context that asks clients for theirs.

The key is made in memory and never written. The certificate is renewed at half its life, with a new key; connections
that stand keep theirs. Trust for clients is our own CAs and nothing else: with none, nothing is listened on.
"""

from __future__ import annotations

import os
import ssl

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca import clock, enrolment
from ca.access import Caller, Role
from ca.enrolment import Wish
from ca.errors import CertwrightError, ClockUnavailable, Unavailable
from ca.issuance import issue
from ca.keys.algorithms import KeyType
from ca.x509 import names
from ca.x509.bundle import pem_certificate, pem_chain
from ca.x509.request import make_request, read_request
from pki.logs import logger
from pki.product import Product

log = logger(__name__)
LISTENER = Caller("system:listener", Role.OPERATOR, frozenset({"server"}))
PROFILE = "server"


class ListenerTls:
    """The server side of TLS for one process."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._renew_at = 0
        self._issuer: bytes = b""
        self._trusted: frozenset[bytes] = frozenset()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.context.options |= ssl.OP_NO_RENEGOTIATION
        try:
            self.refresh()
        except ClockUnavailable as error:  # nobody gets in until there is one; the other listeners do not wait for it
            log.warning("listener-certificate-waits", reason=error.message, hint=error.hint)

    def refresh(self) -> None:
        """Renew the certificate when it is due or its CA was followed by another, and trust CAs that were added."""
        self._trust()
        if clock.timestamp() >= self._renew_at or self._signer() != self._issuer:
            self._renew()

    def _signer(self) -> bytes:
        """The certificate of the CA that signs for us now; the one that did, while none can."""
        installation = self._product.installation
        try:
            return installation.authorities.issuer_for(installation.profiles[PROFILE].config.issuer).der
        except CertwrightError:
            return self._issuer

    def _trust(self) -> None:
        rows = self._product.installation.authorities.trusted()
        if not rows:
            raise Unavailable("there is no CA to trust clients by; the TLS listener stays closed")
        for row in rows:
            if row.certificate in self._trusted:
                continue
            try:
                self.context.load_verify_locations(cadata=row.certificate)
            except ssl.SSLError as error:
                # The system's OpenSSL may not know the algorithm (ML-DSA before 3.5): then its clients are refused.
                log.warning("authority-not-trusted", authority=row.name, reason=str(error.reason))
        self._trusted = frozenset(row.certificate for row in rows)

    def _renew(self) -> None:
        settings = self._product.settings.listen
        key = KeyType.P256.generate()
        wish = Wish(names=tuple(names.parse(name) for name in settings.names), lifetime=settings.lifetime)
        request = read_request(make_request(key))
        decision = enrolment.authorise_issue(self._product.installation, LISTENER, PROFILE, request, wish)
        issued = issue(decision, self._product.installation)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        _load(self.context, private + pem_certificate(issued.certificate) + pem_chain(issued.chain))
        self._renew_at = (issued.not_before + issued.not_after) // 2
        self._issuer = issued.chain[0] if issued.chain else self._signer()
        log.info("listener-certificate", serial=issued.serial, names=settings.names)


def _load(context: ssl.SSLContext, text: str) -> None:
    """Load key and chain from memory: OpenSSL takes files only, so this one is a file that has no place on a disk."""
    descriptor = os.memfd_create("listener", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
