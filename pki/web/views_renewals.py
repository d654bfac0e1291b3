"""How answers about renewing and bringing are made from what the floor below returns. As `views.py`."""

from __future__ import annotations

import json
from typing import Any

from ca import clock
from ca.errors import CertwrightError
from ca.profiles.config import format_seconds
from pki.web.answered_renewals import (
    AccountView,
    AlarmView,
    BreakView,
    BudgetView,
    CheckView,
    DeliveryView,
    DestinationShown,
    DestinationView,
    EventView,
    ForecastView,
    IssuerView,
    LineageShown,
    RenewalView,
    WorkView,
)
from pki.web.views import moment
from pki.web.views_inventory import lineage_fields, maybe, reference
from renewers import agenda
from renewers.agenda import Item
from renewers.delivering import destinations
from renewers.issuers.standing import Left, Standing
from renewers.models import Alarm, Delivery, Destination, Event, Renewal
from renewers.renewing.course import Course
from renewers.timing import lead_time
from renewers.timing.forecast import Forecast
from renewers.timing.lead_time import DAY


def work_view(item: Item) -> WorkView:
    """A piece of work."""
    row = item.work
    return WorkView(
        kind=row.kind,
        about=item.about,
        standing=item.standing,
        due_at=moment(row.due_at),
        due_since=moment(row.due_since),
        attempts=row.attempts,
        failing_since=maybe(row.failing_since),
        code=row.last_code,
        error=row.last_error,
    )


def lineage_shown(course: Course) -> LineageShown:
    """A lineage with everything that hangs on it."""
    shown, marks, due = course.shown, course.milestones, course.due
    row, current = shown.lineage, shown.current
    return LineageShown(
        **lineage_fields(row),
        owner=shown.owner,
        subject=None if current is None else current.shown_as,
        not_after=None if current is None else moment(current.not_after),
        stage=None if marks is None else lead_time.stage(marks, clock.timestamp()),
        due_at=None if due is None else moment(due.at),
        due_because=None if due is None else due.reason,
        late_at=None if marks is None else moment(marks.late),
        urgent_at=None if marks is None else moment(marks.urgent),
        critical_at=None if marks is None else moment(marks.critical),
        work=None if course.work is None else work_view(agenda.item(course.work, row.name)),
        destinations=[destination_view(destination) for destination in shown.destinations],
        places=list(shown.places),
        renewals=[_renewal_view(renewal) for renewal in course.renewals],
    )


def _renewal_view(row: Renewal) -> RenewalView:
    return RenewalView(
        id=row.id or 0,
        state=row.state,
        reason=row.reason,
        issuer=row.issuer,
        started_at=moment(row.started_at),
        issued_at=maybe(row.issued_at),
        finished_at=maybe(row.finished_at),
        certificate=reference(row.tracked_id),
        error=row.error,
    )


def destination_view(row: Destination) -> DestinationView:
    """A destination."""
    return DestinationView(**_destination(row))


def destination_shown(shown: destinations.Shown) -> DestinationShown:
    """A destination with its lineage and its last deliveries."""
    deliveries = [_delivery_view(row) for row in shown.deliveries]
    return DestinationShown(**_destination(shown.destination), lineage=shown.lineage, deliveries=deliveries)


def _destination(row: Destination) -> dict[str, Any]:
    return {
        "name": row.name,
        "publisher": row.publisher,
        "settings": json.loads(row.settings),
        "probe": row.probe,
        "rank": row.rank,
        "bundle": row.bundle,
        "state": row.state,
        "wanted": reference(row.wanted_id),
        "delivered": reference(row.delivered_id),
        "failing_since": maybe(row.failing_since),
        "last_error": row.last_error,
        "changed_at": moment(row.changed_at),
        "created_at": moment(row.created_at),
        "created_by": row.created_by,
    }


def _delivery_view(row: Delivery) -> DeliveryView:
    return DeliveryView(
        certificate=f"#{row.tracked_id}",
        outcome=row.outcome,
        started_at=moment(row.started_at),
        swapped_at=maybe(row.swapped_at),
        seen_at=maybe(row.seen_at),
        ended_at=maybe(row.ended_at),
        error=row.error,
    )


def issuer_view(standing: Standing) -> IssuerView:
    """An issuer."""
    health, account = standing.health, standing.account
    is_failing = health is not None and health.failing_since is not None
    is_resting = health is not None and health.not_before > clock.timestamp()
    return IssuerView(
        name=standing.name,
        kind=standing.kind,
        directory=standing.directory,
        state="failing" if is_failing else "unknown" if health is None else "answers",
        failures=0 if health is None else health.failures,
        failing_since=None if health is None else maybe(health.failing_since),
        rests_until=None if health is None or not is_resting else moment(health.not_before),
        last_error=None if health is None else health.last_error,
        last_success=None if health is None else maybe(health.last_success),
        account=None
        if account is None
        else AccountView(
            url=account.url, key_made_at=moment(account.key_made_at), created_at=moment(account.created_at)
        ),
        budget=[_budget_view(left) for left in standing.limits],
    )


def _budget_view(left: Left) -> BudgetView:
    limit = left.limit
    return BudgetView(
        limit=limit.name,
        allowed=limit.count,
        period=format_seconds(limit.period_seconds),
        counted_by=limit.scope,
        subject=left.subject,
        used=left.used,
        left=left.left,
    )


def check_view(name: str, error: CertwrightError | None) -> CheckView:
    """Whether an issuer could be asked."""
    if error is None:
        return CheckView(name=name, is_ok=True, code=None, message=None, hint=None)
    return CheckView(name=name, is_ok=False, code=error.code, message=error.message, hint=error.hint)


def forecast_view(found: Forecast) -> ForecastView:
    """A forecast; days as moments at which they begin."""

    def day(number: int) -> str:
        return moment(found.start + number * DAY)

    return ForecastView(
        lifetime_days=found.lifetime_days,
        start=moment(found.start),
        renewals=[round(count, 2) for count in found.renewals],
        smoothed=[round(count, 2) for count in found.smoothed],
        peak=round(found.peak, 2),
        pile_ups=[day(number) for number in found.pile_ups],
        breaks=[
            BreakView(day=day(one.day), limit=one.limit, expected=round(one.expected, 2), allowed=one.allowed)
            for one in found.breaks
        ],
        unjudged=list(found.unjudged),
    )


def alarm_view(row: Alarm, owner: str | None) -> AlarmView:
    """Something that is wrong."""
    return AlarmView(
        kind=row.kind,
        subject=row.subject,
        severity=row.severity,
        since=moment(row.since),
        message=row.message,
        hint=row.hint,
        owner=owner,
    )


def event_view(row: Event) -> EventView:
    """Something that happened."""
    details = json.loads(row.body)
    return EventView(
        id=row.id or 0,
        at=moment(row.at),
        kind=row.kind,
        subject=row.subject,
        severity=row.severity,
        message=details.pop("message", ""),
        details=details,
        is_told=not row.is_pending,
    )
