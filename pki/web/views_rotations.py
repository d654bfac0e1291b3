"""How answers about rotations are made from what the floor below returns. As `views.py`."""

from __future__ import annotations

import json
from typing import Any

from pki.web.answered_rotations import (
    AffectedView,
    ImpactView,
    LackingView,
    MakingView,
    OverrideView,
    PreviewView,
    ReplacementProgress,
    RotationShown,
    RotationView,
    StageView,
    StepView,
)
from pki.web.views import moment
from pki.web.views_inventory import maybe
from renewers.distribution.holdings import Lacking
from renewers.models import Rotation
from renewers.rotation.impact import Affected, Impact
from renewers.rotation.showing import Course
from renewers.rotation.starting import Preview


def rotation_view(row: Rotation) -> RotationView:
    """A rotation."""
    return RotationView(**_rotation(row))


def rotation_shown(course: Course) -> RotationShown:
    """A rotation with its course."""
    replacement, work = course.replacement, course.work
    return RotationShown(
        **_rotation(course.rotation),
        stages=[
            StageView(
                stage=one.stage,
                standing=one.standing,
                entered_at=maybe(one.entered_at),
                left_at=maybe(one.left_at),
                evidence=dict(one.evidence),
            )
            for one in course.stages
        ],
        steps=[
            StepView(stage=one.stage, what=one.what, at=moment(one.at), by=one.by, evidence=dict(one.evidence))
            for one in course.steps
        ],
        overrides=[
            OverrideView(gate=one.gate, subject=one.subject, reason=one.reason, at=moment(one.at), by=one.by)
            for one in course.overrides
        ],
        replacement=(
            None
            if replacement is None
            else ReplacementProgress(state=replacement.state, total=replacement.total, pending=replacement.pending)
        ),
        next_look=None if work is None else moment(work.due_at),
        error=None if work is None else work.last_error,
    )


def preview_view(preview: Preview) -> PreviewView:
    """What a rotation would do."""
    return PreviewView(
        line=preview.line,
        stages=list(preview.stages),
        outgoing=list(preview.outgoing),
        makes=[MakingView(**{name: getattr(one, name) for name in MakingView.model_fields}) for one in preview.makes],
        gates=list(preview.gates),
        gating=preview.gating,
        lacking=[lacking_view(one) for one in preview.lacking],
        impact=impact_view(preview.impact),
        seconds_of_reissue=preview.seconds_of_reissue,
        objections=[reason.message for reason in preview.objections],
    )


def lacking_view(one: Lacking) -> LackingView:
    """A consumer that is waited for."""
    return LackingView(
        name=one.name,
        stream=one.stream,
        held_version=one.held_version,
        sent_version=one.sent_version,
        since=moment(one.since),
        why=one.why,
    )


def impact_view(impact: Impact) -> ImpactView:
    """What breaks."""
    return ImpactView(
        authorities=list(impact.authorities),
        leaves=impact.leaves,
        by_profile=dict(impact.by_profile),
        by_owner=dict(impact.by_owner),
        first=list(impact.first),
        last_end=maybe(impact.last_end),
        endpoints=impact.endpoints,
        endpoints_first=list(impact.endpoints_first),
        destinations=impact.destinations,
        destinations_first=list(impact.destinations_first),
        unready=list(impact.unready),
    )


def affected_view(one: Affected) -> AffectedView:
    """One live leaf."""
    return AffectedView(
        serial=one.serial,
        shown_as=one.shown_as,
        profile=one.profile,
        owner=one.owner,
        not_after=moment(one.not_after),
        places=list(one.places),
    )


def _rotation(row: Rotation) -> dict[str, Any]:
    plain = ("id", "line", "state", "stage", "is_compromise", "is_paused", "is_reverting", "reason", "started_by")
    return {
        **{name: getattr(row, name) for name in plain},
        "outgoing": json.loads(row.outgoing),
        "incoming": json.loads(row.incoming),
        "waits_for": json.loads(row.waits_for),
        "stage_since": moment(row.stage_since),
        "started_at": moment(row.started_at),
        "ended_at": maybe(row.ended_at),
    }
