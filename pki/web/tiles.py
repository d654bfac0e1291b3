"""The ledger in static tiles (c2sp.org/tlog-tiles), from which anybody can follow it: `/ledger` is the prefix.

Hash tiles and the checkpoint are public: they tell how much happens, and nothing of what. Entries hold names and who
asked for them, so they are for whoever may read the ledger, over TLS. A tile never changes, so caches keep it.
"""

from __future__ import annotations

import re
from hashlib import sha256

from fastapi import APIRouter, Request
from starlette.responses import Response

from ca.access import Operation
from ca.errors import NotFound
from ca.ledger import tiles
from ca.ledger.tree import read_tile_name
from pki.web.context import identity_of, product_of
from pki.web.described import bytes_of
from pki.web.fetched import cached, fetched

TILE_TYPE = "application/octet-stream"
YEAR = 365 * 24 * 3600

router = APIRouter(tags=["public"])
entries_router = APIRouter(tags=["public"])


@fetched(router, "/ledger/tile/{level}/{name:path}", TILE_TYPE, summary="A tile of the ledger's tree")
def tile(request: Request, level: str, name: str) -> Response:
    """Up to 256 hashes: those of entries at level 0, above it the roots of tiles. `name` is `x001/067` or `067.p/8`."""
    if not re.fullmatch("[0-9]|[1-5][0-9]|6[0-3]", level):
        raise NotFound("there is no such level", code="unknown-tile")
    number, width = read_tile_name(name)
    content = tiles.hash_tile(product_of(request).installation.store, int(level), number, width)
    return cached(request, content, sha256(content).hexdigest(), TILE_TYPE, YEAR)


@entries_router.get(
    "/ledger/tile/entries/{name:path}",
    summary="The entries of a tile, for who reads the ledger",
    response_class=Response,
    responses=bytes_of(TILE_TYPE),
)
def entries(request: Request, name: str) -> Response:
    """Up to 256 entries, each behind its length in two bytes; not on the plain listener."""
    identity_of(request).caller(request).must(Operation.READ_LEDGER)
    number, width = read_tile_name(name)
    content = tiles.entry_tile(product_of(request).installation.store, number, width)
    return Response(content, media_type=TILE_TYPE, headers={"Cache-Control": "private, no-store"})
