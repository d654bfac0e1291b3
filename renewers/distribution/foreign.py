"""Trust anchors of other trust domains, as an administrator gives them to us, for consumers that must trust them, too.

They are given whole: what is not in the new set is no anchor any more. We take nobody else's word for them and fetch
them nowhere; their CRLs are their own CA's to bring.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import ColumnElement, delete, insert, select
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.errors import BadRequest, Conflict, NotFound
from ca.ledger import log
from ca.store import Transaction
from renewers.distribution import formats
from renewers.distribution.needs import TRUST_DOMAIN
from renewers.distribution.publishing import ALARM
from renewers.distribution.streams import trust_stream
from renewers.lifecycle import Lifecycle
from renewers.models import Consumer, ForeignAnchor
from renewers.plain import one_line
from renewers.telling import alarms, events

MOST = 20
LARGEST = 256 * 1024
MAX_PAGE = 500


@dataclass(frozen=True, slots=True)
class Anchor:
    """A trust anchor of another trust domain; its subject is a stranger's text, made harmless."""

    trust_domain: str
    sha256: str
    subject: str
    not_after: int
    certificate: bytes
    added_at: int
    added_by: str


def put(lifecycle: Lifecycle, caller: Caller, trust_domain: str, pem: bytes) -> list[Anchor]:
    """Make these certificates, PEM, all the anchors of a trust domain. Published a moment later."""
    caller.must(Operation.MANAGE_CONSUMERS)
    _check_domain(lifecycle, trust_domain)
    given = {sha256(der).hexdigest(): der for der in _read(pem)}
    now, named = clock.timestamp(), _of(trust_domain)
    fresh = {"trust_domain": trust_domain, "added_at": now, "added_by": caller.identity}

    def unit(tx: Transaction) -> None:
        known = set(tx.execute(select(col(ForeignAnchor.sha256)).where(named).with_for_update()).scalars())
        gone, new = sorted(known - set(given)), sorted(set(given) - known)
        if not gone and not new:
            return
        if gone:
            tx.execute(delete(ForeignAnchor).where(named, col(ForeignAnchor.sha256).in_(gone)))
        for fingerprint in new:
            tx.execute(insert(ForeignAnchor).values(**fresh, sha256=fingerprint, certificate=given[fingerprint]))
        told: dict[str, Any] = {"anchors": sorted(given), "new": new, "gone": gone}
        log.append(tx, "foreign-anchors-changed", _subject(trust_domain), caller.identity, **told)
        message = f"{trust_domain} has {len(given)} trust anchors: {len(new)} new, {len(gone)} gone"
        events.record(tx, "foreign-anchors-changed", _subject(trust_domain), message, by=caller.identity, **told)

    lifecycle.store.write(unit)
    return show(lifecycle, caller, trust_domain)


def remove(lifecycle: Lifecycle, caller: Caller, trust_domain: str) -> None:
    """Forget a trust domain. `Conflict` while a consumer needs it; what was published of it stays."""
    caller.must(Operation.MANAGE_CONSUMERS)

    def unit(tx: Transaction) -> None:
        if needed := _who_needs(tx, trust_domain):
            raise Conflict(
                f"{one_line(trust_domain, 80)} is needed by {', '.join(needed[:5])}"
                + (f" and {len(needed) - 5} more" if len(needed) > 5 else ""),
                code="trust-domain-needed",
                hint="change what these consumers need first: certwright consumer change",
            )
        gone = tx.execute(delete(ForeignAnchor).where(_of(trust_domain)).returning(col(ForeignAnchor.sha256)))
        fingerprints = sorted(gone.scalars())
        if not fingerprints:
            raise _unknown(trust_domain)
        told: dict[str, Any] = {"gone": fingerprints}
        alarms.clear_alarm(tx, ALARM, trust_stream(trust_domain))
        log.append(tx, "foreign-anchors-removed", _subject(trust_domain), caller.identity, **told)
        message = f"{trust_domain} is no longer published"
        events.record(tx, "foreign-anchors-removed", _subject(trust_domain), message, by=caller.identity, **told)

    lifecycle.store.write(unit)


def show(lifecycle: Lifecycle, caller: Caller, trust_domain: str) -> list[Anchor]:
    """The anchors of one trust domain, expired ones too."""
    caller.must(Operation.READ_AUTHORITIES)
    query = select(ForeignAnchor).where(_of(trust_domain)).order_by(col(ForeignAnchor.sha256))
    with lifecycle.store.read() as connection:
        rows = connection.execute(query).all()
    if not rows:
        raise _unknown(trust_domain)
    return [_anchor(ForeignAnchor(**row._mapping)) for row in rows]


def listing(
    lifecycle: Lifecycle, caller: Caller, *, cursor: str | None = None, limit: int = 50
) -> tuple[list[str], str | None]:
    """A page of the other trust domains that we publish, by name, and where the next one starts."""
    caller.must(Operation.READ_AUTHORITIES)
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
    query = select(col(ForeignAnchor.trust_domain)).distinct().order_by(col(ForeignAnchor.trust_domain))
    if cursor is not None:
        query = query.where(col(ForeignAnchor.trust_domain) > cursor)
    with lifecycle.store.read() as connection:
        found = list(connection.execute(query.limit(limit + 1)).scalars())
    return found[:limit], found[limit - 1] if len(found) > limit else None


def is_known(tx: Transaction, trust_domain: str) -> bool:
    """Whether there are anchors of this trust domain; asked where a consumer is to need it."""
    return tx.execute(select(col(ForeignAnchor.sha256)).where(_of(trust_domain)).limit(1)).first() is not None


def _check_domain(lifecycle: Lifecycle, trust_domain: str) -> None:
    if not TRUST_DOMAIN.fullmatch(trust_domain):
        raise BadRequest(f"{one_line(trust_domain, 60)!r} is no trust domain", code="bad-trust-domain")
    if trust_domain == lifecycle.trust_domain:
        raise BadRequest(
            f"{trust_domain} is our own trust domain: its anchors are our roots",
            code="own-trust-domain",
            hint="certwright ca import takes over a CA of your own",
        )


def _read(pem: bytes) -> list[bytes]:
    """DER of the certificates in PEM text; `BadRequest` (`bad-anchor`) with everything that is wrong with them."""
    if len(pem) > LARGEST:
        raise _bad(f"the certificates are larger than {LARGEST} bytes")
    if b"PRIVATE KEY" in pem:
        raise _bad("there is a private key in it, which nobody here needs", "send the certificates alone")
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except Exception as error:  # noqa: BLE001 - parsers raise what they like
        raise _bad(f"the certificates cannot be parsed ({type(error).__name__})", "PEM, one after the other") from None
    if len(certificates) > MOST:
        raise _bad(f"there are {len(certificates)} certificates, not 1 to {MOST}")
    problems = [
        f"certificate {place} ({_subject_of(certificate)}) {problem}"
        for place, certificate in enumerate(certificates, start=1)
        for problem in _problems(certificate)
    ]
    if problems:
        raise _bad("; ".join(problems))
    return [certificate.public_bytes(Encoding.DER) for certificate in certificates]


def _problems(certificate: x509.Certificate) -> list[str]:
    """Everything that keeps a certificate from being a trust anchor."""
    try:
        values = {type(extension.value): extension.value for extension in certificate.extensions}
        formats.check_anchor_key(certificate)
    except BadRequest as error:
        return [error.message]
    except Exception as error:  # noqa: BLE001 - parsers raise what they like
        return [f"cannot be parsed ({type(error).__name__})"]
    constraints, usage = values.get(x509.BasicConstraints), values.get(x509.KeyUsage)
    problems = []
    if not isinstance(constraints, x509.BasicConstraints) or not constraints.ca:
        problems.append("is not a CA's (basic constraints)")
    if isinstance(usage, x509.KeyUsage) and not usage.key_cert_sign:
        problems.append("may not sign certificates (key usage)")
    if certificate.not_valid_after_utc <= clock.now():
        problems.append("has expired")
    return problems


def _who_needs(tx: Transaction, trust_domain: str) -> Sequence[str]:
    rows = tx.execute(select(col(Consumer.name), col(Consumer.needs)).order_by(col(Consumer.name)))
    return [row.name for row in rows if trust_domain in json.loads(row.needs).get("trust_domains", ())]


def _anchor(row: ForeignAnchor) -> Anchor:
    certificate = x509.load_der_x509_certificate(row.certificate)
    ends = int(certificate.not_valid_after_utc.timestamp())
    named = (row.trust_domain, row.sha256, _subject_of(certificate), ends)
    return Anchor(*named, row.certificate, row.added_at, row.added_by)


def _subject_of(certificate: x509.Certificate) -> str:
    try:
        return one_line(certificate.subject.rfc4514_string(), 100)
    except Exception:  # noqa: BLE001 - parsers raise what they like
        return "with a subject that cannot be read"


def _of(trust_domain: str) -> ColumnElement[bool]:
    return col(ForeignAnchor.trust_domain) == trust_domain


def _subject(trust_domain: str) -> str:
    return f"trust-domain:{trust_domain}"


def _unknown(trust_domain: str) -> NotFound:
    return NotFound(f"there are no anchors of {one_line(trust_domain, 80)!r}", code="unknown-trust-domain")


def _bad(message: str, hint: str | None = None) -> BadRequest:
    return BadRequest(message, code="bad-anchor", hint=hint)
