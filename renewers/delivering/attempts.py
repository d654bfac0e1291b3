"""What is written down of deliveries, each in one transaction: begun, there, failed; who goes next; when all is done.

Whoever ends an attempt settles its work in the same transaction and is refused if somebody else has taken it over.
Every transaction takes the lineage's row before anything else. Read `delivery.py` for the story.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, bindparam, insert, or_, select, update
from sqlmodel import col

from ca import clock
from ca.ledger import log
from ca.store import Transaction
from renewers import work
from renewers.models import Delivery, Destination, Lineage, Renewal, Tracked
from renewers.telling import alarms, events
from renewers.telling.alarms import BY, Trouble
from renewers.work import Claim

WORK = "deliver"
ALARM = "delivery-failing"
EMPTY, WAITING, FAILING, SEEN, DELIVERED = "empty", "waiting", "failing", "seen", "delivered"
"""A destination's states: it has nothing to get, has to get something, did not get it, was seen serving it, was
delivered it and says nothing about whether it serves it."""
THERE = (SEEN, DELIVERED)
BEGUN, FAILED, ROLLED_BACK, INTERRUPTED = "begun", "failed", "rolled-back", "interrupted"
"""A delivery's outcomes, beside `seen` and `delivered`."""


# Made once: every attempt asks for these, and to put a statement together costs more than to run it.
_WHICH: BindParameter[int] = bindparam("which")
_LINEAGE = select(Lineage).where(col(Lineage.id) == _WHICH).with_for_update()
_LINEAGE_OF = select(col(Destination.lineage_id)).where(col(Destination.id) == _WHICH)
_DESTINATION = select(Destination).where(col(Destination.id) == _WHICH).with_for_update()
_WANTING = (
    select(Destination)
    .where(col(Destination.lineage_id) == _WHICH, col(Destination.wanted_id).is_not(None))
    .order_by(col(Destination.rank), col(Destination.id))
)
_TRACKED = select(Tracked).where(col(Tracked.id) == _WHICH)


@dataclass(slots=True)
class Attempt:
    """One attempt, while it lasts."""

    destination: Any
    tracked_id: int
    delivery_id: int
    shown_as: str
    owner_id: int | None
    old_sha256: str | None
    """The fingerprint of what is in use there, if we brought it."""
    can_go_back: bool
    """Whether what was there before is another one, and has not ended."""
    swapped_at: int | None = None
    seen_at: int | None = None
    is_rolled_back: bool = False
    is_broken: bool = False
    """What was there before could not be put back, or is not served."""
    reason: str = ""

    @property
    def outcome(self) -> str:
        """What became of it."""
        if self.reason:
            return ROLLED_BACK if self.is_rolled_back else FAILED
        return SEEN if self.seen_at is not None else DELIVERED


def lock_lineage(tx: Transaction, lineage_id: int) -> Any | None:
    """The lineage's row, ours until the transaction ends."""
    return tx.execute(_LINEAGE, {"which": lineage_id}).first()


def begin(tx: Transaction, claim: Claim) -> Attempt | None:
    """Record the start; or settle the work, if there is nothing to do or others go first."""
    found, lineage = _locked(tx, int(claim.subject))
    work.check(tx, claim)
    if found is None or lineage is None or _is_there(found) or found.wanted_id is None:
        work.settle(tx, claim, again_at=None)
        return None
    if any(row.rank < found.rank for row in _missing(tx, found.lineage_id)):
        work.settle(tx, claim, again_at=None)  # whoever is there last plans this anew
        return None
    now = clock.timestamp()
    of_it = (col(Delivery.destination_id) == found.id, col(Delivery.ended_at).is_(None))
    tx.execute(update(Delivery).where(*of_it).values(outcome=INTERRUPTED, ended_at=now))
    row = {"destination_id": found.id, "tracked_id": found.wanted_id, "started_at": now, "outcome": BEGUN}
    delivery_id = tx.execute(insert(Delivery).values(**row).returning(col(Delivery.id))).scalar_one()
    wanted, old = _tracked(tx, found.wanted_id), _tracked(tx, found.delivered_id)
    is_another = found.delivered_id != found.wanted_id
    return Attempt(
        destination=found,
        tracked_id=found.wanted_id,
        delivery_id=delivery_id,
        shown_as=wanted.shown_as if wanted is not None else lineage.name,
        owner_id=lineage.owner_id,
        old_sha256=old.identity.removeprefix("sha256:") if old is not None and is_another else None,
        can_go_back=is_another and (old is None or old.not_after >= now),
    )


def commit(tx: Transaction, claim: Claim, attempt: Attempt) -> None:
    """It is there. Whatever was changed while it was brought there makes it due again."""
    found, lineage = _locked(tx, attempt.destination.id)
    if found is None or lineage is None:
        work.settle(tx, claim, again_at=None)
        return
    now, is_newest = clock.timestamp(), _same(found, attempt.destination)
    work.settle(tx, claim, again_at=None if is_newest else now)
    _end(tx, attempt, now)
    state = {"delivered_id": attempt.tracked_id, "state": attempt.outcome if is_newest else WAITING}
    cleared = {"failing_since": None, "last_error": None, "changed_at": now}
    tx.execute(update(Destination).where(col(Destination.id) == found.id).values(**state, **cleared))
    alarms.clear_alarm(tx, ALARM, found.name)
    message = f"{found.name} was seen serving the new certificate of {lineage.name}"
    if attempt.seen_at is None:
        message = f"{found.name} was brought the new certificate of {lineage.name}; nobody looks whether it is served"
    details = {"lineage": lineage.name, "tracked": attempt.tracked_id, "seen": attempt.seen_at is not None}
    events.record(tx, "certificate-delivered", found.name, message, **details, owner=lineage.owner_id)
    log.append(tx, "certificate-delivered", f"destination:{found.name}", BY, **details)
    conclude(tx, lineage.id)


def record_failure(tx: Transaction, claim: Claim, attempt: Attempt) -> None:
    """It is not there, for this reason."""
    found, lineage = _locked(tx, attempt.destination.id)
    work.check(tx, claim)
    if found is None or lineage is None:
        return
    now = clock.timestamp()
    since = found.failing_since or now
    _end(tx, attempt, now)
    values = {"state": FAILING, "failing_since": since, "last_error": attempt.reason, "changed_at": now}
    tx.execute(update(Destination).where(col(Destination.id) == found.id).values(**values))
    if attempt.is_rolled_back:
        details = {"lineage": lineage.name, "tracked": attempt.tracked_id, "reason": attempt.reason}
        log.append(tx, "delivery-rolled-back", f"destination:{found.name}", BY, **details)
    message = f"{found.name} does not get the certificate of {lineage.name} ({attempt.shown_as}): {attempt.reason}"
    severity = "critical" if attempt.is_broken else "error"
    hint = "it is tried again by itself until it is there"
    trouble = Trouble(ALARM, found.name, severity, message, hint, lineage.owner_id, since, lineage_id=lineage.id)
    alarms.raise_alarm(tx, trouble)


def next_rank(tx: Transaction, lineage_id: int, *, at_once: bool = False) -> bool:
    """Plan the work of those that go next. False if all destinations are there. `at_once` overrides a back-off."""
    missing, now = _missing(tx, lineage_id), clock.timestamp()
    for row in missing:
        if row.rank == missing[0].rank:
            if at_once:
                work.hurry(tx, WORK, str(row.id))
            else:
                work.schedule(tx, WORK, str(row.id), now)
    return bool(missing)


def is_next(tx: Transaction, lineage_id: int, destination_id: int | None) -> bool:
    """Whether a destination has to get something, and no other one goes before it."""
    missing = _missing(tx, lineage_id)
    return any(row.id == destination_id and row.rank == missing[0].rank for row in missing)


def conclude(tx: Transaction, lineage_id: int) -> None:
    """Finish a lineage's renewal if nothing is missing: something was delivered, or a destination went."""
    lineage = lock_lineage(tx, lineage_id)
    if lineage is not None and lineage.current_id is not None and not next_rank(tx, lineage_id):
        _finish(tx, lineage)


def _finish(tx: Transaction, lineage: Any) -> None:
    """All destinations are there: the renewal is done, and keys that nobody wants any more are wiped."""
    now, of_it = clock.timestamp(), (col(Renewal.lineage_id) == lineage.id, col(Renewal.state) == "issued")
    current = tx.execute(select(Renewal).where(*of_it, col(Renewal.tracked_id) == lineage.current_id)).first()
    if current is not None:
        done = {"state": "done", "finished_at": now}
        tx.execute(update(Renewal).where(col(Renewal.id) == current.id).values(**done))
        message = f"{lineage.name} is renewed, and its new certificate is everywhere where it is used"
        took = {"renewal": current.id, "took": now - current.started_at}
        events.record(tx, "renewal-finished", lineage.name, message, **took, owner=lineage.owner_id)
        log.append(tx, "renewal-finished", lineage.name, BY, **took)
    overtaken = update(Renewal).where(*of_it, col(Renewal.tracked_id) != lineage.current_id)
    tx.execute(overtaken.values(state="superseded", finished_at=now))
    _wipe(tx, lineage)


def _wipe(tx: Transaction, lineage: Any) -> None:
    """Forget the keys of earlier renewals; all destinations want the current one's."""
    newest = select(col(Renewal.id)).where(col(Renewal.tracked_id) == lineage.current_id)
    latest = tx.execute(newest.order_by(col(Renewal.id).desc()).limit(1)).scalar()
    if latest is None:
        return
    earlier = (col(Renewal.lineage_id) == lineage.id, col(Renewal.id) < latest, col(Renewal.state) != "open")
    still = (col(Renewal.sealed_key).is_not(None), or_(col(Renewal.tracked_id).is_(None), _unwanted(lineage)))
    tx.execute(update(Renewal).where(*earlier, *still).values(sealed_key=None))


def _unwanted(lineage: Any) -> Any:
    wanted = select(col(Destination.wanted_id)).where(
        col(Destination.lineage_id) == lineage.id, col(Destination.wanted_id).is_not(None)
    )
    return col(Renewal.tracked_id).not_in(wanted)


def _locked(tx: Transaction, destination_id: int) -> tuple[Any | None, Any | None]:
    """A destination and its lineage, both ours until the transaction ends; the lineage first, as everywhere."""
    of = {"which": destination_id}
    found = tx.execute(_LINEAGE_OF, of).first()
    if found is None:
        return None, None
    lineage = lock_lineage(tx, found.lineage_id)
    return tx.execute(_DESTINATION, of).first(), lineage


def _missing(tx: Transaction, lineage_id: int) -> list[Any]:
    """Destinations that have to get something, the lowest rank first."""
    return [row for row in tx.execute(_WANTING, {"which": lineage_id}) if not _is_there(row)]


def _is_there(row: Any) -> bool:
    return row.state in THERE and row.delivered_id == row.wanted_id


def _same(now: Any, before: Any) -> bool:
    """Whether a destination still wants what it did when the attempt began, in the same place."""
    what = ("wanted_id", "publisher", "settings", "probe", "bundle")
    return all(getattr(now, name) == getattr(before, name) for name in what)


def _tracked(tx: Transaction, tracked_id: int | None) -> Any | None:
    if tracked_id is None:
        return None
    return tx.execute(_TRACKED, {"which": tracked_id}).first()


def _end(tx: Transaction, attempt: Attempt, now: int) -> None:
    values = {
        "outcome": attempt.outcome,
        "swapped_at": attempt.swapped_at,
        "seen_at": attempt.seen_at,
        "ended_at": now,
        "error": attempt.reason or None,
    }
    tx.execute(update(Delivery).where(col(Delivery.id) == attempt.delivery_id).values(**values))
