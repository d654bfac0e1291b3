"""Every page, on a phone and on a large screen, by day and by night, by mouse and by keyboard."""

from __future__ import annotations

import pytest

from tests.pictures import visits
from tests.pictures.site import Site
from tests.pictures.studio import TWO_LOOKS, Cookies, Studio
from tests.pictures.visits import VISITS, Visit

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.xdist_group("pictures")]


def cookies(site: Site, visit: Visit) -> Cookies:
    """Of whoever looks."""
    return site.cookies if visit.is_signed_in else ()


def fail(faults: list[str]) -> None:
    """Say each on a line of its own."""
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)


def test_every_page_is_looked_at(site: Site) -> None:
    """A page that the application has and nobody looks at, or one that it has no more, is found out."""
    assert site.routes == set(VISITS)


@pytest.mark.parametrize("route", [*VISITS, "astray"])
def test_a_page_can_be_read(studio: Studio, site: Site, route: str) -> None:
    """It fits, it is whole, the browser has nothing to complain of, axe-core finds no grave fault, and no script is in
    it; whatever strangers have written into what it shows.
    """
    faults = []
    for number, visit in enumerate(visits.some(visits.ASTRAY if route == "astray" else VISITS[route](site.filled))):
        for look in TWO_LOOKS if number == 0 else TWO_LOOKS[number % 2 :][:1]:
            seen = studio.look(site.address(visit.path), look, cookies=cookies(site, visit), status=visit.status)
            faults += [f"{visit.path[:60]} {look}: {fault}" for fault in seen.faults]
    fail(faults)


@pytest.mark.parametrize("route", VISITS)
def test_a_page_can_be_used_by_keyboard(studio: Studio, site: Site, route: str) -> None:
    """Tab reaches everything that there is to be done, in sight, and it shows where it is."""
    visit, place = VISITS[route](site.filled)[0], list(VISITS).index(route)
    for look in TWO_LOOKS if route == "/" else TWO_LOOKS[place % 2 :][:1]:  # the frame is the same everywhere
        fail(studio.walk(site.address(visit.path), look, cookies=cookies(site, visit)))


def test_links_lead_somewhere(studio: Studio, site: Site) -> None:
    """Of all pages that links lead to, from page to page, none is missing; nothing but a form changes anything."""
    fail(studio.crawl(site.address("/"), cookies=site.cookies, most=150))


def test_what_is_done_needs_no_script_and_no_mouse(studio: Studio, site: Site) -> None:
    """Something is acknowledged by keyboard in a browser that runs no script, from its page to the answer."""
    page = site.address(f"/inventory/{site.filled.tracked['by-hand']}")
    why = "What is being done about it: it is ordered <b>by hand</b>"
    told = studio.fill_in(page, ["Acknowledge", why, "Acknowledge"], cookies=site.cookies)
    assert "ordered <b>by hand</b>" in told


def test_a_letters_link_needs_no_script_and_no_mouse(studio: Studio, site: Site) -> None:
    """An owner answers by a link, on a phone: that it is not theirs."""
    told = studio.fill_in(site.address(site.filled.links["script"]), ["It is not ours"])
    assert "<script>alert(1)</script>" in told
    again = studio.look(site.address(site.filled.links["script"]), TWO_LOOKS[0], status=409)
    fail(again.faults)
