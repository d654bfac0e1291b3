"""DNS providers through dns-lexicon: one zone, one value, no guesses, no secrets in an error, and no endless call."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from ca import clock
from ca.errors import Misconfigured, NotDelivered
from ca.secret import Secret
from renewers.solvers.lexicon import MOST_CALLS, LexiconWriter
from tests.lexicon_path import pretend_provider
from tests.source import ROOT

NAME = "_acme-challenge.shop.zone.example"


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """The provider of these tests, among Lexicon's own."""
    provider = pretend_provider(monkeypatch)
    yield provider
    provider.released.set()
    _until(lambda: not [thread for thread in threading.enumerate() if thread.name == "pretend"])


def _until(holds) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def writer_of(mode: str = "plain", *, token: str = "sesame", zone: str = "zone.example") -> LexiconWriter:
    """A writer with the provider in a mode."""
    return LexiconWriter("pretend", {"auth_token": Secret(token), "mode": mode, "ttl": "120"}, zone=zone)


def soon(seconds: float = 60) -> float:
    """A deadline."""
    return clock.monotonic() + seconds


def test_a_value_is_added_once_with_the_ttl_of_the_settings(pretend: type) -> None:
    """Again: nothing changes. The provider is closed after each call."""
    for _ in range(2):
        writer_of().add(NAME, "one", deadline=soon())
    assert list(pretend.zone.values()) == [(NAME, "one")]
    assert pretend.calls[:2] == [("create", "TXT", NAME, "one", "120"), ("cleanup",)]


@pytest.mark.parametrize("mode", ["plain", "quoted", "whole-zone", "no-ids"])
def test_one_value_is_removed_and_no_other(pretend: type, mode: str) -> None:
    """Whatever the provider's list looks like: other values of the name, other names of the zone stay."""
    kept = [(NAME, "two"), ("shop.zone.example", "one"), (f"x{NAME}", "one")]
    pretend.zone.update(enumerate([(NAME, "one"), *kept], 1))
    writer_of(mode).remove(NAME, "one", deadline=soon())
    assert list(pretend.zone.values()) == kept
    writer_of(mode).remove(NAME, "one", deadline=soon())
    assert list(pretend.zone.values()) == kept


def test_the_zone_is_the_one_in_the_settings(pretend: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """No suffix list and no resolver is asked, and a name of another zone is not written."""
    for place in ("socket.getaddrinfo", "dns.resolver.zone_for_name", "dns.query.udp", "tldextract.TLDExtract"):
        monkeypatch.setattr(place, _nobody)
    writer_of().add(NAME, "one", deadline=soon())
    assert list(pretend.zone.values()) == [(NAME, "one")]
    with pytest.raises(Misconfigured, match="is not in the zone"):
        writer_of().add("_acme-challenge.otherzone.example", "one", deadline=soon())


def _nobody(*_: object, **__: object) -> None:
    raise RuntimeError("somebody was asked")


def test_lexicon_is_loaded_when_it_is_needed() -> None:
    """It brings a list of public suffixes and a parser of HTML with it; whoever has no such provider loads none."""
    program = (
        "import sys; from renewers.solvers.lexicon import LexiconWriter\n"
        "assert 'lexicon' not in sys.modules\n"
        "LexiconWriter('cloudflare', {}, zone='zone.example')\n"
        "assert 'lexicon' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_an_error_is_told_by_its_kind_alone(pretend: type) -> None:
    """The token is in the text of what the provider raised; it is not in ours."""
    for writer, said in [
        (writer_of("forbids", token="hush-hush"), "HttpProblem 403"),
        (writer_of(token="hush-hush"), "AuthenticationError"),
        (writer_of("dies"), "KeyError"),
    ]:
        with pytest.raises(NotDelivered) as failed:
            writer.add(NAME, "hush-hush", deadline=soon())
        assert said in failed.value.message
        assert "hush-hush" not in f"{failed.value!r} {failed.value.hint}"
        assert failed.value.__cause__ is None
        assert failed.value.code == "provider-refused"


def test_an_error_that_was_swallowed_is_none_the_less_one(pretend: type) -> None:
    """Some providers answer with no, and raise nothing."""
    with pytest.raises(NotDelivered, match="says no reason"):
        writer_of("swallows").add(NAME, "one", deadline=soon())


def test_a_provider_that_never_answers_is_given_up_on(pretend: type) -> None:
    """By the deadline; and with four calls hanging, no fifth one is begun until one comes back."""
    writer = writer_of("hangs")
    started = time.monotonic()
    for _ in range(MOST_CALLS):
        with pytest.raises(NotDelivered, match="does not answer") as failed:
            writer.add(NAME, "one", deadline=soon(0.2))
    assert failed.value.code == "provider-silent"
    with pytest.raises(NotDelivered, match="4 calls"):
        writer.add(NAME, "one", deadline=soon(0.2))
    assert time.monotonic() - started < 20
    begun = lambda: len([call for call in pretend.calls if call[0] == "create"])  # noqa: E731
    _until(lambda: begun() >= MOST_CALLS)
    assert begun() == MOST_CALLS
    pretend.released.set()
    writer.add(NAME, "one", deadline=soon())


@pytest.mark.parametrize("provider", ["", "nobody", "auto", "../pretend", "os"])
def test_a_provider_that_does_not_exist_is_a_wrong_setting(pretend: type, provider: str) -> None:
    """As is the one that guesses the provider; the hint lists those that there are."""
    with pytest.raises(Misconfigured) as refused:
        LexiconWriter(provider, {}, zone="zone.example")
    assert "cloudflare" in (refused.value.hint or "")


def test_a_provider_with_needs_of_its_own_is_explained(pretend: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint is the command."""
    monkeypatch.setattr("lexicon._private.discovery.find_providers", lambda: {"route53": False})
    with pytest.raises(Misconfigured) as refused:
        LexiconWriter("route53", {}, zone="zone.example")
    assert refused.value.hint == "pip install 'dns-lexicon[route53]'"


def test_without_lexicon_the_hint_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is optional, and nothing else of the solvers needs it."""
    monkeypatch.setitem(sys.modules, "lexicon._private.discovery", None)
    with pytest.raises(Misconfigured) as refused:
        LexiconWriter("cloudflare", {}, zone="zone.example")
    assert refused.value.hint == "pip install 'certwright[dns-providers]'"


def test_secrets_are_not_shown(pretend: type) -> None:
    """Not by printing the writer."""
    assert "hush-hush" not in repr(vars(writer_of(token="hush-hush")))
