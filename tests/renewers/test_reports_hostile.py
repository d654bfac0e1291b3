"""What strangers write into certificates, errors and names: shown literally, cut or refused, in each part of a letter.

Names in certificates, errors of CAs and servers, places, reasons: all of it is chosen by somebody who may want a
header, a script, a formula, a template or a line of their own in a mail that our name stands above.
"""

from __future__ import annotations

import csv
import re
import time
import unicodedata
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from io import StringIO
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icalendar import Calendar

from ca import clock
from ca.store import Store, open_store
from renewers.inventory import shown
from renewers.models import Lineage, Owner, Tracked
from renewers.reports import words
from tests.renewers import reporting
from tests.renewers.reporting import DAY, HOUR, NOW, certificate, fails, text_of, written
from tests.renewers.tracking import change

PAYLOADS = (
    "a.example\r\nBcc: victim@example.org",
    "a.example\nSubject: another",
    "x\r\n\r\n<h1>body</h1>",
    "{{7*7}}",
    "{% include '/etc/passwd' %}",
    "{{ cycler.__init__.__globals__ }}",
    "{# gone #}",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</table></body><style>*{display:none}</style>",
    "javascript:alert(1)",
    '=HYPERLINK("http://evil.example")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "safe\u202egnp.exe",
    "\u2066x\u2069\u200b\u200f\ufeff",
    "nul\x00byte",
    "\x1b[31mred\x1b[0m",
    "a\u2028b\u2029c\x85d",
    "END:VEVENT\r\nBEGIN:VALARM",
    "x;y,z\\n:w",
    "=?utf-8?q?=42cc?=: x",
    "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
    "n" * 65536,
    "<" * 65536,
    "\u202e" * 65536,
    "xn--" + "z" * 60,
    "xn--a.xn--\u00e9.example",
)
TEXT = st.one_of(st.sampled_from(PAYLOADS), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80))
_numbers = count(1)
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "div", "table", "tr", "td", "p", "h1", "h2", "h3", "br"),
    *("strong", "span", "bdi", "img", "a"),
}
ATTRIBUTES = {
    *("lang", "dir", "xmlns", "charset", "name", "content", "style", "class", "role", "width", "height", "alt", "src"),
    *("cellpadding", "cellspacing", "border", "bgcolor", "align", "valign", "href", "aria-label"),
}


class Elements(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember what it is and where it leads."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [str(value) for name, value in attrs if name in ("href", "src")]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for many examples."""
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('hostile')}/x.db")
    yield opened
    opened.close()


def _team(store: Store, field: dict[str, str]) -> int:
    """An owner whose every text is a stranger's. What a table or a database refuses is made harmless before."""
    of = reporting.owner(store, f"team-{next(_numbers)}", escalation="[]")
    stored = {name: text.replace("\x00", "\\x00") for name, text in field.items()}
    broken = certificate(store, of, stored["name"], left=3 * DAY, stage="critical", place=f"tls:{of}{stored['place']}")
    fails(store, broken, NOW - DAY, stored["error"])
    change(store, Tracked, broken, issuer=stored["issuer"], serial=stored["serial"], key_type=stored["key"])
    explained = {"ari_start": NOW - DAY, "ari_explanation": stored["explanation"]}
    change(store, Lineage, reporting.lineage_of(store, broken), name=f"{of}{stored['lineage']}", **explained)
    names = [f"dns:{of}{stored['also']}", f"uri:{of}{stored['uri']}"]
    hand = certificate(store, of, stored["hand"], mode="manual", left=DAY, lifetime=365 * DAY, names=names)
    reporting.not_delivered(store, hand, NOW - DAY, stored["error"])
    resting = certificate(store, of, stored["name"], mode="manual", left=DAY, lifetime=365 * DAY)
    reporting.acknowledged(store, resting, NOW + HOUR, stored["reason"])
    change(store, Owner, of, name=f"{of}{stored['owner']}")
    return of


FIELDS = ("name", "place", "error", "issuer", "serial", "key", "explanation", "lineage", "also", "uri", "hand")
SAID = ("reason", "owner", "subject", "message", "hint")


@settings(max_examples=30, deadline=None)
@given(field=st.fixed_dictionaries(dict.fromkeys((*FIELDS, *SAID), TEXT)))
def test_what_strangers_wrote_is_text_and_nothing_else(shared: Store, field: dict[str, str]) -> None:
    """No header, no tag, no control character, no formula, no event of theirs, whatever any field says."""
    with clock.pinned(clock.from_timestamp(NOW)):
        of = _team(shared, field)
        life = reporting.lifecycle(shared)
        said = {name: field[name].replace("\x00", "\\x00") for name in ("subject", "message", "hint")}
        about = reporting.crossing(shared, f"alarm {next(_numbers)}", "", **said)
        for kind, crossings in (("digest", None), ("urgent", None), ("daily", [about])):
            _judge(written(life, of, kind, crossings=crossings, reason=field["reason"]), kind)


def _judge(message: Any, kind: str) -> None:
    expected = {"from", "to", "reply-to", "subject", "date", "message-id", "in-reply-to", "references"}
    expected |= {"auto-submitted", "x-auto-response-suppress", "mime-version", "content-type"}
    if kind == "digest":
        expected |= {"list-id", "list-unsubscribe", "list-unsubscribe-post"}
    assert sorted(name.lower() for name in message) == sorted(expected), "no other header, and none twice"
    assert message["Subject"].isprintable()
    assert len(message["Subject"]) < 400
    assert not any(part.defects for part in message.walk())
    plain, page = text_of(message, "plain"), text_of(message, "html")
    _judge_page(page)
    _judge_text(plain)
    for part in message.walk():
        if part.get_content_type() == "text/csv":
            _judge_table(text_of(message, "csv"))
        if part.get_content_type() == "text/calendar":
            _judge_calendar(text_of(message, "calendar"))


def _judge_page(page: str) -> None:
    found = Elements(page)
    assert found.tags <= TAGS
    assert found.attributes <= ATTRIBUTES
    assert all(each.startswith(("https://ca.example:8443/", "cid:")) for each in found.addresses)
    assert len(page.encode()) < 200_000
    assert not [c for c in unescape(page) if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c != "\n"]


def _judge_text(text: str) -> None:
    assert not [c for c in text if not c.isprintable() and c != "\n"]
    assert all(len(line) <= 76 or "https://ca.example:8443/" in line for line in text.splitlines())


def _judge_table(content: str) -> None:
    rows = list(csv.reader(StringIO(content)))
    assert {len(row) for row in rows} == {len(rows[0])}
    numbers = {rows[0].index(name) for name in ("seconds_left", "lead_time_seconds")}
    for row in rows[1:]:
        for place, cell in enumerate(row):
            if place not in numbers:
                assert not re.match(r"\s*[=+\-@|%\t\r＝＋－＠]", cell), cell
            assert cell.isprintable()


def _judge_calendar(content: str) -> None:
    parsed = Calendar.from_ical(content)
    assert {type(each).__name__ for each in parsed.walk()} == {"Calendar", "Event"}
    assert all(str(each["SUMMARY"]).isprintable() for each in parsed.walk("VEVENT"))
    assert all(len(line.encode()) <= 75 for line in content.split("\r\n"))


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_each_of_these_is_shown_literally_or_cut(shared: Store, payload: str) -> None:
    """What stands in the letter is the escaped beginning of what was written, so that who reads it sees the attempt."""
    with clock.pinned(clock.from_timestamp(NOW)):
        of = reporting.owner(shared, f"literal-{next(_numbers)}")
        stored = payload.replace("\x00", "\\x00")
        certificate(shared, of, stored, mode="manual", left=DAY, lifetime=365 * DAY)
        message = written(reporting.lifecycle(shared), of)
        _judge(message, "digest")
        page = unescape(text_of(message, "html"))
        literal = shown.harmless(stored[:60])[:60].rstrip()
        assert literal in page


def test_a_name_of_64_kib_costs_no_more_than_a_short_one(store: Store) -> None:
    """What is too long is cut before anything looks at it, and keeps a hash of all of it: two stay two."""
    spent = time.process_time()
    for _ in range(200):
        words.name("\u202e" * 65536)
        words.plain("<" * 65536)
    assert time.process_time() - spent < 5, "milliseconds each, not seconds"
    assert words.plain("a" * 65536) != words.plain("a" * 65535 + "b")
    assert len(words.plain("a" * 65536)) == words.LONGEST_TEXT


@given(st.text(max_size=200))
def test_words_are_one_printable_line(text: str) -> None:
    """Whatever it is: printable, bounded, and for a header ASCII alone."""
    assert words.plain(text).isprintable()
    assert words.name(text).isprintable()
    assert len(words.name(text)) <= 3 * words.LONGEST_NAME
    assert words.ascii_name(text).isascii()
    assert words.ascii_name(text).isprintable()
    assert len(words.ascii_name(text, 60)) <= 60


@given(st.integers(min_value=-(10**14), max_value=10**14))
def test_any_moment_can_be_said(seconds: int) -> None:
    """A stranger's certificate may end on a day that no calendar has."""
    assert words.moment(seconds)
    assert words.local_moment(seconds, "Europe/Berlin")
    assert words.span(seconds)
    assert words.day(seconds, "no such zone")


def test_a_certificate_without_any_time_is_survived(store: Store) -> None:
    """Ends before it begins, lives to the year 9999 or beyond: a letter is written all the same."""
    of = reporting.owner(store)
    with clock.pinned(clock.from_timestamp(NOW)):
        for number, (begins, ends) in enumerate([(NOW, NOW - 10), (0, 253_402_300_799), (NOW, 10**13), (-(10**9), -5)]):
            id_ = certificate(store, of, f"t{number}.example", mode="manual")
            change(store, Tracked, id_, not_before=begins, not_after=ends)
        message = written(reporting.lifecycle(store), of)
        assert "t0.example" in text_of(message, "plain")
        assert "t3.example" in text_of(message, "plain")
        assert "a day beyond all calendars" in text_of(message, "csv")
