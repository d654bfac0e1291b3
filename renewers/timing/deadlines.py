"""The milestones of one tracked thing: which rule of `lead_time` is its own, and from when on it is alarming.

Pure, like the rules themselves. Rows come as they are read; nothing here reads any. `judging.py` is what
becomes of it.
"""

from __future__ import annotations

from typing import Any

from renewers.timing import lead_time
from renewers.timing.lead_time import Milestones, Stage

CERTIFICATE, CRL, BUNDLE = "certificate", "crl", "bundle"
ROOT, INTERMEDIATE = "root", "intermediate"


def kind_of(row: Any) -> str:
    """What it is, as far as its end is concerned: an authority's certificate is a root's or an intermediate's."""
    if row.kind in (CERTIFICATE, CRL, BUNDLE, ROOT, INTERMEDIATE):
        return str(row.kind)
    return ROOT if row.subject == row.issuer else INTERMEDIATE


def mode_of(lineage: Any | None) -> str:
    """Who renews it. What belongs to no lineage is a person's affair."""
    return "manual" if lineage is None else str(lineage.mode)


def deadlines(row: Any, lineage: Any | None, *, fraction: float, measured_p99: int | None = None) -> Milestones:
    """The milestones of a row of `Tracked` in its lineage: the same that its renewal is planned by."""
    kind, mode = kind_of(row), mode_of(lineage)
    if kind == CERTIFICATE and lineage is not None and mode != "manual":
        return lead_time.milestones(
            row.not_before,
            row.not_after,
            seed=f"{lineage.id}/{row.id}",
            fraction=fraction,
            chosen=lineage.ari_chosen if lineage.current_id == row.id else None,
            measured_p99=measured_p99,
        )
    lifetime = max(0, row.not_after - row.not_before)
    return lead_time.before_the_end(row.not_before, row.not_after, lead_time.thresholds(kind, mode, lifetime))


def alarming_from(row: Any, lineage: Any | None) -> Stage:
    """The first stage that is worth an alarm: what renews itself is silent while it is healthy."""
    renews_itself = kind_of(row) == CERTIFICATE and mode_of(lineage) != "manual"
    return Stage.LATE if renews_itself else Stage.DUE
