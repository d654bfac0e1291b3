"""The CAs of an installation: their states, their keys at work, and which of them signs for a profile.

A *line* is what a profile names ("issuing"); its *generations* ("issuing-1", "issuing-2") follow each other, one of
them active. States, and what each means:

    prepared   exists, is trusted, signs no leaf yet        -> active, retired
    active     signs                                        -> tainted
    tainted    signs no new certificate, still its CRLs     -> active, distrusted, retired
    distrusted is no anchor any more, still signs its CRLs  -> tainted, retired
    retired    signs nothing, is no longer trusted

How authorities come to be is in `ca/hierarchy.py`. A root may be certified by another one, too (`ca/crossing.py`); what
is beneath it is then served with that cross-certificate, as long as somebody may trust the other root alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from sqlalchemy import select
from sqlmodel import col

from ca import clock
from ca.errors import Conflict, KeyUnavailable, NotFound, Unavailable
from ca.keys import KeyStore
from ca.keys.absent import absent_key
from ca.keys.algorithms import KeyType, PrivateKey, PublicKey, SignatureScheme, key_type_of, scheme_of, spki
from ca.models import Authority, CrossCertificate, Revocation
from ca.store import Store
from ca.x509.certificate import subject_of
from ca.x509.constraints import Limits, limits_of
from ca.x509.lint import IssuerFacts, facts_of

KEYLESS = ""
"""The label of the key of an authority whose key is somebody else's: it is trusted, and signs nothing here."""
OFFLINE = "offline"
"""The label of a key of ours that has left this machine (`ca/ceremony`). Labels of keys that are here have a hyphen."""
ABSENT = frozenset({KEYLESS, OFFLINE})
"""The labels of keys that cannot sign here."""
FRESH_FOR = 2.0
"""Seconds for which another replica's change of an authority may go unnoticed."""

_CROSSES = (
    select(CrossCertificate)
    .outerjoin(Revocation, col(Revocation.serial) == col(CrossCertificate.serial))
    .where(col(Revocation.serial).is_(None))
    .order_by(col(CrossCertificate.id).desc())
)
"""Newest first, without those that were revoked."""


class State(StrEnum):
    """See the module's table."""

    PREPARED = "prepared"
    ACTIVE = "active"
    TAINTED = "tainted"
    DISTRUSTED = "distrusted"
    RETIRED = "retired"


TRUSTED = frozenset({State.PREPARED, State.ACTIVE, State.TAINTED})
"""The states of an authority that stands in bundles and that chains may be built through."""
SIGNING = frozenset({State.PREPARED, State.ACTIVE})
"""The states in which an authority that is asked for by its name signs CAs and probes; leaves need the active one."""
CROSSING = frozenset({State.ACTIVE, State.TAINTED})
"""The states of a root whose cross-certificates are served: somebody may trust it, and no other."""


@dataclass(frozen=True, slots=True)
class PublicUrls:
    """Where strangers fetch what they need without TLS; written into certificates, so it should not change."""

    base: str

    def certificate(self, authority: str) -> str:
        """The CA's certificate, DER (RFC 5280 section 4.2.2.1)."""
        return f"{self.base}/ca/{authority}.cer"

    def crl(self, authority: str, shard: int | None) -> str:
        """A CRL shard, or without one the complete CRL, DER."""
        return f"{self.base}/crl/{authority}.crl" if shard is None else f"{self.base}/crl/{authority}/{shard}.crl"


@dataclass(frozen=True, slots=True, eq=False)
class Issuer:
    """An authority with its key: everything that signing needs, computed once."""

    id: int
    name: str
    line: str
    state: State
    certificate: x509.Certificate
    der: bytes
    subject: bytes
    key: PrivateKey
    key_label: str
    key_type: KeyType
    public_key: PublicKey
    scheme: SignatureScheme
    facts: IssuerFacts
    crl_shards: int
    urls: PublicUrls
    limits: tuple[Limits, ...]
    """What its certificate, and those above it, say about names; see `ca/x509/constraints.py`."""
    chain: tuple[bytes, ...]
    """DER certificates from the issuer itself up to, and without, the root; then the root's cross-certificates."""

    def shard_of(self, serial: int) -> int | None:
        """The CRL shard that a serial number falls into; None if this CA has one complete CRL only."""
        return serial % self.crl_shards if self.crl_shards else None


class Authorities:
    """All authorities, cached; a change made here is seen at once, another replica's within `FRESH_FOR` seconds."""

    def __init__(self, store: Store, keys: KeyStore, urls: PublicUrls) -> None:
        self._store = store
        self._keys = keys
        self.urls = urls
        self._lock = threading.Lock()
        self._rows: dict[str, Authority] = {}
        self._crosses: Sequence[CrossCertificate] = ()
        self._active: dict[str, Issuer] = {}
        self._issuers: dict[str, Issuer] = {}
        self._fresh_until = 0.0
        self._changes = 0

    def all(self) -> list[Authority]:
        """Every authority, oldest first."""
        return list(self._current().values())

    def get(self, name: str) -> Authority:
        """One authority by its name, or by its line's name: then the active one.

        `Conflict` for a line of which none is active: whoever asks has to name the one they mean.
        """
        rows = self._current()
        if name in rows:
            return rows[name]
        if (active := self._active_row(name)) is None:
            hint = "name the one: " + ", ".join(f"{r.name} ({r.state})" for r in rows.values() if r.line == name)
            raise Conflict(f"no generation of {name!r} is active", code="no-active-authority", hint=hint)
        return active

    def trusted(self) -> list[Authority]:
        """Those that relying parties should trust or may need to build chains: prepared, active, tainted."""
        return [row for row in self.all() if row.state in TRUSTED]

    def standing(self) -> list[Authority]:
        """Those that publish CRLs, so that their names and keys are in use: all but the retired."""
        return [row for row in self.all() if row.state != State.RETIRED]

    def serials(self) -> set[str]:
        """The serial numbers of all CA certificates, cross-certificates included: not for everybody to revoke."""
        return {row.serial for row in self.all()} | {cross.serial for cross in self._crosses}

    def roots(self) -> list[Authority]:
        """The trust anchors in force."""
        return [row for row in self.trusted() if row.parent_id is None]

    def issuer_for(self, line: str) -> Issuer:
        """The active authority of a line, ready to sign."""
        if clock.monotonic() < self._fresh_until and (known := self._active.get(line)) is not None:
            return known
        changes = self._changes
        if (active := self._active_row(line)) is None:
            hint = "certwright ca activate NAME"
            raise Unavailable(f"no generation of {line!r} is active", code="no-active-authority", hint=hint)
        issuer = self.issuer(active.name)
        with self._lock:
            if changes == self._changes:
                self._active[line] = issuer
        return issuer

    def issuer(self, name: str) -> Issuer:
        """An authority with its key, whatever its state; callers that sign certificates want `issuer_for`."""
        row = self.get(name)
        if row.key_label == KEYLESS:
            hint = "whoever has that key signs; for a CA beneath it: certwright ca request"
            raise KeyUnavailable(f"the key of {row.name} is not here", hint=hint)
        chain = self.chain(row.name)
        with self._lock:
            cached = self._issuers.get(row.name)
        if cached is not None and (cached.state, cached.chain, cached.key_label) == (row.state, chain, row.key_label):
            return cached
        above = [other.certificate for other in self.ancestors(row)]
        key = absent_key(row) if row.key_label == OFFLINE else self._keys.load(row.key_label)
        issuer = make_issuer(row, chain, key, self.urls, above)
        with self._lock:
            self._issuers[row.name] = issuer
        return issuer

    def signer(self, name: str) -> Issuer:
        """A generation that was asked for by its name, ready to sign; `Unavailable` unless it is prepared or active."""
        issuer = self.issuer(name)
        if issuer.state not in SIGNING:
            raise Unavailable(f"{issuer.name} is {issuer.state} and signs nothing new", code="no-active-authority")
        return issuer

    def ancestors(self, row: Authority) -> list[Authority]:
        """The authorities above one, nearest first, the root last."""
        by_id = {other.id: other for other in self.all()}
        found = []
        while row.parent_id is not None and row.parent_id in by_id:
            row = by_id[row.parent_id]
            found.append(row)
        return found

    def chain(self, name: str) -> tuple[bytes, ...]:
        """What a leaf is served with: DER certificates from an authority up to its root, which is left out.

        They end with the cross-certificate of that root while the root that made it is active or tainted, so that who
        trusts only that one gets here, too. With one alone, the newest: each signed the one before (RFC 5246 7.4.2).
        """
        row = self.get(name)
        *between, root = (row, *self.ancestors(row))
        above = self._cross_of(root) if root.parent_id is None else [root.certificate]  # its own lie elsewhere
        return (*(other.certificate for other in between), *above)

    def _cross_of(self, root: Authority) -> list[bytes]:
        states = {row.id: row.state for row in self.all()}
        for cross in self._crosses:
            is_served = states.get(cross.issuer_id) in CROSSING and cross.not_after > clock.timestamp()
            if cross.authority_id == root.id and is_served:
                return [cross.certificate]
        return []

    def forget(self) -> None:
        """Look again at the next use: something has changed."""
        with self._lock:
            self._changes += 1
            self._fresh_until = 0.0
            self._active = {}

    def _active_row(self, line: str) -> Authority | None:
        generations = [row for row in self._current().values() if row.line == line]
        if not generations:
            raise NotFound(f"there is no authority {line!r}", code="unknown-authority", hint="certwright ca list")
        return next((row for row in generations if row.state == State.ACTIVE), None)

    def _current(self) -> dict[str, Authority]:
        with self._lock:
            if clock.monotonic() < self._fresh_until:
                return self._rows
            changes = self._changes
        with self._store.read() as connection:
            rows = connection.execute(select(Authority).order_by(col(Authority.id))).all()
            crosses = [CrossCertificate(**row._mapping) for row in connection.execute(_CROSSES)]
        found = {row.name: Authority(**row._mapping) for row in rows}
        with self._lock:
            if changes == self._changes:  # what was read before a change must not stand after it
                self._rows = found
                self._crosses = crosses
                self._active = {}
                self._fresh_until = clock.monotonic() + FRESH_FOR
        return found


def make_issuer(
    row: Authority, chain: Sequence[bytes], key: PrivateKey, urls: PublicUrls, above: Sequence[bytes] = ()
) -> Issuer:
    """Put an authority and its key together; `above` are the certificates of the CAs over it, DER.

    `KeyUnavailable` if the key does not belong to the certificate.
    """
    certificate = x509.load_der_x509_certificate(row.certificate)
    public_key = key.public_key()
    key_type = key_type_of(public_key)
    if key_type is None or spki(public_key) != spki(certificate.public_key()):  # type: ignore[arg-type]
        raise KeyUnavailable(f"the key {row.key_label!r} does not belong to the certificate of {row.name}")
    return Issuer(
        id=row.id or 0,
        name=row.name,
        line=row.line,
        state=State(row.state),
        certificate=certificate,
        der=row.certificate,
        subject=subject_of(certificate.tbs_certificate_bytes),
        key=key,
        key_label=row.key_label,
        key_type=key_type,
        public_key=public_key,
        scheme=scheme_of(key_type),
        facts=facts_of(certificate),
        crl_shards=row.crl_shards,
        urls=urls,
        limits=tuple(filter(None, map(limits_of, (certificate, *map(x509.load_der_x509_certificate, above))))),
        chain=tuple(chain),
    )
