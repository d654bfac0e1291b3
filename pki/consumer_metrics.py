"""What is counted and measured of consumers, publications and rotations; part of `pki/lifecycle_metrics.py`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from sqlalchemy import select
from sqlmodel import col

from ca import clock
from ca.store import Store
from renewers.distribution import holdings, published
from renewers.models import Rotation


class ConsumerMetrics:
    """Counters that work adds to, and gauges that are looked up when somebody asks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.spreads = Counter(
            "certwright_spreads",
            "Times that a consumer was brought something, by what became of it.",
            ["publisher", "outcome"],
            registry=registry,
        )
        self.acknowledgements = Counter(
            "certwright_acknowledgements",
            "Reports of consumers, by who they came from and what became of them.",
            ["by", "outcome"],
            registry=registry,
        )
        self.probes = Counter(
            "certwright_probes",
            "Rounds of handshakes with consumers, by what was seen.",
            ["outcome"],
            registry=registry,
        )
        self.proof_seconds = Histogram(
            "certwright_consumer_proof_seconds",
            "Time from publishing a version until a consumer was proved to hold it.",
            buckets=(0.5, 1, 2, 5, 15, 60, 300, 900, 3600, 24 * 3600),
            registry=registry,
        )
        self.refused_seconds = Histogram(
            "certwright_revoked_to_refused_seconds",
            "Time from revoking a leaf on purpose until a consumer was seen to refuse it.",
            buckets=(0.5, 1, 2, 5, 15, 60, 300, 900, 3600),
            registry=registry,
        )
        found = {
            "consumers": ("Consumers of a stream, by how they stand: current, behind, never.", ["stream", "standing"]),
            "consumer_behind_seconds": ("How long the consumer that is furthest behind has been so.", ["stream"]),
            "publication_seconds_left": ("Life left of the newest version of a stream.", ["stream"]),
            "rotation_stage_seconds": ("How long an open rotation has been in its stage.", ["line", "stage"]),
        }
        self._gauges = {
            name: Gauge(f"certwright_{name}", text, on, registry=registry) for name, (text, on) in found.items()
        }

    def look_up(self, store: Store) -> None:
        """Look up what is not counted."""
        for gauge in self._gauges.values():
            gauge.clear()
        counts = holdings.counts(store)
        with store.read() as connection:
            heads = published.heads(connection, published.known(connection))
            rotations = connection.execute(select(Rotation).where(col(Rotation.state) == "open")).all()
        now = clock.timestamp()
        for stream, found in counts.items():
            behind = found.consumers - found.current - found.never
            for standing, count in (("current", found.current), ("behind", behind), ("never", found.never)):
                self._gauges["consumers"].labels(stream, standing).set(count)
            self._gauges["consumer_behind_seconds"].labels(stream).set(found.behind_seconds)
        for stream, row in heads.items():
            self._gauges["publication_seconds_left"].labels(stream).set(row.expires_at - now)
        for rotation in rotations:
            since = now - rotation.stage_since
            self._gauges["rotation_stage_seconds"].labels(rotation.line, rotation.stage).set(since)
