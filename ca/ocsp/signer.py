"""Who signs answers: for each CA a key of its own, certified by that very CA (RFC 6960 section 4.2.2.2).

Its certificate comes through the one door, like everything else, and is followed at half of its life. Clients do not
look whether it is revoked (ocsp-nocheck), so it lives two weeks. A CA that is tainted or distrusted certifies nothing
more; once its signer has ended, it signs answers itself, as it does its lists.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.x509.oid import NameOID

from ca import certificates, clock, enrolment, issuance
from ca.access import Caller, Role
from ca.authority import SIGNING
from ca.certificates import Query, Stored
from ca.errors import CertwrightError, Defect, KeyUnavailable, Misconfigured
from ca.installation import Installation
from ca.keys import KeyImport
from ca.keys.algorithms import KeyType, PrivateKey, SignatureScheme, key_type_of, scheme_of, spki
from ca.models import Authority
from ca.ocsp import encoding
from ca.ocsp.issuers import key_hash
from ca.x509.request import make_request, read_request

CALLER = Caller("system:ocsp", Role.ADMIN)
AGAIN_AFTER = 30.0
"""Seconds after which a new certificate is asked for again that could not be had."""
MOST = 8
"""Certificates of one CA's signers that are looked at: replicas may have made several."""
_POST_QUANTUM = frozenset({KeyType.MLDSA44, KeyType.MLDSA65, KeyType.MLDSA87})


@dataclass(frozen=True, slots=True)
class Signing:
    """A key that signs answers of one CA, and until when."""

    serial: str
    certificate: bytes
    """Empty where the CA signs itself: whoever asks has its certificate."""
    key: PrivateKey
    scheme: SignatureScheme
    key_hash: bytes
    not_after: int
    due_at: int
    """When it should be followed by another."""

    def sealed(self, tbs: bytes) -> bytes:
        """The signed answer, verified."""
        signature = self.scheme.sign(self.key, tbs)
        if not self.scheme.verify(self.key.public_key(), signature, tbs):
            raise Defect("the signature of an OCSP answer does not verify; it was not released")
        return encoding.successful(tbs, self.scheme.identifier, signature, self.certificate)


class Signers:
    """The signers of all CAs, made when first asked for. Safe to call from several threads and in several replicas."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._lock = threading.Lock()
        self._known: dict[int, Signing] = {}
        self._failed: dict[int, tuple[float, CertwrightError]] = {}
        self._names: dict[int, str] = {}

    @property
    def trouble(self) -> Mapping[str, CertwrightError]:
        """By CA, why its signer could not be made or followed the last time: worth an alarm."""
        with self._lock:
            return {self._names[id_]: error for id_, (_, error) in self._failed.items()}

    @property
    def ends(self) -> Mapping[str, int]:
        """By CA, when the certificate ends that signs in this process."""
        with self._lock:
            return {self._names[id_]: signing.not_after for id_, signing in self._known.items()}

    def forget(self, serials: set[str]) -> bool:
        """These are revoked. True if one of them has signed here."""
        with self._lock:
            gone = [id_ for id_, signing in self._known.items() if signing.serial in serials]
            for id_ in gone:
                del self._known[id_]
            return bool(gone)

    def keep(self, rows: list[Authority]) -> None:
        """Follow those that it is time for, so that no question has to wait for it; what fails is in `trouble`."""
        for row in rows:
            if row.id in self._known:
                try:
                    self.of(row)
                except CertwrightError:
                    if row.id not in self._failed:
                        raise

    def retain(self, ids: set[int | None]) -> None:
        """Others than these CAs are nobody's to ask about any more."""
        with self._lock:
            for known in (self._known, self._failed):
                for id_ in known.keys() - ids:
                    del known[id_]

    def of(self, row: Authority) -> Signing:
        """Who signs for this CA now. Raises why if nobody can."""
        id_, now = row.id or 0, clock.timestamp()
        with self._lock:
            self._names[id_] = row.name
            known = self._known.get(id_)
            if known is not None and now < known.due_at:
                return known
            if known is not None and (known.not_after <= now or not known.certificate):
                known = None
            self._known[id_] = found = self._followed(id_, row, known)
            return found

    def _followed(self, id_: int, row: Authority, known: Signing | None) -> Signing:
        failed_at, error = self._failed.get(id_, (0.0, None))
        if error is not None and clock.monotonic() < failed_at + AGAIN_AFTER:
            if known is None:
                raise error
            return known
        found = self._found(row) or known
        if found is None or (clock.timestamp() >= found.due_at and row.state in SIGNING):
            try:
                found = self._renewed(row) if row.state in SIGNING else self._itself(row)
            except CertwrightError as trouble:
                self._failed[id_] = (clock.monotonic(), trouble)
                if found is None:
                    raise
                return found
        self._failed.pop(id_, None)
        return found

    def _found(self, row: Authority) -> Signing | None:
        """The newest certificate on record whose key is here: another replica's, or of before a restart."""
        for stored in self._stored(row, "valid"):
            try:
                key = self._installation.keys.load(_label(stored.spki_sha256))
            except KeyUnavailable:  # another replica's, or one that a crash kept from being written
                continue
            if sha256(spki(key.public_key())).digest() == stored.spki_sha256:
                return _signing(stored, key)
        return None

    def _stored(self, row: Authority, state: str) -> list[Stored]:
        query = Query(profile=enrolment.OCSP_PROFILE, authority=row.name, state=state, requested_by=CALLER.identity)
        return certificates.page(self._installation.store, query, limit=MOST)[0]

    def _renewed(self, row: Authority) -> Signing:
        keys = self._installation.keys
        if not isinstance(keys, KeyImport):
            raise Misconfigured("OCSP answers are signed with a key in software, which this key store does not keep")
        own = key_type_of(x509.load_der_x509_certificate(row.certificate).public_key())  # type: ignore[arg-type]
        key = own.generate() if own in _POST_QUANTUM else KeyType.P256.generate()
        request = read_request(make_request(key))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"OCSP {row.name}"[:64])])
        decision = enrolment.authorise_responder(self._installation, CALLER, request, subject, authority=row.name)
        stored = certificates.find(self._installation.store, issuance.issue(decision, self._installation).serial)
        keys.put(_label(stored.spki_sha256), key)
        for ended in self._stored(row, "expired"):
            keys.destroy(_label(ended.spki_sha256))
        return _signing(stored, key)

    def _itself(self, row: Authority) -> Signing:
        issuer = self._installation.authorities.issuer(row.name)
        public_key = spki(issuer.public_key)
        ends, soon = issuer.facts.not_after, clock.timestamp() + int(AGAIN_AFTER)
        return Signing(row.serial, b"", issuer.key, issuer.scheme, key_hash(public_key), ends, soon)


def _signing(stored: Stored, key: PrivateKey) -> Signing:
    public_key = key.public_key()
    key_type = key_type_of(public_key)
    if key_type is None:
        raise KeyUnavailable(f"the key of OCSP signer {stored.serial} is of no kind that we know")
    half = stored.not_before + (stored.not_after - stored.not_before) // 2
    scheme, hashed = scheme_of(key_type), key_hash(spki(public_key))
    return Signing(stored.serial, stored.der, key, scheme, hashed, stored.not_after, half)


def _label(spki_sha256: bytes) -> str:
    return f"ocsp-{spki_sha256.hex()[:16]}"
