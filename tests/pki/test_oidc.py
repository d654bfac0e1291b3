"""Signing in with a provider: there and back once, in the browser that began it, as what the settings grant."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import jwt
import pytest

from ca import clock, sessions
from ca.models import BrowserSession
from pki.product import Product
from pki.web.dashboard.browsers import COOKIE
from pki.web.dashboard.flow import COOKIE as FLOW
from tests.ca.world import entries
from tests.pki.conftest import World
from tests.provider import CLIENT, SECRET, Provider, make_key, providing

OWN = "https://ca.example.internal"
ROLES = [
    {"claim": "groups", "value": "boss", "role": "admin"},
    {"claim": "groups", "value": "ops", "role": "operator"},
    {"claim": "email", "value": "grace@example.org", "role": "auditor"},
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """One provider for all tests."""
    with providing(tmp_path_factory.mktemp("provider")) as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    """As it should be."""
    running.said = {"sub": "ada", "groups": ["staff", "ops"]}
    running.claims, running.sign = lambda _claims: None, None
    running.header, running.spoil, running.description = {}, {}, {}
    running.asked.clear()
    return running


@pytest.fixture
def product(state: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Product]:
    """An installation whose people sign in with it, and whose settings name another one that is away."""
    (state / "provider-secret").write_text(SECRET)
    (state / "provider-secret").chmod(0o400)
    entry = {
        "name": "corp",
        "issuer": provider.url,
        "client_id": CLIENT,
        "client_secret_file": "provider-secret",
        "ca_file": str(provider.ca_file),
        "roles": ROLES,
    }
    other = {**entry, "name": "other", "issuer": "https://127.0.0.1:9"}
    monkeypatch.setenv("CERTWRIGHT_DASHBOARD__OIDC", json.dumps([entry, other]))
    monkeypatch.setenv("CERTWRIGHT_MAIL__LINK_URL", OWN)
    with Product.open(state) as opened:
        yield opened


@pytest.fixture
def browser(world: World) -> httpx.Client:
    """A browser that keeps cookies."""
    return world.nobody


def there(browser: httpx.Client, onward: str | None = None) -> str:
    """Where a browser is sent."""
    answer = browser.get("/sign-in/with/corp", params={} if onward is None else {"next": onward})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def back(browser: httpx.Client, fields: dict[str, str], name: str = "corp") -> httpx.Response:
    """The answer to a browser that comes back."""
    return browser.get(f"/sign-in/with/{name}/back?{urlencode(fields)}")


def sign_in(browser: httpx.Client, provider: Provider, onward: str | None = None) -> httpx.Response:
    """All of it."""
    return back(browser, provider.authorise(there(browser, onward)))


def refused(world: World, answer: httpx.Response, status: int) -> str:
    """The page of a refusal: nobody is signed in, and nothing of what was said leaks."""
    assert answer.status_code == status, answer.text
    assert COOKIE not in answer.headers.get("set-cookie", "")
    assert world.count(BrowserSession) == 0
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.search(r"Traceback|eyJ|code-\d", answer.text)
    return answer.text


def test_somebody_signs_in(world: World, browser: httpx.Client, provider: Provider) -> None:
    """With the role of the first entry that fits; PKCE, state and nonce are of this attempt; the ledger says so."""
    asked = dict(parse_qsl(urlsplit(there(browser)).query))
    assert asked["redirect_uri"] == f"{OWN}/sign-in/with/corp/back"
    assert all(len(asked[name]) == 43 for name in ("state", "nonce", "code_challenge"))
    again = dict(parse_qsl(urlsplit(there(browser)).query))
    assert not {asked[name] for name in ("state", "nonce", "code_challenge")} & set(again.values())
    answer = sign_in(browser, provider, "/inventory?stage=late")
    assert (answer.status_code, answer.headers["location"]) == (303, "/inventory?stage=late")
    cookies = answer.headers.get_list("set-cookie")
    assert any(
        re.match(rf"{COOKIE}=[\w-]{{43}}; HttpOnly; Max-Age=43200; Path=/; SameSite=lax; Secure$", c) for c in cookies
    )
    assert FLOW not in browser.cookies
    home = browser.get("/")
    assert home.status_code == 200
    assert "oidc:corp:ada" in home.text
    assert "operator" in home.text
    (entry,) = entries(world.installation.store, "signed-in")
    assert (entry["by"], entry["how"], entry["role"]) == ("oidc:corp:ada", "oidc", "operator")


@pytest.mark.parametrize(
    ("said", "role"),
    [
        ({"groups": ["boss", "ops"]}, "admin"),
        ({"groups": "ops"}, "operator"),
        ({"groups": [], "email": "grace@example.org"}, "auditor"),
        ({"groups": ["boss "]}, None),
        ({"groups": {"boss": True}}, None),
        ({"groups": [["boss"]], "email": ["x"]}, None),
        ({}, None),
    ],
    ids=str,
)
def test_roles_come_of_the_settings(
    world: World, browser: httpx.Client, provider: Provider, said: dict[str, Any], role: str | None
) -> None:
    """The first entry that fits exactly, or a page that says that none does."""
    provider.said = {"sub": "grace", **said}
    answer = sign_in(browser, provider)
    if role is None:
        assert "granted a role here" in refused(world, answer, 403)
    else:
        assert answer.status_code == 303
        assert f'<span class="role">{role}</span>' in browser.get("/").text


def test_a_session_ends_with_its_grant(
    world: World, browser: httpx.Client, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings no longer have the entry: the session that came of it is over."""
    sign_in(browser, provider)
    assert browser.get("/").status_code == 200
    dashboard = world.product.settings.dashboard.oidc[0]
    object.__setattr__(dashboard, "roles", [dashboard.roles[0]])
    later = clock.monotonic() + sessions.FRESH_FOR
    monkeypatch.setattr(clock, "monotonic", lambda: later)
    assert browser.get("/").headers["location"] == "/sign-in"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another-client"},
        {"aud": [CLIENT, "another-client"]},
        {"azp": "another-client"},
        {"iss": "https://idp.example.org"},
        {"nonce": "another"},
        {"exp": 1},
        {"iat": 1},
        {"sub": ""},
    ],
    ids=str,
)
def test_what_is_not_for_us_signs_nobody_in(
    world: World, browser: httpx.Client, provider: Provider, claims: dict[str, Any]
) -> None:
    """The rest is in `test_jwt_identity.py`; here, that it is asked."""
    provider.claims = lambda said: {**said, **claims}
    refused(world, sign_in(browser, provider), 401)


def test_another_key_signs_nobody_in(world: World, browser: httpx.Client, provider: Provider) -> None:
    """Under the provider's own name for its key; and none at all."""
    stranger = make_key("RS256")
    provider.sign = lambda header, said: jwt.encode(said, stranger, "RS256", header)
    refused(world, sign_in(browser, provider), 401)
    provider.sign = lambda _header, said: jwt.encode(said, None, "none")
    refused(world, sign_in(browser, provider), 401)


def test_an_answer_counts_once(world: World, browser: httpx.Client, provider: Provider) -> None:
    """The same answer again, with the cookie that it came with, is refused before the provider is asked."""
    answer = provider.authorise(there(browser))
    kept = browser.cookies[FLOW]
    assert back(browser, answer).status_code == 303
    asked = provider.asked["/token"]
    browser.cookies.set(FLOW, kept, domain="ca.example.internal")
    again = back(browser, answer)
    assert (again.status_code, provider.asked["/token"], world.count(BrowserSession)) == (401, asked, 1)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda fields, browser: fields.pop("state"),
        lambda fields, browser: fields.update(state=fields["state"][::-1]),
        lambda fields, browser: browser.cookies.clear(),
        lambda fields, browser: browser.cookies.set(FLOW, "x.y", domain="ca.example.internal"),
        lambda fields, browser: browser.cookies.set(FLOW, tampered(browser), domain="ca.example.internal"),
    ],
    ids=["no state", "another state", "another browser", "nonsense", "changed"],
)
def test_an_answer_is_the_browsers_that_began(
    world: World, browser: httpx.Client, provider: Provider, spoil: Callable[[dict[str, str], httpx.Client], Any]
) -> None:
    """Whoever has somebody else come back with an answer of theirs signs nobody in, and the provider is not asked."""
    answer = provider.authorise(there(browser))
    spoil(answer, browser)
    assert "begun" in refused(world, back(browser, answer), 401)
    assert provider.asked["/token"] == 0


def tampered(browser: httpx.Client) -> str:
    """The cookie, with one bit of it changed."""
    value = browser.cookies[FLOW]
    browser.cookies.clear()
    return value[:10] + ("A" if value[10] != "A" else "B") + value[11:]


def test_an_attempt_has_an_end_and_a_provider(world: World, browser: httpx.Client, provider: Provider) -> None:
    """Ten minutes; and an answer at the address of another provider is none (mix-up)."""
    answer = provider.authorise(there(browser))
    refused(world, back(browser, answer, "other"), 401)
    with clock.pinned(clock.now() + timedelta(seconds=601)):
        refused(world, back(browser, answer), 401)
    assert provider.asked["/token"] == 0
    assert back(browser, answer).status_code == 303


@pytest.mark.parametrize(
    ("said", "promised", "status"),
    [("own", True, 303), (None, False, 303), (None, True, 401), ("https://evil.example", False, 401)],
)
def test_who_answers_says_so(
    world: World, browser: httpx.Client, provider: Provider, said: str | None, promised: bool, status: int
) -> None:
    """RFC 9207: the issuer of an answer, where it is said or has been promised."""
    provider.description = {"authorization_response_iss_parameter_supported": promised}
    answer = provider.authorise(there(browser))
    if said is not None:
        answer["iss"] = provider.url if said == "own" else said
    assert back(browser, answer).status_code == status


def test_a_provider_that_says_no(world: World, browser: httpx.Client, provider: Provider) -> None:
    """Its word is shown, cut and literally; one without a code is none."""
    state = provider.authorise(there(browser))["state"]
    text = refused(world, back(browser, {"error": "<script>alert(1)</script>" * 9, "state": state}), 403)
    assert "&lt;script&gt;" in text
    assert "<script" not in text
    state = provider.authorise(there(browser))["state"]
    refused(world, back(browser, {"state": state}), 400)


OUT_OF_ORDER: list[tuple[str, Any, int]] = [
    ("/token", (400, {}, b'{"error":"invalid_grant","error_description":"secret"}'), 401),
    ("/token", (200, {}, b"{}"), 401),
    ("/token", (200, {}, b'{"id_token": 7}'), 401),
    ("/token", (200, {}, b"<html>"), 503),
    ("/token", (200, {}, b"[" * 100_000), 503),
    ("/token", (200, {}, b" " * 300_000), 503),
    ("/token", (302, {"Location": "https://127.0.0.1:9/"}, b""), 401),
    ("/keys", (500, {}, b""), 503),
    ("/keys", (200, {}, b"{}"), 401),
    ("/keys", (302, {"Location": "https://127.0.0.1:9/"}, b""), 503),
]


def test_a_provider_out_of_order_signs_nobody_in(world: World, browser: httpx.Client, provider: Provider) -> None:
    """No such answer, no answer in JSON, too long a one, one that leads elsewhere."""
    for path, answer, status in OUT_OF_ORDER:
        provider.spoil = {path: answer}
        the_app(world).state.providers.clear()
        assert "secret" not in refused(world, sign_in(browser, provider), status)


DESCRIPTIONS: list[dict[str, Any]] = [
    {"issuer": "https://evil.example"},
    {"issuer": None},
    {"token_endpoint": "https://127.0.0.1:9/token"},
    {"token_endpoint": "http://127.0.0.1/token"},
    {"token_endpoint": 7},
    {"jwks_uri": "https://127.0.0.1:9/keys"},
    {"jwks_uri": "file:///etc/passwd"},
    {"authorization_endpoint": "javascript:alert(1)"},
    {"authorization_endpoint": "https://a\r\nSet-Cookie: a=b"},
]


def test_a_description_leads_nowhere_else(world: World, browser: httpx.Client, provider: Provider) -> None:
    """It has to call itself what the settings call it, and points to the hosts that these name."""
    for description in DESCRIPTIONS:
        provider.description = description
        the_app(world).state.providers.clear()
        answer = browser.get("/sign-in/with/corp")
        if answer.status_code == 303 and answer.headers["location"].startswith(f"{provider.url}/authorise?"):
            answer = back(browser, provider.authorise(answer.headers["location"]))
        assert answer.status_code in (500, 503), description
        refused(world, answer, answer.status_code)


def the_app(world: World) -> Any:
    """The application behind its gate."""
    inner = world.app
    while not hasattr(inner, "state"):
        inner = inner._app
    return inner


def test_a_provider_that_is_away(world: World, browser: httpx.Client) -> None:
    """A page that says so; one that nobody has named is not known."""
    assert "cannot be reached" in refused(world, browser.get("/sign-in/with/other"), 503)
    refused(world, browser.get("/sign-in/with/nobody"), 404)


ELSEWHERE = [
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example",
    "https:evil.example",
    "javascript:alert(1)",
    "/%09/evil.example\t",
    "/\n/evil.example",
    "/sign-out",
    "/a" + "b" * 3000,
    "inventory",
    "/é",
]


def test_nobody_is_led_elsewhere(browser: httpx.Client, provider: Provider) -> None:
    """Afterwards, a browser goes to a path of ours, or to the first page."""
    for onward in ELSEWHERE:
        assert sign_in(browser, provider, onward).headers["location"] == "/", onward


def test_the_session_before_ends(world: World, browser: httpx.Client, provider: Provider) -> None:
    """Whoever planted a cookie of theirs in a browser has nothing of who signs in there (fixation)."""
    sign_in(browser, provider)
    planted = browser.cookies[COOKIE]
    provider.said = {"sub": "grace", "groups": ["boss"]}
    sign_in(browser, provider)
    assert browser.cookies[COOKIE] != planted
    assert world.count(BrowserSession) == 1
    stranger = world.nobody
    stranger.cookies.set(COOKIE, planted, domain="ca.example.internal")
    assert stranger.get("/").headers["location"] == "/sign-in"


def test_a_new_key_of_the_provider(browser: httpx.Client, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes its key: whoever signs in afterwards is not turned away for long."""
    assert sign_in(browser, provider).status_code == 303
    before, name = provider.key, provider.kid
    provider.key, provider.kid = make_key("RS256"), "two"
    try:
        later = clock.monotonic() + 60
        monkeypatch.setattr(clock, "monotonic", lambda: later)
        assert sign_in(browser, provider).status_code == 303
    finally:
        provider.key, provider.kid = before, name
