"""One renewal, from due to recorded. The steps and their order are the point; each may be the last before a crash.

Whoever continues finds the same open row, the same key and request, the same order: a lineage that is due is renewed
exactly once. Bringing the certificate to where it is used is work of its own (`delivering/delivery.py`), planned in the
transaction that records it. Read `renewers/work.py` for leases and fences, `ordering.py` for who is asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import insert, select, update
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.errors import Conflict, NotFound
from ca.keys.algorithms import KeyType, PrivateKey
from ca.ledger import log
from ca.store import Transaction
from ca.x509.bundle import pem_chain
from ca.x509.request import make_request, read_request
from renewers import work
from renewers.delivering import delivery
from renewers.inventory import track
from renewers.inventory.facts import Facts
from renewers.issuers import Obtained, SuggestsWindow
from renewers.lifecycle import Lifecycle
from renewers.models import Lineage, Renewal
from renewers.renewing import ordering, planning, setback
from renewers.renewing.planning import Situation
from renewers.telling import events
from renewers.telling.alarms import BY
from renewers.work import Claim


def renew(lifecycle: Lifecycle, claim: Claim) -> None:
    """Renew one lineage, if it is due: the handler of `renew` work."""
    # 1. Look again: it may be gone, no longer ours to renew, renewed meanwhile, or not due yet.
    with lifecycle.store.read() as connection:
        found = planning.situation(connection, int(claim.subject))
        due = planning.due(connection, found, lifecycle, clock.timestamp()) if found is not None else None
    if found is None or due is None or found.lineage.mode != "renewed":
        lifecycle.store.write(lambda tx: work.settle(tx, claim, again_at=None))
        return
    if due.at > clock.timestamp():
        lifecycle.store.write(lambda tx: work.settle(tx, claim, again_at=due.at))
        return

    # 2. Make the key and the request, durable before anybody is asked.
    renewal_id = _under_way(lifecycle, found, due.reason, claim)

    # 3. Ask the issuers, in their order, until one has signed.
    answered = ordering.obtain(lifecycle, renewal_id, claim)

    # 4. Believe nothing of what came back: it is for this key and these names, it lives, its chain holds.
    facts = ordering.check(answered, answered.names)

    # 5. Record it, have it delivered, and plan the next time: one transaction, refused to who is no longer the holder.
    lifecycle.store.write(_Recording(lifecycle, found, renewal_id, answered.obtained, facts, answered.issuer, claim))
    lifecycle.count("renewals", answered.issuer, "renewed")
    lifecycle.measure("renewal", clock.timestamp() - answered.started_at)


def now(
    lifecycle: Lifecycle,
    caller: Caller,
    lineage_id: int,
    *,
    reason: str = "asked",
    along: Callable[[Transaction], None] = lambda _tx: None,
) -> bool:
    """Renew it now, whatever the plan: overrides a back-off and a stop. False if somebody is at it this very moment.

    `along` runs in the transaction that asks for it; what it raises is raised, and nothing was asked for.
    """
    caller.must(Operation.RENEW_ANY)
    with lifecycle.store.read() as connection:
        found = planning.situation(connection, lineage_id)
    if found is None:
        raise NotFound("there is no such lineage", code="unknown-lineage", hint="certwright track list")
    if found.lineage.mode != "renewed":
        raise Conflict(
            f"{found.lineage.name} is not renewed by this installation but by its {_who(found.lineage.mode)}",
            code="not-ours-to-renew",
        )
    _under_way(lifecycle, found, reason, None)

    def unit(tx: Transaction) -> bool:
        along(tx)
        log.append(tx, "renewal-asked", found.lineage.name, caller.identity, reason=reason)
        return work.hurry(tx, "renew", str(lineage_id))

    return lifecycle.store.write(unit)


def _under_way(lifecycle: Lifecycle, found: Situation, reason: str, claim: Claim | None) -> int:
    """The renewal that was begun, if it is for the names that are wanted now and its key may serve; else a new one."""
    if found.open is not None and set(read_request(found.open.csr).names) == set(found.wanted):
        if found.open.key_made_at >= (found.replacing_since or 0):
            return int(found.open.id)
    return _begin(lifecycle, found, reason, claim)


def _begin(lifecycle: Lifecycle, found: Situation, reason: str, claim: Claim | None) -> int:
    """Open the renewal: its key, sealed, and its request."""
    lineage, moment = found.lineage, clock.timestamp()
    key, made_at = _key(lifecycle, found, moment)
    pem = make_request(key, None, found.wanted)
    left_out = found.open.left_out if found.open is not None else "[]"
    row = {
        "lineage_id": lineage.id,
        "state": "open",
        "reason": reason,
        "issuer": "",
        "replaces_id": lineage.current_id,
        "left_out": left_out,
        "csr": x509.load_pem_x509_csr(pem.encode()).public_bytes(Encoding.DER),
        "sealed_key": lifecycle.sealer.wrap(key, purpose(lineage.id)),
        "key_made_at": made_at,
        "started_at": moment,
    }

    def unit(tx: Transaction) -> int:
        if claim is not None:
            work.check(tx, claim)
        open_ = (col(Renewal.lineage_id) == lineage.id, col(Renewal.state) == "open")
        tx.execute(update(Renewal).where(*open_).values(state="abandoned", sealed_key=None, finished_at=moment))
        return int(tx.execute(insert(Renewal).values(**row).returning(col(Renewal.id))).scalar_one())

    return lifecycle.store.write(unit)


def purpose(lineage_id: int) -> str:
    """What a lineage's keys are sealed for."""
    return f"lineage:{lineage_id}"


def _key(lifecycle: Lifecycle, found: Situation, moment: int) -> tuple[PrivateKey, int]:
    """A new key; the last one again where the lineage lets a key serve several certificates and it is young enough.

    In a mass replacement it is always a new one.
    """
    lineage = found.lineage
    if lineage.key_age > 0 and lineage.current_id is not None and found.replacing_since is None:
        last = (
            select(col(Renewal.sealed_key), col(Renewal.key_made_at))
            .where(col(Renewal.tracked_id) == lineage.current_id, col(Renewal.sealed_key).is_not(None))
            .order_by(col(Renewal.id).desc())
        )
        with lifecycle.store.read() as connection:
            row = connection.execute(last.limit(1)).first()
        if row is not None and moment - row.key_made_at < lineage.key_age:
            return lifecycle.sealer.unwrap(row.sealed_key, purpose(lineage.id)), row.key_made_at
    return KeyType(lineage.key_type or lifecycle.policy.key_type).generate(), moment


@dataclass(frozen=True, slots=True)
class _Recording:
    """The unit that records a renewed certificate."""

    lifecycle: Lifecycle
    found: Situation
    renewal_id: int
    obtained: Obtained
    facts: Facts
    issuer: str
    claim: Claim

    def __call__(self, tx: Transaction) -> None:
        """Everything that follows from it, or nothing."""
        work.check(tx, self.claim)
        lineage, moment = self.found.lineage, clock.timestamp()
        chain = pem_chain(self.obtained.chain)
        tracked_id = track.track(tx, self.facts, source="renewed", lineage_id=lineage.id, chain=chain)
        fresh = {"current_id": tracked_id, "ari_start": None, "ari_end": None, "ari_chosen": None}
        tx.execute(update(Lineage).where(col(Lineage.id) == lineage.id).values(**fresh, ari_explanation=None))
        destinations = delivery.want(tx, lineage.id, tracked_id)
        done = {"state": "issued", "tracked_id": tracked_id, "issued_at": moment, "issuer": self.issuer, "error": None}
        tx.execute(update(Renewal).where(col(Renewal.id) == self.renewal_id).values(**done))
        if not destinations:
            delivery.conclude(tx, lineage.id)
        self._say(tx, tracked_id)
        self._plan(tx)

    def _say(self, tx: Transaction, tracked_id: int) -> None:
        name, facts = self.found.lineage.name, self.facts
        details: dict[str, Any] = {"issuer": self.issuer, "serial": facts.serial, "not_after": facts.not_after}
        details["sha256"] = facts.identity.removeprefix("sha256:")
        left_out = json.loads(self.found.open.left_out) if self.found.open is not None else []
        without = f", without {', '.join(left_out)}" if left_out else ""
        message = f"{name} has a new certificate from {self.issuer}{without}"
        tries: dict[str, Any] = {"attempts": self.claim.attempts + 1, "failed_since": self.claim.failing_since}
        events.record(tx, "certificate-renewed", name, message, **details, **tries, tracked=tracked_id)
        log.append(tx, "certificate-renewed", name, BY, **details, names=list(facts.names))
        if not left_out:
            setback.recovered(tx, name)

    def _plan(self, tx: Transaction) -> None:
        found = planning.situation(tx.connection, self.found.lineage.id)
        assert found is not None
        due = planning.due(tx.connection, found, self.lifecycle, clock.timestamp())
        work.settle(tx, self.claim, again_at=due.at)
        if isinstance(self.lifecycle.issuers[self.issuer], SuggestsWindow):
            work.schedule(tx, "ask-window", self.claim.subject, clock.timestamp())


def _who(mode: str) -> str:
    return {"manual": "owner, by hand", "holder": "holder"}.get(mode, mode)
