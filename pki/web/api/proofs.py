"""Proofs of the ledger: that a head covers an entry, and continues an older head. Anybody can check them, offline."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from ca.access import Caller, Operation
from ca.certificates import normalise_serial
from ca.errors import BadRequest, NotFound
from ca.ledger import proving
from ca.x509.bundle import pem_certificate
from pki.product import Product
from pki.web.answered_proofs import ConsistencyView, ProofView
from pki.web.asked import PLAIN
from pki.web.context import CallerDep, ProductDep
from pki.web.readable import find_readable

router = APIRouter(prefix="/ledger", tags=["ledger"])
Size = Annotated[int, Query(ge=0, lt=1 << 53)]
OptionalSize = Annotated[int | None, Query(ge=0, lt=1 << 53)]


@router.get("/proof", summary="That the ledger has an entry")
def proof(
    product: ProductDep,
    caller: CallerDep,
    serial: Annotated[str | None, Query(max_length=64, pattern=PLAIN, description="of a certificate")] = None,
    sha256: Annotated[
        str | None, Query(pattern="^[0-9a-f]{64}$", description="and of its bytes: nothing is proved of another one")
    ] = None,
    position: OptionalSize = None,
    kept: OptionalSize = None,
) -> ProofView:
    """Of the issuance of a certificate, or of any entry by its position; to the head of size `kept` if that covers it.

    Whoever may see a certificate may prove its issuance; entries by position are for who reads the ledger.
    """
    if (serial is None) == (position is None) or (sha256 is not None and serial is None):
        raise BadRequest("exactly one of serial and position is needed, sha256 with serial", code="bad-proof")
    pem = None if serial is None else _readable(product, caller, serial)
    if position is not None:
        caller.must(Operation.READ_LEDGER)
    ledger, store = product.installation.ledger, product.installation.store
    ledger.sequence()
    if serial is not None:
        found = proving.prove_issuance(store, normalise_serial(serial), sha256=sha256, kept=kept)
    else:
        found = proving.prove_entry(store, position or 0, kept=kept)
    return ProofView(
        entry=found.entry.decode(errors="replace"),
        position=found.position,
        size=found.size,
        inclusion=[one.hex() for one in found.inclusion],
        checkpoint=found.checkpoint,
        kept=kept,
        consistency=None if found.consistency is None else [one.hex() for one in found.consistency],
        certificate=pem,
        verifier=str(ledger.verifier),
    )


@router.get("/consistency", summary="That the ledger continues an older head")
def consistency(product: ProductDep, caller: CallerDep, old: Size, new: OptionalSize = None) -> ConsistencyView:
    """From the tree of `old` entries to that of `new`, by default the newest head's. Hashes alone: no entry is told."""
    caller.must(Operation.READ_AUTHORITIES)
    found = proving.prove_consistency(product.installation.store, old, new)
    return ConsistencyView(
        old=found.old, new=found.new, proof=[one.hex() for one in found.proof], checkpoint=found.checkpoint
    )


def _readable(product: Product, caller: Caller, serial: str) -> str | None:
    """The certificate as PEM, if this caller may know of it. One that is no longer stored can still be proved."""
    try:
        stored = find_readable(product, caller, serial)
    except NotFound:
        caller.must(Operation.READ_LEDGER)
        return None
    return None if stored.signature is None else pem_certificate(stored.der)
