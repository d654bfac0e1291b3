"""The pinned session: it reaches the places of its pin, however a URL is written, and takes no more than is allowed."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3.util import parse_url

from ca import clock
from ca.errors import Misconfigured, NotDelivered
from renewers import egress
from renewers.egress import PinnedSession, pin
from tests.hostile_ca import Answer, HostileCa, hostile_ca

PIN = pin("https://ca.example/directory", ["files.example:8443", "[2001:db8::1]"])


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileCa]:
    """A server to talk to."""
    with hostile_ca(tmp_path_factory.mktemp("hostile")) as running:
        yield running


@pytest.fixture
def session(ca: HostileCa) -> Iterator[PinnedSession]:
    """A session for it."""
    ca.reset()
    with PinnedSession(pin(ca.directory), ca_file=ca.ca_file, deadline=clock.monotonic() + 60) as opened:
        yield opened


_hosts = st.sampled_from(
    ["ca.example", "CA.EXAMPLE", "files.example", "evil.example", "[2001:db8::1]", "ca.example.", "127.1"]
)
_pieces = st.sampled_from(
    ["@", ":", "\\", "/", "#", "?", "%2f", "%00", "//", "..", " ", "\t", "443", "8443", "\n", "é", ";"]
)
_urls = st.builds(
    "".join, st.lists(_hosts | _pieces | st.sampled_from(["https://", "http://", "HTTPS://"]), max_size=8)
)


@given(_urls | st.text(max_size=40) | st.builds("https://".__add__, _urls))
@example("https://ca.example\\@evil.example/")
@example("https://ca.example:443@evil.example/")
@example("https://evil.example#@ca.example/")
@example("https://ca.example/@evil.example/")
def test_what_a_pin_permits_leads_there_for_every_parser(url: str) -> None:
    """Two parsers, Python's and the one that connects, agree on where a permitted URL leads: to a place of the pin."""
    origins = {("ca.example", 443), ("files.example", 8443), ("[2001:db8::1]", 443)}
    if PIN.permits(url):
        ours, theirs = urlsplit(url), parse_url(url)
        assert theirs.scheme == ours.scheme == "https"
        assert (theirs.host, theirs.port or 443) in origins
        assert (theirs.host or "").strip("[]") == ours.hostname
        assert (ours.port or 443) == (theirs.port or 443)
        assert ours.username is None
        assert theirs.auth is None


@pytest.mark.parametrize("url", ["https://ca.example", "https://CA.example/a?b=c", "https://files.example:8443/%20~x"])
def test_what_belongs_there_is_permitted(url: str) -> None:
    """A pin is not so strict that a CA could not work."""
    assert PIN.permits(url)


@pytest.mark.parametrize("also", ["", "a b", "a/b", "https://a", "a:b", "user@a", "a:999999"])
def test_odd_hosts_are_named(also: str) -> None:
    """A pin is made of hosts, and says which entry is none."""
    with pytest.raises(Misconfigured, match="is not a host"):
        pin("https://ca.example/", [also])


def test_it_reaches_its_place_and_no_other(ca: HostileCa, session: PinnedSession) -> None:
    """The session itself refuses what is not pinned, even if nobody has asked before."""
    assert session.get(ca.directory).status_code == 200
    for url in (f"https://127.0.0.1:{ca.decoy}/", f"http://127.0.0.1:{ca.port}/", f"https://localhost:{ca.port}/"):
        with pytest.raises(NotDelivered, match="not among the places"):
            session.get(url)
    assert ca.visitors == []


def test_the_environment_has_no_say(ca: HostileCa, session: PinnedSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, no other trust, no password file."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{ca.decoy}")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")
    assert session.get(ca.directory).status_code == 200
    assert ca.visitors == []


def test_trust_is_what_was_given(ca: HostileCa, tmp_path: Path) -> None:
    """With a CA file that file alone: the bundle that comes with the library is not added."""
    with PinnedSession(pin(ca.directory), ca_file=ca.ca_file, deadline=clock.monotonic() + 60) as opened:
        context = opened.get_adapter("https://x").poolmanager.connection_pool_kw["ssl_context"]  # type: ignore[attr-defined]
        opened.get(ca.directory)
        assert len(context.get_ca_certs()) == 1
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
    with (
        PinnedSession(pin(ca.directory), ca_file=None, deadline=clock.monotonic() + 60) as opened,
        pytest.raises(NotDelivered, match="TLS failed"),
    ):
        opened.get(ca.directory)
    with pytest.raises(Misconfigured, match="no CA certificate"):
        PinnedSession(pin(ca.directory), ca_file=tmp_path / "none", deadline=0)


def test_nothing_is_remembered_but_the_connection(ca: HostileCa, session: PinnedSession) -> None:
    """No cookies; a redirect is an answer like any."""

    def spoil(answer: Answer) -> None:
        answer.status = 302
        answer.headers |= {"Set-Cookie": "tracking=1", "Location": f"https://127.0.0.1:{ca.decoy}/"}

    ca.spoil = {"directory": spoil}
    response = session.get(ca.directory)
    assert (response.status_code, len(session.cookies), response.history) == (302, 0, [])
    assert ca.visitors == []


def test_as_much_as_is_allowed(ca: HostileCa, session: PinnedSession) -> None:
    """An answer of exactly the limit is read, one byte more is not."""
    for size, is_read in ((egress.MAX_BODY, True), (egress.MAX_BODY + 1, False)):

        def spoil(answer: Answer, size: int = size) -> None:
            answer.body = b"x" * size

        ca.spoil = {"directory": spoil}
        if is_read:
            assert len(session.get(ca.directory).content) == size
        else:
            with pytest.raises(NotDelivered, match="more than 1048576 bytes"):
                session.get(ca.directory)


def test_when_the_time_is_over_nobody_is_asked(ca: HostileCa) -> None:
    """A conversation whose deadline has passed opens no connection."""
    ca.reset()
    with (
        PinnedSession(pin(ca.directory), ca_file=ca.ca_file, deadline=clock.monotonic() - 1) as opened,
        pytest.raises(NotDelivered, match="no time left"),
    ):
        opened.get(ca.directory)
    assert ca.asked["directory"] == 0
