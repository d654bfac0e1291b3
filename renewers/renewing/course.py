"""The course of one lineage, as people ask for it: what is planned, when and why, and what became of it so far.

What is known of one certificate is `renewers/inventory/story.py`. Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlmodel import col

from ca import clock
from ca.access import Caller
from renewers.inventory import lineages
from renewers.inventory.joining import RENEWED
from renewers.inventory.lineages import Shown
from renewers.lifecycle import Lifecycle
from renewers.models import Renewal, Work
from renewers.renewing import planning
from renewers.renewing.planning import Due
from renewers.timing.lead_time import Milestones

SHOWN_RENEWALS = 20


@dataclass(frozen=True, slots=True)
class Course:
    """A lineage with what hangs on it, its next renewal, and its last ones, newest first."""

    shown: Shown
    due: Due | None
    """When it is to be renewed and why; None for one that we do not renew."""
    milestones: Milestones | None
    """The way of its current certificate to its end."""
    work: Work | None
    renewals: Sequence[Renewal]


def show(lifecycle: Lifecycle, caller: Caller, name: str) -> Course:
    """The course of the lineage of that name."""
    shown = lineages.show(lifecycle, caller, name)
    id_ = shown.lineage.id
    assert id_ is not None
    due = milestones = None
    with lifecycle.store.read() as connection:
        found = planning.situation(connection, id_)
        if found is not None and found.lineage.mode == RENEWED:
            due = planning.due(connection, found, lifecycle, clock.timestamp())
            if found.current is not None:
                milestones = planning.milestones(connection, found, lifecycle)
        planned = select(Work).where(col(Work.kind) == lineages.RENEW, col(Work.subject) == str(id_))
        work = connection.execute(planned).first()
        last = select(Renewal).where(col(Renewal.lineage_id) == id_).order_by(col(Renewal.id).desc())
        renewals = [Renewal(**row._mapping) for row in connection.execute(last.limit(SHOWN_RENEWALS))]
    return Course(shown, due, milestones, None if work is None else Work(**work._mapping), renewals)
