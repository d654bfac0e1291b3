"""CAs of ours that somebody else has to certify: the request goes out, the chain comes in."""

from __future__ import annotations

from fastapi import APIRouter

from ca import external
from ca.access import Operation
from ca.founding import Plan
from ca.x509.bundle import read_certificates
from ca.x509.constraints import parse_limits
from pki.web.answered import AuthorityRequestView, AuthorityView
from pki.web.asked import AuthorityChain, AuthorityWanted
from pki.web.context import CallerDep, ProductDep, read_key_type, read_subject
from pki.web.views import authority_request_view, authority_view

router = APIRouter(prefix="/authority-requests", tags=["authorities"])


@router.get("", summary="List the CAs that wait for their certificate")
def listing(product: ProductDep, caller: CallerDep) -> list[AuthorityRequestView]:
    """What was requested of somebody else, oldest first."""
    caller.must(Operation.READ_AUTHORITIES)
    return [authority_request_view(one) for one in external.requests(product.installation)]


@router.post("", status_code=201, summary="Request a CA certificate of somebody else")
def create(product: ProductDep, caller: CallerDep, body: AuthorityWanted) -> AuthorityRequestView:
    """Make the key of a new CA, and the request that whoever runs the CA above has to sign."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    subject = read_subject(body.subject)
    assert subject is not None
    shards = product.settings.crl.shards if body.crl_shards is None else body.crl_shards
    limits = parse_limits(body.permit, body.exclude)
    plan = Plan(body.line, subject, read_key_type(body.key_type), crl_shards=shards, limits=limits)
    return authority_request_view(external.request(product.installation, caller, plan))


@router.get("/{name}", summary="Show a CA that waits for its certificate")
def show(product: ProductDep, caller: CallerDep, name: str) -> AuthorityRequestView:
    """The request as it was made."""
    caller.must(Operation.READ_AUTHORITIES)
    return authority_request_view(external.find(product.installation, name))


@router.post("/{name}/chain", status_code=201, summary="Take in the chain of a CA that was requested")
def accept(product: ProductDep, caller: CallerDep, name: str, body: AuthorityChain) -> AuthorityView:
    """Its certificate, those above it, and the self-signed root, in any order. All of it is checked as a path."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    row = external.accept(product.installation, caller, name, read_certificates(body.certificates.encode()))
    product.publisher.publish_due()
    return authority_view(row, product.installation.authorities.ancestors(row)[0])


@router.delete("/{name}", summary="Give a requested CA up")
def withdraw(product: ProductDep, caller: CallerDep, name: str) -> AuthorityRequestView:
    """Its key is destroyed: a certificate that still comes for it is of no use."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    return authority_request_view(external.withdraw(product.installation, caller, name))
