"""What strangers fetch without an identity and without TLS: CRLs, CA certificates, ledger heads, health.

Everything here is public and signed by itself, so a cache may keep it. CRLs carry a strong ETag and the times between
which they are good; a consumer that asks again with `If-None-Match` is answered with 304 and no body.
"""

from __future__ import annotations

from email.utils import formatdate

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ca import clock, crl
from ca.authority import State
from ca.crl import COMPLETE, StoredList
from ca.errors import CertwrightError, NotFound
from ca.models import Authority
from ca.x509.bundle import pem_certificate, pem_chain, pem_crl
from ca.x509.certificate import fingerprint
from pki.product import Product
from pki.web.context import product_of
from pki.web.fetched import CERTIFICATE_TYPE, CRL_TYPE, MAX_AGE, PEM_TYPE, cached, fetched

router = APIRouter(tags=["public"])


@fetched(router, "/crl/{authority}.crl", CRL_TYPE, summary="The complete CRL of an authority, DER")
def complete_crl(request: Request, authority: str) -> Response:
    """Every revoked certificate of one CA: for servers that load one file."""
    return _crl(request, authority, COMPLETE, as_pem=False)


@fetched(router, "/crl/{authority}.pem", PEM_TYPE, summary="The complete CRL of an authority, PEM")
def complete_crl_pem(request: Request, authority: str) -> Response:
    """The same as PEM."""
    return _crl(request, authority, COMPLETE, as_pem=True)


@fetched(router, "/crl/{authority}/{shard}.crl", CRL_TYPE, summary="One shard of a CRL, DER")
def crl_shard(request: Request, authority: str, shard: int) -> Response:
    """The shard that certificates name in their CRL distribution point."""
    if not 0 <= shard < 1 << 31:
        raise NotFound("there is no such CRL", code="unknown-crl")
    return _crl(request, authority, shard, as_pem=False)


@fetched(router, "/ca/{authority}.cer", CERTIFICATE_TYPE, summary="The certificate of an authority, DER")
def ca_certificate(request: Request, authority: str) -> Response:
    """What the authority information access of leaves points to."""
    row = _known(product_of(request), authority)
    return cached(request, row.certificate, fingerprint(row.certificate), CERTIFICATE_TYPE, MAX_AGE)


@fetched(router, "/ca/{authority}.pem", PEM_TYPE, summary="The certificate of an authority, PEM")
def ca_certificate_pem(request: Request, authority: str) -> Response:
    """The same as PEM."""
    row = _known(product_of(request), authority)
    text = pem_certificate(row.certificate).encode()
    return cached(request, text, fingerprint(row.certificate), PEM_TYPE, MAX_AGE)


@fetched(router, "/bundles/roots.pem", PEM_TYPE, summary="The trust anchors in force, PEM")
def roots(request: Request) -> Response:
    """Every root that relying parties should trust now."""
    text = pem_chain(row.certificate for row in product_of(request).installation.authorities.roots()).encode()
    return cached(request, text, fingerprint(text), PEM_TYPE, MAX_AGE)


@router.get("/ledger/checkpoint", summary="The newest signed head of the ledger", response_class=PlainTextResponse)
def checkpoint(request: Request) -> Response:
    """In the C2SP format. Keep one elsewhere, and the ledger can be held against it."""
    head = product_of(request).installation.ledger.head()
    if head is None:
        raise NotFound("the ledger is empty", code="empty-ledger")
    return PlainTextResponse(head.checkpoint, headers={"Cache-Control": "no-cache"})


@router.get("/healthz", summary="Whether this installation can do its work", response_class=JSONResponse)
def health(request: Request) -> Response:
    """200 if it can, 503 with what is wrong if it cannot."""
    problems = _problems(product_of(request))
    return JSONResponse(
        {"status": "failing" if problems else "ok", "problems": problems},
        503 if problems else 200,
        headers={"Cache-Control": "no-store"},
    )


@router.get("/livez", summary="Whether this process answers at all", response_class=JSONResponse)
def alive() -> Response:
    """200, always. Whoever restarts what does not answer asks here: a late CRL is no reason for that."""
    return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})


@router.get("/readyz", summary="Whether requests should be sent to this process", response_class=JSONResponse)
def ready(request: Request) -> Response:
    """200 while it can sign and write; 503 with what stands in the way, and from SIGTERM on."""
    problems = list(product_of(request).readiness.problems())
    return JSONResponse(
        {"status": "not ready" if problems else "ready", "problems": problems},
        503 if problems else 200,
        headers={"Cache-Control": "no-store"},
    )


def _problems(product: Product) -> list[str]:
    now = clock.timestamp()
    try:
        rows = product.installation.authorities.all()
        found = [
            f"the CA certificate of {row.name} has expired"
            for row in rows
            if row.state == State.ACTIVE and row.not_after <= now
        ]
        late = {s.authority for s in crl.statuses(product.installation) if crl.overdue(s, now)}
        found += [f"CRLs of {name} are overdue" for name in sorted(late)]
    except CertwrightError as error:
        return [error.message]
    return found


def _known(product: Product, name: str) -> Authority:
    rows = {row.name: row for row in product.installation.authorities.all()}
    if name not in rows:
        raise NotFound("there is no such authority", code="unknown-authority")
    return rows[name]


def _crl(request: Request, authority: str, shard: int, *, as_pem: bool) -> Response:
    product = product_of(request)
    row = crl.load(product.installation, _known(product, authority).name, shard)
    if row is None:
        raise NotFound("there is no such CRL", code="unknown-crl")
    content = pem_crl(row.crl).encode() if as_pem else row.crl
    max_age = _max_age(row)
    headers = {
        "Last-Modified": formatdate(row.this_update, usegmt=True),
        "Expires": formatdate(min(row.next_update, clock.timestamp() + max_age), usegmt=True),
    }
    return cached(request, content, row.sha256.hex(), PEM_TYPE if as_pem else CRL_TYPE, max_age, headers)


def _max_age(row: StoredList) -> int:
    return max(0, min(MAX_AGE, row.next_update - clock.timestamp()))
