"""Deadlines for somebody's calendar (RFC 5545, RFC 5546): one event a lineage, which cancels itself after the renewal.

An event keeps its UID for ever. Its SEQUENCE is the second at which something last came into the lineage, or went, so
that whatever a calendar got later, in a letter or from the feed, is what it believes; no table is kept of what was
sent. Nobody's time is blocked by one, and nobody is invited: METHOD is PUBLISH.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import parseaddr
from typing import TYPE_CHECKING

from ca import clock
from renewers.lifecycle import Lifecycle
from renewers.reports import digest as digests
from renewers.reports import reading, words
from renewers.reports.content import DIGEST, Digest
from renewers.reports.rows import Need, Row
from renewers.timing import lead_time
from renewers.timing.deadlines import CERTIFICATE

if TYPE_CHECKING:
    from icalendar import Event

MOST_IN_A_LETTER, MOST_IN_A_FEED = 60, 500
EPOCH = 1_704_067_200
"""The year 2024: a SEQUENCE has 31 bits (RFC 5545 section 3.3.8), and these seconds fill them in 2092."""
LENGTH = timedelta(minutes=30)
REFRESH = timedelta(hours=6)
_FAR = 253_000_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as it is to be. `key` names what it is about, the same for ever."""

    key: str
    sequence: int
    ends: int
    summary: str
    description: str
    is_over: bool = False


def of_letter(digest: Digest, domain: str) -> bytes | None:
    """The events of a letter: what it lists, and the end of what earlier ones listed; None if there is neither."""
    entries = [*_standing(digest, digest.listed), *_over(digest)][:MOST_IN_A_LETTER]
    return written(entries, digest, domain) if entries else None


def feed(lifecycle: Lifecycle, owner_id: int, now: int) -> bytes:
    """An owner's calendar to subscribe to: all that a person renews, all that needs somebody, what is over."""
    found = digests.gather(lifecycle, owner_id, kind=DIGEST, at=now)
    wanted = [row for row in found.everything if row.need is not Need.NONE or _is_a_persons(row)]
    with lifecycle.store.read() as connection:
        lineages = {row.lineage_id for row in wanted if row.lineage_id is not None}
        found = replace(found, changed={**(found.changed or {}), **reading.changed_at(connection, lineages)})
    standing = _standing(found, wanted)[:MOST_IN_A_FEED]
    keys = {entry.key for entry in standing}
    over = [entry for entry in _over(found) if entry.key not in keys]
    return written([*standing, *over], found, domain_of(lifecycle))


def domain_of(lifecycle: Lifecycle) -> str:
    """What makes our names unlike anybody else's: the domain that mail comes from."""
    return parseaddr(lifecycle.mail.sender)[1].rpartition("@")[2] or "localhost"


def written(entries: Iterable[Entry], digest: Digest, domain: str) -> bytes:
    """The same as text/calendar: lines of at most 75 bytes that end in CRLF, everything escaped."""
    from icalendar import Calendar

    made = Calendar()
    made.add("prodid", "-//Certwright//Deadlines//EN")
    made.add("version", "2.0")
    made.add("calscale", "GREGORIAN")
    made.add("method", "PUBLISH")
    made.add("x-wr-calname", f"Certificates of {words.plain(digest.owner.name, 80)}")
    made.add("refresh-interval", REFRESH)
    for entry in entries:
        made.add_component(_event(entry, digest.at, domain))
    return bytes(made.to_ical())


def _event(entry: Entry, at: int, domain: str) -> Event:
    from icalendar import Event

    made, end = Event(), clock.from_timestamp(entry.ends)
    made.add("uid", f"{entry.key}@{domain}")
    made.add("sequence", entry.sequence)
    made.add("dtstamp", clock.from_timestamp(at))
    made.add("dtstart", end - LENGTH)
    made.add("dtend", end)
    made.add("summary", entry.summary)
    made.add("description", entry.description)
    made.add("status", "CANCELLED" if entry.is_over else "CONFIRMED")
    made.add("transp", "TRANSPARENT")
    made.add("class", "PRIVATE")
    return made


def _standing(digest: Digest, rows: Iterable[Row]) -> list[Entry]:
    """One a lineage: of several rows of one, the one that ends first."""
    found: dict[str, Entry] = {}
    for row in sorted(rows, key=lambda row: row.ends):
        key = _key(row.tracked_id, row.lineage_id)
        if key not in found and 0 < row.ends < _FAR:
            changed = (digest.changed or {}).get(row.lineage_id or 0, row.recorded_at)
            found[key] = Entry(key, _sequence(changed) + 1, row.ends, f"{row.name} ends", _description(row))
    return list(found.values())


def _over(digest: Digest) -> list[Entry]:
    found = []
    for over in digest.over:
        name = words.name(over.name)
        said = "Renewed, or given up: nothing is left to do."
        entry = Entry(_key(over.tracked_id, over.lineage_id), _sequence(over.changed_at), over.ends, name, said, True)
        found += [entry] if 0 < over.ends < _FAR else []
    return found


def _description(row: Row) -> str:
    said = [f"Ends {words.moment(row.ends)}.", f"Issuer: {row.issuer}.", f"Serial number: ...{row.serial}."]
    if row.places:
        said.append(f"Seen at {words.listed([place.name for place in row.places], row.more_places)}.")
    if row.need is not Need.NONE:
        said += [f"State: {row.state}.", row.advice]
    return "\n".join(said)


def _is_a_persons(row: Row) -> bool:
    """Whether a person renews it, though it may be years: certificates by hand, and CAs."""
    return row.mode == "manual" if row.kind == CERTIFICATE else row.kind in lead_time.AUTHORITIES


def _key(tracked_id: int, lineage_id: int | None) -> str:
    return f"tracked-{tracked_id}" if lineage_id is None else f"lineage-{lineage_id}"


def _sequence(changed_at: int) -> int:
    return min(max(0, changed_at - EPOCH), (1 << 31) - 2)
