"""How answers of the REST API are made from what the floors below return."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from cryptography import x509

from ca import clock
from ca.access import Caller, allowed
from ca.authority import KEYLESS, OFFLINE, PublicUrls
from ca.certificates import Stored
from ca.cost import Cost
from ca.crl import COMPLETE, Status, overdue
from ca.external import Requested
from ca.holding import Held
from ca.issuance import Issued
from ca.keys.algorithms import key_type_of
from ca.models import ApiToken, Authority, BrowserSession
from ca.profiles.config import format_duration
from ca.profiles.dangers import find_dangers
from ca.profiles.profile import Profile
from ca.revocation import Revoked
from ca.x509.bundle import pem_certificate, pem_chain
from ca.x509.certificate import fingerprint
from ca.x509.constraints import Limits, limits_of
from ca.x509.revocation_list import RevocationReason
from pki.web.answered import (
    AuthorityRequestView,
    AuthorityView,
    CallerView,
    CertificateView,
    CrlView,
    DangerView,
    HeldView,
    IssuedCertificate,
    ListCostView,
    ProfileView,
    RevocationCostView,
    RevokedView,
    SessionView,
)


@lru_cache(maxsize=4096)
def moment(seconds: int) -> str:
    """RFC 3339."""
    return clock.from_timestamp(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def issued_certificate(issued: Issued, ignored: tuple[str, ...]) -> IssuedCertificate:
    """The answer to an issuance."""
    return IssuedCertificate(
        serial=issued.serial,
        authority=issued.authority,
        profile=issued.profile,
        not_before=moment(issued.not_before),
        not_after=moment(issued.not_after),
        certificate=pem_certificate(issued.certificate),
        chain=_chain(issued.chain),
        is_repeat=issued.is_repeat,
        ignored=list(ignored),
    )


@lru_cache(maxsize=64)
def _chain(certificates: tuple[bytes, ...]) -> str:
    return pem_chain(certificates)


def certificate_view(stored: Stored) -> CertificateView:
    """A stored certificate."""
    der = stored.der if stored.signature is not None else None
    reason = None if stored.revocation_reason is None else RevocationReason(stored.revocation_reason).word
    return CertificateView(
        serial=stored.serial,
        state=stored.state,
        subject=stored.subject,
        names=[str(name) for name in stored.names()],
        authority=stored.authority,
        profile=stored.profile,
        not_before=moment(stored.not_before),
        not_after=moment(stored.not_after),
        recorded_at=moment(stored.recorded_at),
        requested_by=stored.requested_by,
        renews=stored.renews,
        revoked_at=None if stored.revoked_at is None else moment(stored.revoked_at),
        reason=reason,
        crl_shard=stored.shard,
        spki_sha256=stored.spki_sha256.hex(),
        sha256=None if der is None else fingerprint(der),
        certificate=None if der is None else pem_certificate(der),
    )


def revoked_view(revoked: Revoked, *, dry_run: bool = False) -> RevokedView:
    """What a revocation did."""
    return RevokedView(
        serials=list(revoked.serials),
        reason=revoked.reason.word,
        revoked_at=moment(revoked.revoked_at),
        key_blocked=revoked.key_blocked,
        dry_run=dry_run,
    )


def cost_view(cost: Cost, consumers: Mapping[str, int], ocsp_answers: int) -> RevocationCostView:
    """What a mass revocation comes to."""
    return RevocationCostView(
        certificates=cost.certificates,
        held=cost.held,
        lists=[ListCostView(**asdict(one)) for one in cost.lists],
        delta_bytes=cost.delta_bytes,
        seconds=round(cost.seconds, 3),
        consumers=dict(consumers),
        ocsp_answers=ocsp_answers,
    )


def held_view(held: Held) -> HeldView:
    """What a hold or its release did."""
    released = None if held.released_at is None else moment(held.released_at)
    return HeldView(serial=held.serial, held_at=moment(held.held_at), released_at=released)


def authority_view(row: Authority, parent: Authority | None) -> AuthorityView:
    """An authority."""
    certificate = x509.load_der_x509_certificate(row.certificate)
    key_type = key_type_of(certificate.public_key())  # type: ignore[arg-type]
    limits = limits_of(certificate) or Limits()
    return AuthorityView(
        name=row.name,
        line=row.line,
        generation=row.generation,
        state=row.state,
        parent=parent.name if parent is not None else None,
        subject=certificate.subject.rfc4514_string(),
        key_type=str(key_type),
        key={KEYLESS: "elsewhere", OFFLINE: "offline"}.get(row.key_label, "here"),
        serial=row.serial,
        not_before=moment(row.not_before),
        not_after=moment(row.not_after),
        crl_shards=row.crl_shards,
        permitted=[*map(str, limits.permitted), *(one.rfc4514_string() for one in limits.directories_permitted)],
        excluded=[*map(str, limits.excluded), *(one.rfc4514_string() for one in limits.directories_excluded)],
        sha256=fingerprint(row.certificate),
        certificate=pem_certificate(row.certificate),
    )


def authority_request_view(requested: Requested) -> AuthorityRequestView:
    """A CA that waits for its certificate."""
    columns = {name: getattr(requested, name) for name in ("name", "line", "subject", "sha256", "csr", "created_by")}
    return AuthorityRequestView(**columns, created_at=moment(requested.created_at))


def crl_view(status: Status, urls: PublicUrls) -> CrlView:
    """The freshness of a CRL."""
    shard = None if status.shard == COMPLETE else status.shard
    return CrlView(
        authority=status.authority,
        shard=shard,
        number=status.number,
        this_update=moment(status.this_update),
        next_update=moment(status.next_update),
        entries=status.entries,
        sha256=status.sha256,
        is_overdue=overdue(status, clock.timestamp()),
        url=urls.crl(status.authority, shard),
    )


def profile_view(profile: Profile) -> ProfileView:
    """A profile."""
    config = profile.config
    return ProfileView(
        name=profile.name,
        description=config.description,
        kind=config.kind,
        issuer=config.issuer,
        lifetime=format_duration(config.lifetime),
        longest=format_duration(config.longest),
        keys=[str(key) for key in config.keys],
        roles=sorted(str(role) for role in profile.roles),
        revocation=config.revocation.check,
        dangers=[
            DangerView(code=d.code, message=d.message, is_accepted=d.code in config.dangers.accepted)
            for d in find_dangers(profile)
        ],
        sha256=profile.sha256,
        text=profile.text,
    )


def token_view(row: ApiToken) -> dict[str, Any]:
    """The fields of a `TokenView`."""
    return {
        "id": row.id,
        "name": row.name,
        "role": row.role,
        "profiles": json.loads(row.profiles),
        "attributes": json.loads(row.attributes),
        "created_at": moment(row.created_at),
        "created_by": row.created_by,
        "expires_at": moment(row.expires_at),
        "revoked_at": None if row.revoked_at is None else moment(row.revoked_at),
    }


def caller_view(caller: Caller) -> CallerView:
    """A caller."""
    return CallerView(
        identity=caller.identity,
        role=caller.role,
        profiles=None if caller.profiles is None else sorted(caller.profiles),
        attributes=dict(caller.attributes),
        operations=sorted(allowed(caller.role)),
    )


def session_view(row: BrowserSession) -> SessionView:
    """Somebody who is signed in, without what the cookie is known by."""
    return SessionView(
        identity=row.identity,
        role=row.role,
        how=row.how,
        created_at=moment(row.created_at),
        seen_at=moment(row.seen_at),
        expires_at=moment(row.expires_at),
    )
