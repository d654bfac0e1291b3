"""How answers about consumers and publications are made from what the floor below returns. As `views.py`."""

from __future__ import annotations

from typing import Any

from pki.web.answered_consumers import (
    AgeView,
    ConsumerAdded,
    ConsumerView,
    HoldingView,
    LatencyView,
    PublicationView,
    StreamView,
)
from pki.web.views import moment
from pki.web.views_inventory import duration, maybe
from renewers.distribution.holdings import Age, Counts
from renewers.distribution.latency import Percentiles
from renewers.distribution.showing import Shown
from renewers.models import Holding


def holding_view(row: Holding) -> HoldingView:
    """What is held of a stream."""
    return HoldingView(
        stream=row.stream,
        held_version=row.held_version,
        sent_version=row.sent_version,
        proved_by=row.proved_by,
        proved_at=maybe(row.proved_at),
    )


def age_view(age: Age) -> AgeView:
    """The same with its age."""
    return AgeView(
        stream=age.stream,
        held_version=age.held_version,
        sent_version=age.sent_version,
        proved_by=age.proved_by,
        proved_at=maybe(age.proved_at),
        newest_version=age.newest_version,
        behind=age.behind,
        behind_seconds=age.behind_seconds,
        held_since=maybe(age.held_since),
        sent_at=maybe(age.sent_at),
    )


def consumer_view(shown: Shown) -> ConsumerView:
    """A consumer."""
    return ConsumerView(**_consumer(shown))


def consumer_added(shown: Shown, secret: str | None) -> ConsumerAdded:
    """A consumer with the secret that it gets."""
    return ConsumerAdded(**_consumer(shown), secret=secret)


def publication_view(row: Any) -> PublicationView:
    """One version."""
    return PublicationView(
        stream=row.stream,
        version=row.version,
        sha256=row.sha256,
        cause=row.cause,
        issued_at=moment(row.issued_at),
        expires_at=moment(row.expires_at),
    )


def stream_view(stream: str, newest: Any, counts: Counts | None) -> StreamView:
    """A stream and its consumers."""
    return StreamView(
        stream=stream,
        newest=None if newest is None else publication_view(newest),
        consumers=0 if counts is None else counts.consumers,
        current=0 if counts is None else counts.current,
        never=0 if counts is None else counts.never,
        behind_seconds=0 if counts is None else counts.behind_seconds,
    )


def latency_view(found: Percentiles | None) -> LatencyView:
    """How long proofs took; zeros where there was none."""
    if found is None:
        return LatencyView(count=0, p50=0, p99=0, longest=0)
    return LatencyView(count=found.count, p50=found.p50, p99=found.p99, longest=found.longest)


def _consumer(shown: Shown) -> dict[str, Any]:
    return {
        **{name: getattr(shown, name) for name in _AS_IT_IS},
        "needs": dict(shown.needs),
        "settings": dict(shown.settings),
        "identities": list(shown.identities),
        "proves_by": list(shown.proves_by),
        "fresh_within": duration(shown.fresh_within) or "0s",
        "holds": [age_view(age) for age in shown.holds],
        "alarms": dict(shown.alarms),
        "failing_since": maybe(shown.failing_since),
        "error": shown.last_error,
        "created_at": moment(shown.created_at),
    }


_AS_IT_IS = (
    *("name", "kind", "owner", "state", "publisher", "probe", "has_secret", "gates", "is_current", "created_by"),
)
