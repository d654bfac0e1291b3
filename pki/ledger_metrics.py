"""What is measured of the ledger when somebody asks; part of `pki/metrics.py`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge

from ca import clock
from ca.installation import Installation
from renewers.telling import audits, heads


class LedgerMetrics:
    """Gauges that are looked up."""

    def __init__(self, registry: CollectorRegistry) -> None:
        found = {
            "ledger_size": "Entries that the newest head covers.",
            "ledger_waiting": "Entries that no head covers yet.",
            "ledger_published_age_seconds": "Time since a signed head was last told.",
            "ledger_findings": "What the last audit found of tables and ledger that do not agree: to be 0.",
            "ledger_audited_age_seconds": "Time since the last audit; infinite before the first.",
            "ledger_audit_every_seconds": "How often an audit is to be made.",
        }
        self._gauges = {name: Gauge(f"certwright_{name}", text, registry=registry) for name, text in found.items()}

    def look_up(self, installation: Installation, audit_every: float) -> None:
        """Ask the store and the ledger. `audit_every`: seconds, as the settings say."""
        now, head = clock.timestamp(), installation.ledger.head()
        told, audited = heads.published_at(installation.store), audits.newest(installation.store)
        self._gauges["ledger_size"].set(0 if head is None else head.size)
        self._gauges["ledger_waiting"].set(installation.ledger.waiting())
        self._gauges["ledger_published_age_seconds"].set(float("inf") if told is None else now - told)
        self._gauges["ledger_findings"].set(0 if audited is None else audited.findings)
        self._gauges["ledger_audited_age_seconds"].set(float("inf") if audited is None else now - audited.at)
        self._gauges["ledger_audit_every_seconds"].set(audit_every)
