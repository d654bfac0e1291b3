"""What is tracked: search it, look at one, bring in what others issued, say whose it is, see what does not fit."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from ca.access import Caller, Operation
from ca.errors import BadRequest
from ca.secret import Secret
from pki.product import Product
from pki.web.answered_inventory import (
    DifferencePage,
    ImportedView,
    SharedKeyPage,
    TrackedPage,
    TrackedShown,
)
from pki.web.asked import PLAIN
from pki.web.asked_inventory import AssignRequest, ImportItem, ImportRequest, Mode
from pki.web.context import CallerDep, ProductDep
from pki.web.views_inventory import (
    difference_view,
    imported_view,
    shared_key_view,
    tracked_shown,
    tracked_view,
)
from renewers.inventory import imports, owners, reading, search
from renewers.inventory.imports import Imported, Refused, Target
from renewers.timing.lead_time import Stage

router = APIRouter(prefix="/tracked", tags=["tracked"])
Text = Annotated[str | None, Query(max_length=2048, pattern=PLAIN)]
Limit = Annotated[int, Query(ge=1, le=search.MAX_PAGE)]
Kind = Literal["certificate", "authority", "crl", "bundle"]
Source = Literal["scanned", "imported", "issued", "authority", "renewed"]


@router.get("", summary="Search what is tracked")
def listing(
    product: ProductDep,
    caller: CallerDep,
    name: Annotated[
        str | None, Query(max_length=2048, pattern=PLAIN, description="one of its names, or its lineage's")
    ] = None,
    serial: Text = None,
    issuer: Annotated[str | None, Query(max_length=2048, pattern=PLAIN, description="a part of its name")] = None,
    key: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="SHA-256 of the public key, hex")] = None,
    owner: Text = None,
    kind: Kind | None = None,
    source: Source | None = None,
    stage: Stage | None = None,
    mode: Mode | None = None,
    expires_before: Annotated[int | None, Query(ge=0, le=1 << 40, description="seconds since the epoch")] = None,
    orphan: Annotated[bool, Query(description="only what nobody owns")] = False,
    replaced: Annotated[bool, Query(description="with what has been replaced")] = False,
    cursor: Text = None,
    limit: Limit = 50,
) -> TrackedPage:
    """Newest first, or with `expires_before` soonest to end first."""
    caller.must(Operation.READ_INVENTORY)
    query = search.Query(
        name, serial, issuer, key, owner, kind, source, stage, mode, expires_before, orphan=orphan, replaced=replaced
    )
    found, following = search.page(product.lifecycle.store, query, cursor=cursor, limit=limit)
    return TrackedPage(items=[tracked_view(one) for one in found], next=following)


@router.post("", summary="Bring in certificates of others")
def bring(product: ProductDep, caller: CallerDep, body: ImportRequest) -> list[ImportedView]:
    """Says of each item what is tracked now, what was already, and what was refused and why; the rest goes on."""
    caller.must(Operation.MANAGE_INVENTORY)
    target = Target(body.owner, body.lineage)
    return [imported_view(item.name, _imported(product, caller, item, target)) for item in body.items]


@router.get("/orphans", summary="List what nobody owns")
def orphans(product: ProductDep, caller: CallerDep, cursor: Text = None, limit: Limit = 50) -> TrackedPage:
    """It falls to the fallback owner, so that somebody hears of it, until somebody takes it."""
    caller.must(Operation.READ_INVENTORY)
    query = search.Query(orphan=True)
    found, following = search.page(product.lifecycle.store, query, cursor=cursor, limit=limit)
    return TrackedPage(items=[tracked_view(one) for one in found], next=following)


@router.get("/shared-keys", summary="List keys in several places")
def shared_keys(product: ProductDep, caller: CallerDep, cursor: Text = None) -> SharedKeyPage:
    """Keys that stand in several lineages, at several endpoints or with several owners."""
    caller.must(Operation.READ_INVENTORY)
    found, following = search.same_keys(product.lifecycle.store, cursor)
    return SharedKeyPage(items=[shared_key_view(one) for one in found], next=following)


@router.get("/differences", summary="List what is not where it shall be")
def differences(product: ProductDep, caller: CallerDep, cursor: Text = None) -> DifferencePage:
    """Places that show another certificate than the current one, and destinations that lack it."""
    caller.must(Operation.READ_INVENTORY)
    found, following = search.differences(product.lifecycle.store, cursor)
    return DifferencePage(items=[difference_view(one) for one in found], next=following)


@router.put("/{identity:path}/owner", summary="Say whose something is")
def assign(product: ProductDep, caller: CallerDep, identity: str, body: AssignRequest) -> TrackedShown:
    """One certificate's owner, whatever its lineage and the claims say; null leaves it to those again."""
    owners.assign(product.lifecycle, caller, body.owner, tracked=identity)
    return tracked_shown(search.show(product.lifecycle.store, identity))


@router.get("/{identity:path}", summary="Show something tracked")
def show(product: ProductDep, caller: CallerDep, identity: str) -> TrackedShown:
    """By identity, SHA-256, serial number, or `#12`: what it replaced, where it is, how it got there."""
    caller.must(Operation.READ_INVENTORY)
    return tracked_shown(search.show(product.lifecycle.store, identity))


def _imported(product: Product, caller: Caller, item: ImportItem, target: Target) -> Imported:
    """What became of one item; what is wrong with it alone does not keep the others out."""
    try:
        content = _content(item)
        if reading.is_pkcs12(content):
            secret = None if item.passphrase is None else Secret(item.passphrase.get_secret_value())
            return imports.import_pkcs12(product.lifecycle, caller, content, secret, target)
        return imports.import_pem(product.lifecycle, caller, content, target)
    except BadRequest as error:
        return Imported(refused=(Refused("it", error.message),))


def _content(item: ImportItem) -> bytes:
    if (item.pem is None) == (item.der is None):
        raise BadRequest("exactly one of pem and der is needed", code="bad-import")
    if item.pem is not None:
        return item.pem.encode(errors="replace")
    try:
        return base64.b64decode(item.der or "", validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest("it is no base64 text", code="bad-import") from None
