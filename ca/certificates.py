"""What we have issued: one certificate by its serial number, or pages of them by what they say.

A certificate's state is worked out, never stored: abandoned, revoked, held, expired or valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography import x509
from sqlalchemy import ColumnElement, Select, and_, select, tuple_
from sqlmodel import col

from ca import clock
from ca.errors import BadRequest, NotFound
from ca.models import Authority, Certificate, CertificateName, Revocation
from ca.store import Store
from ca.x509 import names
from ca.x509.certificate import algorithm_of, assemble, preview, spki_of
from ca.x509.names import Name
from ca.x509.revocation_list import HOLD

MAX_PAGE = 500


@dataclass(frozen=True, slots=True)
class Stored:
    """One certificate of ours, with what has become of it."""

    id: int
    serial: str
    authority: str
    profile: str
    subject: str
    shard: int | None
    spki_sha256: bytes
    not_before: int
    not_after: int
    requested_by: str
    renews: str | None
    tbs: bytes
    signature: bytes | None
    recorded_at: int
    revoked_at: int | None
    revocation_reason: int | None

    @property
    def state(self) -> str:
        """One word for what it is now."""
        if self.revoked_at is not None:
            return "held" if self.revocation_reason == HOLD else "revoked"
        if self.signature is None:
            return "abandoned"
        return "expired" if self.not_after < clock.timestamp() else "valid"

    @property
    def der(self) -> bytes:
        """The certificate. `NotFound` if it was never signed."""
        if self.signature is None:
            raise NotFound(f"certificate {self.serial} was never signed", code="never-signed")
        return assemble(self.tbs, algorithm_of(self.tbs), self.signature)

    def names(self) -> tuple[Name, ...]:
        """Its subject alternative names."""
        return names_of(preview(self.tbs, algorithm_of(self.tbs)))


@dataclass(frozen=True, slots=True)
class Query:
    """Which certificates to list; every field narrows."""

    name: Name | None = None
    profile: str | None = None
    authority: str | None = None
    state: str | None = None
    requested_by: str | None = None
    spki_sha256: bytes | None = None
    expires_before: int | None = None


_COLUMNS = (
    col(Certificate.id),
    col(Certificate.serial),
    col(Authority.name),
    col(Certificate.profile),
    col(Certificate.subject),
    col(Certificate.shard),
    col(Certificate.spki_sha256),
    col(Certificate.not_before),
    col(Certificate.not_after),
    col(Certificate.requested_by),
    col(Certificate.renews),
    col(Certificate.tbs),
    col(Certificate.signature),
    col(Certificate.recorded_at),
    col(Revocation.revoked_at),
    col(Revocation.reason),
)
_STORED: Select[*tuple[Any, ...]] = (
    select(*_COLUMNS)
    .join(Authority, col(Authority.id) == col(Certificate.authority_id))
    .outerjoin(Revocation, col(Revocation.serial) == col(Certificate.serial))
)


def is_revoked_for_good(serial: Any) -> ColumnElement[bool]:
    """How a revocation is joined with the serial number of a certificate, where one that is on hold has none."""
    return and_(col(Revocation.serial) == col(serial), col(Revocation.reason) != HOLD)


def names_of(certificate: x509.Certificate) -> tuple[Name, ...]:
    """The subject alternative names of a certificate of ours."""
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.from_general_name(name) for name in san)


def display_name(certificate: x509.Certificate) -> str:
    """What a person calls it: its first name, else its subject, else its key."""
    subject = certificate.subject.rfc4514_string()
    return shown_as(names_of(certificate), subject, spki_of(certificate.tbs_certificate_bytes))


def shown_as(names: Sequence[Name], subject: str, spki: bytes) -> str:
    """The same before there is a certificate."""
    if names:
        return names[0].value
    return subject or f"key {sha256(spki).hexdigest()[:16]}"


def normalise_serial(text: str) -> str:
    """A serial number as people write it (`0x1A`, `1a:2b`, decimal is not taken) in the form that we store."""
    plain = text.strip().lower().replace(":", "").removeprefix("0x").lstrip("0")
    if not plain or len(plain) > 40 or set(plain) - set("0123456789abcdef"):
        raise BadRequest(f"{text[:60]!r} is not a serial number in hex", code="bad-serial")
    return plain


def find(store: Store, serial: str) -> Stored:
    """The certificate with this serial number, or `NotFound`."""
    with store.read() as connection:
        row = connection.execute(_STORED.where(col(Certificate.serial) == normalise_serial(serial))).first()
    if row is None:
        raise NotFound(f"there is no certificate {serial}", code="unknown-certificate", hint="certwright cert list")
    return Stored(*row)


def find_many(store: Store, serials: Sequence[str]) -> list[Stored]:
    """Those of these certificates that are stored, in no order."""
    with store.read() as connection:
        return [Stored(*row) for row in connection.execute(_STORED.where(col(Certificate.serial).in_(serials)))]


def newest(store: Store, profiles: Sequence[str], *, after: int, limit: int) -> list[Stored]:
    """The newest signed certificates of some profiles whose ids are larger than `after`."""
    wanted = _STORED.where(col(Certificate.profile).in_(profiles), col(Certificate.id) > after)
    signed = wanted.where(col(Certificate.signature).is_not(None)).order_by(col(Certificate.id).desc()).limit(limit)
    with store.read() as connection:
        return [Stored(*row) for row in connection.execute(signed)]


def page(store: Store, query: Query, *, cursor: str | None = None, limit: int = 50) -> tuple[list[Stored], str | None]:
    """A page of certificates, newest first (soonest to end first with `expires_before`), and where the next starts."""
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
    by_expiry = query.expires_before is not None
    statement = _filtered(query)
    if by_expiry:
        statement = statement.order_by(col(Certificate.not_after), col(Certificate.id))
    else:
        statement = statement.order_by(col(Certificate.id).desc())
    if cursor is not None:
        not_after, identity = _read_cursor(cursor)
        if by_expiry:
            place = tuple_(col(Certificate.not_after), col(Certificate.id))
            statement = statement.where(place > (not_after, identity))
        else:
            statement = statement.where(col(Certificate.id) < identity)
    with store.read() as connection:
        rows = [Stored(*row) for row in connection.execute(statement.limit(limit + 1))]
    more = f"{rows[limit - 1].not_after}-{rows[limit - 1].id}" if len(rows) > limit else None
    return rows[:limit], more


def _filtered(query: Query) -> Select[*tuple[Any, ...]]:
    statement, now = _STORED, clock.timestamp()
    if query.name is not None:
        statement = statement.join(CertificateName, col(CertificateName.serial) == col(Certificate.serial))
        statement = statement.where(col(CertificateName.name) == str(query.name))
    if query.profile is not None:
        statement = statement.where(col(Certificate.profile) == query.profile)
    if query.authority is not None:
        statement = statement.where(col(Authority.name) == query.authority)
    if query.requested_by is not None:
        statement = statement.where(col(Certificate.requested_by) == query.requested_by)
    if query.spki_sha256 is not None:
        statement = statement.where(col(Certificate.spki_sha256) == query.spki_sha256)
    if query.expires_before is not None:
        statement = statement.where(col(Certificate.not_after) < query.expires_before)
    return statement if query.state is None else _in_state(statement, query.state, now)


def _in_state(statement: Select[*tuple[Any, ...]], state: str, now: int) -> Select[*tuple[Any, ...]]:
    match state:
        case "revoked":
            return statement.where(col(Revocation.reason) != HOLD)
        case "held":
            return statement.where(col(Revocation.reason) == HOLD)
        case "valid":
            alive = col(Certificate.signature).is_not(None), col(Certificate.not_after) >= now
            return statement.where(col(Revocation.serial).is_(None), *alive)
        case "expired":
            over = col(Certificate.signature).is_not(None), col(Certificate.not_after) < now
            return statement.where(col(Revocation.serial).is_(None), *over)
        case "abandoned":
            return statement.where(col(Certificate.signature).is_(None), col(Revocation.serial).is_(None))
        case other:
            known = "valid, revoked, held, expired, abandoned"
            raise BadRequest(f"{other!r} is not a state of a certificate", code="bad-state", hint=f"there are {known}")


def _read_cursor(cursor: str) -> tuple[int, int]:
    not_after, _, identity = cursor.partition("-")
    if not (not_after.isascii() and identity.isascii() and not_after.isdigit() and identity.isdigit()):
        raise BadRequest("this cursor is not one that we gave out", code="bad-cursor")
    if max(len(not_after), len(identity)) > 18:
        raise BadRequest("this cursor is not one that we gave out", code="bad-cursor")
    return int(not_after), int(identity)
