"""Consumers: add, list, show, change, remove, pause; what they acknowledge, and how long that took."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from ca.access import Operation
from ca.profiles.config import format_seconds
from pki.web.answered_consumers import (
    ConsumerAdded,
    ConsumerPage,
    ConsumerView,
    HoldingView,
    LatencyView,
    SecretView,
)
from pki.web.answered_inventory import RemovedView
from pki.web.answered_renewals import AskedView
from pki.web.asked import PLAIN
from pki.web.asked_consumers import ConsumerChange, ConsumerRequest, ReportRequest
from pki.web.asked_inventory import Nothing
from pki.web.context import CallerDep, ProductDep, read_duration
from pki.web.views_consumers import consumer_added, consumer_view, holding_view, latency_view
from renewers.distribution import acknowledging, consumers, showing
from renewers.distribution.consumers import ConsumerPlan
from renewers.distribution.reporting import Report
from renewers.distribution.showing import Shown

router = APIRouter(prefix="/consumers", tags=["consumers"])
Named = Annotated[str | None, Query(max_length=300, pattern=PLAIN)]


@router.get("", summary="List consumers")
def listing(
    product: ProductDep,
    caller: CallerDep,
    stream: Named = None,
    cursor: Named = None,
    limit: Annotated[int, Query(ge=1, le=showing.MAX_PAGE)] = 50,
) -> ConsumerPage:
    """By name; with `stream`, those that need it."""
    rows, following = consumers.page(product.lifecycle, caller, stream=stream, cursor=cursor, limit=limit)
    return ConsumerPage(items=[consumer_view(row) for row in rows], next=following)


@router.post("", status_code=201, summary="Add a consumer")
def add(product: ProductDep, caller: CallerDep, body: ConsumerRequest) -> ConsumerAdded:
    """It is brought at once what it needs. A secret that it gets is shown in this answer and never again."""
    added = consumers.add(product.lifecycle, caller, _plan(body.name, body.model_dump()))
    secret = None if added.secret is None else added.secret.reveal()
    return consumer_added(consumers.show(product.lifecycle, caller, body.name), secret)


@router.get("/latencies", summary="How long proofs took")
def latencies(product: ProductDep, caller: CallerDep, stream: Named = None, consumer: Named = None) -> LatencyView:
    """From publishing something until consumers were proved to hold it, over the last thousand proofs."""
    return latency_view(showing.latencies(product.lifecycle, caller, stream=stream, name=consumer))


@router.get("/{name}", summary="Show a consumer")
def show(product: ProductDep, caller: CallerDep, name: str) -> ConsumerView:
    """What it needs, what it holds and how old that is."""
    return consumer_view(consumers.show(product.lifecycle, caller, name))


@router.patch("/{name}", summary="Change a consumer")
def change(product: ProductDep, caller: CallerDep, name: str, body: ConsumerChange) -> ConsumerView:
    """What is left out stays; settings come as a whole. In another place, nothing is proved of it."""
    caller.must(Operation.MANAGE_CONSUMERS)
    found = consumers.show(product.lifecycle, caller, name)
    changes = body.model_dump(exclude_unset=True)
    kept = {field: value for field, value in changes.items() if value is not None or field == "owner"}
    consumers.change(product.lifecycle, caller, _plan(name, {**_as_it_is(found), **kept}))
    return consumer_view(consumers.show(product.lifecycle, caller, name))


@router.delete("/{name}", summary="Remove a consumer")
def remove(product: ProductDep, caller: CallerDep, name: str) -> RemovedView:
    """Nobody waits for it any more; what was brought there stays there."""
    consumers.remove(product.lifecycle, caller, name)
    return RemovedView(removed=name)


@router.post("/{name}/spread", status_code=202, summary="Bring it everything again now")
def spread(product: ProductDep, caller: CallerDep, name: str, body: Nothing) -> AskedView:
    """Whatever it was sent: overrides a back-off. It is done as due work, within seconds."""
    return AskedView(begins=consumers.spread_now(product.lifecycle, caller, name))


@router.post("/{name}/pause", summary="Bring it nothing for a while")
def pause(product: ProductDep, caller: CallerDep, name: str, body: Nothing) -> ConsumerView:
    """Until it is resumed. Rotations wait for it all the same."""
    consumers.pause(product.lifecycle, caller, name)
    return consumer_view(consumers.show(product.lifecycle, caller, name))


@router.post("/{name}/resume", summary="Bring it things again")
def resume(product: ProductDep, caller: CallerDep, name: str, body: Nothing) -> ConsumerView:
    """What it has missed, at once."""
    consumers.resume(product.lifecycle, caller, name)
    return consumer_view(consumers.show(product.lifecycle, caller, name))


@router.post("/{name}/secret", status_code=201, summary="Give it another secret")
def secret(product: ProductDep, caller: CallerDep, name: str, body: Nothing) -> SecretView:
    """To sign acknowledgements with; the old one is worth nothing from now on."""
    return SecretView(secret=consumers.rotate_secret(product.lifecycle, caller, name).reveal())


@router.post("/{name}/acknowledgements", summary="Acknowledge a version")
def acknowledge(product: ProductDep, caller: CallerDep, name: str, body: ReportRequest) -> HoldingView:
    """By one of the consumer's identities, or by hand by who manages consumers."""
    return holding_view(acknowledging.acknowledge(product.lifecycle, caller, name, Report(**body.model_dump())))


def _plan(name: str, values: dict[str, Any]) -> ConsumerPlan:
    lasting = read_duration(values.pop("fresh_within"))
    needs = {key: value for key, value in values.pop("needs").items() if value is not None}
    identities = tuple(values.pop("identities"))
    seconds = 3600 if lasting is None else int(lasting.total_seconds())
    return ConsumerPlan(**{**values, "name": name}, needs=needs, identities=identities, fresh_within=seconds)


def _as_it_is(found: Shown) -> dict[str, Any]:
    plain = ("kind", "owner", "publisher", "probe", "gates")
    return {
        **{field: getattr(found, field) for field in plain},
        "needs": dict(found.needs),
        "settings": dict(found.settings),
        "identities": list(found.identities),
        "fresh_within": format_seconds(found.fresh_within),
    }
