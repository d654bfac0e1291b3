"""Our own CAs as a tree, one of them in full, and a rotation with its evidence."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ca.access import Operation
from ca.x509.bundle import pem_certificate
from pki.web.context import product_of
from pki.web.dashboard import page, routes
from renewers.overview import signing, tallies
from renewers.rotation import showing

router = routes.pages()
LARGEST = 1 << 53


@router.get("/authorities")
def authorities(request: Request) -> Response:
    """The tree, and the rotations."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    branches, rotations = signing.tree(product_of(request).lifecycle, caller)
    return page.page(request, "authorities.html", title="Authorities", branches=branches, rotations=rotations)


@router.get("/authorities/{name:path}")
def authority(request: Request, name: str) -> Response:
    """One CA."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    product = product_of(request)
    found = signing.show(product.lifecycle, caller, name)
    with product.installation.store.read() as connection:
        counted = tallies.find(connection)
    return page.page(
        request,
        "authority.html",
        title=f"CA {name}",
        found=found,
        pem=pem_certificate(found.branch.authority.certificate),
        counted=counted,
    )


@router.get("/rotations/{rotation}")
def rotation(request: Request, rotation: int) -> Response:
    """One rotation: its stages with their evidence, and what it waits for."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    known = rotation if 0 < rotation < LARGEST else 0
    course = showing.show(product_of(request).lifecycle, caller, known)
    return page.page(request, "rotation.html", title=f"Rotation {known} of {course.rotation.line}", course=course)
