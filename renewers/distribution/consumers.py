"""Consumers as people add, change, pause and remove them: what each must hold, how it gets it, how it proves it.

Whoever says where a consumer is has us write there, as whom it reports decides who may prove things to a rotation, and
one that is removed is waited for no more: all of that is an administrator's. An operator may add one that comes and
fetches, or a plain directory of ours. Looking at them is `showing.py`, bringing them things `spreading.py`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import delete, insert, or_, select, update
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.errors import BadRequest, Conflict
from ca.ledger import log
from ca.secret import Secret
from ca.store import Transaction
from ca.store.commit import StaleChange
from renewers import work
from renewers.distribution import holdings, places, reporting, sharing, showing
from renewers.distribution.holdings import ACTIVE, PAUSED
from renewers.distribution.needs import Needs, read_needs
from renewers.distribution.places import shown_settings
from renewers.distribution.showing import page, show
from renewers.distribution.spreading import WORK
from renewers.inventory.finding import find_owner
from renewers.lifecycle import Lifecycle
from renewers.models import Consumer, Holding, Latency
from renewers.telling import events

__all__ = ["Added", "ConsumerPlan", "add", "change", "page", "pause", "remove", "resume", "rotate_secret", "show"]
__all__ += ["spread_now"]

T = TypeVar("T")
KINDS = ("proxy", "broker", "host", "devices", "person", "other")
HARMLESS: Mapping[str, frozenset[str]] = MappingProxyType(
    {places.PULL: frozenset(), "files": frozenset({"directory", "keep"})}
)
"""What an operator may choose, too: by publisher, its settings."""
FRESHEST, STALEST = 60, 90 * 86400
TRIES, PAUSE = 50, 0.02
_NAME = re.compile(r"(?!.*[.]{2})[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class ConsumerPlan:
    """What a consumer shall be."""

    name: str
    kind: str = "other"
    owner: str | None = None
    needs: Mapping[str, Any] = field(default_factory=dict)
    """`trust_domains`, `bundle`, `crl`, `crl_formats`; what is left out is our own domain's, as PEM."""
    publisher: str = places.PULL
    settings: Mapping[str, Any] = field(default_factory=dict)
    probe: str = ""
    """Where it is shown certificates to see what it holds; empty: nowhere."""
    identities: tuple[str, ...] = ()
    """As whom it may report: `token:NAME`, or `name:<kind>:<value>` in its client certificate."""
    gates: bool = True
    """Whether rotations wait for it."""
    fresh_within: int = 3600
    """Seconds within which it is to hold what was published, before it is an alarm."""
    makes_secret: bool = False
    """Whether it gets a secret to sign its reports with, when it is added."""


@dataclass(frozen=True, slots=True)
class Added:
    """The consumer that was added, and the secret that it was given: nobody is shown it again."""

    id: int
    secret: Secret | None


def add(lifecycle: Lifecycle, caller: Caller, plan: ConsumerPlan) -> Added:
    """Add a consumer; it is brought at once what it needs."""
    is_harmless = set(plan.settings) <= HARMLESS.get(plan.publisher, frozenset()) and plan.publisher in HARMLESS
    caller.must(Operation.MANAGE_CONSUMERS, *([Operation.MANAGE_INVENTORY] if is_harmless else []))
    values, streams = _checked(lifecycle, plan)
    secret = sharing.make_secret() if plan.makes_secret else None
    sealed = None if secret is None else sharing.wrap(lifecycle.sealer, secret, plan.name)

    def unit(tx: Transaction) -> int:
        _be_alone(tx)
        if tx.execute(select(col(Consumer.id)).where(col(Consumer.name) == plan.name)).first() is not None:
            raise Conflict(f"there is already a consumer named {plan.name!r}", code="consumer-exists")
        fresh = {"state": ACTIVE, "created_at": clock.timestamp(), "created_by": caller.identity}
        row = {**values, **fresh, "sealed_secret": sealed, "owner_id": _refuse_clashes(tx, plan, values)}
        identity = int(tx.execute(insert(Consumer).values(**row).returning(col(Consumer.id))).scalar_one())
        holdings.assign(tx, identity, streams)
        work.schedule(tx, WORK, str(identity), clock.timestamp())
        _tell(tx, "consumer-added", row["owner_id"], caller, plan.name, **_recorded(plan), has_secret=bool(sealed))
        return identity

    return Added(_write(lifecycle, unit), secret)


def change(lifecycle: Lifecycle, caller: Caller, plan: ConsumerPlan) -> None:
    """Make the consumer of that name what the plan says, its secret aside. In another place, nothing is proved yet."""
    caller.must(Operation.MANAGE_CONSUMERS)
    plan = _with_hidden(lifecycle, plan)
    values, streams = _checked(lifecycle, plan)

    def unit(tx: Transaction) -> None:
        _be_alone(tx)
        found = _locked(tx, plan.name)
        owner_id = _refuse_clashes(tx, plan, values)
        tx.execute(update(Consumer).where(col(Consumer.id) == found.id).values(**values, owner_id=owner_id))
        holdings.assign(tx, found.id, streams)
        if any(getattr(found, name) != values[name] for name in ("publisher", "settings", "needs")):
            was = places.place_of(found.publisher, json.loads(found.settings))
            is_moved = was != places.place_of(plan.publisher, plan.settings)
            holdings.forget_sent(tx, found.id, with_proof=is_moved)
            work.hurry(tx, WORK, str(found.id))
        if not plan.probe:
            work.cancel(tx, "probe", str(found.id))
        holdings.clear_alarms(tx, plan.name, streams)
        holdings.hurry_rotations(tx)
        _tell(tx, "consumer-changed", owner_id, caller, plan.name, **_recorded(plan))

    _write(lifecycle, unit)


def remove(lifecycle: Lifecycle, caller: Caller, name: str) -> None:
    """Forget a consumer: nobody waits for it any more. What was brought there stays there, and grows old."""
    caller.must(Operation.MANAGE_CONSUMERS)

    def unit(tx: Transaction) -> None:
        found = _locked(tx, name)
        for kind in (WORK, "probe"):
            work.cancel(tx, kind, str(found.id))
        for table in (Holding, Latency):
            tx.execute(delete(table).where(col(table.consumer_id) == found.id))
        tx.execute(delete(Consumer).where(col(Consumer.id) == found.id))
        holdings.clear_alarms(tx, name, (), is_gone=True)
        holdings.hurry_rotations(tx)
        _tell(tx, "consumer-removed", found.owner_id, caller, name, gates=bool(found.gates))

    lifecycle.store.write(unit)


def rotate_secret(lifecycle: Lifecycle, caller: Caller, name: str) -> Secret:
    """Give a consumer a secret, or another one: nobody is shown it again. The old one is worth nothing from now on."""
    caller.must(Operation.MANAGE_CONSUMERS)
    secret = sharing.make_secret()
    sealed = sharing.wrap(lifecycle.sealer, secret, name)

    def unit(tx: Transaction) -> None:
        found = _locked(tx, name)
        tx.execute(update(Consumer).where(col(Consumer.id) == found.id).values(sealed_secret=sealed))
        _tell(tx, "consumer-secret-rotated", found.owner_id, caller, name, had_one=found.sealed_secret is not None)

    lifecycle.store.write(unit)
    return secret


def pause(lifecycle: Lifecycle, caller: Caller, name: str) -> None:
    """Bring a consumer nothing until it is resumed. Rotations wait for it all the same."""
    _set_state(lifecycle, caller, name, PAUSED)


def resume(lifecycle: Lifecycle, caller: Caller, name: str) -> None:
    """Bring a consumer what it has missed, at once."""
    _set_state(lifecycle, caller, name, ACTIVE)


def spread_now(lifecycle: Lifecycle, caller: Caller, name: str) -> bool:
    """Bring a consumer once more what it needs, whatever it was sent: overrides a back-off. False if we are at it."""
    caller.must(Operation.MANAGE_CONSUMERS)

    def unit(tx: Transaction) -> bool:
        found = _locked(tx, name)
        if found.state != ACTIVE:
            raise Conflict(f"{name} is paused", code="consumer-paused", hint=f"certwright consumer resume {name}")
        holdings.forget_sent(tx, found.id, with_proof=False)
        _tell(tx, "consumer-asked-again", found.owner_id, caller, name)
        return work.hurry(tx, WORK, str(found.id))

    return lifecycle.store.write(unit)


def _set_state(lifecycle: Lifecycle, caller: Caller, name: str, state: str) -> None:
    caller.must(Operation.MANAGE_CONSUMERS)

    def unit(tx: Transaction) -> None:
        found = _locked(tx, name)
        if found.state == state:
            return
        tx.execute(update(Consumer).where(col(Consumer.id) == found.id).values(state=state))
        if state == ACTIVE:
            work.hurry(tx, WORK, str(found.id))
            if found.probe:
                work.hurry(tx, "probe", str(found.id))
        _tell(tx, "consumer-resumed" if state == ACTIVE else "consumer-paused", found.owner_id, caller, name)

    lifecycle.store.write(unit)


def _checked(lifecycle: Lifecycle, plan: ConsumerPlan) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The columns that a plan decides, and the streams that it needs, once all of it is found good."""
    if not _NAME.fullmatch(plan.name):
        hint = "1 to 63 lower-case letters, digits, dots and dashes"
        raise BadRequest(f"{plan.name[:63]!r} cannot name a consumer", code="bad-consumer-name", hint=hint)
    if plan.kind not in KINDS:
        raise BadRequest(f"{plan.kind[:40]!r} is no kind of consumer", code="bad-kind", hint=", ".join(KINDS))
    if type(plan.fresh_within) is not int or not FRESHEST <= plan.fresh_within <= STALEST:
        raise BadRequest(f"fresh_within is between {FRESHEST} and {STALEST} seconds", code="bad-fresh-within")
    if plan.probe:
        places.read_probe(plan.probe)
    identities = reporting.check_identities(plan.identities)
    needs: Needs = read_needs(plan.needs, lifecycle.trust_domain)
    make = lifecycle.publishers.get(plan.publisher)
    if make is None:
        known = ", ".join(sorted(lifecycle.publishers))
        raise BadRequest(f"there is no publisher {plan.publisher[:40]!r}", code="bad-publisher", hint=f"one of {known}")
    make(plan.settings)
    values = {
        "name": plan.name,
        "kind": plan.kind,
        "needs": json.dumps(needs.as_json(), sort_keys=True),
        "publisher": plan.publisher,
        "settings": json.dumps(dict(plan.settings), sort_keys=True),
        "probe": plan.probe,
        "identities": json.dumps(identities),
        "gates": plan.gates,
        "fresh_within": plan.fresh_within,
    }
    return values, needs.streams(lifecycle.trust_domain)


def _with_hidden(lifecycle: Lifecycle, plan: ConsumerPlan) -> ConsumerPlan:
    """Settings that come back as they were shown stay as they are."""
    with lifecycle.store.read() as connection:
        named = col(Consumer.name) == plan.name
        text = connection.execute(select(col(Consumer.settings)).where(named)).scalar()
    if text is None:
        raise showing.unknown(plan.name)
    return replace(plan, settings=places.with_hidden(plan.settings, json.loads(text)))


def _refuse_clashes(tx: Transaction, plan: ConsumerPlan, values: Mapping[str, Any]) -> int | None:
    """`Conflict` where its place or an identity is another's; the id of its owner."""
    places.refuse_taken(tx, plan.publisher, plan.settings, consumer=plan.name)
    identities = json.loads(values["identities"])
    if identities:
        same = [col(Consumer.identities).contains(json.dumps(one), autoescape=True) for one in identities]
        query = select(col(Consumer.name), col(Consumer.identities)).where(col(Consumer.name) != plan.name, or_(*same))
        for row in tx.execute(query):
            shared = set(identities) & reporting.read_identities(row.identities)
            if shared:
                raise Conflict(f"{row.name} reports as {min(shared)} already", code="identity-taken")
    return None if plan.owner is None else int(find_owner(tx.connection, plan.owner).id)


def _be_alone(tx: Transaction) -> None:
    """Two that are added at once do not see each other: they would both have the place."""
    if not tx.try_lock("consumers"):
        raise StaleChange("somebody else is changing consumers at this moment", hint="try again")


def _write(lifecycle: Lifecycle, unit: Callable[[Transaction], T]) -> T:
    for _ in range(TRIES):
        try:
            return lifecycle.store.write(unit)
        except StaleChange:
            time.sleep(PAUSE)
    return lifecycle.store.write(unit)


def _locked(tx: Transaction, name: str) -> Any:
    found = tx.execute(select(Consumer).where(col(Consumer.name) == name).with_for_update()).first()
    if found is None:
        raise showing.unknown(name)
    return found


def _tell(tx: Transaction, what: str, owner_id: int | None, caller: Caller, name: str, **details: Any) -> None:
    log.append(tx, what, f"consumer:{name}", caller.identity, **details)
    message = f"{what.replace('-', ' ')}: {name}"
    events.record(tx, what, name, message, by=caller.identity, owner=owner_id)


def _recorded(plan: ConsumerPlan) -> dict[str, Any]:
    told = {"kind": plan.kind, "owner": plan.owner, "needs": dict(plan.needs), "publisher": plan.publisher}
    how = {"settings": shown_settings(plan.settings), "probe": plan.probe, "identities": sorted(plan.identities)}
    return {**told, **how, "gates": plan.gates, "fresh_within": plan.fresh_within}
