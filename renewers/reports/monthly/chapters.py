"""The report in words: kept figures in, chapters out. Pure, and the same for HTML and for paper.

Nothing is reckoned here but shares and sums; where a figure is missing, the report says that it is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from renewers.reports.monthly import (
    chapters_ahead,
    chapters_keys,
    chapters_owned,
    chapters_renewed,
    chapters_trust,
    wording,
)
from renewers.reports.monthly.blocks import BAD, GOOD, PLAIN, WATCH, Chapter, Fact, Facts, Report, Words
from renewers.reports.monthly.months import parse
from renewers.reports.monthly.snapshots import Kept
from renewers.reports.monthly.wording import number, percent

LATE = 2 * 86400
"""Seconds after the end of a month from which on it is said that its figures were gathered late."""


def compose(kept: Kept) -> Report:
    """The whole report of what is kept of a month."""
    figures = kept.figures
    month, taken_at = parse(figures["month"]), int(figures["taken_at"])
    return Report(
        title=f"Certificates in {month.name}",
        subtitle=f"Monthly report of {figures['trust_domain']}",
        month=str(month),
        about=_about(kept),
        taken_at=taken_at,
        summary=_summary(figures),
        remarks=tuple(_remarks(figures, month.name)),
        chapters=_chapters(kept),
    )


def _about(kept: Kept) -> tuple[tuple[str, str], ...]:
    figures = kept.figures
    until = figures["until"] - figures["is_over"]
    return (
        ("Month", f"{wording.moment(figures['from'])} to {wording.moment(until)}"),
        ("Figures gathered", f"{wording.moment(figures['taken_at'])}, page by page while work went on"),
        ("Trust domain", figures["trust_domain"]),
        ("SHA-256 of the figures", kept.sha256),
    )


def _remarks(figures: Mapping[str, Any], name: str) -> list[Words]:
    found = []
    late = figures["taken_at"] - figures["until"]
    if not figures["is_over"]:
        found.append(Words(f"{name} is not over: these are the figures so far, and they are not kept.", WATCH))
    elif figures["moment"] is None:
        text = "No figures were gathered at the end of this month: who owned what, and what was to come, is not known."
        found.append(Words(text, WATCH))
    elif late > LATE:
        text = f"What is counted of a moment is as of {wording.moment(figures['taken_at'])}, {wording.span(late)} after"
        found.append(Words(f"{text} the month's end: nobody gathered it before.", WATCH))
    return found


def _summary(figures: Mapping[str, Any]) -> Facts:
    expiries, renewals, moment = figures["expiries"], figures["renewals"], figures["moment"]
    without = expiries["without"]
    waited = renewals["due_to_done"]["p99"]
    facts = [
        Fact("Expired without prior notice", number(without), "must be 0", BAD if without else GOOD),
        Fact("Renewed in the month", number(renewals["issued"]), f"99 of 100 within {wording.span(waited)} of due"),
        Fact("Revoked in the month", number(figures["revocations"]["total"])),
    ]
    if moment is None:
        return Facts((*facts, Fact("Tracked", wording.UNKNOWN)))
    owned, readiness = moment["ownership"], moment["readiness"]
    lives = {who: sum(counts.values()) for who, counts in readiness["lives"].items()}
    total, orphans = sum(lives.values()), owned["orphans"]
    alarming = sum(row["alarming"] for row in owned["owners"]) + owned["nobody"]["alarming"]
    hand = lives.get("person", 0)
    return Facts(
        (
            *facts,
            Fact("Tracked", number(moment["tracked"]), f"{number(total)} certificates, the rest CAs, CRLs, bundles"),
            Fact("Late or worse", number(alarming), "late, urgent, critical or expired", WATCH if alarming else GOOD),
            Fact("Owned by nobody", number(orphans), "see the attestation", WATCH if orphans else GOOD),
            Fact(
                "Renewed by a person",
                percent(hand, total) if total else "none",
                wording.counted(hand, "certificate"),
                WATCH if hand else GOOD,
            ),
            Fact("Owners", number(len(owned["owners"])), "", PLAIN),
        )
    )


def _chapters(kept: Kept) -> tuple[Chapter, ...]:
    figures, moment = kept.figures, kept.figures["moment"]
    month = parse(figures["month"])
    now = f"as of {wording.moment(figures['taken_at'])}"
    within = f"{wording.day(figures['from'])} to {wording.day(figures['until'] - figures['is_over'])}, UTC"
    end = f"as of {wording.moment(figures['until'])}"
    renewals = figures["renewals"]
    if moment is None:
        words = ("forecast", "ownership", "keys", "readiness", "milestones")
        of_a_moment = {word: _unknown(word) for word in words}
    else:
        groups = renewals["lead_time_groups"]
        of_a_moment = {
            "forecast": chapters_ahead.forecast(moment["forecast"], renewals, now),
            "ownership": chapters_owned.ownership(moment["ownership"], month, now),
            "keys": chapters_keys.keys(moment["keys"], moment["signers"], now),
            "readiness": chapters_ahead.readiness(moment["readiness"], moment["forecast"], groups, now),
            "milestones": chapters_ahead.milestones(moment["milestones"], now),
        }
    return (
        of_a_moment["forecast"],
        of_a_moment["ownership"],
        of_a_moment["keys"],
        of_a_moment["readiness"],
        chapters_renewed.renewals(figures, within),
        chapters_renewed.lead_time(renewals, within),
        chapters_renewed.expiries(figures["expiries"], within),
        of_a_moment["milestones"],
        chapters_trust.revocations(figures["revocations"], within),
        chapters_trust.changes(figures["changes"], within),
        chapters_trust.ledger(figures["head"], kept.sha256, end),
    )


_TITLES = {
    "forecast": "Forecast",
    "ownership": "Attestation of ownership",
    "keys": "Keys and algorithms",
    "readiness": "Readiness for lives of 100 and 47 days",
    "milestones": "CAs and CRLs in the next 24 months",
}


def _unknown(key: str) -> Chapter:
    text = "Not known: nobody gathered figures at the end of this month, and later ones would say nothing of it."
    return Chapter(key, _TITLES[key], wording.UNKNOWN, (Words(text, WATCH),), "Not counted.")
