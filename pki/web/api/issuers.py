"""Issuers: who is asked for certificates, whether they answer, and what is left of their limits."""

from __future__ import annotations

from fastapi import APIRouter

from pki.web.answered_renewals import CheckView, IssuerView
from pki.web.asked_inventory import Nothing
from pki.web.context import CallerDep, ProductDep
from pki.web.views_renewals import check_view, issuer_view
from renewers.issuers import standing

router = APIRouter(prefix="/issuers", tags=["issuers"])


@router.get("", summary="List issuers")
def listing(product: ProductDep, caller: CallerDep) -> list[IssuerView]:
    """Our own CA and those of the settings: health, account, and what is left of each limit where most was used."""
    return [issuer_view(found) for found in standing.listing(product.lifecycle, caller)]


@router.post("/{name}/check", summary="Check an issuer")
def check(product: ProductDep, caller: CallerDep, name: str, body: Nothing) -> CheckView:
    """Ask it whether it could be asked now, without asking for anything."""
    return check_view(name, standing.check(product.lifecycle, caller, name))


@router.post("/{name}/roll-key", summary="Exchange the key of our account")
def roll_key(product: ProductDep, caller: CallerDep, name: str, body: Nothing) -> IssuerView:
    """Our account at a public CA gets a new key (RFC 8555 section 7.3.5); an exchange that was cut short is ended."""
    return issuer_view(standing.roll_key(product.lifecycle, caller, name))
