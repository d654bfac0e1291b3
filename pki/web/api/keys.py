"""Keys: blocking one that must never be certified again."""

from __future__ import annotations

from fastapi import APIRouter

from ca import revocation
from ca.access import Operation
from pki.web.asked import BlockRequest
from pki.web.context import CallerDep, ProductDep

router = APIRouter(prefix="/keys", tags=["keys"])


@router.post("/block", summary="Block a public key")
def block(product: ProductDep, caller: CallerDep, body: BlockRequest) -> dict[str, bool]:
    """Never certify this key again; revokes nothing (see /certificates/revocations)."""
    caller.must(Operation.BLOCK_KEYS)
    return {"was_new": revocation.block_key(product.installation, caller, bytes.fromhex(body.key), body.reason)}
