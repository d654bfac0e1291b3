"""What travels with a letter: deadlines that take themselves back, a table for spreadsheets, pictures that are read."""

from __future__ import annotations

import csv
import re
from io import BytesIO, StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from icalendar import Calendar
from PIL import Image

from ca import clock
from ca.store import Store
from renewers.lifecycle import Lifecycle
from renewers.models import Tracked
from renewers.reports import calendar, charts, digest, table
from renewers.reports.content import WEEK, Week
from tests.renewers import reporting
from tests.renewers.reporting import DAY, HOUR, NOW, certificate, crossing, text_of, written
from tests.renewers.tracking import change


@pytest.fixture
def life(store: Store) -> Lifecycle:
    """The parts."""
    return reporting.lifecycle(store)


@pytest.fixture(autouse=True)
def _now() -> Any:
    with clock.pinned(clock.from_timestamp(NOW)):
        yield


def events(content: str | bytes) -> dict[str, Any]:
    """The events of a calendar by what they are about."""
    parsed = Calendar.from_ical(content)
    assert (parsed["METHOD"], parsed["VERSION"]) == ("PUBLISH", "2.0")
    return {str(event["UID"]).partition("@")[0]: event for event in parsed.walk("VEVENT")}


def in_letter(life: Lifecycle, of: int, at: int = NOW) -> dict[str, Any]:
    """The events of the letter of a moment; none if it has no calendar."""
    message = written(life, of, at=at)
    attached = [part for part in message.walk() if part.get_content_type() == "text/calendar"]
    return events(text_of(message, "calendar")) if attached else {}


def test_a_deadline_stands_in_the_calendar_and_is_taken_back_after_the_renewal(store: Store, life: Lifecycle) -> None:
    """One UID for a lineage for ever; what was told is cancelled once it is renewed, with a SEQUENCE that rises."""
    of = reporting.owner(store)
    id_ = certificate(store, of, "a.example", mode="manual", left=5 * DAY, lifetime=365 * DAY, stage="critical")
    key = f"lineage-{reporting.lineage_of(store, id_)}"
    first = in_letter(life, of)[key]
    assert first["STATUS"] == "CONFIRMED"
    assert first["DTEND"].dt == clock.from_timestamp(NOW + 5 * DAY - 1)
    assert "a.example" in first["SUMMARY"]
    about = crossing(store, f"tracked:{id_}", "7d", tracked_id=id_)
    reporting.sent(store, of, [about.id], at=NOW - 1)
    reporting.replaced(store, id_, NOW + DAY)
    second = in_letter(life, of, at=NOW + 2 * DAY)[key]
    assert second["STATUS"] == "CANCELLED"
    assert second["UID"] == first["UID"]
    assert second["SEQUENCE"] > first["SEQUENCE"]
    third = in_letter(life, of, at=NOW + 340 * DAY)[key]
    assert third["STATUS"] == "CONFIRMED"
    assert third["SEQUENCE"] > second["SEQUENCE"]
    assert third["DTEND"].dt > first["DTEND"].dt


def test_the_same_thing_has_the_same_sequence_in_every_letter(store: Store, life: Lifecycle) -> None:
    """Nothing has changed, nothing rises: a calendar program is not told of a change that there was not."""
    of = reporting.owner(store)
    certificate(store, of, "a.example", mode="manual", left=50 * DAY, lifetime=365 * DAY, stage="due")
    before, after = (next(iter(in_letter(life, of, at=NOW + days * DAY).values())) for days in (0, 30))
    assert (before["SEQUENCE"], before["DTSTART"].dt) == (after["SEQUENCE"], after["DTSTART"].dt)


def test_the_feed_has_what_a_person_renews_however_far_it_is(store: Store, life: Lifecycle) -> None:
    """Manual certificates and CAs for years to come, what needs somebody, what is over; not what renews itself."""
    of = reporting.team(store)
    far = certificate(store, of, "far.example", mode="manual", left=700 * DAY, lifetime=800 * DAY)
    found = events(calendar.feed(life, of, NOW))
    summaries = {str(event["SUMMARY"]) for event in found.values()}
    assert {"far.example ends", "vendor.pay.example ends", "Payments Issuing CA 2 ends"} <= summaries
    assert not [summary for summary in summaries if summary.startswith("svc-")]
    assert f"lineage-{reporting.lineage_of(store, far)}" in found
    assert {str(event["TRANSP"]) for event in found.values()} == {"TRANSPARENT"}


def test_feed_and_letter_agree(store: Store, life: Lifecycle) -> None:
    """What stands in both is the same event: same UID, same moment, same SEQUENCE."""
    of = reporting.team(store)
    told, fed = in_letter(life, of), events(calendar.feed(life, of, NOW))
    assert set(told) <= set(fed)
    for key, event in told.items():
        assert [event[name] for name in ("UID", "SEQUENCE")] == [fed[key][name] for name in ("UID", "SEQUENCE")]
        assert event["DTEND"].dt == fed[key]["DTEND"].dt


def test_in_the_feed_what_stands_goes_before_what_is_over(store: Store, life: Lifecycle) -> None:
    """A lineage whose old certificate was told of and replaced has one event: the next deadline, newer than the old."""
    of = reporting.owner(store)
    id_ = certificate(store, of, "a.example", mode="manual", left=5 * DAY, lifetime=365 * DAY, stage="critical")
    before = next(iter(events(calendar.feed(life, of, NOW)).values()))
    reporting.sent(store, of, [crossing(store, f"tracked:{id_}", "7d", tracked_id=id_).id], at=NOW - 1)
    reporting.replaced(store, id_, NOW - 1)
    assert next(iter(in_letter(life, of).values()))["STATUS"] == "CANCELLED"
    (after,) = events(calendar.feed(life, of, NOW)).values()
    assert after["STATUS"] == "CONFIRMED"
    assert after["SEQUENCE"] > before["SEQUENCE"]


def test_lines_of_a_calendar_are_short_and_end_as_they_have_to(store: Store, life: Lifecycle) -> None:
    """75 bytes at most and CRLF (RFC 5545 section 3.1), whatever the names are."""
    of = reporting.owner(store)
    certificate(store, of, "ü" * 90, mode="manual", left=DAY, lifetime=365 * DAY)
    content = calendar.feed(life, of, NOW)
    assert content.endswith(b"END:VCALENDAR\r\n")
    assert max(len(line) for line in content.split(b"\r\n")) <= 75
    assert content.count(b"\n") == content.count(b"\r\n")


def test_the_table_has_every_row(store: Store, life: Lifecycle) -> None:
    """All that the owner answers for, what ends first first, with a header line and cells that say what they are."""
    of = reporting.team(store)
    found = digest.gather(life, of, kind="digest", at=NOW)
    rows = list(csv.DictReader(StringIO(table.of_digest(found).decode())))
    assert len(rows) == len(found.everything) == 95
    assert [int(row["seconds_left"]) for row in rows] == sorted(int(row["seconds_left"]) for row in rows)
    broken = next(row for row in rows if row["name"] == "api.pay.example")
    assert (broken["needs"], broken["now"], broken["renewed_by"]) == ("broken", "yes", "renewed")
    assert "connection to acme.example:443 refused" in broken["last_error"]
    assert broken["seen_at"] == "tls:api.pay.example:443"
    resting = next(row for row in rows if row["name"] == "mail.pay.example")
    assert resting["taken_care_of_until"] == "2028-02-29 08:00 UTC"


@given(st.text(max_size=40))
def test_no_cell_is_a_formula(text: str) -> None:
    """What begins like one has an apostrophe in front, and anything else is left as it is."""
    cell = table.safe(text)
    assert not cell.lstrip().startswith(("=", "+", "-", "@", "|", "%"))
    assert cell in (text, f"'{text}")
    assert table.safe("api.example") == "api.example"


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("ground", ["#ffffff", "#171b20", "#000000"])
@pytest.mark.parametrize("colour", [charts.AUTOMATIC, charts.MANUAL, charts.FAILING, charts.GREY])
def test_pictures_are_seen_on_white_and_on_black(colour: str, ground: str) -> None:
    """The background of a picture is the mail program's: 3 to 1 at least, for shapes and large letters (WCAG 2.2)."""
    assert _contrast(colour, ground) >= 3


COUNTS = st.tuples(st.integers(0, 10**6), st.integers(0, 500), st.integers(0, 50))


@given(st.lists(COUNTS, min_size=13, max_size=13))
def test_a_histogram_is_small_and_its_words_carry_the_numbers(counts: list[tuple[int, int, int]]) -> None:
    """600 pixels, 60 kB, a palette with a clear background; every number stands in the text that replaces it."""
    weeks = [Week(NOW + place * WEEK, *three) for place, three in enumerate(counts)]
    picture = charts.histogram(weeks, "Europe/Berlin")
    assert len(picture.png) < 60_000
    image = Image.open(BytesIO(picture.png))
    assert (image.mode, image.size) == ("P", (picture.width, picture.height))
    assert image.size[0] <= 600
    assert "transparency" in image.info
    said = {place: sum(int(n) for n in re.findall(rf"(\d+) {what}", picture.alt)) for place, what in enumerate(WORDS)}
    assert said == {place: sum(three[place] for three in counts) for place in range(3)}


WORDS = ("automatic", "manual", "failing")


def test_what_is_there_is_seen_in_the_histogram() -> None:
    """One among a million is a bar, and each kind has its own colour."""
    weeks = [Week(NOW, 1_000_000, 1, 1), *(Week(NOW + place * WEEK, 0, 0, 1) for place in range(1, 13))]
    image = Image.open(BytesIO(charts.histogram(weeks, "UTC").png)).convert("RGBA")
    colours = {colour for _, colour in image.getcolors(100_000) or []}
    for wanted in (charts.AUTOMATIC, charts.MANUAL, charts.FAILING):
        assert (*(int(wanted[place : place + 2], 16) for place in (1, 3, 5)), 255) in colours


@pytest.mark.parametrize("left", [-3 * DAY, 0, HOUR, 3 * DAY, 60 * DAY])
def test_a_gauge_says_what_is_left_and_what_is_needed(store: Store, life: Lifecycle, left: int) -> None:
    """For whoever does not see it, in the same numbers as the row."""
    of = reporting.owner(store)
    certificate(store, of, "a.example", mode="manual", left=left, lifetime=365 * DAY)
    (row,) = digest.gather(life, of, kind="digest", at=NOW).listed
    picture = charts.gauge(row)
    assert len(picture.png) < 5_000
    assert Image.open(BytesIO(picture.png)).size == (picture.width, picture.height)
    assert "may need 7 d" in picture.alt
    assert ("over for" in picture.alt) == (left <= 0)


def test_a_letter_with_nothing_ahead_has_no_empty_picture(store: Store, life: Lifecycle) -> None:
    """Thirteen weeks without an end are not drawn."""
    of = reporting.owner(store)
    id_ = certificate(store, of, "a.example", mode="manual", left=700 * DAY, lifetime=800 * DAY)
    message = written(life, of)
    assert not [part for part in message.walk() if part.get_content_maintype() == "image"]
    assert "coming 13 weeks" not in text_of(message, "plain")
    change(store, Tracked, id_, not_after=NOW + 80 * DAY)
    assert "coming 13 weeks" in text_of(written(life, of), "plain")
