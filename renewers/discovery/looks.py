"""Looking again at a known endpoint: the handler of `look` work, which never ends by itself.

Every few hours, and more often towards the end of what is served: so the days that are left are always counted from
what is really there, and not from what the renewer believes (row 77 of the field's failures). What drifted away from
what was delivered there is delivered again. Who does not answer is asked again on the ladder of `renewers/work.py`.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from ca import clock
from ca.errors import BadRequest, NotDelivered
from ca.store import Transaction
from renewers import handshake, work
from renewers.delivering import delivery
from renewers.discovery import observing, record, trouble
from renewers.discovery.findings import NOT_THE_ISSUED
from renewers.discovery.observing import Observation
from renewers.discovery.pace import LATEST, next_look
from renewers.discovery.targets import Target, parse_place
from renewers.lifecycle import Lifecycle
from renewers.models import Endpoint
from renewers.work import Claim

TIMEOUT = 10.0
"""Seconds for one look: more than in a scan, since a failure counts here."""


def look_again(lifecycle: Lifecycle, claim: Claim) -> None:
    """Look at one endpoint, write down what came of it, and come back in time."""
    with lifecycle.store.read() as connection:
        endpoint = connection.execute(select(Endpoint).where(col(Endpoint.id) == int(claim.subject))).first()
    target = _target(endpoint)
    if endpoint is None or target is None:
        lifecycle.store.write(lambda tx: work.settle(tx, claim, again_at=None))
        return
    try:
        seen = _look(target)
    except NotDelivered as error:
        failure = error  # the name of an exception does not outlive its clause
        lifecycle.store.write(lambda tx: _missed(tx, claim, endpoint.place, failure))
        lifecycle.count("looks", "missed")
    else:
        lifecycle.store.write(lambda tx: _saw(tx, claim, seen, endpoint.found_by))
        lifecycle.count("looks", "seen")


def _target(endpoint: Any | None) -> Target | None:
    """What there is to look at; places that are no endpoints of a network are not ours."""
    try:
        return parse_place(endpoint.place) if endpoint is not None else None
    except BadRequest:
        return None


def _look(target: Target) -> Observation:
    presented = handshake.look(
        target.host, target.port, protocol=target.protocol, server_name=target.server_name, timeout=TIMEOUT
    )
    return observing.read(target, presented)


def _saw(tx: Transaction, claim: Claim, seen: Observation, found_by: str) -> None:
    work.check(tx, claim)
    endpoint_id = seen.record(tx, found_by=found_by)
    endpoint = tx.execute(select(Endpoint).where(col(Endpoint.id) == endpoint_id)).one()
    found = json.loads(endpoint.findings)
    if NOT_THE_ISSUED in found and endpoint.lineage_id is not None:
        delivery.drifted(tx, endpoint.lineage_id, seen.place, endpoint.tracked_id)
    work.settle(tx, claim, again_at=next_look(seen.place, seen.leaf.not_after, found, clock.timestamp()))


def _missed(tx: Transaction, claim: Claim, place: str, error: NotDelivered) -> None:
    failed = work.fail(tx, claim, error, longest=LATEST)
    endpoint_id = record.missed(tx, place, error.message)
    if endpoint_id is not None:
        trouble.weigh_missed(tx, endpoint_id, failed.attempts)
