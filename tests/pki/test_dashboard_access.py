"""Every page at every door: nobody, every role, every credential, with and without the proof that a form is ours.

Routes are taken from the application, so that none is forgotten; what changes something is asked with forms that would
do it, and the store is counted before and after.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from ca import access, clock, revocation
from ca.access import Operation, Role
from ca.x509.revocation_list import RevocationReason
from pki.product import Product
from pki.web.app import create_public_app
from pki.web.dashboard import home
from pki.web.dashboard.browsers import COOKIE
from pki.web.dashboard.routes import PageRoute
from pki.web.limits import RateLimiter
from tests.ca.world import entries
from tests.pictures.world import Filled, cheaply, fill
from tests.pki.conftest import (
    API,
    LOCALLY,
    NOBODY,
    PROBLEM,
    Credential,
    World,
    bearer,
    is_page,
    page_routes,
    served,
)

OPEN = {
    "/assets/certwright.css",
    "/assets/icon.svg",
    "/sign-in",
    "/sign-in/{link}",
    "/sign-in/with/{name}",
    "/sign-in/with/{name}/back",
    "/sign-out",
}
"""What nobody need be signed in for."""
FORM = {"sec-fetch-site": "same-origin"}
HTML = {"accept": "text/html,*/*"}
ROLES = (Role.ADMIN, Role.OPERATOR, Role.AUDITOR, Role.REQUESTER, Role.CONSUMER)
GRANTS = [{"profile": "client", "name": f"email:{name}@example.internal", "role": "operator"} for name in "xy"]
READERS = (Role.ADMIN, Role.OPERATOR, Role.AUDITOR)
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)


@dataclass(frozen=True)
class Full:
    """An installation in which something of everything is."""

    world: World
    filled: Filled

    @property
    def paths(self) -> list[tuple[str, str]]:
        """Method and an address of every page that needs somebody signed in."""
        tracked = self.filled.tracked
        fill_in = {
            "/inventory/{tracked}/{word}": f"/inventory/{tracked['by-hand']}/acknowledge",
            "/inventory/{tracked}": f"/inventory/{tracked['renewed']}",
            "/owners/{name}": "/owners/payments",
            "/authorities/{name}": "/authorities/issuing-1",
            "/rotations/{rotation}": f"/rotations/{self.filled.rotation}",
            "/consumers/{name}": f"/consumers/{self.filled.consumers[0]}",
            "/approvals/{number}": f"/approvals/{self.filled.approvals[0]}",
            "/approvals/{number}/{word}": f"/approvals/{self.filled.approvals[0]}/grant",
            "/letters/{letter}": f"/letters/{self.filled.letters[0]}",
            "/reports/monthly/{month}": f"/reports/monthly/{self.filled.month}",
            "/reports/monthly/{month}/{form}": f"/reports/monthly/{self.filled.month}/json",
        }
        guarded = {route.path for route in served(self.world.app) if _is_guarded(route)}
        shown = {re.sub(r":path}", "}", path) for path in guarded}
        return [(method, fill_in.get(path, path)) for method, path in page_routes(self.world.app) if path in shown]


def _is_guarded(route: Any) -> bool:
    return isinstance(getattr(route, "original_route", route), PageRoute)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Full]:
    """Made once."""
    state: Path = tmp_path_factory.mktemp("access") / "state"
    filled = fill(state)
    with cheaply(), asyncio.Runner() as loop:
        os.environ["CERTWRIGHT_IDENTITY__CERTIFICATES"] = json.dumps(GRANTS)  # which `cheaply` takes away again
        with Product.open(state) as product:
            yield Full(World(product, loop), filled)


def browser(full: Full, role: Role = Role.ADMIN, **choices: Any) -> httpx.Client:
    """A browser in which somebody has signed in by a link."""
    client = full.world.nobody
    body = {"role": role.value, "name": f"a-{role}", **choices}
    made = full.world.local.post(f"{API}/sign-in-links", json=body).raise_for_status().json()
    assert client.post(made["path"], headers=FORM, data={"a": "b"}).status_code == 303
    assert COOKIE in client.cookies
    return client


def form(text: str) -> dict[str, str]:
    """What the form of a page carries that nobody sees."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text.partition('class="panel"')[2]))


def changes(full: Full) -> Mapping[str, int]:
    """How much there is of everything that an action could change."""
    return full.world.counts() | {"ledger": len(entries(full.world.installation.store))}


def test_what_needs_nobody_is_known(full: Full) -> None:
    """Signing in, the style and the icon, links of letters; whoever adds another one finds it here."""
    pages = [route for route in served(full.world.app) if is_page(route)]
    asks_nobody = {(route.path, route.endpoint.__module__) for route in pages if not _is_guarded(route)}
    assert {path for path, module in asks_nobody if module.startswith("pki.web.dashboard.")} == OPEN
    assert {module for _, module in asks_nobody if not module.startswith("pki.web.dashboard.")} == {"pki.web.links"}


def test_nobody_is_shown_anything(full: Full) -> None:
    """Without a credential: to read is to be led to where one signs in, with the way back; to act is refused."""
    before = changes(full)
    assert len(full.paths) >= 15
    for method, path in full.paths:
        for credential in (NOBODY, Credential({"Cookie": f"{COOKIE}={'A' * 43}"})):
            answer = full.world.as_(credential).request(method, path, headers={**HTML, **FORM}, data=_body(method))
            if method == "GET":
                assert answer.status_code == 303, path
                assert answer.headers["location"].startswith("/sign-in"), path
            else:
                assert answer.status_code == 401, path
            assert "example.internal" not in answer.text, path
    assert changes(full) == before


def _body(method: str) -> dict[str, str] | None:
    return {"reason": "because of it", "until": "1"} if method == "POST" else None


@pytest.mark.parametrize("role", ROLES)
def test_every_role_at_every_page(full: Full, role: Role) -> None:
    """Who reads the inventory reads; who does not gets a page that says so. A form without its proof does nothing."""
    client, before = browser(full, role), changes(full)
    for method, path in full.paths:
        if method == "GET":
            answer = client.get(path, headers=HTML)
            may = role in READERS and (role is not Role.AUDITOR or not path.endswith("/acknowledge"))
            assert answer.status_code == (200 if may else 403), (path, answer.text[-800:])
            assert may or f"has the role {role}, which may not" in answer.text
        else:
            for spoil in ({}, {"csrf": ""}, {"csrf": "0" * 64}):
                answer = client.post(path, headers=FORM, data={**_body(method), "once": "a" * 32, **spoil})
                assert answer.status_code == 403, path
                assert "made for you" in answer.text
    assert changes(full) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "SAME-ORIGIN, cross-site"},
        {"origin": "https://evil.example"},
        {"origin": "http://ca.example.internal"},
        {"origin": "https://ca.example.internal.evil.example"},
    ],
    ids=str,
)
def test_a_form_of_another_site_does_nothing(full: Full, headers: dict[str, str]) -> None:
    """Even with the right proof: what the browser says of where it comes from counts by itself."""
    client, path = browser(full), f"/inventory/{full.filled.tracked['by-hand']}/owner"
    fields, before = form(client.get(path).text), changes(full)
    answer = client.post(path, headers=headers, data={**fields, "owner": "platform", "scope": "one"})
    assert answer.status_code == 403
    assert changes(full) == before


@pytest.mark.parametrize("headers", [{}, {"origin": "null"}, {"origin": "https://ca.example.internal"}, FORM], ids=str)
def test_a_form_of_ours_counts_in_every_browser(full: Full, headers: dict[str, str]) -> None:
    """Those that say nothing of where it comes from, or `null` because we send no referrer, have the proof."""
    client, path = browser(full), f"/inventory/{full.filled.tracked['by-hand']}/owner"
    fields = form(client.get(path).text)
    answer = client.post(path, headers=headers, data={**fields, "owner": "payments", "scope": "one"})
    assert answer.status_code == 303, answer.text


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b'{"csrf": "x"}', "application/json"),
        (b"csrf=x", "text/plain"),
        (b"csrf=x", "multipart/form-data; boundary=x"),
        (b"csrf=x", ""),
        (b"csrf=1&csrf=2", "application/x-www-form-urlencoded"),
        (b"csrf=%ff", "application/x-www-form-urlencoded"),
        (b"csrf=\xff", "application/x-www-form-urlencoded"),
        (b"a=%00", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % n for n in range(99)), "application/x-www-form-urlencoded"),
        (b"a=" + b"x" * 40_000, "application/x-www-form-urlencoded"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_form_is_refused(full: Full, content: bytes, media_type: str) -> None:
    """What a page of somebody else can send without being asked, doubled fields, bytes that are no text, floods."""
    client, before = browser(full), changes(full)
    path = f"/inventory/{full.filled.tracked['by-hand']}/owner"
    answer = client.post(path, headers={**FORM, "content-type": media_type}, content=content)
    assert answer.status_code in (400, 403), answer.text
    assert changes(full) == before


def test_a_proof_is_of_one_session(full: Full) -> None:
    """Somebody else's proof, and one's own of the session before, prove nothing."""
    first, second = browser(full), browser(full)
    path = f"/inventory/{full.filled.tracked['by-hand']}/owner"
    fields = form(first.get(path).text)
    assert fields["csrf"] != form(second.get(path).text)["csrf"]
    assert second.post(path, headers=FORM, data={**fields, "owner": "payments"}).status_code == 403


def test_a_cookie_opens_nothing_of_the_api(full: Full) -> None:
    """A session is for pages: every operation of the REST API, and the metrics, ask for a token or a certificate."""
    client = browser(full)
    for path in (f"{API}/me", f"{API}/certificates", f"{API}/tracked", "/metrics"):
        answer = client.get(path, headers=HTML)
        assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM), path
    answer = client.post(f"{API}/tokens", json={"name": "mine", "role": "admin"})
    assert answer.status_code == 401


def test_every_answer_forbids_everything_but_showing_it(full: Full) -> None:
    """Pages, refusals, redirects and assets: the same headers, and nobody keeps what is private."""
    client = browser(full)
    answers = [client.request(method, path, headers=HTML) for method, path in full.paths]
    answers += [full.world.nobody.get(path, headers=HTML) for path in ("/", "/sign-in", "/sign-in/x", "/nowhere")]
    answers += [client.get("/nowhere", headers=HTML), client.put("/inventory", headers=HTML)]
    style = re.search(r'href="(/assets/[^"]+css[^"]*)"', answers[0].text)
    assert style is not None
    kept = [client.get(style[1]), client.get("/assets/icon.svg")]
    for answer in [*answers, *kept]:
        assert answer.headers["content-security-policy"] == POLICY, answer.url
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert "camera=()" in answer.headers["permissions-policy"]
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        if answer not in kept:
            assert answer.headers["cache-control"] == "no-store", answer.url
    assert kept[0].headers["cache-control"] == "public, max-age=31536000, immutable"
    assert client.get("/assets/certwright.css").headers["cache-control"] == "no-cache"


def test_whether_a_page_is_there_can_be_asked(full: Full) -> None:
    """HEAD is answered as GET, without the page: for who may, and for nobody else."""
    client = browser(full)
    for path in ("/", "/inventory", "/sign-in"):
        answer = client.head(path)
        assert answer.status_code == client.get(path).status_code
    assert full.world.nobody.head("/inventory").status_code == 303


def test_a_developers_machine_is_not_bound_to_tls(full: Full) -> None:
    """`localhost` has many ports, and browsers would remember it for all of them."""
    client = full.world.nobody
    assert "strict-transport-security" not in client.get("https://localhost:8443/sign-in").headers
    assert "strict-transport-security" not in client.get("https://127.0.0.1:8443/sign-in").headers


def test_errors_are_pages_where_pages_are(full: Full, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the status and the words of the API, and nothing from inside; programs get problem documents as ever."""
    client = browser(full)
    assert client.get("/nowhere", headers=HTML).status_code == 404
    assert "There is no such page" in client.get("/nowhere", headers=HTML).text
    assert client.get("/nowhere").headers["content-type"] == PROBLEM
    for path in (f"{API}/nowhere", "/crl/nobody.crl", "/ca/nobody.pem"):
        answer = full.world.as_(bearer(full.filled.token)).get(path, headers=HTML)
        assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM), path
    assert client.delete("/inventory", headers=HTML).status_code == 405

    def broken(*_arguments: Any, **_more: Any) -> Any:
        raise RuntimeError("postgresql://user:hunter2@db")

    monkeypatch.setattr(home.page, "signed_in", broken)
    answer = client.get("/", headers=HTML)
    assert answer.status_code == 500
    assert "the log of the server says what" in answer.text
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("name", ["revoked", "stranger", "no client authentication"])
def test_a_certificate_that_does_not_hold_is_refused_beside_a_session(full: Full, name: str) -> None:
    """A browser shows both: one does not make up for the other, and the page says which it is."""
    world = full.world
    holder = world.holder(f"email:{name.replace(' ', '-')}@example.internal", profile="client")
    if name == "revoked":
        revocation.revoke(
            world.installation, access.Caller("a", Role.ADMIN), holder.serial, RevocationReason.SUPERSEDED
        )
    scope = dict(holder.credential.scope)
    if name == "stranger":
        scope = {key: value[:-1] + bytes([value[-1] ^ 1]) for key, value in scope.items()}
    if name == "no client authentication":
        leaf = world.holder("dns:a.edge.example.internal", profile="server")
        scope = dict(leaf.credential.scope)
    client = browser(full)
    both = world.as_(Credential({"Cookie": f"{COOKIE}={client.cookies[COOKIE]}"}, scope))
    answer = both.get("/inventory", headers=HTML)
    assert answer.status_code in (303, 401)
    assert "certificate" in both.get("/sign-in", headers=HTML).text


def test_a_certificate_needs_no_session(full: Full) -> None:
    """Its holder is known by the connection of this request; forms need a proof all the same, which is its alone."""
    x, y = (full.world.holder(f"email:{n}@example.internal", place=place) for n, place in (("x", 3), ("y", 4)))
    path = f"/inventory/{full.filled.tracked['by-hand']}/owner"
    one, two = full.world.as_(x.credential), full.world.as_(y.credential)
    page = one.get(path)
    assert (page.status_code, COOKIE in one.cookies) == (200, False)
    assert f"certificate:{x.serial}" in page.text
    assert "Sign out" not in page.text
    mine, theirs = form(page.text), form(two.get(path).text)
    assert mine["csrf"] != theirs["csrf"]
    sent = {"owner": "payments", "scope": "one", "once": mine["once"]}
    assert one.post(path, headers=FORM, data={**sent, "csrf": theirs["csrf"]}).status_code == 403
    assert one.post(path, headers={"sec-fetch-site": "cross-site"}, data={**sent, **mine}).status_code == 403
    assert one.post(path, headers=FORM, data=sent).status_code == 403
    assert one.post(path, headers=FORM, data={**sent, **mine}).status_code == 303
    full.world.local.post(f"{API}/certificates/{x.serial}/revoke", json={}).raise_for_status()
    assert one.get(path, headers=HTML).status_code in (303, 401)


def test_a_session_speaks_before_a_certificate(full: Full) -> None:
    """Whoever signs in has said who it wants to be; a holder's certificate alone reads nothing."""
    holder = full.world.holder("email:z@example.internal", place=5)
    bare = full.world.as_(holder.credential)
    assert bare.get("/inventory", headers=HTML).status_code == 403
    cookie = {"Cookie": f"{COOKIE}={browser(full, Role.AUDITOR).cookies[COOKIE]}"}
    both = full.world.as_(Credential(cookie, holder.credential.scope))
    assert "link:a-auditor" in both.get("/inventory", headers=HTML).text


def test_the_socket_is_an_admin(full: Full) -> None:
    """Whoever owns the state directory needs no session there."""
    answer = full.world.as_(LOCALLY).get("/inventory")
    assert "local:uid=0" in answer.text


def test_the_plain_listener_has_no_pages(full: Full) -> None:
    """Not one of them, and no way to sign in."""
    client = full.world.as_(NOBODY, create_public_app(full.world.product))
    for _, path in [*full.paths, ("GET", "/sign-in"), ("GET", "/assets/certwright.css")]:
        assert client.get(path, headers=HTML).status_code == 404, path


def test_the_matrix_is_awake(full: Full, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a role let in that may not, the test above would say so."""
    table = dict(access._TABLE)
    table[Role.CONSUMER] |= {Operation.READ_INVENTORY}
    monkeypatch.setattr(access, "_TABLE", table)
    with pytest.raises(AssertionError):
        test_every_role_at_every_page(full, Role.CONSUMER)


# Links.


def link(full: Full, **body: Any) -> str:
    """The path of a new link."""
    made = full.world.local.post(f"{API}/sign-in-links", json=body)
    return str(made.raise_for_status().json()["path"])


def test_following_a_link_does_nothing(full: Full) -> None:
    """Scanners of mail and chats come first, often several times: whoever presses the button is signed in."""
    path, scanner = link(full, name="ada", role="auditor"), full.world.nobody
    before = changes(full)
    for _ in range(3):
        page = scanner.get(path)
        assert page.status_code == 200
        assert COOKIE not in scanner.cookies
        assert all(word in page.text for word in ("link:ada", "auditor", "nothing has happened yet"))
    assert changes(full) == before
    ada = full.world.nobody
    answer = ada.post(path, headers=FORM, data={"a": "b"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "link:ada" in ada.get("/").text
    late = full.world.nobody.post(path, headers=FORM, data={"a": "b"})
    assert (late.status_code, full.world.nobody.get(path).status_code) == (401, 401)
    assert "has been used" in late.text


@pytest.mark.parametrize(
    "headers", [{}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}, {"origin": "https://x"}], ids=str
)
def test_nobody_is_signed_in_as_somebody_else(full: Full, headers: dict[str, str]) -> None:
    """A page that sends browsers here with a link of its own signs none of them in, and spends nothing."""
    path = link(full)
    assert full.world.nobody.post(path, headers=headers, data={"a": "b"}).status_code == 403
    assert full.world.nobody.post(path, headers=FORM, data={"a": "b"}).status_code == 303


def test_signing_out_ends_the_session(full: Full) -> None:
    """In the store and in the browser: whoever kept the cookie has nothing."""
    client = browser(full)
    cookie = client.cookies[COOKIE]
    answer = client.post("/sign-out", headers=FORM, data={"a": "b"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?said=signed-out")
    assert COOKIE not in client.cookies
    assert "You are signed out." in client.get("/sign-in?said=signed-out").text
    kept = full.world.as_(Credential({"Cookie": f"{COOKIE}={cookie}"}))
    assert kept.get("/inventory", headers=HTML).status_code == 303


def test_nobody_signs_others_out(full: Full) -> None:
    """A page of somebody else cannot end a session."""
    client = browser(full)
    assert client.post("/sign-out", headers={"sec-fetch-site": "cross-site"}, data={"a": "b"}).status_code == 403
    assert client.get("/inventory").status_code == 200


def test_a_token_that_is_revoked_takes_its_sessions_along(full: Full) -> None:
    """At once where it was revoked: the link that it made, and the session of another one."""
    world = full.world
    secret = world.secret(Role.OPERATOR, name="leaving")
    paths = [
        world.as_(bearer(secret)).post(f"{API}/sign-in-links", json={}).raise_for_status().json()["path"]
        for _ in range(2)
    ]
    client = world.nobody
    client.post(paths[0], headers=FORM, data={"a": "b"})
    assert "token:leaving" in client.get("/inventory").text
    world.local.delete(f"{API}/tokens/leaving").raise_for_status()
    assert client.get("/inventory", headers=HTML).status_code == 303
    assert world.nobody.post(paths[1], headers=FORM, data={"a": "b"}).status_code == 401


def test_strangers_are_held_up(full: Full, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tries links takes from the bucket of strangers, by its address."""
    app: Any = full.world.app
    while not hasattr(app, "state"):
        app = app._app
    monkeypatch.setattr(app.state.identity, "_anonymous", RateLimiter(0.001, 5))
    answers = [full.world.nobody.get(f"/sign-in/{'x' * 43}").status_code for _ in range(8)]
    assert answers == [401] * 5 + [429] * 3
    assert full.world.nobody.get("/sign-in/y").headers["retry-after"]


def test_a_link_is_in_no_log(full: Full) -> None:
    """Whoever reads logs cannot sign in: neither as it is made, nor looked at, spent, refused, or gone wrong."""
    with structlog.testing.capture_logs() as logs:
        path = link(full)
        full.world.nobody.get(path)
        full.world.nobody.post(path, headers={"sec-fetch-site": "cross-site"}, data={"a": "b"})
        full.world.nobody.post(path, headers=FORM, data={"a": "b"})
        full.world.nobody.get(path)
        full.world.nobody.put(path)
    assert logs
    assert path.rpartition("/")[2] not in str(logs)


def test_a_link_lasts_minutes(full: Full) -> None:
    """Ten, if nothing else is said; more than an hour is refused."""
    refused = full.world.local.post(f"{API}/sign-in-links", json={"lifetime": "61m"})
    assert refused.json()["code"] == "bad-link-lifetime"
    with clock.pinned(clock.now() + timedelta(days=1)):
        now = clock.timestamp()
        made = full.world.local.post(f"{API}/sign-in-links", json={}).raise_for_status().json()
    assert made["expires_at"] == f"{clock.from_timestamp(now + 600):%Y-%m-%dT%H:%M:%SZ}"
