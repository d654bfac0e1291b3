"""What becomes of a renewal that failed: when it is tried again, who is told, and what it may go on without.

The less is left of the current certificate, the sooner and the louder. Where a lineage may shrink, one name that cannot
be proved does not take the others down with it (Bazel, December 2025): once time is running out, it is left out, the
rest is renewed, and the whole is tried again and again all the same. Read `renewers/renewing/renewal.py` first.
"""

from __future__ import annotations

import json

from sqlalchemy import update
from sqlmodel import col

from ca import clock
from ca.store import Transaction
from renewers import work
from renewers.lifecycle import Lifecycle
from renewers.models import Renewal
from renewers.renewing import planning
from renewers.renewing.planning import Situation
from renewers.telling import alarms
from renewers.telling.alarms import Trouble
from renewers.timing import lead_time
from renewers.timing.lead_time import Stage
from renewers.work import Claim, Failed

FAILING, STOPPED = "renewal-failing", "renewal-stopped"
SOON, OVER, LONG_OVER = 600, 4 * 3600, 7 * 86400
"""Seconds between attempts at least, however little is left; at most, once it has expired; until when that holds."""
SEVERITIES = {Stage.URGENT: "error", Stage.CRITICAL: "critical", Stage.EXPIRED: "critical"}
PATIENT = 3
"""Failures after which a lineage that has no certificate yet goes without a name."""


def failed(lifecycle: Lifecycle, tx: Transaction, claim: Claim, error: Exception) -> Failed:
    """A renewal failed: plan the next attempt by what is left of the certificate, and say so."""
    found = planning.situation(tx.connection, int(claim.subject))
    if found is None:
        return work.fail(tx, claim, error)
    stage, longest = _urgency(lifecycle, tx, found)
    result = work.fail(tx, claim, error, longest=longest)
    if found.open is not None:
        tx.execute(update(Renewal).where(col(Renewal.id) == found.open.id).values(error=work.describe(error)))
    left_out = _leave_out(tx, found, error, stage, result)
    is_final = result.next_at is None and left_out is None
    _say(tx, found, error, result, severity=SEVERITIES.get(stage or Stage.DUE, "warning"), is_final=is_final)
    if left_out is not None:
        work.hurry(tx, claim.kind, claim.subject)
    issuer = found.open.issuer if found.open is not None else ""
    lifecycle.count("renewals", issuer, "stopped" if is_final else "failed")
    return result


def recovered(tx: Transaction, name: str) -> None:
    """It is renewed, with all its names: whatever was wrong is over."""
    alarms.clear_alarm(tx, FAILING, name)
    alarms.clear_alarm(tx, STOPPED, name)


def _urgency(lifecycle: Lifecycle, tx: Transaction, found: Situation) -> tuple[Stage | None, int | None]:
    """How far the current certificate is on its way, and for how long the next attempt may wait at most."""
    if found.current is None:
        return None, None
    moment = clock.timestamp()
    left = found.current.not_after - moment
    stage = lead_time.stage(planning.milestones(tx.connection, found, lifecycle), moment)
    if left > 0:
        return stage, max(left // 8, SOON)
    return stage, OVER if left > -LONG_OVER else None


def _leave_out(tx: Transaction, found: Situation, error: Exception, stage: Stage | None, result: Failed) -> str | None:
    """Go on without the name that failed, if the lineage allows it, time runs out, and something remains."""
    about = getattr(error, "about", None)
    is_time = stage in SEVERITIES or (stage is None and result.attempts >= PATIENT)
    if about is None or found.open is None or not found.lineage.may_shrink or not is_time:
        return None
    plain = about.replace("dns:*.", "dns:")
    gone = {str(name) for name in found.wanted if str(name).replace("dns:*.", "dns:") == plain}
    if not gone or len(gone) == len(found.wanted):
        return None
    left_out = json.dumps(sorted({*json.loads(found.open.left_out), *gone}))
    fresh = {"left_out": left_out, "order_url": None, "finalized_at": None}
    tx.execute(update(Renewal).where(col(Renewal.id) == found.open.id).values(**fresh))
    return left_out


def _say(tx: Transaction, found: Situation, error: Exception, result: Failed, *, severity: str, is_final: bool) -> None:
    lineage = found.lineage
    message = f"{lineage.name} cannot be renewed: {work.describe(error)}"
    hint = getattr(error, "hint", None) or "certwright renew now, once the cause is mended"
    severity = "error" if is_final and severity == "warning" else severity
    kind = STOPPED if is_final else FAILING
    about = {"lineage_id": lineage.id, "tracked_id": lineage.current_id}
    trouble = Trouble(kind, lineage.name, severity, message, hint, lineage.owner_id, result.since, **about)
    alarms.raise_alarm(tx, trouble)
