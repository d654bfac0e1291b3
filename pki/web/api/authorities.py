"""Authorities: list, show, make, take over, move from state to state; and how fresh their CRLs are."""

from __future__ import annotations

from contextlib import suppress

from fastapi import APIRouter

from ca import completeness, crl, hierarchy, lastlist
from ca.access import Operation
from ca.authority import State
from ca.errors import BadRequest, Forbidden, KeyUnavailable
from ca.founding import Plan
from ca.keys.algorithms import KeyType, PrivateKey, key_type_of
from ca.models import Authority
from ca.secret import Secret
from ca.x509.bundle import read_certificates, read_private_key
from ca.x509.constraints import parse_limits
from pki.product import Product
from pki.web.answered import AuthorityView, CrlCheckView, CrlView
from pki.web.asked import AuthorityImport, AuthorityRequest, StateRequest
from pki.web.context import CallerDep, ProductDep, read_duration, read_key_type, read_subject
from pki.web.views import authority_view, crl_view

router = APIRouter(prefix="/authorities", tags=["authorities"])


@router.get("", summary="List authorities")
def listing(product: ProductDep, caller: CallerDep) -> list[AuthorityView]:
    """Every CA, oldest first."""
    caller.must(Operation.READ_AUTHORITIES)
    return [_view(product, row) for row in product.installation.authorities.all()]


@router.post("", status_code=201, summary="Make an authority")
def create(product: ProductDep, caller: CallerDep, body: AuthorityRequest) -> AuthorityView:
    """Make a root, or a CA beneath the authority that the profile names. A second generation starts as prepared."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    subject = read_subject(body.subject)
    assert subject is not None
    shards = product.settings.crl.shards if body.crl_shards is None else body.crl_shards
    plan = Plan(
        line=body.line,
        subject=subject,
        key_type=read_key_type(body.key_type),
        lifetime=read_duration(body.lifetime),
        crl_shards=0 if body.profile is None else shards,
        limits=parse_limits(body.permit, body.exclude),
    )
    if body.profile is None:
        row = hierarchy.create_root(product.installation, caller, plan)
    else:
        row = hierarchy.create_subordinate(product.installation, caller, body.profile, plan)
    product.publisher.publish_due()
    return _view(product, row)


@router.post("/import", status_code=201, summary="Take over a CA that exists")
def import_existing(product: ProductDep, caller: CallerDep, body: AuthorityImport) -> AuthorityView:
    """Take in a CA's certificate and key. Local callers only: a private key does not travel over a network."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    if not caller.is_local:
        raise Forbidden(
            "a CA is imported on the machine itself", code="local-only", hint="run certwright ca import there"
        )
    passphrase = Secret(body.passphrase.get_secret_value()) if body.passphrase else None
    certificate = read_certificates(body.certificate.encode())[0]
    key = read_private_key(body.key.get_secret_value().encode(), passphrase)
    shards = product.settings.crl.shards if body.crl_shards is None else body.crl_shards
    is_root = certificate.issuer == certificate.subject
    plan = Plan(body.line, certificate.subject, _type_of(key), crl_shards=0 if is_root else shards)
    row = hierarchy.import_authority(product.installation, caller, plan, certificate, key)
    product.publisher.publish_due()
    return _view(product, row)


@router.get("/{name}", summary="Show an authority")
def show(product: ProductDep, caller: CallerDep, name: str) -> AuthorityView:
    """One CA, by its name or by its line: then the active one."""
    caller.must(Operation.READ_AUTHORITIES)
    return _view(product, product.installation.authorities.get(name))


@router.post("/{name}/state", summary="Move an authority to another state")
def change_state(product: ProductDep, caller: CallerDep, name: str, body: StateRequest) -> AuthorityView:
    """Activate, taint, distrust or retire. Activating one generation taints the one before it.

    One that retires signs its last CRLs first, good until its end; one whose key is lost retires without.
    """
    try:
        state = State(body.state)
    except ValueError:
        raise BadRequest(f"{body.state!r} is not a state", code="bad-state", hint=", ".join(State)) from None
    caller.must(Operation.MANAGE_AUTHORITIES)
    row = product.installation.authorities.get(name)

    def say_last() -> None:
        if state is State.RETIRED and row.state in (State.TAINTED, State.DISTRUSTED):
            with suppress(KeyUnavailable):
                lastlist.publish_last(product.installation, row.name)

    return _view(product, hierarchy.transition(product.installation, caller, row.name, state, before=say_last))


@router.get("/{name}/crls", summary="How fresh the CRLs of an authority are")
def crls(product: ProductDep, caller: CallerDep, name: str) -> list[CrlView]:
    """The complete list first, then every shard."""
    caller.must(Operation.READ_AUTHORITIES)
    row = product.installation.authorities.get(name)
    urls = product.installation.authorities.urls
    return [crl_view(s, urls) for s in crl.statuses(product.installation) if s.authority == row.name]


@router.post("/{name}/crls/check", summary="Hold the CRLs of an authority against the tables")
def check_crls(product: ProductDep, caller: CallerDep, name: str) -> list[CrlCheckView]:
    """Every list as it is served: whether it has all that is revoked, as the tables have it, and nothing else."""
    caller.must(Operation.READ_ANY)
    return [
        CrlCheckView(name=one.name, entries=one.entries, wrong=one.wrong, findings=one.findings)
        for one in completeness.check_all(product.installation, authority=name)
    ]


def _view(product: Product, row: Authority) -> AuthorityView:
    above = product.installation.authorities.ancestors(row)
    return authority_view(row, above[0] if above else None)


def _type_of(key: PrivateKey) -> KeyType:
    found = key_type_of(key.public_key())
    assert found is not None  # `read_private_key` refuses what has no type
    return found
