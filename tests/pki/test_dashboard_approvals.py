"""Two persons in two browsers: what one asked for another one sees in full, and grants or refuses; nobody their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from ca.access import Role
from pki.product import Product
from pki.web.dashboard.browsers import COOKIE
from tests.pki.conftest import API, World, bearer, problem

FORM = {"sec-fetch-site": "same-origin"}
WANTED = {"line": "factory", "subject": "CN=Factory CA"}


@dataclass(frozen=True)
class Two:
    """Two admins with the API and a browser each, and an auditor's browser."""

    first: httpx.Client
    one: httpx.Client
    other: httpx.Client
    auditor: httpx.Client

    def asked(self) -> None:
        """One of them wants a CA, and is told that it takes another one."""
        problem(self.first.post(f"{API}/authorities", json=WANTED), 403, "approval-needed")


@pytest.fixture
def two(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    """An installation in which what changes the CAs takes two persons."""
    roles = {"ada": Role.ADMIN, "bob": Role.ADMIN, "eve": Role.AUDITOR}
    secrets = {name: world.secret(role, name=name) for name, role in roles.items()}
    monkeypatch.setenv("CERTWRIGHT_APPROVAL__TWO_PERSONS", "true")
    world.product.close()
    with Product.open(world.product.state) as product:
        there = World(product, world._loop)
        api = {name: there.as_(bearer(secret)) for name, secret in secrets.items()}
        browsers = [_browser(there, client) for client in api.values()]
        yield Two(api["ada"], *browsers)


def _browser(world: World, client: httpx.Client) -> httpx.Client:
    """Where somebody has signed in, by a link for oneself."""
    made = client.post(f"{API}/sign-in-links", json={}).raise_for_status().json()
    browser = world.nobody
    assert browser.post(made["path"], headers=FORM, data={"a": "b"}).status_code == 303
    assert COOKIE in browser.cookies
    return browser


def say(browser: httpx.Client, word: str, number: int = 1) -> httpx.Response:
    """Send a form of the page, whether it shows that button or not."""
    page = browser.get(f"/approvals/{number}").text
    proofs = re.findall(r'name="csrf" value="([^"]+)"', page)
    return browser.post(f"/approvals/{number}/{word}", headers=FORM, data={"csrf": proofs[0]})


def buttons(browser: httpx.Client, number: int = 1) -> set[str]:
    """What the page of an act can be told."""
    page = browser.get(f"/approvals/{number}")
    assert page.status_code == 200
    return set(re.findall(r'action="/approvals/\d+/(\w+)"', page.text))


def test_one_asks_another_grants(two: Two) -> None:
    """From the first page to the CA that is there: everything that decides what it does stands before the button."""
    assert "No act waits" in two.other.get("/approvals").text
    two.asked()
    assert "acts wait for a second person" in two.other.get("/").text
    assert "nothing needs a person" not in two.other.get("/").text
    listed = two.other.get("/approvals").text
    assert "Wait for a second person" in listed
    assert 'href="/approvals/1"' in listed
    page = two.other.get("/approvals/1").text
    assert all(text in page for text in ("Make a CA", "factory", "CN=Factory CA", "token:ada"))
    assert buttons(two.other) == {"grant", "refuse"}
    answer = say(two.other, "grant")
    assert (answer.status_code, answer.headers["location"]) == (303, "/approvals/1?said=grant")
    assert "It is granted" in two.other.get(answer.headers["location"]).text
    assert buttons(two.other) == set()
    assert two.first.post(f"{API}/authorities", json=WANTED).status_code == 201
    page = two.other.get("/approvals/1").text
    assert "token:bob" in page
    assert "used" in page
    assert "No act waits" in two.other.get("/approvals").text


def test_nobody_grants_their_own(two: Two) -> None:
    """The page offers to take it back, and the form that it does not show is refused."""
    two.asked()
    assert buttons(two.one) == {"refuse"}
    assert "somebody else has to grant it" in two.one.get("/approvals/1").text
    answer = say(two.one, "grant")
    assert answer.status_code == 403
    assert "has asked for it and does not grant it" in answer.text
    assert buttons(two.other) == {"grant", "refuse"}, "it still waits"
    assert say(two.one, "refuse").status_code == 303
    assert buttons(two.other) == set()
    two.asked()  # anew, as the second one
    assert buttons(two.other, 2) == {"grant", "refuse"}


def test_who_only_reads_decides_nothing(two: Two) -> None:
    """An auditor sees all of it."""
    two.asked()
    page = two.auditor.get("/approvals/1").text
    assert "CN=Factory CA" in page
    assert "Whoever may manage CAs can grant it" in page
    assert buttons(two.auditor) == set()
    for word in ("grant", "refuse"):
        assert say(two.auditor, word).status_code == 403
    assert buttons(two.other) == {"grant", "refuse"}


def test_nothing_of_it_is_cut(two: Two) -> None:
    """What is not seen would be granted, too: a long text may end with what matters."""
    subject = "CN=Factory CA" + "".join(f",OU={chr(97 + number) * 60}" for number in range(9)) + ",O=Somebody Else"
    problem(two.first.post(f"{API}/authorities", json={**WANTED, "subject": subject}), 403, "approval-needed")
    page = two.other.get("/approvals/1").text
    assert "O=Somebody Else</span>" in page
    assert "…" not in page


def test_it_is_decided_once(two: Two) -> None:
    """The second word comes too late, and the page says so; what is no word and no act is not found."""
    two.asked()
    open_page = two.other.get("/approvals/1").text
    assert say(two.other, "refuse").status_code == 303
    proof = re.findall(r'name="csrf" value="([^"]+)"', open_page)[0]
    late = two.other.post("/approvals/1/grant", headers=FORM, data={"csrf": proof})
    assert late.status_code == 409
    assert "does not wait any more" in late.text
    problem(two.first.post(f"{API}/authorities", json=WANTED), 403, "approval-needed")
    for path in ("/approvals/1/maybe", "/approvals/99/grant", "/approvals/0/grant", f"/approvals/{1 << 70}/grant"):
        assert two.other.post(path, headers=FORM, data={"csrf": proof}).status_code == 404
    assert two.other.get(f"/approvals/{1 << 70}").status_code == 404
