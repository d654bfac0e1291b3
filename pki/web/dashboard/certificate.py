"""One certificate, or CA, CRL or bundle: its whole story, from who asked for it to who was told of its end, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import Encoding
from starlette.requests import Request
from starlette.responses import Response

from ca.access import Operation
from ca.authority import Authorities
from ca.x509 import bundle
from pki.web.context import product_of
from pki.web.dashboard import actions, page, routes
from pki.web.dashboard.hrefs import named
from renewers.inventory.facts import read_certificate
from renewers.mailing import explaining
from renewers.overview import story
from renewers.overview.story import Whole

router = routes.pages()
LARGEST = 1 << 53
MOST_LINKS = 12
"""How many certificates of a chain are listed."""


@dataclass(frozen=True, slots=True)
class Link:
    """One certificate above it: what it is called, when it ends, and the page that it has."""

    name: str
    not_after: int
    href: str


@router.get("/inventory/{tracked}")
def certificate(request: Request, tracked: int) -> Response:
    """The story of one."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    product = product_of(request)
    known = tracked if 0 < tracked < LARGEST else 0
    found = story.whole(product.lifecycle, caller, known)
    standing = "" if found.origin is None else found.origin.standing
    return page.page(
        request,
        "certificate.html",
        title=found.story.tracked.shown_as[:200],
        found=found,
        told=explaining.explain(product.lifecycle, caller, f"#{known}"),
        actions=actions.offered(caller, found.story, standing=standing, is_acknowledged=found.acknowledged is not None),
        links=list(_links(found, product.installation.authorities)),
    )


def _links(found: Whole, authorities: Authorities) -> Iterator[Link]:
    """What stands above it: our own CAs, or the chain that came with it."""
    if found.origin is not None:
        rows = {row.id: row for row in authorities.all()}
        row = rows.get(found.origin.authority_id)
        for _ in range(MOST_LINKS):
            if row is None:
                return
            yield Link(row.name, row.not_after, named("/authorities", row.name))
            row = rows.get(row.parent_id)
    elif found.story.chain:
        for above in bundle.read_certificates(found.story.chain.encode())[:MOST_LINKS]:
            facts = read_certificate(above.public_bytes(Encoding.DER))
            yield Link(facts.shown_as, facts.not_after, "")
