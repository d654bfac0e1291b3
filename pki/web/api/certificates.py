"""Certificates: issue, renew, hold and release, revoke, list, show."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from ca import certificates, cost, enrolment, holding, revocation, unrecorded
from ca.access import Caller, Operation
from ca.certificates import Query as Filter
from ca.enrolment import Decision, Wish
from ca.errors import BadRequest
from ca.issuance import aissue
from ca.revocation import Revoked
from ca.x509.bundle import read_certificates
from ca.x509.request import read_request
from ca.x509.revocation_list import RevocationReason
from pki.product import Product
from pki.web.answered import CertificatePage, CertificateView, HeldView, IssuedCertificate, RevokedView
from pki.web.asked import PLAIN, CertificateFilter, IssueRequest, RenewRequest, RevokeManyRequest, RevokeRequest
from pki.web.context import CallerDep, ProductDep, identity_of, product_of, read_duration, read_names, read_subject
from pki.web.described import Responses
from pki.web.direct import DirectRoute
from pki.web.gate import caller_of
from pki.web.readable import find_readable
from pki.web.views import certificate_view, cost_view, held_view, issued_certificate, revoked_view
from renewers.distribution import carrying

router = APIRouter(prefix="/certificates", tags=["certificates"])
hot = APIRouter(prefix="/certificates", tags=["certificates"], route_class=DirectRoute)
MAX_IDEMPOTENCY_KEY = 255
REPEATED: Responses = {
    200: {"model": IssuedCertificate, "description": "The same request was answered with this before"}
}

Searched = Annotated[str | None, Query(max_length=2048, pattern=PLAIN)]
IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", max_length=MAX_IDEMPOTENCY_KEY, description="same key, same certificate"),
]


@hot.post(
    "",
    status_code=201,
    response_model=IssuedCertificate,
    responses=REPEATED,
    summary="Issue a certificate for a request",
)
async def issue(body: IssueRequest, request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Sign a PKCS#10 request under a profile. Answered when the certificate is durable."""
    caller, product = caller_of(request), product_of(request)
    csr = read_request(body.csr)
    wish = Wish(
        names=read_names(body.names),
        lifetime=read_duration(body.lifetime),
        subject=read_subject(body.subject),
        idempotency_key=_idempotency_key(request),
    )
    decision = enrolment.authorise_issue(product.installation, caller, body.profile, csr, wish)
    return await _issued(product, decision)


@hot.post(
    "/{serial}/renew",
    status_code=201,
    response_model=IssuedCertificate,
    responses=REPEATED,
    summary="Renew a certificate",
)
async def renew(body: RenewRequest, request: Request, serial: str, idempotency_key: IdempotencyKey = None) -> Response:
    """Issue a successor with the same names, or fewer. The holder proves itself with the certificate over mTLS."""
    caller, product = caller_of(request), product_of(request)
    csr = read_request(body.csr)
    stored = find_readable(product, caller, serial)
    wish = Wish(
        names=read_names(body.names),
        lifetime=read_duration(body.lifetime),
        idempotency_key=_idempotency_key(request),
    )
    decision = enrolment.authorise_renewal(product.installation, caller, stored, csr, wish)
    return await _issued(product, decision)


@router.get("", summary="List certificates")
def listing(
    product: ProductDep,
    caller: CallerDep,
    name: Searched = None,
    profile: Searched = None,
    authority: Searched = None,
    state: Searched = None,
    requested_by: Searched = None,
    key: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="SHA-256 of the public key, hex")] = None,
    expires_before: Annotated[int | None, Query(ge=0, le=1 << 40, description="seconds since the epoch")] = None,
    cursor: Searched = None,
    limit: Annotated[int, Query(ge=1, le=certificates.MAX_PAGE)] = 50,
) -> CertificatePage:
    """Newest first, or with `expires_before` soonest to end first. A requester sees its own."""
    caller.must(Operation.READ_ANY, Operation.READ_OWN)
    if not caller.may(Operation.READ_ANY):
        if caller.certificate is not None and not caller.may(Operation.ISSUE):
            return CertificatePage(items=[_view(product, caller.certificate)], next=None)
        requested_by = caller.identity
    parsed = read_names([name]) if name is not None else None
    wanted = Filter(
        name=parsed[0] if parsed else None,
        profile=profile,
        authority=authority,
        state=state,
        requested_by=requested_by,
        spki_sha256=bytes.fromhex(key) if key is not None else None,
        expires_before=expires_before,
    )
    page, following = certificates.page(product.installation.store, wanted, cursor=cursor, limit=limit)
    return CertificatePage(items=[certificate_view(stored) for stored in page], next=following)


@router.get("/{serial}", summary="Show a certificate")
def show(product: ProductDep, caller: CallerDep, serial: str) -> CertificateView:
    """One certificate, its state included."""
    return certificate_view(find_readable(product, caller, serial))


@router.post("/{serial}/revoke", summary="Revoke a certificate")
def revoke(product: ProductDep, caller: CallerDep, request: Request, serial: str, body: RevokeRequest) -> RevokedView:
    """Revoke one certificate; for key-compromise, every certificate with its key, and the key is blocked."""
    reason = revocation.parse_reason(body.reason)
    find_readable(product, caller, serial)
    revoked = revocation.revoke(product.installation, caller, serial, reason)
    return _done(product, request, revoked_view(revoked))


@router.post("/{serial}/hold", summary="Put a certificate on hold")
def hold(product: ProductDep, caller: CallerDep, request: Request, serial: str) -> HeldView:
    """Revoke it until it is released: CRLs and OCSP say certificateHold, and it opens nothing here."""
    find_readable(product, caller, serial)
    held = held_view(holding.hold(product.installation, caller, serial))
    product.metrics.revoked.labels("certificate-hold").inc()
    identity_of(request).forget()
    return held


@router.post("/{serial}/release", summary="Release a certificate that is on hold")
def release(product: ProductDep, caller: CallerDep, request: Request, serial: str) -> HeldView:
    """Take it off the CRLs again. What was revoked for any other reason is revoked for good."""
    find_readable(product, caller, serial)
    released = held_view(holding.release(product.installation, caller, serial))
    identity_of(request).forget()
    return released


@router.post("/revocations", summary="Revoke by key, by filter, or a certificate that is handed in")
def revoke_many(product: ProductDep, caller: CallerDep, request: Request, body: RevokeManyRequest) -> RevokedView:
    """Revoke all that carry a key, all that a filter finds, or one that only our key knows.

    `dry_run` says which a filter finds, and what that comes to: lists, bytes, seconds, consumers, OCSP answers.
    """
    reason = revocation.parse_reason(body.reason)
    if sum(part is not None for part in (body.key, body.filter, body.certificate)) != 1:
        raise BadRequest("exactly one of key, filter and certificate is needed", code="bad-revocation")
    if body.filter is not None:
        return _done(product, request, _revoke_matching(product, caller, _wanted(body.filter), reason, body.dry_run))
    if body.dry_run:
        raise BadRequest("one key, or one certificate: there is no dry run", code="bad-revocation")
    if body.key is not None:
        revoked = revocation.revoke_key(product.installation, caller, bytes.fromhex(body.key), reason)
    else:
        revoked = _revoke_handed_in(product, caller, body.certificate or "", reason)
    return _done(product, request, revoked_view(revoked))


def _revoke_handed_in(product: Product, caller: Caller, text: str, reason: RevocationReason) -> Revoked:
    found = read_certificates(text.encode())
    if len(found) != 1:
        raise BadRequest("one certificate is revoked at a time", code="bad-certificate")
    return unrecorded.revoke(product.installation, caller, found[0], reason)


def _wanted(chosen: CertificateFilter) -> Filter:
    name = read_names([chosen.name]) if chosen.name is not None else None
    return Filter(
        name=name[0] if name else None,
        profile=chosen.profile,
        authority=chosen.authority,
        requested_by=chosen.requested_by,
    )


def _revoke_matching(
    product: Product, caller: Caller, wanted: Filter, reason: RevocationReason, is_dry: bool
) -> RevokedView:
    revoked = revocation.revoke_matching(product.installation, caller, wanted, reason, dry_run=is_dry)
    view = revoked_view(revoked, dry_run=is_dry)
    if is_dry:
        found = cost.estimate(product.installation, revocation.matching(product.installation, wanted), reason)
        kept = product.responder.kept(revoked.serials)
        view.cost = cost_view(found, carrying.carried_to(product.lifecycle), kept)
    return view


async def _issued(product: Product, decision: Decision) -> Response:
    with product.metrics.issue_seconds.time():
        issued = await aissue(decision, product.installation)
    product.metrics.issued.labels(issued.profile, issued.authority).inc()
    answer = issued_certificate(issued, decision.request.ignored)
    return Response(answer.model_dump_json(), 200 if issued.is_repeat else 201, media_type="application/json")


def _done(product: Product, request: Request, view: RevokedView) -> RevokedView:
    if not view.dry_run:
        product.metrics.revoked.labels(view.reason).inc(len(view.serials))
        identity_of(request).forget()
    return view


def _view(product: Product, serial: str) -> CertificateView:
    return certificate_view(certificates.find(product.installation.store, serial))


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= MAX_IDEMPOTENCY_KEY:
        raise BadRequest(f"an idempotency key has 1 to {MAX_IDEMPOTENCY_KEY} characters", code="bad-idempotency-key")
    return key
