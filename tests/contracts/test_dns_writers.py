"""The contract of every `DnsWriter`: one value comes, one value goes, and nothing else changes.

RFC 2136 is held against a real BIND, dns-lexicon against a provider in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from ca import clock
from renewers.solvers import DnsWriter
from renewers.solvers.lexicon import LexiconWriter
from renewers.solvers.rfc2136 import Rfc2136Writer
from tests.bind import Bind, bind
from tests.lexicon_path import pretend_provider

ZONE = "zone.example"
NAME = f"_acme-challenge.shop.{ZONE}"


@dataclass(frozen=True)
class Rig:
    """A writer, and what is in the zone."""

    writer: DnsWriter
    texts: Callable[[str], list[str]]


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    """BIND with the zone."""
    with bind(tmp_path_factory.mktemp("bind"), [ZONE]) as running:
        yield running


@pytest.fixture
def rfc2136(named: Bind) -> Iterator[Rig]:
    """Signed updates to BIND."""
    writer = Rfc2136Writer(named.address, named.port, named.key_name, named.secret, named.algorithm)
    yield Rig(writer, named.texts)
    for value in named.texts(NAME):
        writer.remove(NAME, value, deadline=soon())


@pytest.fixture
def lexicon(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """A provider in memory."""
    provider = pretend_provider(monkeypatch)
    writer = LexiconWriter("pretend", {"auth_token": "sesame"}, zone=ZONE)
    return Rig(writer, lambda name: sorted(text for owner, text in provider.zone.values() if owner == name))


@pytest.fixture(params=["rfc2136", "lexicon"])
def rig(request: pytest.FixtureRequest) -> Rig:
    """Every writer in turn."""
    found: Rig = request.getfixturevalue(request.param)
    return found


def soon(seconds: float = 60) -> float:
    """A deadline."""
    return clock.monotonic() + seconds


def test_values_stand_beside_each_other_and_go_alone(rig: Rig) -> None:
    """A name and its wildcard share a name; a value that is not there is removed in silence."""
    for value in ("one", "two", "one"):
        rig.writer.add(NAME, value, deadline=soon())
    assert rig.texts(NAME) == ["one", "two"]
    rig.writer.remove(NAME, "three", deadline=soon())
    rig.writer.remove(NAME, "one", deadline=soon())
    rig.writer.remove(NAME, "one", deadline=soon())
    assert rig.texts(NAME) == ["two"]
    rig.writer.remove(NAME, "two", deadline=soon())
    assert rig.texts(NAME) == []
    rig.writer.remove(NAME, "two", deadline=soon())


@pytest.mark.parametrize(
    "value",
    ["a", "x" * 43, "y" * 255, "ca.example; accounturi=https://ca.example/acct/1; policy=wildcard; persistUntil=1"],
)
def test_a_value_arrives_as_it_is(rig: Rig, value: str) -> None:
    """Semicolons, blanks and equals signs are part of a value, and no syntax."""
    rig.writer.add(NAME, value, deadline=soon())
    assert rig.texts(NAME) == [value]
    rig.writer.remove(NAME, value, deadline=soon())
    assert rig.texts(NAME) == []


def test_a_long_value_is_one_record(named: Bind, rfc2136: Rig) -> None:
    """Strings of 255 bytes are joined by whoever reads them (RFC 7208 section 3.3)."""
    value = "z" * 600
    rfc2136.writer.add(NAME, value, deadline=soon())
    assert rfc2136.texts(NAME) == [value]


def test_many_threads_write_at_once(rig: Rig) -> None:
    """Twenty values for one name, and for names beside it: all of them are there, and then none."""
    pairs = [(NAME, f"value-{number}") for number in range(20)] + [(f"n{n}.{NAME}", "v") for n in range(10)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda pair: rig.writer.add(*pair, deadline=soon()), pairs))
        assert rig.texts(NAME) == sorted(f"value-{number}" for number in range(20))
        list(pool.map(lambda pair: rig.writer.remove(*pair, deadline=soon()), pairs))
    assert [rig.texts(name) for name, _ in pairs] == [[]] * len(pairs)
