"""Offline CAs: what is carried to them and back, and how their keys leave and return."""

from __future__ import annotations

from fastapi import APIRouter

from ca.access import Operation
from ca.ceremony import answering, asking, leaving
from ca.ceremony.asking import LIST_LIFETIME, Shown, Successor
from ca.errors import BadRequest
from ca.founding import Plan
from ca.secret import Secret
from ca.x509.constraints import parse_limits
from pki.web.answered import AuthorityView
from pki.web.answered_ceremonies import CeremonyView, KeyFileView
from pki.web.asked_ceremonies import CeremonyAnswer, CeremonyWanted, KeyExport, KeyFile, KeyLeaving
from pki.web.context import CallerDep, ProductDep, read_duration, read_key_type, read_subject
from pki.web.views import authority_view, moment

router = APIRouter(tags=["authorities"])


@router.get("/ceremonies", summary="List ceremonies")
def listing(product: ProductDep, caller: CallerDep) -> list[CeremonyView]:
    """Every one, the newest first, without its file."""
    caller.must(Operation.READ_AUTHORITIES)
    return [_view(one, has_document=False) for one in asking.listing(product.installation)]


@router.post("/ceremonies", status_code=201, summary="Ask an offline CA")
def create(product: ProductDep, caller: CallerDep, body: CeremonyWanted) -> CeremonyView:
    """Draw up what it is to sign: a CA beneath it or another root, its next list. The answer has the file to carry."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    successor = None
    if (body.line is None) != (body.subject is None):
        raise BadRequest("a CA has a line and a subject", code="bad-request")
    if body.line is not None:
        subject = read_subject(body.subject)
        assert subject is not None
        plan = Plan(
            line=body.line,
            subject=subject,
            key_type=read_key_type(body.key_type),
            lifetime=read_duration(body.lifetime),
            crl_shards=product.settings.crl.shards if body.crl_shards is None else body.crl_shards,
            limits=parse_limits(body.permit, body.exclude),
        )
        successor = Successor(plan, body.profile)
    lifetime = read_duration(body.list_lifetime)
    made = asking.request(
        product.installation, caller, body.authority, successor, crosses=body.crosses, list_lifetime=lifetime
    )
    return _view(made)


@router.get("/ceremonies/{name}", summary="Show a ceremony")
def show(product: ProductDep, caller: CallerDep, name: str) -> CeremonyView:
    """What was asked, with the file as it was given out, and what was said when it was answered."""
    caller.must(Operation.READ_AUTHORITIES)
    return _view(asking.find(product.installation, name))


@router.post("/ceremonies/{name}/answer", summary="Take in what came back")
def accept(product: ProductDep, caller: CallerDep, name: str, body: CeremonyAnswer) -> CeremonyView:
    """Signatures over exactly what was asked: the CA becomes real, the list is published."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    done = answering.accept(product.installation, caller, body.answer.encode(), ceremony=name)
    product.publisher.publish_due()
    return _view(done)


@router.delete("/ceremonies/{name}", summary="Give a ceremony up")
def withdraw(product: ProductDep, caller: CallerDep, name: str) -> CeremonyView:
    """The key of the CA that it asked for is destroyed; its certificate, if it was signed, can be revoked."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    return _view(asking.withdraw(product.installation, caller, name))


@router.post("/authorities/{name}/key/export", summary="Export the key of a CA that goes offline")
def export(product: ProductDep, caller: CallerDep, name: str, body: KeyExport) -> KeyFileView:
    """Encrypted with a passphrase of its own. Local callers only. The key stays, until its file is shown to open."""
    passphrase = Secret(body.passphrase.get_secret_value())
    pem = leaving.export(product.installation, caller, name, passphrase)
    return KeyFileView(authority=product.installation.authorities.get(name).name, key=pem.decode())


@router.post("/authorities/{name}/key/leave", summary="Have the key of a CA leave")
def leave(product: ProductDep, caller: CallerDep, name: str, body: KeyLeaving) -> AuthorityView:
    """Destroy the key here, once its file opens and holds it. A list of long life is signed before."""
    pem, passphrase = _opened(body)
    lifetime = read_duration(body.list_lifetime) or LIST_LIFETIME
    row = leaving.leave(product.installation, caller, name, pem, passphrase, list_lifetime=lifetime)
    return _authority(product, row.name)


@router.post("/authorities/{name}/key/return", summary="Take the key of an offline CA in again")
def come_back(product: ProductDep, caller: CallerDep, name: str, body: KeyFile) -> AuthorityView:
    """It signs here from now on. Local callers only."""
    row = leaving.come_back(product.installation, caller, name, *_opened(body))
    product.publisher.publish_due()
    return _authority(product, row.name)


def _opened(body: KeyFile) -> tuple[bytes, Secret]:
    return body.key.get_secret_value().encode(), Secret(body.passphrase.get_secret_value())


def _authority(product: ProductDep, name: str) -> AuthorityView:
    row = product.installation.authorities.get(name)
    above = product.installation.authorities.ancestors(row)
    return authority_view(row, above[0] if above else None)


def _view(one: Shown, *, has_document: bool = True) -> CeremonyView:
    return CeremonyView(
        name=one.name,
        authority=one.authority,
        asks_for=one.asks_for,
        state=one.state,
        sha256=one.sha256,
        created_at=moment(one.created_at),
        created_by=one.created_by,
        ended_at=None if one.ended_at is None else moment(one.ended_at),
        ended_by=one.ended_by,
        transcript=one.transcript,
        document=one.document.decode() if has_document else None,
    )
