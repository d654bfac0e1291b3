"""Signs manifests: with a P-256 key of its own, certified through the one door like everything else, renewed in time.

Which key signs is found in the tables at each time, so that a revocation of its certificate holds at once and replicas
need not agree: each uses the newest certificate whose key it has. A key is kept after its certificate is recorded; a
crash between leaves a certificate that nobody can use, never a key that nobody would destroy.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import select
from sqlmodel import col

from ca import certificates, clock, enrolment, issuance
from ca.access import Caller, Role
from ca.authority import State
from ca.certificates import Stored
from ca.errors import BadRequest, CertwrightError, KeyUnavailable, Misconfigured
from ca.installation import Installation
from ca.keys import KeyImport
from ca.keys.algorithms import KeyType, PrivateKey, spki
from ca.models import CertificateName
from ca.publication import jws
from ca.publication.chain import signer_name
from ca.publication.manifest import Manifest
from ca.x509.names import Kind, make
from ca.x509.request import make_request, read_request

CALLER = Caller("system:publications", Role.ADMIN)


@dataclass(frozen=True, slots=True)
class _Signing:
    """A certificate and its key, and whether it is time for the next."""

    stored: Stored
    key: PrivateKey
    is_due: bool


class Signer:
    """Signs what this installation publishes. Safe to call from several threads and in several replicas."""

    def __init__(self, installation: Installation, trust_domain: str) -> None:
        self._installation = installation
        self._trust_domain = trust_domain
        self._lock = threading.Lock()
        self.trouble: CertwrightError | None = None
        """Why the last attempt to get a new certificate failed, while the old one still signs: worth an alarm."""

    def sign(self, manifest: bytes) -> bytes:
        """The manifest as a JWS that anybody with a root can check. Refuses what the checking side would not read."""
        if Manifest.decode(manifest).trust_domain != self._trust_domain:
            raise BadRequest("this manifest is not one of our trust domain", code="bad-manifest")
        with self._lock:
            signing = self._signing()
            chain = self._installation.authorities.chain(signing.stored.authority)
            return jws.enclose(manifest, signing.key, (signing.stored.der, *chain))

    def _signing(self) -> _Signing:
        ours = self._ours()
        usable = self._usable(ours)
        if usable is not None and not usable.is_due:
            self.trouble = None
            return usable
        try:
            renewed = self._renewed()
        except CertwrightError as error:
            if usable is None:
                raise
            self.trouble = error
            return usable
        self.trouble = None
        for stored in ours:
            if stored.not_after < clock.timestamp():
                self._installation.keys.destroy(_label(stored.spki_sha256))
        return renewed

    def _ours(self) -> list[Stored]:
        """Every certificate with the signer's name that is on record, newest first; retention forgets old ones."""
        name = str(make(Kind.URI, signer_name(self._trust_domain)))
        query = select(col(CertificateName.serial)).where(col(CertificateName.name) == name)
        store = self._installation.store
        with store.read() as connection:
            serials = list(connection.execute(query).scalars())
        found = certificates.find_many(store, serials)
        return sorted((s for s in found if s.requested_by == CALLER.identity), key=lambda s: s.id, reverse=True)

    def _usable(self, ours: list[Stored]) -> _Signing | None:
        """The newest valid one whose key is here; one of the active generation before any other."""
        states = {row.name: row.state for row in self._installation.authorities.all()}
        valid = [one for one in ours if one.state == "valid" and states.get(one.authority) != State.RETIRED]
        now = clock.timestamp()
        for stored in sorted(valid, key=lambda one: states.get(one.authority) != State.ACTIVE):
            is_old = now >= stored.not_before + (stored.not_after - stored.not_before) // 2
            key = self._key(stored)
            if key is not None:
                return _Signing(stored, key, is_old or states.get(stored.authority) != State.ACTIVE)
        return None

    def _key(self, stored: Stored) -> PrivateKey | None:
        try:
            key = self._installation.keys.load(_label(stored.spki_sha256))
        except KeyUnavailable:  # another replica's, or one that a crash kept from being written
            return None
        return key if sha256(spki(key.public_key())).digest() == stored.spki_sha256 else None

    def _renewed(self) -> _Signing:
        keys = self._installation.keys
        if not isinstance(keys, KeyImport):
            raise Misconfigured("publications are signed with a key in software, which this key store does not keep")
        key = KeyType.P256.generate()
        request = read_request(make_request(key))
        issued = issuance.issue(
            enrolment.authorise_publication(self._installation, CALLER, request), self._installation
        )
        stored = certificates.find(self._installation.store, issued.serial)
        keys.put(_label(stored.spki_sha256), key)
        return _Signing(stored, key, is_due=False)


def _label(spki_sha256: bytes) -> str:
    return f"publication-{spki_sha256.hex()[:16]}"
