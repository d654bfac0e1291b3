"""The dashboard's pages: with nothing to show, with everything, with hostile names, by role; every link leads on."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from ca.access import Role
from pki.product import Product
from renewers.inventory import answering
from renewers.overview import ahead, tallies
from tests.pictures.world import RTL, SCRIPT, Filled, cheaply, fill
from tests.pki.conftest import World, bearer

PAGES = (
    *("/", "/calendar", "/inventory", "/owners", "/authorities", "/consumers", "/devices", "/work", "/alarms"),
    *("/events", "/letters", "/ledger", "/approvals"),
)
ALIKE = 10
"""How many addresses of one kind the crawl goes to."""


class Read(HTMLParser):
    """What a page is made of, as far as somebody depends on it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.headings: list[str] = []
        self.tables = self.captions = self.unscoped = 0
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.unnamed: list[str] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        self.tables += tag == "table"
        self.captions += tag == "caption"
        self.unscoped += tag == "th" and "scope" not in found
        if "id" in found:
            self.ids.append(str(found["id"]))
        if any(name.startswith("on") or name == "style" for name in found):
            self.unnamed.append(f"<{tag} {attrs}>")


def look(client: httpx.Client, path: str, status: int = 200) -> str:
    """A page as a browser gets it: with every header, and what each page has to have."""
    answer = client.get(path, headers={"accept": "text/html"})
    assert answer.status_code == status, (path, answer.status_code, answer.text[-2000:])
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    read = Read(answer.text)
    assert read.headings.count("h1") == 1, path
    assert read.tables == read.captions, path
    assert read.unscoped == 0, path
    assert len(read.ids) == len(set(read.ids)), (path, read.ids)
    assert "script" not in read.tags, path
    assert read.unnamed == [], path
    for odd in ("None", "Macro ", "Undefined", "object at 0x", "datetime.", "&amp;amp;", "&amp;lt;"):
        assert odd not in re.sub(r"<[^>]*>", "", answer.text), (path, odd)
    return answer.text


def words(text: str) -> str:
    """What can be read."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", text)).split())


# With nothing.


@pytest.fixture
def new(world: World) -> httpx.Client:
    """Whoever has just made an installation."""
    return world.as_(world.token(Role.ADMIN))


@pytest.mark.parametrize("path", PAGES)
def test_a_new_installation_says_what_there_will_be(new: httpx.Client, path: str) -> None:
    """No page needs anything to be there."""
    look(new, path)


def test_what_is_empty_says_what_fills_it(new: httpx.Client) -> None:
    """A person who looks at a new installation learns what to do next."""
    for path, hint in (
        ("/", "All is well: nothing needs a person."),
        ("/inventory", "certwright track scan"),
        ("/inventory?name=nothing", "Nothing that is tracked fits."),
        ("/owners", "certwright owner add"),
        ("/consumers", "certwright consumer add"),
        ("/work", "Nothing is due and nothing fails."),
        ("/alarms", "No alarm stands"),
        ("/letters", "No mail server is set up"),
        ("/calendar", "Nothing has been counted yet"),
    ):
        assert hint in words(look(new, path)), path


# With everything.


@dataclass(frozen=True)
class Full:
    """An installation in which something of everything is."""

    world: World
    filled: Filled

    @property
    def admin(self) -> httpx.Client:
        """Its administrator."""
        return self.world.as_(bearer(self.filled.token))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Full]:
    """Made once, and only looked at."""
    state: Path = tmp_path_factory.mktemp("full") / "state"
    filled = fill(state)
    with cheaply(), Product.open(state) as product, asyncio.Runner() as loop:
        while answering.walk(product.lifecycle):
            continue
        assert tallies.take(product.lifecycle)
        assert ahead.take(product.lifecycle)
        yield Full(World(product, loop), filled)


def test_every_link_of_every_page_leads_somewhere(full: Full) -> None:
    """From the first page on: what a page links to is there, and is as well made."""
    client, pending, seen = full.admin, list(PAGES), set(PAGES)
    alike: Counter[str] = Counter()
    while pending:
        path = pending.pop(0)
        for link in Read(look(client, path)).links:
            address = urlsplit(urljoin(f"https://ca.example.internal{path}", link))
            assert address.netloc == "ca.example.internal", (path, link)
            there = address.path + (f"?{address.query}" if address.query else "")
            kind = re.sub(r"^(/\w+/)[^/]+", r"\1*", address.path) + ("?" if address.query else "")
            if (
                there not in seen
                and alike[kind] < ALIKE
                and not address.path.startswith(("/ca/", "/crl/", "/reports/"))
            ):
                alike[kind] += 1
                seen.add(there)
                pending.append(there)
    assert {"/inventory/*", "/owners/*", "/authorities/*", "/rotations/*", "/consumers/*", "/letters/*"} <= set(alike)


def test_hostile_names_are_shown_as_they_are(full: Full) -> None:
    """Scripts, template syntax, right-to-left overrides, 64 KiB: on every page literally, and nothing of it acts."""
    everywhere = [*PAGES, *(f"/inventory/{id_}" for id_ in full.filled.tracked.values()), "/owners/payments"]
    shown = {path: look(full.admin, path) for path in everywhere}
    for path, text in shown.items():
        assert SCRIPT not in text, path
        assert not any(character in text for character in RTL if not character.isprintable()), path
        assert "onerror=alert" not in re.sub(r'"[^"]*"|>[^<]*<', "", text), path
        assert len(text) < 400_000, path
    assert SCRIPT in words(shown[f"/inventory/{full.filled.tracked['script']}"])
    listed = words(shown["/inventory"])
    assert "{{ 7 * 7 }}{% raw %}" in listed
    assert "\\u202e" in listed


def test_what_needs_a_person_comes_in_the_order_of_letters(full: Full) -> None:
    """Broken automation, what a person renews, what signs; what somebody takes care of stands apart."""
    text = words(look(full.admin, "/"))
    order = [text.find(title) for title in ("Automation that is broken", "Renewed by a person", "Other alarms")]
    assert -1 not in order
    assert order == sorted(order)
    assert text.index("almost.example.internal") < text.index("late.example.internal")
    assert "soon.example.internal" in text[text.index("Somebody takes care of these") :]
    assert "host-059.example.internal" not in text
    assert "Last run of mail" in text


def test_one_page_tells_the_whole_story(full: Full) -> None:
    """Who asked, the renewals, what was brought where, who was told and why, the chain, the PEM."""
    text = look(full.admin, f"/inventory/{full.filled.tracked['renewed']}")
    for part in ("Asked for by", "Its story", "Who is told, and why", "Chain", "issuing-1", "BEGIN CERTIFICATE"):
        assert part in words(text), part
    manual = words(look(full.admin, f"/inventory/{full.filled.tracked['by-hand']}"))
    assert "payments@example.internal" in manual
    assert "letter" in manual
    revoked = words(look(full.admin, f"/inventory/{full.filled.tracked['revoked']}"))
    assert "key-compromise" in revoked
    seen = words(look(full.admin, f"/inventory/{full.filled.tracked['seen']}"))
    assert "tls:" in seen


def test_filters_are_links_that_narrow_and_widen_again(full: Full) -> None:
    """One stage, one owner, one day; each can be taken back where it stands."""
    text = look(full.admin, "/inventory?stage=critical")
    assert "by-hand.example.internal" in words(text)
    assert "fine.example.internal" not in words(text)
    both = look(full.admin, "/inventory?stage=critical&owner=payments&mode=manual")
    assert "/inventory?stage=critical&mode=manual" in Read(both).links
    assert words(look(full.admin, "/inventory?name=shop.example.internal")).count("shop.example.internal") > 1
    orphans = words(look(full.admin, "/inventory?orphan=1"))
    assert "orphan.example.org" in orphans
    first = look(full.admin, "/inventory?stage=all")
    (following,) = {link for link in Read(first).links if "cursor=" in link}
    assert "cursor=" in following
    look(full.admin, following)


def test_the_calendar_leads_to_its_days(full: Full) -> None:
    """As many as it says end on a day are listed there."""
    text = look(full.admin, "/calendar")
    days = [link for link in Read(text).links if "on=" in link]
    assert len(days) > 20
    listed = look(full.admin, days[0])
    counted = re.search(rf'href="{re.escape(days[0])}"[^>]*>.*?</span> ([\d ]+)<span', text.replace("&amp;", "&"))
    assert counted is not None
    assert len(set(re.findall(r'href="(/inventory/\d+)"', listed))) == int(counted[1])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((f"/inventory/{odd}", 404) for odd in (0, -1, 99999999, 1 << 60, 1 << 70)),
        *(
            (f"/{kind}/{odd}", 404)
            for kind in ("owners", "authorities", "consumers")
            for odd in ("nobody", "%00", "..%2f..")
        ),
        *((f"/{kind}/{odd}", 404) for kind in ("rotations", "letters") for odd in (0, -5, 1 << 70)),
        *((path, 404) for path in ("/inventory?owner=nobody", "/letters?owner=nobody")),
        *(
            (path, 400)
            for path in (
                *("/inventory?stage=rotten", "/inventory?cursor=x", "/inventory?on=yesterday", "/inventory?within=x"),
                *("/inventory?within=99999999", "/alarms?severity=bad", "/alarms?cursor=9:1", "/letters?state=lost"),
                *("/work?standing=idle", "/events?severity=bad"),
            )
        ),
        *((path, 200) for path in ("/inventory?name=%00", "/inventory?name=%E2%80%AE", "/ledger?subject=%00")),
        *(
            (path, 200)
            for path in ("/devices?name=%25", "/devices?profile=%27", "/inventory?issuer=%00", "/events?subject=%00")
        ),
    ],
)
def test_what_is_not_there_is_said_on_a_page(full: Full, path: str, status: int) -> None:
    """Numbers that no database takes, names of nobody, cursors that somebody made up: a page, and no error of ours."""
    answer = full.admin.get(path, headers={"accept": "text/html"})
    if status == 400:
        assert answer.status_code in (400, 422), (path, answer.status_code)
    else:
        assert answer.status_code == status, (path, answer.text[-1500:])
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("role", [Role.ADMIN, Role.OPERATOR, Role.AUDITOR])
def test_whoever_may_read_the_inventory_reads_every_page(full: Full, role: Role) -> None:
    """Administrators, operators, auditors."""
    client = full.world.as_(full.world.token(role))
    for path in (*PAGES, f"/inventory/{full.filled.tracked['renewed']}", f"/rotations/{full.filled.rotation}"):
        look(client, path)


@pytest.mark.parametrize("role", [Role.REQUESTER, Role.CONSUMER])
def test_whoever_may_not_reads_none(full: Full, role: Role) -> None:
    """A page says so, and shows nothing of what there is."""
    client = full.world.as_(full.world.token(role))
    details = ("/owners/payments", "/authorities/issuing-1", "/consumers/edge-proxy", "/inventory/1", "/letters/1")
    for path in (*PAGES, *details, f"/rotations/{full.filled.rotation}"):
        answer = client.get(path, headers={"accept": "text/html"})
        assert answer.status_code == 403, (path, answer.status_code)
        assert "example.internal" not in answer.text.replace("ca.example.internal", ""), path


def test_nobody_is_led_to_where_one_signs_in(full: Full) -> None:
    """And is shown nothing before."""
    for path in (*PAGES, "/owners/payments", "/inventory/1"):
        answer = full.world.nobody.get(path, headers={"accept": "text/html"})
        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/sign-in"), path


def test_pages_change_nothing(full: Full) -> None:
    """Every page is looked at, and every table is as it was."""
    before = full.world.counts()
    for path in (*PAGES, *(f"/inventory/{id_}" for id_ in full.filled.tracked.values())):
        look(full.admin, path)
    assert full.world.counts() == before
    assert json.dumps(before)
