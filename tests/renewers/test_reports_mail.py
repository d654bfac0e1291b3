"""The letter as it arrives: valid MIME, whole in text alone, readable anywhere, without anything from elsewhere."""

from __future__ import annotations

import re
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from ca import clock
from ca.errors import NotFound
from ca.store import Store
from renewers.answering import links
from renewers.answering.links import Purpose
from renewers.lifecycle import Lifecycle
from renewers.mailing import letters
from renewers.models import Owner
from renewers.reports import compose, digest
from tests.renewers import reporting
from tests.renewers.reporting import DAY, HOUR, NOW, certificate, fails, letter, text_of, written
from tests.renewers.tracking import change

KINDS = ("digest", "daily", "urgent", "escalation")


@pytest.fixture
def life(store: Store) -> Lifecycle:
    """The parts."""
    return reporting.lifecycle(store)


@pytest.fixture(autouse=True)
def _now() -> Any:
    with clock.pinned(clock.from_timestamp(NOW)):
        yield


class Page(HTMLParser):
    """What stands in a page: its tags with their attributes, its text, and where its links lead."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember it."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """The same."""
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every one of these."""
        return [found for name, found in self.tags if name == tag]


def page_of(message: EmailMessage) -> Page:
    """The HTML part."""
    return Page(text_of(message, "html"))


def shape(message: EmailMessage) -> Any:
    """Its parts as a tree of types."""
    if not message.is_multipart():
        return message.get_content_type()
    return {message.get_content_subtype(): [shape(part) for part in message.iter_parts()]}  # type: ignore[arg-type]


def test_the_parts_are_where_mail_programs_look_for_them(store: Store, life: Lifecycle) -> None:
    """mixed( alternative( plain, related( html, pictures ) ), calendar, table ): strictly, with no defect anywhere."""
    message = written(life, reporting.team(store))
    pictures = ["image/png", "image/png"]
    alternative = {"alternative": ["text/plain", {"related": ["text/html", *pictures]}]}
    assert shape(message) == {"mixed": [alternative, "text/calendar", "text/csv"]}
    assert not any(part.defects for part in message.walk())
    assert all(not value.defects for part in message.walk() for value in part.values())  # type: ignore[attr-defined]
    calendar = next(part for part in message.walk() if part.get_content_type() == "text/calendar")
    assert calendar.get_param("method") == "PUBLISH"
    assert {part.get_content_charset() for part in message.walk() if part.get_content_maintype() == "text"} == {"utf-8"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_letter_is_lines_of_ascii_that_any_server_takes(store: Store, life: Lifecycle, kind: str) -> None:
    """CRLF at every end, 78 characters in the body, 998 in a header at most, seven bits, and it reads as it was."""
    of = reporting.team(store)
    found = digest.gather(life, of, kind=kind, at=NOW)
    content = compose.compose(life, found, letter(of, kind)).as_bytes()
    assert content.isascii()
    assert content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r")
    lines = content.split(b"\r\n")
    end = lines.index(b"")
    assert max(map(len, lines[:end])) <= 998
    assert max(map(len, lines[end:])) <= 78
    assert reporting.parsed(compose.compose(life, found, letter(of, kind)))["Subject"] is not None


def test_a_message_is_a_fresh_object_each_time(store: Store, life: Lifecycle) -> None:
    """Whoever sends one may change it, and the next one is as it was; what it says is the same."""
    of = reporting.team(store)
    found = digest.gather(life, of, kind="digest", at=NOW)
    first, second = (compose.compose(life, found, letter(of)) for _ in range(2))
    assert first is not second
    first["DKIM-Signature"] = "x"
    assert "DKIM-Signature" not in second
    assert text_of(first, "plain") == text_of(second, "plain")
    assert first["Message-ID"] == second["Message-ID"]


def test_the_envelope_says_who_when_and_in_which_thread(store: Store, life: Lifecycle) -> None:
    """One recipient; a Message-ID of the letter's own; the owner's thread, for ever the same; no reply expected."""
    of = reporting.team(store)
    message = written(life, of)
    assert message["From"] == "Certwright <certwright@ca.example>"
    assert message["To"] == "payments-team@example.org"
    assert message["Reply-To"] == "pki@ca.example"
    assert message["Message-ID"] == letters.message_id(life.mail, letter(of)) == "<letter-7.0a1b@ca.example>"
    assert parsedate_to_datetime(message["Date"]) == clock.from_timestamp(NOW)
    assert message["References"] == message["In-Reply-To"] == f"<owner-{of}.certificates@ca.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    later = written(life, of, at=NOW + 7 * DAY, message_id="<letter-8@ca.example>")
    assert later["References"] == message["References"]
    assert later["Message-ID"] != message["Message-ID"]


def test_letters_about_one_certificate_are_one_thread(store: Store, life: Lifecycle) -> None:
    """What is urgent about it, and the escalation after that, are found together; within the owner's thread."""
    of = reporting.owner(store)
    id_ = certificate(store, of, "a.example", mode="manual", left=HOUR, lifetime=365 * DAY, stage="critical")
    thread = f"<lineage-{reporting.lineage_of(store, id_)}.certificates@ca.example>"
    for kind in ("urgent", "escalation"):
        message = written(life, of, kind)
        assert message["References"].split() == [f"<owner-{of}.certificates@ca.example>", thread]
        assert message["In-Reply-To"] == thread


def test_the_subject_says_what_is_to_be_done_by_when(store: Store, life: Lifecycle) -> None:
    """Counts first, then whose, then the nearest deadline as a date; no alarm where automation is healthy."""
    of = reporting.owner(store)
    soon = certificate(store, of, "api.pay.example", left=6 * DAY + 4 * HOUR, stage="urgent")
    fails(store, soon, NOW - 2 * DAY)
    certificate(store, of, "b.example", mode="manual", left=50 * DAY, lifetime=365 * DAY, stage="due")
    day = f"{clock.from_timestamp(NOW + 6 * DAY):%Y-%m-%d}"
    expected = f"[1 act now · 1 soon] payments-team certificates — next expiry {day} api.pay.example (6 d 4 h)"
    assert written(life, of)["Subject"] == expected
    assert written(life, of, "urgent")["Subject"] == expected.replace(" · 1 soon", "")
    assert written(life, of, "escalation")["Subject"].startswith("[1 act now · nobody has answered] payments-team")
    healthy = reporting.owner(store, "calm")
    certificate(store, healthy, "c.example")
    certificate(store, healthy, "d.example")
    assert written(life, healthy)["Subject"] == "calm certificates — all 2 in order"


def test_a_digest_can_be_left_with_one_click_and_nothing_urgent_can(store: Store, life: Lifecycle) -> None:
    """RFC 8058: an address and the word for it, on the digests alone, and the address is the one that was signed."""
    of = reporting.team(store)
    message = written(life, of)
    https, mailto = re.findall(r"<([^>]+)>", message["List-Unsubscribe"])
    assert mailto == "mailto:pki@ca.example?subject=unsubscribe"
    sent = compose.compose(life, digest.gather(life, of, kind="digest", at=NOW), letter(of)).as_bytes()
    assert f"List-Unsubscribe: <{https}>,\r\n".encode() in sent, "encoded as RFC 2047 has it, no program finds it"
    token = https.removeprefix("https://ca.example:8443/unsubscribe/")
    link = links.read(life, Purpose.UNSUBSCRIBE, token)
    assert (link.recipient, link.owner_id, link.letter_id) == ("payments-team@example.org", of, 7)
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "<digest.certificates.ca.example>" in message["List-Id"]
    for kind in ("daily", "urgent", "escalation"):
        assert not {name for name in written(life, of, kind) if name.startswith("List-")}
    assert "cannot be turned off, only delegated" in " ".join(text_of(written(life, of, "urgent"), "plain").split())
    silent = reporting.lifecycle(store, link_url="", reply_to="")
    assert not {"List-Unsubscribe", "List-Unsubscribe-Post"} & set(written(silent, of).keys())


def test_each_row_has_one_link_that_is_its_own(store: Store, life: Lifecycle) -> None:
    """The same in text and HTML, signed for this certificate, recipient and letter; nothing else leads away."""
    of = reporting.team(store)
    found = digest.gather(life, of, kind="digest", at=NOW)
    message = written(life, of)
    page = page_of(message)
    leading = [str(link["href"]) for link in page.all("a")]
    acting = [address for address in leading if "/act/" in address]
    assert sorted(acting) == sorted(re.findall(r"https://\S+/act/\S+", text_of(message, "plain")))
    about = [links.read(life, Purpose.ACT, address.rpartition("/")[2]) for address in acting]
    assert [link.about for link in about] == [f"tracked:{row.tracked_id}" for row in found.listed]
    assert {(link.recipient, link.letter_id) for link in about} == {("payments-team@example.org", 7)}
    others = [address for address in leading if "/act/" not in address]
    assert [links.read(life, Purpose.PREFERENCES, each.rpartition("/")[2]).owner_id for each in others] == [of]


def test_without_an_address_of_ours_there_are_no_links(store: Store) -> None:
    """Where the settings do not say how owners reach us, a letter has no button that leads nowhere."""
    message = written(reporting.lifecycle(store, link_url=""), reporting.team(store))
    assert page_of(message).all("a") == []
    assert "http" not in text_of(message, "plain")


def test_nothing_is_fetched_when_it_is_opened(store: Store, life: Lifecycle) -> None:
    """No picture, font, style or script from anywhere: pictures are those that travel with it, each used once."""
    message = written(life, reporting.team(store))
    page = page_of(message)
    cids = [f"cid:{str(part['Content-ID']).strip('<>')}" for part in message.walk() if part["Content-ID"]]
    assert sorted(str(image["src"]) for image in page.all("img")) == sorted(cids)
    assert {tag for tag, _ in page.tags} & {
        "script",
        "link",
        "iframe",
        "object",
        "form",
        "input",
        "svg",
        "base",
    } == set()
    assert not re.search(r"url\(|@import|@font-face|\son\w+=", text_of(message, "html"))


def test_the_text_alone_says_all_that_the_html_says(store: Store, life: Lifecycle) -> None:
    """Every row with its expiry, place, error and what to do, the path, the footer; in lines that nobody folds."""
    of = reporting.team(store)
    message = written(life, of)
    text = text_of(message, "plain")
    flat = " ".join(text.split())
    found = digest.gather(life, of, kind="digest", at=NOW)
    for row in found.listed:
        for said in (row.name, row.state, row.error, row.advice, row.issuer, *(place.name for place in row.places)):
            assert " ".join(said.split()) in flat
    for said in ("86 certificates are in order and need nobody.", "mail.pay.example", "waiting for the vendor"):
        assert said in flat
    assert "2. backup@example.org" in flat
    assert "Fri 25 Feb 12:59 CET" in flat, "the reader's own time"
    assert "needs 2 d, has 6 d 4 h" in flat
    assert "tls:api.pay.example:443 (12 min ago)" in flat
    for line in text.splitlines():
        assert len(line) <= 76 or "https://" in line, line
        assert line == line.rstrip()
    assert "\n\n\n\n" not in text
    body = re.sub(r"\s+", " ", page_of(message).text)
    assert all(row.name in body and row.error in body for row in found.listed)


def test_who_reads_the_footer_knows_why_and_how_fresh(store: Store, life: Lifecycle) -> None:
    """Why this mailbox got it, by which rule, made when, how old the knowledge is, and where to change that."""
    of = reporting.team(store)
    for text in (text_of(written(life, of), "plain"), page_of(written(life, of)).text):
        flat = " ".join(text.split())
        assert "Why you got this: you are the owner payments-team" in flat
        assert "Policy: weekly digest, Mondays at 09:00 (Europe/Berlin)." in flat
        assert "Generated 2028-02-19 08:00 UTC. Where these are used was last looked at 12 min ago." in flat
    unseen = reporting.owner(store, "unseen")
    certificate(store, unseen, "a.example")
    assert "is looked at by nobody" in " ".join(text_of(written(life, unseen), "plain").split())


def test_an_escalation_names_who_was_silent_and_who_comes_next(store: Store, life: Lifecycle) -> None:
    """The path is printed, with who was told when and which step this is."""
    of = reporting.owner(store)
    id_ = certificate(store, of, "a.example", mode="manual", left=2 * DAY, lifetime=365 * DAY, stage="critical")
    about = reporting.crossing(store, f"tracked:{id_}", "3d", tracked_id=id_)
    reporting.sent(store, of, [about.id], at=NOW - 5 * HOUR, recipient="payments-team@example.org")
    message = written(life, of, "escalation", crossings=[about], step=1, recipient="backup@example.org")
    flat = " ".join(text_of(message, "plain").split())
    assert "payments-team@example.org was told on 2028-02-19 03:00 UTC (5 h ago) and has not answered." in flat
    assert (
        "1. payments-team@example.org (told 2028-02-19 03:00 UTC) 2. backup@example.org (this letter) 3. lead" in flat
    )
    assert message["To"] == "backup@example.org"


def test_the_page_is_built_for_everybody(store: Store, life: Lifecycle) -> None:
    """A language, one first heading and none left out, words for every picture, tables that are none to a reader."""
    page = page_of(written(life, reporting.team(store)))
    assert page.all("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(image["alt"] for image in page.all("img"))
    assert {table.get("role") for table in page.all("table")} == {"presentation"}
    labels = [str(link.get("aria-label") or "") for link in page.all("a") if "/act/" in str(link["href"])]
    assert len(labels) == len(set(labels)), "each link says which row it is about"
    style = text_of(written(life, reporting.owner(store, "other")), "html")
    assert "prefers-color-scheme:dark" in style
    assert "max-width:600px" in style


def test_a_letter_about_very_many_is_not_cut_off(store: Store, life: Lifecycle) -> None:
    """Mail programs cut beyond 100 KB: the first rows are whole, the next a line each, the rest is in the table."""
    of = reporting.owner(store)
    names = {
        f"a-rather-long-name-{number}.with.several.labels.pay.example": (1 + number) * HOUR for number in range(300)
    }
    reporting.healthy(store, of, names, "manual", 365 * DAY)
    message = written(life, of)
    page = text_of(message, "html")
    assert len(page.encode()) < 100_000
    assert page.count("/act/") == 52
    assert "+248 more, in the attached table" in page
    assert "+248 more, in the attached table" in text_of(message, "plain")
    assert text_of(message, "csv").count("\r\n") == 301


def test_both_spellings_of_a_name_are_shown(store: Store, life: Lifecycle) -> None:
    """Who knows a host as it is written and who knows it as DNS has it both find it; in a header, ASCII alone."""
    of = reporting.owner(store)
    for name in ("xn--bcher-kva.example", "bücher-zwei.example"):
        certificate(store, of, name, mode="manual", left=DAY, lifetime=365 * DAY)
    message = written(life, of)
    for text in (text_of(message, "plain"), page_of(message).text):
        assert "xn--bcher-kva.example (bücher.example)" in text
        assert "bücher-zwei.example (xn--bcher-zwei-9db.example)" in " ".join(text.split())
    assert "bücher" not in message["Subject"]


def test_no_secret_is_in_a_letter(store: Store, life: Lifecycle) -> None:
    """Not what is sealed, not our own passphrase, and no private key, though a program may have printed one."""
    of = reporting.team(store)
    reporting.consumer(store, of, "gateway")
    broken = certificate(store, of, "k.example", left=5 * DAY, stage="urgent")
    key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIQ\n-----END EC PRIVATE KEY-----"
    fails(store, broken, NOW - DAY, f"openssl said: {key} and more")
    for kind in KINDS:
        message = written(life, of, kind)
        for part in message.walk():
            content = part.get_payload(decode=True) or b""
            assert isinstance(content, bytes)
            for secret in (b"PRIVATE KEY", b"MHcCAQEEIQ", b"sealed-secret", b"only for tests"):
                assert secret not in content
    assert "(a private key is not shown) and more" in " ".join(text_of(written(life, of), "plain").split())


def test_a_preview_of_a_letter_has_no_link_that_works(store: Store, life: Lifecycle) -> None:
    """Who may look at a letter may not act as its recipient: a letter that was never opened carries ended links."""
    of = reporting.team(store)
    message = written(life, of, id=None)
    address = next(str(link["href"]) for link in page_of(message).all("a") if "/act/" in str(link["href"]))
    with pytest.raises(NotFound):
        links.read(life, Purpose.ACT, address.rpartition("/")[2])


def test_a_name_with_any_letter_is_safe_in_headers(store: Store, life: Lifecycle) -> None:
    """Teams are called as they like: the subject is theirs, and neither adds a header nor turns the line around."""
    of = reporting.owner(store, "Müller & Søn (Δ)")
    certificate(store, of, "a.example")
    assert written(life, of)["Subject"].startswith("Müller & Søn (Δ) certificates")
    change(store, Owner, of, name="evil\r\nBcc: x@example.org \u202e\u05d0\u05d1")
    message = written(life, of)
    assert "Bcc" not in message
    assert message["Subject"].startswith("evil\\x0d\\x0aBcc: x@example.org \\u202e")
    assert "\u05d0" not in message["Subject"]
