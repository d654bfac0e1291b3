"""Publications: which streams there are, their versions; publish now; trust anchors of other trust domains."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from ca.access import Operation
from pki.web.answered_consumers import (
    AnchorList,
    AnchorView,
    DomainPage,
    DomainView,
    PublicationPage,
    PublishedView,
    StreamList,
)
from pki.web.answered_inventory import RemovedView
from pki.web.asked import PLAIN
from pki.web.asked_consumers import AnchorsRequest
from pki.web.asked_inventory import Nothing
from pki.web.context import CallerDep, ProductDep
from pki.web.views import moment
from pki.web.views_consumers import publication_view, stream_view
from renewers.distribution import foreign, holdings, published, publishing, streams
from renewers.distribution.foreign import Anchor

router = APIRouter(tags=["publications"])
Stream = Annotated[str, Query(max_length=300, pattern=PLAIN)]


@router.get("/streams", summary="List streams")
def listing(product: ProductDep, caller: CallerDep) -> StreamList:
    """Every stream at its newest version, and how its consumers stand."""
    caller.must(Operation.READ_INVENTORY)
    names = streams.all_streams(product.lifecycle)
    with product.installation.store.read() as connection:
        heads = published.heads(connection, names)
    counts = holdings.counts(product.installation.store)
    return StreamList(items=[stream_view(name, heads.get(name), counts.get(name)) for name in names])


@router.get("/publications", summary="List the versions of a stream")
def versions(
    product: ProductDep,
    caller: CallerDep,
    stream: Stream,
    cursor: Annotated[int | None, Query(ge=0, lt=1 << 53)] = None,
    limit: Annotated[int, Query(ge=1, le=published.MAX_PAGE)] = 50,
) -> PublicationPage:
    """Newest first, with what each was made for."""
    caller.must(Operation.READ_INVENTORY)
    with product.installation.store.read() as connection:
        rows, following = published.page(connection, stream, cursor, limit)
    return PublicationPage(items=[publication_view(row) for row in rows], next=following)


@router.post("/publications", status_code=201, summary="Publish what has changed now")
def publish(product: ProductDep, caller: CallerDep, body: Nothing) -> PublishedView:
    """The CRLs that are due, and then every stream that has changed; the schedule does so every second."""
    caller.must(Operation.MANAGE_CONSUMERS)
    product.publish_lists()
    made = publishing.publish_due(product.lifecycle)
    with product.installation.store.read() as connection:
        rows = [published.head(connection, one.stream) for one in made]
    return PublishedView(items=[publication_view(row) for row in rows if row is not None])


@router.get("/anchors", summary="List other trust domains")
def anchors(
    product: ProductDep,
    caller: CallerDep,
    cursor: Annotated[str | None, Query(max_length=300, pattern=PLAIN)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> DomainPage:
    """The other trust domains whose anchors are published, for consumers that must trust them, too."""
    names, following = foreign.listing(product.lifecycle, caller, cursor=cursor, limit=limit)
    return DomainPage(items=[DomainView(trust_domain=name) for name in names], next=following)


@router.put("/anchors/{trust_domain}", summary="Set the trust anchors of another trust domain")
def put(product: ProductDep, caller: CallerDep, trust_domain: str, body: AnchorsRequest) -> AnchorList:
    """They replace those that were there, and are published at once to the consumers that need them."""
    rows = foreign.put(product.lifecycle, caller, trust_domain, body.certificates.encode())
    return AnchorList(items=[_anchor(row) for row in rows])


@router.get("/anchors/{trust_domain}", summary="Show the trust anchors of another trust domain")
def show(product: ProductDep, caller: CallerDep, trust_domain: str) -> AnchorList:
    """Its anchors as they are published."""
    return AnchorList(items=[_anchor(row) for row in foreign.show(product.lifecycle, caller, trust_domain)])


@router.delete("/anchors/{trust_domain}", summary="Forget another trust domain")
def remove(product: ProductDep, caller: CallerDep, trust_domain: str) -> RemovedView:
    """Refused while a consumer needs it."""
    foreign.remove(product.lifecycle, caller, trust_domain)
    return RemovedView(removed=trust_domain)


def _anchor(row: Anchor) -> AnchorView:
    return AnchorView(
        trust_domain=row.trust_domain,
        subject=row.subject,
        sha256=row.sha256,
        not_after=moment(row.not_after),
        added_at=moment(row.added_at),
        added_by=row.added_by,
    )
