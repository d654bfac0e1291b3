"""Cross-certificates: which roots of ours certify each other, and making one."""

from __future__ import annotations

from fastapi import APIRouter

from ca import crossing
from ca.access import Operation
from ca.models import CrossCertificate
from ca.x509.bundle import pem_certificate
from pki.product import Product
from pki.web.answered_ceremonies import CrossCertificateView
from pki.web.asked_ceremonies import CrossRequest
from pki.web.context import CallerDep, ProductDep
from pki.web.views import moment

router = APIRouter(tags=["authorities"])


@router.get("/cross-certificates", summary="List cross-certificates")
def listing(product: ProductDep, caller: CallerDep) -> list[CrossCertificateView]:
    """Every one that was made, the oldest first, whatever has become of it."""
    caller.must(Operation.READ_AUTHORITIES)
    return [_view(product, cross) for cross in crossing.crosses(product.installation.store)]


@router.post("/authorities/{name}/cross-certificates", status_code=201, summary="Have a root certified by another")
def create(product: ProductDep, caller: CallerDep, name: str, body: CrossRequest) -> CrossCertificateView:
    """For those who trust only the other one. It is served with what is beneath the root from now on."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    return _view(product, crossing.cross_sign(product.installation, caller, name, body.by))


def _view(product: Product, cross: CrossCertificate) -> CrossCertificateView:
    authorities = product.installation.authorities
    names = {row.id: row.name for row in authorities.all()}
    name = names[cross.authority_id]
    return CrossCertificateView(
        authority=name,
        by=names[cross.issuer_id],
        serial=cross.serial,
        created_at=moment(cross.created_at),
        not_after=moment(cross.not_after),
        is_served=cross.certificate in authorities.chain(name),
        certificate=pem_certificate(cross.certificate),
    )
