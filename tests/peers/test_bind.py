"""BIND: dynamic updates by RFC 2136 with TSIG, delegations, secondaries, and everything that it says no to.

It answers from its own zones alone, as the authoritative servers of the world do; the resolver that is asked first is
the same server, which knows all zones of a test. Pebble, a real ACME CA, asks it for its challenges at the end.
"""

from __future__ import annotations

import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from ca import clock
from ca.errors import Misconfigured, NotDelivered
from ca.secret import Secret
from ca.x509 import names
from renewers.solvers import Challenge
from renewers.solvers.dns01 import Dns01
from renewers.solvers.dns_persist01 import DnsPersist01
from renewers.solvers.rfc2136 import Rfc2136Writer
from renewers.solvers.zoned import Zoned
from renewers.solvers.zones import Zones
from tests.bind import Bind, Zone, bind, make_secret, stopped

pytestmark = pytest.mark.peer("named")
NAME = "_acme-challenge.shop.example.test"


def challenge(name: str = "shop.example.test", token: str = "A") -> Challenge:
    """A challenge; the token is one letter, over and over."""
    return Challenge("dns-01", names.guess(name), False, token * 43, f"{token * 43}.{'t' * 43}")


def value_of(asked: Challenge) -> str:
    """What the record has to say, computed without the product."""
    return urlsafe_b64encode(sha256(asked.authorization.encode()).digest()).decode().rstrip("=")


def soon(seconds: float = 60) -> float:
    """A deadline."""
    return clock.monotonic() + seconds


def writer_of(server: Bind, **changes: object) -> Rfc2136Writer:
    """A writer with the server's key, or with what a test gets wrong."""
    right = {"port": server.port, "key_name": server.key_name, "secret": server.secret, "algorithm": server.algorithm}
    return Rfc2136Writer(server.address, **(right | changes))  # type: ignore[arg-type]


def solver_of(server: Bind, zones: Sequence[Zoned] | None = None) -> Dns01:
    """Writes to the server, asks the server."""
    own = zones or [Zoned("example.test", writer_of(server))]
    return Dns01(own, Zones(server.nameservers, port=server.port))


OTHER, READER = make_secret(), make_secret(64)
ZONES = [
    Zone("example.test", records=["sub NS ns1.sub", "ns1.sub A 127.0.0.1", "_acme-challenge.far CNAME far.acme.test."]),
    Zone("sub.example.test"),
    Zone("acme.test"),
    Zone("strict.test", policy=["grant {key} name _acme-challenge.shop.strict.test. TXT;"]),
    Zone("locked.test", policy=[]),
]


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    """One server with five zones and three keys."""
    keys = {"other": ("hmac-sha256", OTHER), "long": ("hmac-sha512", READER)}
    with bind(tmp_path_factory.mktemp("bind"), ZONES, keys=keys) as running:
        yield running


def test_the_record_is_there_within_the_context_and_gone_after_it(named: Bind) -> None:
    """Through the whole way: zone found, update signed, servers asked."""
    with solver_of(named).answer(challenge(), deadline=soon()):
        assert named.texts(NAME) == [value_of(challenge())]
    assert named.texts(NAME) == []


def test_a_delegated_subzone_gets_its_own_records(named: Bind) -> None:
    """The parent has the key, too; but the record lies in the child, and is looked for there."""
    asked = challenge("shop.sub.example.test")
    with solver_of(named).answer(asked, deadline=soon()):
        assert named.texts("_acme-challenge.shop.sub.example.test") == [value_of(asked)]
    assert "sub.example.test/IN': adding an RR at '_acme-challenge.shop.sub.example.test' TXT" in named.log.read_text()
    assert Zones(named.nameservers).zone_of("a.b.sub.example.test", soon()) == "sub.example.test"


def test_a_challenge_that_is_delegated_by_an_alias_needs_no_key_to_its_zone(named: Bind) -> None:
    """`_acme-challenge.far.example.test` is a CNAME into `acme.test`: only there is anything written."""
    asked = challenge("far.example.test")
    solver = solver_of(named, [Zoned("acme.test", writer_of(named), ("far.example.test",))])
    assert solver.solves(names.guess("far.example.test"), is_wildcard=True)
    with solver.answer(asked, deadline=soon()):
        assert named.texts("far.acme.test") == [value_of(asked)]
    assert named.texts("far.acme.test") == []


def test_a_key_that_is_bound_to_one_name_can_do_what_it_is_for(named: Bind) -> None:
    """`update-policy` with that name alone is enough for the challenge, and refuses the one beside it."""
    solver = solver_of(named, [Zoned("strict.test", writer_of(named))])
    with solver.answer(challenge("shop.strict.test"), deadline=soon()):
        pass
    with pytest.raises(NotDelivered) as failed, solver.answer(challenge("other.strict.test"), deadline=soon()):
        pytest.fail("it was answered")
    assert "refuses the update" in failed.value.message
    assert "_acme-challenge.other.strict.test" in failed.value.message
    assert "update-policy" in (failed.value.hint or "")


@pytest.mark.parametrize(
    ("name", "changes", "said", "hint"),
    [
        (NAME, {"key_name": "nobody"}, "does not know the key (BADKEY)", "the same on both sides"),
        (NAME, {"algorithm": "hmac-sha512"}, "(BADKEY)", "the same on both sides"),
        (NAME, {"secret": make_secret()}, "does not accept the signature of the key (BADSIG)", "another secret"),
        (NAME, {"key_name": "other", "secret": OTHER}, "refuses the update", "update-policy"),
        ("_acme-challenge.locked.test", {}, "refuses the update", "update-policy"),
        ("_acme-challenge.elsewhere.net", {}, "is not the server of a zone", "primary"),
    ],
    ids=["unknown-key", "wrong-algorithm", "wrong-secret", "key-without-a-grant", "no-updates", "not-its-zone"],
)
def test_what_it_says_no_to_is_explained(
    named: Bind, name: str, changes: dict[str, object], said: str, hint: str
) -> None:
    """In words that tell what to mend, with the name, and never with the secret; nothing has changed."""
    for call in ("add", "remove"):
        with pytest.raises(NotDelivered) as failed:
            getattr(writer_of(named, **changes), call)(name, "value", deadline=soon())
        assert said in failed.value.message
        assert hint in (failed.value.hint or "")
        for secret in (named.secret, OTHER, READER):
            assert secret.reveal() not in f"{failed.value!r} {failed.value.hint}"
    assert named.texts(name) == []


def test_a_clock_that_is_wrong_is_explained(named: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten minutes off: BADTIME, and the hint speaks of clocks."""
    true = time.time
    monkeypatch.setattr("dns.message.time.time", lambda: true() - 600)
    with pytest.raises(NotDelivered) as failed:
        writer_of(named).add(NAME, "value", deadline=soon())
    assert "has another time than this machine (BADTIME)" in failed.value.message
    assert "clocks" in (failed.value.hint or "")


@pytest.mark.parametrize(
    "algorithm", ["hmac-md5", "hmac-md5.sig-alg.reg.int", "HMAC-SHA1", "hmac-sha224", "gss-tsig", ""]
)
def test_weak_algorithms_are_a_wrong_setting(algorithm: str) -> None:
    """MD5 is still the default of other clients; nothing is sent with it here."""
    with pytest.raises(Misconfigured, match="is not used"):
        Rfc2136Writer("127.0.0.1", 53, "k", make_secret(), algorithm)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("k", "not base64!"),
        ("k", ""),
        ("k", "c2hvcnQ="),
        ("k..k", make_secret().reveal()),
        ("", make_secret().reveal()),
    ],
    ids=["no-base64", "empty", "short", "no-name", "empty-name"],
)
def test_a_key_that_is_none_is_a_wrong_setting(name: str, secret: str) -> None:
    """No base64, too short, no name; the secret is not in the message."""
    with pytest.raises(Misconfigured) as refused:
        Rfc2136Writer("127.0.0.1", 53, name, Secret(secret))
    assert not secret or secret not in refused.value.message


def test_the_secret_is_not_shown(named: Bind) -> None:
    """Not by printing the writer and what it holds."""
    writer = writer_of(named)
    writer.remove(NAME, "value", deadline=soon())
    assert named.secret.reveal() not in repr(vars(writer))


def test_better_algorithms_are_taken(named: Bind) -> None:
    """The server knows the key; that it may not update is another matter."""
    writer = writer_of(named, key_name="long", secret=READER, algorithm="hmac-sha512")
    with pytest.raises(NotDelivered, match="refuses the update"):
        writer.add(NAME, "value", deadline=soon())


def test_a_server_that_is_not_there_is_said_in_time(named: Bind) -> None:
    """Nobody listens at that port: at once, and not when the deadline is over."""
    started = time.monotonic()
    with pytest.raises(NotDelivered, match="does not answer") as failed:
        writer_of(named, port=1).add(NAME, "value", deadline=soon(120))
    assert failed.value.code == "server-silent"
    assert time.monotonic() - started < 60


def test_a_server_is_found_by_its_name_at_whichever_address_answers(
    named: Bind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host with an address of each family, of which one leads nowhere."""
    monkeypatch.setattr("renewers.solvers.rfc2136.resolve", lambda *_: ["127.0.0.77", "127.0.0.1"])
    writer = Rfc2136Writer("ns.example.test", named.port, named.key_name, named.secret)
    writer.add(NAME, "value", deadline=soon())
    assert named.texts(NAME) == ["value"]
    writer.remove(NAME, "value", deadline=soon())


def test_a_server_that_takes_the_connection_and_says_nothing_is_left_in_time(named: Bind) -> None:
    """By the deadline."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(NotDelivered, match="does not answer"):
            writer_of(named, port=silent.getsockname()[1]).add(NAME, "value", deadline=soon(0.5))
        assert time.monotonic() - started < 8  # its own patience is ten seconds


def test_many_threads_prove_many_names_at_once(named: Bind) -> None:
    """Sixteen names, wildcards beside them, over one server."""
    solver = solver_of(named)
    failed: list[BaseException] = []

    def one(number: int) -> None:
        asked = challenge(f"n{number % 8}.example.test", "ABCDEFGHIJKLMNOP"[number])
        try:
            with solver.answer(asked, deadline=soon()):
                assert value_of(asked) in named.texts(f"_acme-challenge.n{number % 8}.example.test")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [named.texts(f"_acme-challenge.n{number}.example.test") for number in range(8)] == [[]] * 8


@contextmanager
def pair(home: Path, *, refresh: int, notify: bool = False) -> Iterator[tuple[Bind, Bind]]:
    """A primary and its secondary, both name servers of `example.test`, at one port."""
    zone = Zone("example.test", servers=("127.0.0.1", "127.0.0.2"))
    with (
        bind(home / "primary", [zone]) as primary,
        bind(
            home / "secondary", [zone], address="127.0.0.2", port=primary.port, primary=primary, refresh=refresh
        ) as second,
    ):
        yield primary, second


def test_a_secondary_that_lags_is_waited_for(tmp_path: Path) -> None:
    """It asks its primary once a second: within the context, both have the value."""
    with pair(tmp_path, refresh=1) as (primary, secondary):
        with solver_of(primary).answer(challenge(), deadline=soon()):
            assert primary.texts(NAME) == secondary.texts(NAME) == [value_of(challenge())]
        assert primary.texts(NAME) == []


def test_a_secondary_that_does_not_follow_or_is_down_is_named(tmp_path: Path) -> None:
    """Frozen at an old version, then stopped: the CA is never called, the server is named, the record is taken back."""
    with pair(tmp_path, refresh=3600) as (primary, secondary):
        for said, seconds in (("the value is not there", 6), ("does not answer", 1.5)):  # who answers may be slow at it
            with pytest.raises(NotDelivered) as failed, solver_of(primary).answer(challenge(), deadline=soon(seconds)):
                pytest.fail("it was answered")
            assert said in failed.value.message
            assert (
                f"1 of 2 authoritative servers: ns2.example.test (127.0.0.2 port {primary.port})"
                in failed.value.message
            )
            assert primary.texts(NAME) == []
            stopped(secondary)


def test_a_record_that_stands_is_made_once_and_found_by_every_server(tmp_path: Path) -> None:
    """dns-persist-01 with a writer, over a secondary that lags; the second time, nothing is written."""
    asked = Challenge(
        "dns-persist-01", names.guess("shop.example.test"), True, "", "", ("ca.test",), "https://ca.test/1"
    )
    owner = "_validation-persist.shop.example.test"
    with pair(tmp_path, refresh=1) as (primary, secondary):
        zones = Zones(primary.nameservers, port=primary.port)
        solver = DnsPersist01(zones, [Zoned("example.test", writer_of(primary))])
        with solver.answer(asked, deadline=soon()):
            assert secondary.texts(owner) == ["ca.test; accounturi=https://ca.test/1; policy=wildcard"]
        with DnsPersist01(zones).answer(asked, deadline=soon()):
            pass
        assert primary.log.read_text().count(f"adding an RR at '{owner}' TXT") == 1
