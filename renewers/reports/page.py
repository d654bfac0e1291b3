"""What stands on a letter's page, put together before a template sees it: headline, sections, footer.

A letter is read on a phone at three in the morning, and mail programs cut what is longer than 100 KB: the most pressing
rows are shown with all that is known, the next ones in a line each, and the rest is in the attached table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from renewers.answering import links
from renewers.answering.links import Purpose
from renewers.lifecycle import Lifecycle
from renewers.models import Letter
from renewers.reports import words
from renewers.reports.content import DAILY, DIGEST, ESCALATION, URGENT, Digest, Hearer, Section, Week
from renewers.reports.notices import Notice
from renewers.reports.rows import Need, Row

CARDS, LINES, NOTICES, RESTING, HEARERS = 12, 40, 20, 20, 8
"""How many rows of a letter are shown with everything, in a line, and so on."""
ASKS = (
    "Each link opens a page that asks before it does anything. There you can also say that somebody takes care of it "
    "until a day, that it is not yours, or that it is used no longer."
)
DAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
TITLES: Mapping[Need, tuple[str, str]] = {
    Need.BROKEN: ("Automation is broken", "These should renew themselves, and do not."),
    Need.MANUAL: ("Renewed by hand", "Nobody renews these but a person."),
    Need.OLD: ("Renewed, but the old one is still served", "Whoever connects there does not get the new certificate."),
    Need.SIGNER: ("CAs, CRLs and bundles", "Others depend on these; what follows them takes time to arrive."),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One section of a page: rows with all that is known, rows in a line, and how many are beyond."""

    title: str
    lead: str
    count: int
    first: int
    """The number of its first row, counted through the letter."""
    cards: Sequence[Row]
    lines: Sequence[Row]
    beyond: int


@dataclass(frozen=True, slots=True)
class Page:
    """All that the templates know."""

    title: str
    headline: str
    summary: str
    tone: str
    """`now`, `soon` or `calm`."""
    told: Sequence[str]
    """Who was told before, of an escalation."""
    nearest: Row | None
    sections: Sequence[Part]
    notices_title: str
    notices: Sequence[Notice]
    more_notices: int
    resting: Sequence[Row]
    more_resting: int
    weeks: Sequence[Week]
    weeks_note: str
    healthy: str
    path: Sequence[str]
    footer: Sequence[str]
    links: Mapping[int, str]
    """The one link of each row, by its id; empty where the settings do not say how we are reached."""
    preferences: str
    zone: str


def lay_out(lifecycle: Lifecycle, digest: Digest, letter: Letter) -> Page:
    """The page of a letter."""
    sections = _parts(digest.sections)
    shown = [row for part in sections for row in (*part.cards, *part.lines)]
    headline, summary = _opening(digest)
    is_regular = digest.kind in (DIGEST, DAILY)
    return Page(
        title=f"{words.plain(digest.owner.name, 64)} certificates",
        headline=headline,
        summary=summary,
        tone="now" if digest.now_count else "soon" if not digest.is_healthy else "calm",
        told=_unanswered(digest, letter),
        nearest=digest.nearest,
        sections=sections,
        notices_title="Also" if sections else "What happened",
        notices=digest.notices[:NOTICES],
        more_notices=max(0, len(digest.notices) - NOTICES),
        resting=digest.resting[:RESTING] if is_regular else (),
        more_resting=max(0, len(digest.resting) - RESTING) if is_regular else 0,
        weeks=digest.weeks if is_regular and any(week.total for week in digest.weeks) else (),
        weeks_note=_weeks_note(digest),
        healthy=_healthy(digest),
        path=_path(digest, letter),
        footer=_footer(lifecycle, digest, letter),
        links={row.tracked_id: _link(lifecycle, letter, row) for row in shown},
        preferences=links.url(lifecycle, links.of_letter(letter, Purpose.PREFERENCES)),
        zone=digest.owner.time_zone,
    )


def _link(lifecycle: Lifecycle, letter: Letter, row: Row) -> str:
    return links.url(lifecycle, links.of_letter(letter, Purpose.ACT, f"tracked:{row.tracked_id}"))


def _parts(sections: Sequence[Section]) -> list[Part]:
    cards, lines, first, found = CARDS, LINES, 1, []
    for section in sections:
        full = section.rows[:cards]
        short = section.rows[len(full) : len(full) + lines]
        title, lead = TITLES[section.need]
        beyond = len(section.rows) - len(full) - len(short)
        found.append(Part(title, lead, len(section.rows), first, full, short, beyond))
        cards, lines, first = cards - len(full), lines - len(short), first + len(section.rows)
    return found


def _opening(digest: Digest) -> tuple[str, str]:
    """The headline, and a sentence below it."""
    now, soon = digest.now_count, digest.soon_count
    noun = "thing" if digest.notices else "certificate"
    if digest.is_healthy:
        return "Nothing needs you.", ""
    if digest.kind in (URGENT, ESCALATION) and len(digest.listed) == 1 and not digest.notices:
        row = digest.listed[0]
        return f"{row.name}: {words.left(row.left)}.", ""
    if not now:
        return f"{words.counted(soon, noun)} {_verb(soon)} you soon.", "Nothing needs you today."
    return f"{words.counted(now, noun)} {_verb(now)} you now.", f"{soon:,} more soon." if soon else ""


def _verb(number: int) -> str:
    return "needs" if number == 1 else "need"


def _healthy(digest: Digest) -> str:
    if digest.kind in (URGENT, ESCALATION) or not digest.healthy:
        return ""
    how = "is in order and needs" if digest.healthy == 1 else "are in order and need"
    return f"{words.counted(digest.healthy, 'certificate')} {how} nobody."


def _weeks_note(digest: Digest) -> str:
    if digest.total <= len(digest.everything):
        return ""
    return f"Counted and listed are the {len(digest.everything):,} that need somebody or end first."


def _unanswered(digest: Digest, letter: Letter) -> list[str]:
    """Who was told before and has not answered; the last ones, where they were many."""
    before = [hearer for hearer in digest.told_before if hearer.recipient != letter.recipient]
    return [_told(hearer, digest) for hearer in before[-HEARERS:]] if digest.kind == ESCALATION else []


def _told(hearer: Hearer, digest: Digest) -> str:
    when = f"{words.moment(hearer.at)} ({words.age(hearer.at, digest.at)})"
    return f"{words.plain(hearer.recipient, 120)} was told on {when} and has not answered."


def _path(digest: Digest, letter: Letter) -> list[str]:
    """The addresses in their order, with who was told and who reads this."""
    if not digest.owner.path or digest.is_healthy:
        return []
    told = {hearer.step: hearer for hearer in digest.told_before}
    found = []
    for step, address in enumerate((digest.owner.email, *digest.owner.path)):
        said = f"{step + 1}. {words.plain(address, 120)}"
        if step == letter.step and address == letter.recipient:
            said += " (this letter)"
        elif step in told:
            said += f" (told {words.moment(told[step].at)})"
        found.append(said)
    return found


def _footer(lifecycle: Lifecycle, digest: Digest, letter: Letter) -> list[str]:
    scan = "Where these are used is looked at by nobody."
    if digest.last_scan is not None:
        scan = f"Where these are used was last looked at {words.age(digest.last_scan, digest.at)}."
    asks = [ASKS] if digest.listed and lifecycle.mail.link_url else []
    said = [
        *asks,
        f"Why you got this: {words.plain(letter.reason or 'you answer for these certificates')}",
        f"Policy: {policy(lifecycle, digest)}.",
        f"Generated {words.moment(digest.at)}. {scan}",
    ]
    if digest.kind == DIGEST:
        said.append("You may leave these digests. What is urgent is told all the same, and can only be delegated.")
    else:
        said.append("What is urgent cannot be turned off, only delegated: say that it is not yours, or whose it is.")
    if digest.owner.path and digest.kind != DIGEST:
        said.append("Who does not answer within a quarter of the time left is followed by the next one on the path.")
    return said


def policy(lifecycle: Lifecycle, digest: Digest) -> str:
    """The name of the rule by which a letter was written."""
    at = f"{lifecycle.mail.digest_hour:02}:00 ({digest.owner.time_zone})"
    return {
        DIGEST: f"weekly digest, {DAYS[lifecycle.mail.digest_day]} at {at}",
        DAILY: f"daily while something is late, at {at}",
        URGENT: "at once, for what cannot wait",
        ESCALATION: "escalation, when nobody has answered",
    }.get(digest.kind, digest.kind)
