"""The pages that letters lead to: a GET changes nothing, a POST acts once, who holds no token learns nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlmodel import col
from structlog.testing import capture_logs

from ca import clock
from ca.access import Role
from ca.errors import RateLimited
from ca.x509.names import parse
from pki.product import Product
from pki.web.app import create_app, create_public_app
from renewers.answering import feed, links, mailboxes
from renewers.answering.links import Link, Purpose
from renewers.inventory import imports, lineages, owners
from renewers.inventory.imports import Target
from renewers.inventory.lineages import LineagePlan
from renewers.inventory.owners import OwnerPlan
from renewers.models import Acknowledged, Lineage, Mailbox, Owner, SpentLink, Tracked, Work
from tests import rig
from tests.pki.conftest import World, bearer, problem
from tests.renewers import foreign
from tests.renewers.answering import rows

DAY = 86400
ODD = "x<script>alert(1)</script>{{8191*9973}}\u202eevil"
"""What a stranger may write into a certificate."""
WORKED_OUT = str(8191 * 9973)
"""What a page would say that had taken the name for a template: no time and no serial number says this by chance."""
TEXT = "text/html; charset=utf-8"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def product(state: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Product]:
    """An installation that owners reach."""
    monkeypatch.setenv("CERTWRIGHT_MAIL__LINK_URL", "https://ca.example.internal")
    with Product.open(state) as opened:
        yield opened


class Desk:
    """An owner with a path, a certificate that a person renews, and one that we renew."""

    def __init__(self, world: World) -> None:
        self.world, self.life = world, world.product.lifecycle
        owners.add(self.life, rig.ADMIN, OwnerPlan("everybody", "all@example.internal"))
        self.owner = owners.add(
            self.life, rig.ADMIN, OwnerPlan("pay", "pay@example.internal", ("next@example.internal",))
        )
        subject = foreign.dn(ODD.encode())
        pem = foreign.bundle(foreign.certificate("dns:a.pay.example", days=40, subject=subject))
        imports.import_pem(self.life, rig.ADMIN, pem.encode(), Target("pay"))
        (self.manual,) = rows(self.life, Tracked, col(Tracked.source) == "imported")
        lineages.create(self.life, rig.ADMIN, LineagePlan("ours", (parse("dns:b.pay.example.internal"),), owner="pay"))
        (self.ours,) = rows(self.life, Lineage, col(Lineage.name) == "ours")

    def path(self, purpose: Purpose = Purpose.ACT, about: str | None = None, **changes: Any) -> str:
        """The path of a link to the owner's mailbox."""
        end = clock.timestamp() + DAY
        link = Link(purpose, about or f"tracked:{self.manual.id}", self.owner.id or 0, self.owner.email, 1, end)
        return links.path(self.life, replace(link, **changes))

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Looked at by nobody in particular."""
        return self.world.nobody.get(path, headers=headers)

    def post(self, path: str, **fields: str) -> httpx.Response:
        """A form, sent as a browser does."""
        return self.world.nobody.post(path, data=fields)

    def state(self) -> Any:
        """All that an answer could change."""
        tables = (Acknowledged, SpentLink, Mailbox, Work, Tracked, Lineage, Owner)
        return [list(map(tuple, rows(self.life, table))) for table in tables] + [self.world.counts()]


@pytest.fixture
def desk(world: World) -> Desk:
    """The same."""
    return Desk(world)


def in_a_day(days: int = 5) -> str:
    """A day as a browser sends it."""
    return f"{clock.from_timestamp(clock.timestamp() + days * DAY):%Y-%m-%d}"


@pytest.mark.parametrize("purpose", [Purpose.ACT, Purpose.UNSUBSCRIBE, Purpose.PREFERENCES])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_looking_changes_nothing(desk: Desk, purpose: Purpose, method: str) -> None:
    """Mail scanners open every link that they find, as often as they like, and add what they like."""
    path, before = desk.path(purpose), desk.state()
    for tail in ("", "?answer=retire", "?choice=decline&List-Unsubscribe=One-Click"):
        answer = desk.world.nobody.request(method, path + tail)
        assert (answer.status_code, answer.headers["content-type"]) == (200, TEXT)
    assert desk.state() == before
    assert desk.world.nobody.request("PUT", path).status_code == 405


def test_what_is_answered_is_done_once(desk: Desk) -> None:
    """The second time is a friendly 409; the page says what is so."""
    path = desk.path()
    done = desk.post(path, answer="acknowledge", until=in_a_day(), reason="the vendor sends one")
    assert done.status_code == 200
    assert "the vendor sends one" in done.text
    (kept,) = rows(desk.life, Acknowledged)
    assert kept.by == "owner:pay <pay@example.internal>"
    for again in (desk.get(path), desk.post(path, answer="retire"), desk.post(path, answer="nonsense")):
        assert (again.status_code, again.headers["content-type"]) == (409, TEXT)
        assert "This link has been used" in again.text
    assert rows(desk.life, Tracked, col(Tracked.stage) == "ended") == []


def test_each_answer_by_its_form(desk: Desk) -> None:
    """Renewal where we renew; not ours; out of use. Each form on the page does what its heading says."""
    ours = f"lineage:{desk.ours.id}"
    asked = desk.get(desk.path(about=ours)).text
    assert "Renew it now" in asked
    assert "plan it no more" not in asked or "certwright track remove" in asked
    assert desk.post(desk.path(about=ours), answer="renew").status_code == 200
    (work,) = rows(desk.life, Work, col(Work.kind) == "renew")
    assert work.due_at <= clock.timestamp()
    assert "certwright track remove" in desk.get(desk.path(about=ours, letter_id=2)).text
    assert desk.post(desk.path(), answer="refuse").status_code == 200
    assert desk.get(desk.path(letter_id=2)).status_code == 409
    owners.assign(desk.life, rig.ADMIN, "pay", tracked=desk.manual.identity)
    assert desk.post(desk.path(letter_id=2), answer="retire", reason="gone").status_code == 200
    assert [row.id for row in rows(desk.life, Tracked, col(Tracked.stage) == "ended")] == [desk.manual.id]


@pytest.mark.parametrize(
    "fields",
    [
        {"other": "field"},
        {"answer": "revoke"},
        {"answer": "renew"},
        {"answer": "acknowledge"},
        {"answer": "acknowledge", "until": "tomorrow", "reason": "in hand"},
        {"answer": "acknowledge", "until": "9999-99-99", "reason": "in hand"},
        {"answer": "acknowledge", "until": "2020-01-01", "reason": "in hand"},
        {"answer": "acknowledge", "until": "2200-01-01", "reason": "in hand"},
    ],
)
def test_what_does_not_fit_is_said_above_the_form(desk: Desk, fields: dict[str, str]) -> None:
    """With what was filled in still there; nothing is used up."""
    path, before = desk.path(), desk.state()
    answer = desk.post(path, **fields)
    assert (answer.status_code, answer.headers["content-type"]) == (400, TEXT)
    assert 'role="alert"' in answer.text
    assert desk.state() == before
    assert desk.post(path, answer="acknowledge", until=in_a_day(), reason="in hand").status_code == 200


def test_the_last_day_is_until_the_very_end(desk: Desk) -> None:
    """The day on which it ends can be chosen, and means its last valid second."""
    asked = desk.get(desk.path()).text
    last = re.search(r'max="([0-9-]+)"', asked)
    assert last is not None
    assert desk.post(desk.path(), answer="acknowledge", until=last[1], reason="in hand").status_code == 200
    assert rows(desk.life, Acknowledged)[0].until == desk.manual.not_after


def test_what_strangers_wrote_is_shown_literally(desk: Desk) -> None:
    """In a name and in a reason: no tag, no template, nothing that reorders the line."""
    pages = [desk.get(desk.path()).text]
    pages.append(desk.post(desk.path(), answer="acknowledge", until=in_a_day(), reason=ODD).text)
    pages.append(desk.get(desk.path(letter_id=2)).text)
    pages.append(desk.post(desk.path(letter_id=3), answer="acknowledge", until="no", reason=f'" autofocus {ODD}').text)
    for page in pages:
        assert "<script" not in page
        assert WORKED_OUT not in page
        assert "\u202e" not in page
        assert '" autofocus' not in page
    assert "&lt;script&gt;" in pages[1]


TOKENS = ("cwl_" + "A" * 100, "cwl_", "x", "cwl_" + "A" * 5000, "..%2f..%2fetc", "%00", "cwl_%F0%9F%94%A5")


@pytest.mark.parametrize("base", ["/act/", "/unsubscribe/", "/preferences/"])
def test_every_token_that_does_not_hold_is_refused_alike(desk: Desk, base: str) -> None:
    """Made up, expired, of another purpose, of another recipient's past: the same status and the same words."""
    end = clock.timestamp() - 1
    others = [desk.path(purpose) for purpose in Purpose]
    tokens = [*TOKENS, *(path.rpartition("/")[2] for path in others), desk.path(expires_at=end).rpartition("/")[2]]
    mine = {path.rpartition("/")[2] for path in others if path.startswith(base)}
    seen = set()
    for token in tokens:
        if token in mine:
            continue
        for answer in (desk.get(base + token), desk.post(base + token, answer="retire", choice="decline")):
            if "/" in token or "%2f" in token or token == "%00":
                assert answer.status_code == 404
            else:
                seen.add((answer.status_code, re.sub(r"\s+", " ", answer.text)))
    assert len(seen) == 1
    assert next(iter(seen))[0] == 404


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (FORM, b"List-Unsubscribe=One-Click"),
        (
            {"Content-Type": "multipart/form-data; boundary=x"},
            b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n',
        ),
        (
            {**FORM, "Origin": "https://mail.example", "Sec-Fetch-Site": "cross-site", "Cookie": "session=none"},
            b"List-Unsubscribe=One-Click",
        ),
    ],
)
def test_one_click_unsubscribes(desk: Desk, headers: dict[str, str], body: bytes) -> None:
    """RFC 8058: a POST without login or cookies, in either form; doing it again says the same. Urgent mail goes on."""
    path = desk.path(Purpose.UNSUBSCRIBE)
    for _ in range(2):
        answer = desk.world.nobody.post(path, content=body, headers=headers)
        assert answer.status_code == 200
    (kept,) = rows(desk.life, Mailbox)
    assert (kept.address, kept.dead_since) == ("pay@example.internal", None)
    assert kept.digests_off_at is not None
    assert "urgent" in desk.get(path).text


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b""),
        ("application/x-www-form-urlencoded", b"List-Unsubscribe=Perhaps"),
        ("application/x-www-form-urlencoded", b"\xff\xfe"),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % n for n in range(500))),
        ("application/json", b'{"List-Unsubscribe": "One-Click"}'),
        ("multipart/form-data", b"List-Unsubscribe=One-Click"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nOne-Click\r\n--x--"),
        ("multipart/form-data; boundary=" + "y" * 500, b"--x--"),
        ("text/plain", b"List-Unsubscribe=One-Click"),
        ("", b"List-Unsubscribe=One-Click"),
        ("application/x-www-form-urlencoded", b"a=" + b"x" * 40_000),
    ],
)
def test_what_is_no_click_unsubscribes_nobody(desk: Desk, kind: str, body: bytes) -> None:
    """400, as a page, and nothing has changed."""
    answer = desk.world.nobody.post(desk.path(Purpose.UNSUBSCRIBE), content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert rows(desk.life, Mailbox) == []


def test_preferences(desk: Desk) -> None:
    """Digests off and on again; what is urgent cannot be declined, and the page says so and who comes next."""
    path = desk.path(Purpose.PREFERENCES)
    page = desk.get(path).text
    assert "cannot be unsubscribed, only given to somebody else" in page
    assert "next@example.internal" in page
    assert "are not sent" in desk.post(path, choice="decline").text
    assert "They are sent" in desk.post(path, choice="resume").text
    assert desk.post(path, choice="critical").status_code == 400
    owners.change(desk.life, rig.ADMIN, "pay", lambda plan: replace(plan, email="new@example.internal"))
    assert desk.get(path).status_code == 404


def test_the_calendar_at_its_address(desk: Desk) -> None:
    """Read as often as wanted; renewed, the old address shows nothing; who leaves the path reads no more."""
    first = feed.address(desk.life, desk.owner, desk.owner.email)
    next_one = feed.address(desk.life, desk.owner, "next@example.internal")
    for url in (first, first, next_one):
        answer = desk.get(url.removeprefix("https://ca.example.internal"))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/calendar; charset=utf-8"
        assert answer.text.startswith("BEGIN:VCALENDAR")
    shown = desk.post(desk.path(Purpose.PREFERENCES), choice="move-calendar")
    found = re.search(r'value="(https://ca\.example\.internal/feeds/[^"]+)"', shown.text)
    assert found is not None
    assert [desk.get(url).status_code for url in (first, next_one, found[1])] == [404, 404, 200]
    owners.change(desk.life, rig.ADMIN, "pay", lambda plan: replace(plan, email="new@example.internal"))
    assert desk.get(found[1]).status_code == 404


def test_headers(desk: Desk) -> None:
    """Kept by nobody, in nobody's frame, in no index, told to no other server; no script may run."""
    paths = [desk.path(purpose) for purpose in Purpose if purpose is not Purpose.FEED]
    answers = [
        *map(desk.get, paths),
        desk.get("/act/cwl_x"),
        desk.post(paths[0]),
        desk.post(desk.path(), answer="refuse"),
    ]
    answers.append(desk.get(feed.address(desk.life, desk.owner, desk.owner.email)))
    for answer in answers:
        headers = answer.headers
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-robots-tag"] == "noindex, nofollow"
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "script-src" not in headers["content-security-policy"]
        assert "set-cookie" not in headers
        assert "<script" not in answer.text


def test_tokens_are_in_no_log(desk: Desk) -> None:
    """Whatever becomes of a request, a path with a token is never written down; nor is one in an answer's text."""
    paths = [desk.path(purpose) for purpose in Purpose]
    with capture_logs() as logged:
        for path in paths:
            for answer in (desk.get(path), desk.post(path, answer="retire"), desk.get(path), desk.get(path + "x")):
                assert answer.status_code in (200, 400, 404, 405, 409)
            desk.get(path.replace("/", "/act/", 1))
    text = str(logged)
    assert logged
    for path in paths:
        secret = path.rpartition("/")[2].removesuffix(".ics").removeprefix("cwl_")
        assert secret not in text
        assert secret[:40] not in text


def test_strangers_are_slowed_down(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """By address, with everybody else who comes without a credential; trying tokens is not for free."""
    taken: list[str] = []

    def take(_self: Any, name: str) -> None:
        taken.append(name)
        if len(taken) > 3:
            raise RateLimited("too fast", retry_after=7)

    monkeypatch.setattr("pki.web.limits.RateLimiter.take", take)
    answers = [desk.get("/act/cwl_" + "x" * 80) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [404, 404, 404, 429, 429]
    assert answers[-1].headers["retry-after"] == "7"
    assert set(taken) == {"192.0.2.7"}


def test_a_credential_opens_nothing_more(desk: Desk) -> None:
    """An admin's token beside a link that does not hold, or that is another's, makes it no better; nor does a bad one
    make a good link worse."""
    admin = desk.world.as_(desk.world.token(Role.ADMIN))
    assert admin.get("/act/cwl_" + "x" * 80).status_code == 404
    assert desk.world.as_(bearer("cw_" + "0" * 12 + "_" + "A" * 43)).get(desk.path()).status_code == 200


def test_only_the_tls_listener_serves_them(desk: Desk, world: World) -> None:
    """The plain listener, where anybody may listen along, knows none of these pages."""
    public = world.as_(app=create_public_app(world.product))
    for purpose in Purpose:
        assert public.get(desk.path(purpose)).status_code == 404
        assert public.post(desk.path(purpose)).status_code == 404
    assert create_app(world.product) is not None


def test_mail_that_comes_back_over_rest(desk: Desk) -> None:
    """Who manages the inventory reports, who manages owners revives; a report that is none is a problem document."""
    operator = desk.world.as_(desk.world.token(Role.OPERATOR))
    problem(operator.post("/api/v1/bounces", json={"message": "aGVsbG8="}), 400, "bad-report")
    problem(operator.post("/api/v1/bounces", json={"message": "%"}), 400, "bad-report")
    desk.life.store.write(lambda tx: mailboxes.bounced(tx, "pay@example.internal", "5.1.1") and None)
    found: Mapping[str, Any] = operator.get("/api/v1/mailboxes", params={"dead": True}).json()
    assert [(one["address"], one["owners"]) for one in found["items"]] == [("pay@example.internal", ["pay"])]
    admin = desk.world.as_(desk.world.token(Role.ADMIN))
    assert admin.post("/api/v1/mailboxes/pay@example.internal/revive", json={}).json() == {"was_dead": True}
    problem(admin.post("/api/v1/mailboxes/x@example.internal/revive", json={}), 404, "unknown-mailbox")


def test_acknowledgements_over_rest(desk: Desk) -> None:
    """By day or by duration, for what is tracked and for lineages; shown in the story; taken back."""
    operator = desk.world.as_(desk.world.token(Role.OPERATOR))
    place = f"/api/v1/tracked/%23{desk.manual.id}"
    made = operator.put(f"{place}/acknowledgement", json={"until": in_a_day(), "reason": "in hand"}).json()
    assert made["is_lineage"]
    assert made["until"].endswith("T23:59:59Z")
    assert operator.get(place).json()["acknowledged"]["reason"] == "in hand"
    assert [one["about"] for one in operator.get("/api/v1/acknowledged").json()["items"]] == [made["about"]]
    assert operator.delete(f"{place}/acknowledgement").json() == {"was_there": True}
    assert operator.delete(f"/api/v1/lineages/{made['about']}/acknowledgement").json() == {"was_there": False}
    body = {"within": "2d", "reason": "in hand"}
    assert operator.put("/api/v1/lineages/ours/acknowledgement", json=body).json()["about"] == "ours"
    for wrong in ({"reason": "x"}, {**body, "until": in_a_day()}, {"until": "soon", "reason": "in hand"}):
        assert operator.put("/api/v1/lineages/ours/acknowledgement", json=wrong).status_code == 400


def test_a_calendars_address_is_for_who_manages_owners(desk: Desk) -> None:
    """It is a credential; asked to renew it, the old one holds no more."""
    admin = desk.world.as_(desk.world.token(Role.ADMIN))
    first = admin.post("/api/v1/owners/pay/calendar", json={}).json()["url"]
    assert first == admin.post("/api/v1/owners/pay/calendar", json={}).json()["url"]
    second = admin.post("/api/v1/owners/pay/calendar", json={"renew": True}).json()["url"]
    assert [desk.get(url).status_code for url in (first, second)] == [404, 200]
