"""Prometheus metrics: names in one place, each with its help text. The registry is an installation's own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pki.ledger_metrics import LedgerMetrics
from pki.lifecycle_metrics import LifecycleMetrics

STATUSES = (
    *("good", "revoked", "unknown", "several"),
    *("malformed", "unauthorized", "try-later", "over-limit", "internal-error"),
)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Everything that is counted, measured and alarmed on."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.issued = Counter(
            "certwright_certificates_issued", "Certificates issued.", ["profile", "authority"], registry=registry
        )
        self.revoked = Counter(
            "certwright_certificates_revoked", "Certificates revoked.", ["reason"], registry=registry
        )
        self.refused = Counter(
            "certwright_requests_refused", "Requests refused, by the code of the refusal.", ["code"], registry=registry
        )
        self.issue_seconds = Histogram(
            "certwright_issue_seconds",
            "Time from a decoded request to its durable certificate.",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5),
            registry=registry,
        )
        self.authority_seconds_left = Gauge(
            "certwright_authority_seconds_left",
            "Life left of each trusted CA certificate.",
            ["authority", "state"],
            registry=registry,
        )
        self.crl_seconds_left = Gauge(
            "certwright_crl_seconds_left",
            "Time until the first of an authority's CRLs stops being good. Alarm long before zero.",
            ["authority"],
            registry=registry,
        )
        self.crl_age_seconds = Gauge(
            "certwright_crl_age_seconds", "Age of the oldest CRL of each authority.", ["authority"], registry=registry
        )
        self.crl_entries = Gauge("certwright_crl_entries", "Entries on CRLs.", ["authority"], registry=registry)
        self.crl_findings = Gauge(
            "certwright_crl_findings",
            "What published CRLs lack or say of nobody, against the tables. Anything but 0 is an alarm.",
            ["authority"],
            registry=registry,
        )
        self.crl_checked_age_seconds = Gauge(
            "certwright_crl_checked_age_seconds",
            "Time since the list was held against the tables that was so longest ago.",
            ["authority"],
            registry=registry,
        )
        answers = Counter("certwright_ocsp_answers", "OCSP answers, by what they say.", ["status"], registry=registry)
        self.ocsp_status = {status: answers.labels(status) for status in STATUSES}
        self.ocsp_held = Counter(
            "certwright_ocsp_answers_held",
            "OCSP answers that were signed before they were asked for.",
            registry=registry,
        )
        self.ocsp_signed = Counter(
            "certwright_ocsp_answers_made", "OCSP answers that were made when they were asked for.", registry=registry
        )
        self.ocsp_signer_seconds_left = Gauge(
            "certwright_ocsp_signer_seconds_left",
            "Life left of what signs a CA's OCSP answers here. It is followed at half of its life.",
            ["authority"],
            registry=registry,
        )
        self.admission_waiting = Gauge(
            "certwright_admission_waiting", "Issuances that wait for their turn.", registry=registry
        )
        self.admission_waited = Histogram(
            "certwright_admission_waited_seconds",
            "How long issuances waited, of those that had to.",
            buckets=(0.01, 0.1, 1, 10, 60),
            registry=registry,
        )
        self.ledger = LedgerMetrics(registry)
        self.backup_age_seconds = Gauge(
            "certwright_backup_age_seconds",
            "Time since the newest backup was made; 0 where none are wanted, infinite where there is none yet.",
            registry=registry,
        )
        self.backup_every_seconds = Gauge(
            "certwright_backup_every_seconds", "How often a backup is to be made.", registry=registry
        )
        self.approvals_waiting = Gauge(
            "certwright_approvals_waiting", "Acts that wait for the word of a second person.", registry=registry
        )
        self.ceremonies_waiting = Gauge(
            "certwright_ceremonies_waiting", "Requests to offline CAs whose answer is awaited.", registry=registry
        )
        self.ceremonies_due = Gauge(
            "certwright_ceremonies_due", "Offline CAs that have to sign their next list.", registry=registry
        )
        self.clock_wrong = Gauge(
            "certwright_clock_wrong",
            "Whether something speaks against this machine's clock (1), so that nothing is issued.",
            registry=registry,
        )
        self.tick_failures = Counter(
            "certwright_tick_failures", "Scheduled work that failed, by its name.", ["work"], registry=registry
        )
        self.tick_age_seconds = Gauge(
            "certwright_tick_age_seconds", "Time since scheduled work last succeeded.", ["work"], registry=registry
        )
        self.lifecycle = LifecycleMetrics(registry)
        self.commit_batches = Gauge("certwright_commit_batches", "Durable commits so far.", registry=registry)
        self.commit_units = Gauge("certwright_commit_units", "Changes that these commits carried.", registry=registry)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
