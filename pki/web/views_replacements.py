"""How answers about mass replacements are made from what the floor below returns. As `views.py`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pki.web.answered import RevocationCostView
from pki.web.answered_replacements import (
    DrillView,
    ItemView,
    OfOwnerView,
    ProgressView,
    ProofView,
    RemainingView,
    ReplacementPreview,
    ReplacementReport,
    ReplacementShown,
    ReplacementView,
    TimesView,
)
from pki.web.views import moment
from pki.web.views_inventory import maybe
from renewers.models import Replacement, ReplacementItem
from renewers.replacing import report
from renewers.replacing.drill import DrillReport
from renewers.replacing.plans import Policy
from renewers.replacing.preview import Preview
from renewers.replacing.report import Report
from renewers.replacing.showing import Course
from renewers.replacing.underway import Progress


def replacement_view(course: Course) -> ReplacementView:
    """A replacement."""
    return ReplacementView(**_replacement(course.row, course.progress))


def replacement_shown(course: Course) -> ReplacementShown:
    """A replacement, and when it is looked at next."""
    work = course.work
    return ReplacementShown(
        **_replacement(course.row, course.progress),
        next_look=None if work is None else moment(work.due_at),
        error=None if work is None else work.last_error,
    )


def preview_view(preview: Preview, cost: RevocationCostView | None) -> ReplacementPreview:
    """What a replacement would do."""
    return ReplacementPreview(
        total=preview.total,
        ours=preview.ours,
        own=preview.own,
        others=preview.others,
        others_by_owner=dict(preview.others_by_owner),
        seconds=preview.seconds,
        first=list(preview.first),
        objections=[reason.message for reason in preview.objections],
        cost=cost,
    )


def item_view(row: ReplacementItem) -> ItemView:
    """One certificate of a replacement."""
    return ItemView(
        tracked=row.tracked_id,
        serial=row.serial,
        shown_as=row.shown_as,
        state=row.state,
        successor=row.successor_id,
        changed_at=moment(row.changed_at),
        note=row.note,
    )


def report_view(found: Report) -> ReplacementReport:
    """The evidence."""
    return ReplacementReport(
        replacement=ReplacementView(**_replacement(found.replacement, found.progress)),
        made_at=moment(found.made_at),
        times=TimesView(**asdict(found.times)),
        owners=[OfOwnerView(**asdict(one)) for one in found.owners],
        left=[RemainingView(**asdict(one)) for one in found.left],
        notes=dict(found.notes),
        proof=[ProofView(**{**asdict(one), "at": moment(one.at)}) for one in found.proof],
        tree_size=found.tree_size,
        tree_root=found.tree_root,
        text=report.render(found),
    )


def drill_view(found: DrillReport) -> DrillView:
    """What a drill has shown."""
    return DrillView(**{**asdict(found), "progress": _progress(found.progress), "left": list(found.left)})


def _replacement(row: Replacement, progress: Progress) -> dict[str, Any]:
    policy = Policy.decode(row.policy)
    plain = ("id", "state", "reason", "per_minute", "revokes", "started_by")
    return {
        **{name: getattr(row, name) for name in plain},
        "rotation": row.rotation_id,
        "selection": json.loads(row.selection),
        "revocation_reason": policy.revocation_reason.word,
        "deadline_at": maybe(policy.deadline_at),
        "progress": _progress(progress),
        "started_at": moment(row.started_at),
        "ended_at": maybe(row.ended_at),
    }


def _progress(progress: Progress) -> ProgressView:
    return ProgressView(**asdict(progress))
