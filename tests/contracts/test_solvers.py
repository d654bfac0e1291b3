"""The contract of every solver: it says what it can do; its answer is there within the context, and nowhere after it.

Each is looked at as a CA looks: over HTTP, in a file that a web server would show, by DNS, by a TLS handshake.
"""

from __future__ import annotations

import http.client
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import pytest

from ca import clock
from ca.errors import BadRequest
from ca.x509 import names
from renewers.solvers import Challenge, Solver
from renewers.solvers.dns01 import Dns01
from renewers.solvers.dns_persist01 import DnsPersist01, record_for
from renewers.solvers.http01 import Http01Listener
from renewers.solvers.tls_alpn01 import TlsAlpn01Listener
from renewers.solvers.webroot import Webroot
from renewers.solvers.zoned import Zoned
from renewers.solvers.zones import Zones
from tests import peer
from tests.nameserver import MemoryWriter, nameservers
from tests.tls_alpn import shown

THUMBPRINT = "T" * 43
ISSUER, ACCOUNT = "ca.example", "https://ca.example/acct/1"


class Sees(Protocol):
    """Whether a CA would find the answer."""

    def __call__(self, challenge: Challenge) -> bool:
        """At this moment."""


@dataclass(frozen=True)
class Rig:
    """A solver and the eyes of a CA."""

    solver: Solver
    sees: Sees
    takes_wildcards: bool
    takes_addresses: bool
    stays: bool = False
    """The answer is there before and after, on purpose."""


def make(rig: Rig, name: str = "shop.example", token: str = "A", *, is_wildcard: bool = False) -> Challenge:
    """A sound challenge of the solver's kind."""
    kind = rig.solver.kind
    token = "" if kind == "dns-persist-01" else token * 43
    text = f"{token}.{THUMBPRINT}" if token else ""
    return Challenge(kind, names.guess(name), is_wildcard, token, text, (ISSUER,), ACCOUNT)


def answering(rig: Rig, challenge: Challenge) -> AbstractContextManager[None]:
    """The solver's context, with a minute to get there."""
    return rig.solver.answer(challenge, deadline=clock.monotonic() + 60)


@pytest.fixture
def http01() -> Rig:
    """Our own listener, asked over HTTP."""
    port = peer.free_port()

    def sees(challenge: Challenge) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", f"/.well-known/acme-challenge/{challenge.token}")
            response = connection.getresponse()
            return response.status == 200 and response.read().decode() == challenge.authorization
        except ConnectionRefusedError:
            return False
        finally:
            connection.close()

    return Rig(Http01Listener("127.0.0.1", port), sees, takes_wildcards=False, takes_addresses=True)


@pytest.fixture
def webroot(tmp_path: Path) -> Rig:
    """A document root, looked into."""

    def sees(challenge: Challenge) -> bool:
        file = tmp_path / ".well-known" / "acme-challenge" / challenge.token
        return file.exists() and file.read_text() == challenge.authorization

    return Rig(Webroot({"*": tmp_path}), sees, takes_wildcards=False, takes_addresses=True)


@pytest.fixture
def dns01() -> Iterator[Rig]:
    """Two authoritative servers, both asked."""
    with nameservers("127.0.0.1", "127.0.0.2") as servers:
        for server in servers:
            server.zone("example", [s.address for s in servers])
        zones = Zones(servers[0].nameservers, port=servers[0].port)

        def sees(challenge: Challenge) -> bool:
            value = urlsafe_b64encode(sha256(challenge.authorization.encode()).digest()).rstrip(b"=").decode()
            return all(value in s.texts(f"_acme-challenge.{challenge.name.value}") for s in servers)

        solver = Dns01([Zoned("example", MemoryWriter(*servers))], zones)
        yield Rig(solver, sees, takes_wildcards=True, takes_addresses=False)


@pytest.fixture
def dns_persist01() -> Iterator[Rig]:
    """Records that stand for every name of the tests."""
    with nameservers("127.0.0.1") as (server,):
        server.zone("example")
        text = record_for(ISSUER, ACCOUNT, is_wildcard=True)
        for name in ("shop.example", *(f"n{number}.example" for number in range(8))):
            server.records[f"_validation-persist.{name}", "TXT"] = [f'"{text}"']
        solver = DnsPersist01(Zones(server.nameservers, port=server.port))

        def sees(challenge: Challenge) -> bool:
            return text in server.texts(f"_validation-persist.{challenge.name.value}")

        yield Rig(solver, sees, takes_wildcards=True, takes_addresses=False, stays=True)


@pytest.fixture
def tls_alpn01() -> Rig:
    """Our own listener, asked by a TLS handshake."""
    port = peer.free_port()

    def sees(challenge: Challenge) -> bool:
        return shown(port, challenge) == sha256(challenge.authorization.encode()).digest()

    return Rig(TlsAlpn01Listener("127.0.0.1", port), sees, takes_wildcards=False, takes_addresses=True)


WITH_TOKENS = ["http01", "webroot", "dns01", "tls_alpn01"]


@pytest.fixture(params=[*WITH_TOKENS, "dns_persist01"])
def rig(request: pytest.FixtureRequest) -> Rig:
    """Every solver in turn."""
    found: Rig = request.getfixturevalue(request.param)
    return found


def test_it_says_what_it_can_do(rig: Rig) -> None:
    """Wildcards over DNS alone, addresses over connections alone, never a mail address or a URI."""
    solves = rig.solver.solves
    assert solves(names.parse("dns:shop.example"), is_wildcard=False)
    assert solves(names.parse("dns:shop.example"), is_wildcard=True) is rig.takes_wildcards
    assert solves(names.parse("dns:*.shop.example"), is_wildcard=True) is rig.takes_wildcards
    for address in ("ip:192.0.2.1", "ip:2001:db8::1"):
        assert solves(names.parse(address), is_wildcard=False) is rig.takes_addresses
    for other in ("email:a@shop.example", "uri:https://shop.example/"):
        assert not solves(names.parse(other), is_wildcard=False)


def test_the_answer_is_there_within_the_context_and_gone_after_it(rig: Rig) -> None:
    """What the CA would find: nothing, the answer, nothing. A standing record stands."""
    challenge = make(rig)
    assert rig.sees(challenge) is rig.stays
    with answering(rig, challenge):
        assert rig.sees(challenge)
    assert rig.sees(challenge) is rig.stays


def test_the_answer_is_gone_after_an_error(rig: Rig) -> None:
    """An order that fails leaves nothing behind, and the error is the caller's own."""
    challenge = make(rig)
    with pytest.raises(ZeroDivisionError), answering(rig, challenge):
        raise ZeroDivisionError
    assert rig.sees(challenge) is rig.stays


def test_it_answers_again(rig: Rig) -> None:
    """The same challenge twice, another one after it: whatever was bound or made is free again."""
    for token in "AAB":
        with answering(rig, make(rig, token=token)):
            assert rig.sees(make(rig, token=token))


def test_a_challenge_is_answered_until_the_last_order_needs_it_no_more(rig: Rig) -> None:
    """Two orders share an authorization: the first one to end takes nothing from the other."""
    challenge = make(rig)
    with answering(rig, challenge):
        with answering(rig, challenge):
            assert rig.sees(challenge)
        assert rig.sees(challenge)
    assert rig.sees(challenge) is rig.stays


def _at_once(rig: Rig, challenges: list[Challenge], rounds: int) -> list[bool]:
    """Answer all of them from a thread each, over and over; what the CA saw each time."""

    def one(challenge: Challenge) -> list[bool]:
        found = []
        for _ in range(rounds):
            with answering(rig, challenge):
                found.append(rig.sees(challenge))
        return found

    with ThreadPoolExecutor(len(challenges)) as pool:
        return [seen for found in pool.map(one, challenges) for seen in found]


@pytest.mark.parametrize(
    "choose",
    [
        pytest.param(lambda number: (f"n{number}.example", "ABCDEFGH"[number]), id="different-names"),
        pytest.param(lambda number: ("shop.example", "A"), id="one-challenge"),
        pytest.param(lambda number: ("shop.example", "ABCDEFGH"[number]), id="one-name-different-tokens"),
    ],
)
def test_many_threads_answer_at_once(rig: Rig, choose: Callable[[int], tuple[str, str]]) -> None:
    """Eight orders, four times each: every one of them is seen whenever its context stands."""
    challenges = [make(rig, *choose(number)) for number in range(8)]
    seen = _at_once(rig, challenges, 4)
    assert len(seen) == 32
    assert all(seen)
    assert [rig.sees(challenge) for challenge in challenges] == [rig.stays] * 8


def test_no_thread_is_left(rig: Rig) -> None:
    """A solver that has nothing to answer costs nothing."""
    before = set(threading.enumerate())
    with answering(rig, make(rig)):
        assert rig.sees(make(rig))
    assert {thread for thread in threading.enumerate() if thread.name.startswith("challenge")} - before == set()


@pytest.mark.parametrize("rig", WITH_TOKENS, indirect=True)
@pytest.mark.parametrize(
    "token",
    [
        "",
        "short",
        "../../../etc/passwd-and-more",
        "$(touch /tmp/owned)aaaaaaaaaaaa",
        "A" * 129,
        "A" * 30 + "\n",
        "ü" * 30,
    ],
)
def test_a_token_that_is_none_goes_nowhere(rig: Rig, token: str) -> None:
    """acme.sh ran commands that a CA had sent as a token; what is not of the permitted form is refused."""
    challenge = Challenge(rig.solver.kind, names.guess("shop.example"), False, token, f"{token}.{THUMBPRINT}")
    with pytest.raises(BadRequest) as refused, answering(rig, challenge):
        pytest.fail("it was answered")
    assert refused.value.code == "bad-challenge"
