"""Bringing a certificate to where it is used: stage, swap, look, commit; or put the old one back and try again.

A delivery is done when the live endpoint was seen serving it. Until then it is due work that is retried without end,
oftener the less time is left. Destinations of one lineage with a lower rank go first; the others wait for them. Every
transaction takes the lineage's row first, so that of two that end at the same moment one sees the other. Read
`material.py` for what is brought, `attempts.py` for what is written down, `verify.py` for the look.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import or_, select, update
from sqlmodel import col

from ca import clock
from ca.errors import Misconfigured, NotDelivered
from ca.store import Transaction
from ca.store.commit import StaleChange
from renewers import work
from renewers.delivering import attempts, material, verify
from renewers.delivering.attempts import SEEN, THERE, WAITING, Attempt
from renewers.delivering.verify import Expected
from renewers.discovery import record
from renewers.lifecycle import Lifecycle
from renewers.models import Destination, Tracked
from renewers.publishers import Material, Publisher, RollsBack
from renewers.work import Claim, Failed

LONGEST_WAIT = 4 * 3600
"""Seconds until a failed delivery is tried again, at most: it costs nobody anything but us."""


def want(tx: Transaction, lineage_id: int, tracked_id: int) -> int:
    """Have every destination of a lineage get this certificate. Returns how many of them do not have it yet."""
    attempts.lock_lineage(tx, lineage_id)
    missing = or_(
        col(Destination.delivered_id).is_(None),
        col(Destination.delivered_id) != tracked_id,
        col(Destination.state).not_in(THERE),
    )
    of = col(Destination.lineage_id) == lineage_id
    ids = tx.execute(select(col(Destination.id)).where(of, missing).order_by(col(Destination.id))).scalars().all()
    if ids:
        values = {"wanted_id": tracked_id, "state": WAITING, "changed_at": clock.timestamp()}
        tx.execute(update(Destination).where(col(Destination.id).in_(ids)).values(**values))
        attempts.next_rank(tx, lineage_id, at_once=True)
    return len(ids)


def again(tx: Transaction, destination_id: int) -> None:
    """Have a destination delivered again what it should have: it was seen to serve something else.

    Nothing happens to one that is still waiting for it, or failing: it keeps its place on the ladder.
    """
    of = col(Destination.id) == destination_id
    lineage_id = tx.execute(select(col(Destination.lineage_id)).where(of)).scalar()
    if lineage_id is None:
        return
    attempts.lock_lineage(tx, lineage_id)
    there = update(Destination).where(of, col(Destination.state).in_(THERE))
    if tx.execute(there.values(state=WAITING, changed_at=clock.timestamp())).rowcount:
        attempts.next_rank(tx, lineage_id)


def drifted(tx: Transaction, lineage_id: int, place: str, tracked_id: int) -> int:
    """A place (as `discovery` writes it) shows this one. Deliver again where another was seen; returns to how many."""
    of = col(Destination.lineage_id) == lineage_id, col(Destination.delivered_id) != tracked_id
    rows = tx.execute(select(Destination).where(*of, col(Destination.state) == SEEN)).all()
    ids = [row.id for row in rows if verify.read_probe(row.probe).place == place]
    for identity in ids:
        again(tx, identity)
    return len(ids)


def conclude(tx: Transaction, lineage_id: int) -> None:
    """Finish a lineage's renewal, and wipe earlier keys, if no destination is missing; for one that has none."""
    attempts.conclude(tx, lineage_id)


def deliver(lifecycle: Lifecycle, claim: Claim) -> None:
    """Bring one destination what it should have: the handler of `deliver` work."""
    # 1. Look again: it may be gone, served already, or have to wait for those that go first. Record the start.
    attempt = lifecycle.store.write(lambda tx: attempts.begin(tx, claim))
    if attempt is None:
        return
    try:
        _bring(lifecycle, claim, attempt)
    except StaleChange:  # somebody else has taken over: whatever is to be put right is theirs
        raise
    except Exception as error:
        attempt.reason = attempt.reason or work.describe(error)
        lifecycle.store.write(lambda tx: attempts.record_failure(tx, claim, attempt))
        lifecycle.count("deliveries", attempt.destination.publisher, attempt.outcome)
        raise

    # 6. Commit: it is there, and whoever waited for it goes next.
    lifecycle.store.write(lambda tx: attempts.commit(tx, claim, attempt))
    lifecycle.count("deliveries", attempt.destination.publisher, attempt.outcome)

    # 7. From now on the endpoint is looked at, and shows itself if it ever serves something else.
    if attempt.seen_at is not None:
        place = verify.read_probe(attempt.destination.probe).place
        lifecycle.store.write(lambda tx: record.saw(tx, place, attempt.tracked_id, found_by="delivery") and None)


def failed(_lifecycle: Lifecycle, tx: Transaction, claim: Claim, error: Exception) -> Failed:
    """Put a failed delivery on the ladder, within an eighth of what the certificate that is in use has left."""
    row = tx.execute(select(Destination).where(col(Destination.id) == int(claim.subject))).first()
    in_use = None if row is None else row.delivered_id or row.wanted_id
    ends = tx.execute(select(col(Tracked.not_after)).where(col(Tracked.id) == in_use)).scalar()
    left = max(ends - clock.timestamp(), 0) if ends is not None else LONGEST_WAIT
    return work.fail(tx, claim, error, longest=min(left // 8, LONGEST_WAIT))


def _bring(lifecycle: Lifecycle, claim: Claim, attempt: Attempt) -> None:
    destination = attempt.destination
    # 2. Put together what is brought. Until step 4 nothing of what is in use is touched.
    brought = material.material_of(lifecycle, destination.lineage_id, attempt.tracked_id)
    roots = verify.read_bundle(destination.bundle) if destination.bundle else None
    publisher = publisher_of(lifecycle, destination)

    if brought.secrets and not publisher.keeps_secrets:
        raise Misconfigured(
            f"{destination.publisher} hands on what it gets to everybody: no private key goes there",
            hint="let the key be made where it is used, and track the lineage as its holder's",
        )

    # 3. Stage it, and make sure that this is still ours to do.
    publisher.stage(brought)
    _check(lifecycle, claim)
    try:
        # 4. Swap, and have it read.
        publisher.swap(brought)
        attempt.swapped_at = clock.timestamp()

        # 5. Look at the live endpoint.
        if destination.probe:
            expected = Expected(brought.sha256, material.chain_of(brought), attempt.old_sha256)
            verify.look_at(destination.probe, expected, roots=roots)
            attempt.seen_at = clock.timestamp()
    except Exception as error:
        attempt.reason = work.describe(error)
        _take_back(lifecycle, claim, attempt, publisher, brought)
        raise


def _take_back(lifecycle: Lifecycle, claim: Claim, attempt: Attempt, publisher: Publisher, brought: Material) -> None:
    """Put the old one back and look whether it is served again; not if it is this one, or has ended meanwhile.

    What goes wrong here is said beside the first failure, which is the one that is raised.
    """
    if not attempt.can_go_back:
        return
    _check(lifecycle, claim)
    try:
        if not isinstance(publisher, RollsBack):
            raise NotDelivered("nothing can be put back there")
        publisher.restore(brought)
        attempt.is_rolled_back = attempt.old_sha256 is not None
    except Exception as error:  # noqa: BLE001 - see above
        attempt.reason += f"; the old one cannot be put back: {work.describe(error)}"
        attempt.is_broken = True
    if attempt.destination.probe and attempt.old_sha256 is not None:
        try:
            verify.look_at(attempt.destination.probe, Expected(attempt.old_sha256, None, brought.sha256))
            attempt.is_rolled_back, attempt.is_broken = True, False
        except Exception as error:  # noqa: BLE001 - see above
            attempt.reason += f"; the old one is not served again: {work.describe(error)}"
            attempt.is_broken = True


def publisher_of(lifecycle: Lifecycle, destination: Any) -> Publisher:
    """The publisher of a destination, made from its settings. `BadRequest` if they are wrong."""
    make = lifecycle.publishers.get(destination.publisher)
    if make is None:
        raise Misconfigured(f"there is no publisher {destination.publisher}", hint=_known(lifecycle.publishers))
    return make(json.loads(destination.settings))


def _check(lifecycle: Lifecycle, claim: Claim) -> None:
    lifecycle.store.write(lambda tx: work.check(tx, claim))


def _known(names: Any) -> str:
    return f"there are {', '.join(sorted(names))}"
