"""What the floor that reaches out counts and measures: names in one place, in the registry of `pki/metrics.py`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from sqlalchemy import Connection, func, select
from sqlmodel import col

from ca import clock
from ca.store import Store
from pki.consumer_metrics import ConsumerMetrics
from pki.mail_metrics import MailMetrics
from renewers import backlog
from renewers.models import Alarm, IssuerHealth, Lineage, Tracked
from renewers.timing.lead_time import Stage

WATCHED = (Stage.DUE, Stage.LATE, Stage.URGENT, Stage.CRITICAL, Stage.EXPIRED)
MODES = ("renewed", "manual")
"""Whose certificates somebody answers for; a holder's may vanish with it."""


class LifecycleMetrics:
    """Counters that work adds to, and gauges that are looked up when somebody asks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.consumers = ConsumerMetrics(registry)
        self.mail = MailMetrics(registry)
        self.renewals = Counter(
            "certwright_renewals", "Renewals, by what became of the attempt.", ["issuer", "outcome"], registry=registry
        )
        self.deliveries = Counter(
            "certwright_deliveries", "Deliveries, by what became of them.", ["publisher", "outcome"], registry=registry
        )
        self.notices = Counter(
            "certwright_notices",
            "Events told to webhooks, by what became of it.",
            ["channel", "outcome"],
            registry=registry,
        )
        self.looks = Counter(
            "certwright_looks", "Looks at known endpoints, by what was seen.", ["outcome"], registry=registry
        )
        self.scans = Counter("certwright_scans", "Scans that were run to their end.", registry=registry)
        self.renewal_seconds = Histogram(
            "certwright_renewal_seconds",
            "Time from a renewal's key to its recorded certificate.",
            buckets=(1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600),
            registry=registry,
        )
        found = {
            "tracked": ("Tracked things on their way to their end, by how far they are.", ["stage"]),
            "tracked_seconds_left": ("Life left of what ends first, by who renews it.", ["mode"]),
            "work_waiting": ("Pieces of work that are due and that nobody has taken up.", ["kind"]),
            "work_failing": ("Pieces of work that failed and are tried again.", ["kind"]),
            "work_stopped": ("Pieces of work that only a person gets going again.", ["kind"]),
            "work_oldest_seconds": ("How long the longest due piece of work has waited.", []),
            "alarms": ("Alarms that stand.", ["kind", "severity"]),
            "issuer_up": ("Whether an issuer answers.", ["issuer"]),
        }
        made = {name: Gauge(f"certwright_{name}", text, on, registry=registry) for name, (text, on) in found.items()}
        self.tracked, self.tracked_seconds_left = made["tracked"], made["tracked_seconds_left"]
        self.work_waiting, self.work_failing = made["work_waiting"], made["work_failing"]
        self.work_stopped, self.work_oldest_seconds = made["work_stopped"], made["work_oldest_seconds"]
        self.alarms, self.issuer_up = made["alarms"], made["issuer_up"]

    def count(self, what: str, *labels: str) -> None:
        """What the floor below has done, by the name of the counter."""
        rooms = (self, self.consumers, self.mail)
        counter: Counter = getattr(next(room for room in rooms if hasattr(room, what)), what)
        (counter.labels(*labels) if labels else counter).inc()

    def measured(self, what: str, seconds: float) -> None:
        """How long the floor below has taken for something."""
        own = {"renewal": self.renewal_seconds, "consumer_proof": self.consumers.proof_seconds}
        own["answer"] = self.mail.answer_seconds
        {**own, "revoked_to_refused": self.consumers.refused_seconds}[what].observe(seconds)

    def look_up(self, store: Store) -> None:
        """Look up what is not counted."""
        with store.read() as connection:
            self._measure_tracked(connection)
            self._measure_alarms(connection)
        found = backlog.counts(store)
        for gauge, name in (
            (self.work_waiting, "waiting"),
            (self.work_failing, "failing"),
            (self.work_stopped, "stopped"),
        ):
            gauge.clear()
            for kind, counts in found.items():
                gauge.labels(kind).set(getattr(counts, name))
        self.work_oldest_seconds.set(backlog.oldest_due(store) or 0)
        self.consumers.look_up(store)
        self.mail.look_up(store)

    def _measure_tracked(self, connection: Connection) -> None:
        by_stage = select(col(Tracked.stage), func.count()).where(col(Tracked.stage).in_(WATCHED))
        rows = connection.execute(by_stage.group_by(col(Tracked.stage)))
        counts = {row[0]: row[1] for row in rows}
        for stage in WATCHED:
            self.tracked.labels(stage).set(counts.get(stage, 0))
        ends = (
            select(col(Lineage.mode), func.min(col(Tracked.not_after)))
            .join(Tracked, col(Tracked.id) == col(Lineage.current_id))
            .where(col(Lineage.mode).in_(MODES))
            .group_by(col(Lineage.mode))
        )
        self.tracked_seconds_left.clear()
        for mode, end in connection.execute(ends):
            self.tracked_seconds_left.labels(mode).set(end - clock.timestamp())

    def _measure_alarms(self, connection: Connection) -> None:
        by_kind = select(col(Alarm.kind), col(Alarm.severity), func.count()).group_by(
            col(Alarm.kind), col(Alarm.severity)
        )
        self.alarms.clear()
        for kind, severity, count in connection.execute(by_kind):
            self.alarms.labels(kind, severity).set(count)
        self.issuer_up.clear()
        for row in connection.execute(select(IssuerHealth)):
            self.issuer_up.labels(row.issuer).set(row.failing_since is None)
