"""A real OpenID Connect provider, a conformant one: people sign in with it, with each kind of key that it may have."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from ca.models import BrowserSession
from pki.product import Product
from tests import peer
from tests.ca.world import entries
from tests.pebble import TlsFiles, loopback_tls
from tests.pki.conftest import World
from tests.provider import CLIENT, KINDS, SECRET, make_key

PACKAGES = Path("/usr/local/lib/certwright-peers/node_modules")
OWN = "https://ca.example.internal"
BACK = f"{OWN}/sign-in/with/corp/back"
ALGORITHMS = ("RS256", "ES256", "EdDSA")

pytestmark = pytest.mark.peer("oidc-provider")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """What it shows on loopback."""
    return loopback_tls(tmp_path_factory.mktemp("provider"))


@contextmanager
def providing(tls: TlsFiles, folder: Path, algorithm: str) -> Iterator[str]:
    """Run the provider with a new key of each kind. Yields its issuer."""
    node = peer.require("node")
    if not (PACKAGES / "oidc-provider").is_dir():
        peer.missing("oidc-provider is not installed (make peers)")
    port, log = peer.free_port(), folder / "provider.log"
    log.touch()
    keys = [
        {**KINDS[kind].to_jwk(make_key(kind), as_dict=True), "kid": kind, "alg": kind, "use": "sig"}
        for kind in ALGORITHMS
    ]
    settings = {"redirect": BACK, "keys": keys, "algorithm": algorithm, "packages": str(PACKAGES)}
    argv = [node, Path(__file__).with_name("provider.mjs"), port, tls.certificate, tls.key, json.dumps(settings)]
    with peer.running([str(word) for word in argv], ready=lambda: "serving" in log.read_text(), log=log):
        yield f"https://127.0.0.1:{port}"


@contextmanager
def installed(state: Path, issuer: str, tls: TlsFiles) -> Iterator[Product]:
    """An installation whose people sign in with it."""
    (state / "provider-secret").write_text(SECRET)
    (state / "provider-secret").chmod(0o400)
    entry = {
        "name": "corp",
        "issuer": issuer,
        "client_id": CLIENT,
        "client_secret_file": "provider-secret",
        "ca_file": str(tls.ca_file),
        "roles": [{"value": "ops", "role": "operator"}],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CERTWRIGHT_DASHBOARD__OIDC", json.dumps([entry]))
        patch.setenv("CERTWRIGHT_MAIL__LINK_URL", OWN)
        with Product.open(state) as opened:
            yield opened


def person(tls: TlsFiles, there: str, name: str) -> str:
    """Somebody at the provider: fills in its forms until it sends the browser back. Returns where to."""
    context = ssl.create_default_context(cafile=str(tls.ca_file))
    with httpx.Client(verify=context, timeout=60, trust_env=False) as browser:
        answer = browser.get(there)
        for _ in range(12):
            if answer.is_redirect:
                location = urljoin(str(answer.url), answer.headers["location"])
                if location.startswith(BACK):
                    return location
                answer = browser.get(location)
                continue
            action, fields = _filled_in(answer, name)
            answer = browser.post(action, data=fields)
    raise AssertionError(f"never sent back: {answer.status_code} {answer.text[:2000]}")


def _filled_in(answer: httpx.Response, name: str) -> tuple[str, dict[str, str]]:
    found = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
    assert found is not None, f"{answer.status_code}: {re.sub('<[^>]+>', ' ', answer.text)[-1500:]}"
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)"', answer.text))
    return urljoin(str(answer.url), found[1]), hidden | {"login": name, "password": "any"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_people_sign_in(state: Path, tls: TlsFiles, tmp_path: Path, algorithm: str) -> None:
    """With keys of each kind: who is in the group becomes an operator, who is not gets a page that says so."""

    with (
        providing(tls, tmp_path, algorithm) as issuer,
        installed(state, issuer, tls) as product,
        asyncio.Runner() as loop,
    ):
        world = World(product, loop)
        browser = world.nobody
        location = person(tls, browser.get("/sign-in/with/corp").headers["location"], "ada")
        answer = browser.get(urlsplit(location)._replace(scheme="", netloc="").geturl())
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"] == "/"
        assert "oidc:corp:ada" in browser.get("/inventory").text
        (entry,) = entries(world.installation.store, "signed-in")
        assert (entry["by"], entry["role"]) == ("oidc:corp:ada", "operator")

        other = world.nobody
        location = person(tls, other.get("/sign-in/with/corp").headers["location"], "grace")
        refused = other.get(urlsplit(location)._replace(scheme="", netloc="").geturl())
        assert (refused.status_code, world.count(BrowserSession)) == (403, 1)
        again = browser.get(urlsplit(location)._replace(scheme="", netloc="").geturl())
        assert again.status_code == 401


def test_a_code_is_taken_once_and_with_its_verifier(state: Path, tls: TlsFiles, tmp_path: Path) -> None:
    """The provider's own checks of PKCE and of used codes are reached: an answer carried to another browser is dead."""

    with (
        providing(tls, tmp_path, "ES256") as issuer,
        installed(state, issuer, tls) as product,
        asyncio.Runner() as loop,
    ):
        world = World(product, loop)
        victim, thief = world.nobody, world.nobody
        location = person(tls, victim.get("/sign-in/with/corp").headers["location"], "ada")
        own = dict(httpx.QueryParams(urlsplit(thief.get("/sign-in/with/corp").headers["location"]).query))
        stolen = dict(httpx.QueryParams(urlsplit(location).query)) | {"state": own["state"]}
        refused = thief.get(f"/sign-in/with/corp/back?{httpx.QueryParams(stolen)}")
        assert (refused.status_code, world.count(BrowserSession)) == (401, 0)
        assert "does not take the code" in refused.text
