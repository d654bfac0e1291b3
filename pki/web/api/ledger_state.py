"""What was so at a past moment, by the ledger: one certificate, the CAs, the policy, or how many of what."""

from __future__ import annotations

import threading
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from ca import certificates
from ca.access import Operation
from ca.errors import BadRequest, Conflict
from ca.ledger import counting, state
from ca.ledger.state import AuthorityThen, ProfileThen, Under
from pki.product import Product
from pki.web.answered_state import (
    AuthorityThenView,
    CertificateThenView,
    CountsThenView,
    ProfileThenView,
    StateView,
)
from pki.web.asked import PLAIN
from pki.web.context import CallerDep, ProductDep
from pki.web.views import moment

router = APIRouter(prefix="/ledger", tags=["ledger"])
_COUNTING = threading.Lock()
"""It reads the ledger from its beginning: one at a time."""


@router.get("/state", summary="What was so at a past moment")
def state_at(
    product: ProductDep,
    caller: CallerDep,
    at: Annotated[int, Query(ge=0, le=1 << 40, description="seconds since the epoch")],
    of: Annotated[Literal["certificate", "authorities", "profiles", "counts"], Query()] = "authorities",
    serial: Annotated[str | None, Query(max_length=128, pattern=PLAIN, description="of the certificate")] = None,
) -> StateView:
    """By what the ledger says up to then, under a signed head; never by the tables."""
    caller.must(Operation.READ_LEDGER)
    if (serial is not None) != (of == "certificate"):
        raise BadRequest("a serial number is for of=certificate, and needed there", code="bad-state")
    store, ledger = product.installation.store, product.installation.ledger
    ledger.sequence()
    if serial is not None:
        head, found = state.certificate_at(store, ledger.verifier, certificates.normalise_serial(serial), at)
        shown = CertificateThenView(
            serial=found.serial, state=found.state, facts=dict(found.facts), positions=list(found.positions)
        )
        return _view(head, certificate=shown)
    if of == "counts":
        return _counted(product, at)
    if of == "profiles":
        head, profiles = state.profiles_at(store, ledger.verifier, at)
        return _view(head, profiles=[_profile(one) for one in profiles])
    head, authorities = state.authorities_at(store, ledger.verifier, at)
    return _view(head, authorities=[_authority(one) for one in authorities])


def _counted(product: Product, at: int) -> StateView:
    if not _COUNTING.acquire(blocking=False):
        raise Conflict("somebody else is counting already", code="busy", hint="it reads the whole ledger: wait")
    try:
        head, counts = counting.counts_at(product.installation.store, product.installation.ledger.verifier, at)
    finally:
        _COUNTING.release()
    return _view(head, counts=CountsThenView.model_validate(counts, from_attributes=True))


def _view(head: Under, **found: object) -> StateView:
    return StateView(
        at=moment(head.at),
        size=head.size,
        signed_at=moment(head.signed_at),
        checkpoint=head.checkpoint,
        **found,
    )


def _authority(one: AuthorityThen) -> AuthorityThenView:
    return AuthorityThenView(name=one.name, state=one.state, since=moment(one.since), not_after=moment(one.not_after))


def _profile(one: ProfileThen) -> ProfileThenView:
    return ProfileThenView(name=one.name, sha256=one.sha256, since=moment(one.since), content=one.content)
