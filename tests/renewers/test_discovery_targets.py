"""What a person writes is what is looked at: each endpoint once, no more than may be, nonsense refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import BadRequest, TooLarge
from renewers.discovery import targets
from renewers.discovery.targets import DEFAULT_PORTS, Target, parse, parse_place


def places(text: str) -> list[str]:
    return [target.place for target in parse(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("api.example", ["tls:api.example:443"]),
        ("API.Example.:8443", ["tls:api.example:8443"]),
        ("10.0.0.7:443,8443-8445,443", [f"tls:10.0.0.7:{port}" for port in (443, 8443, 8444, 8445)]),
        ("10.0.0.0/30", ["tls:10.0.0.1:443", "tls:10.0.0.2:443"]),
        ("10.0.0.0/31:1", ["tls:10.0.0.0:1", "tls:10.0.0.1:1"]),
        ("10.0.0.9/32", ["tls:10.0.0.9:443"]),
        ("2001:db8::1", ["tls:[2001:db8::1]:443"]),
        ("[2001:DB8:0::1]:25-26", ["tls:[2001:db8::1]:25", "tls:[2001:db8::1]:26"]),
        ("[2001:db8::/126]:443", [f"tls:[2001:db8::{n}]:443" for n in (1, 2, 3)]),
        ("2001:db8::/127", ["tls:[2001:db8::]:443", "tls:[2001:db8::1]:443"]),
        ("smtp://mail.example", ["smtp:mail.example:25"]),
        ("imap://mail.example", ["imap:mail.example:143"]),
        ("postgresql://[::1]", ["postgresql:[::1]:5432"]),
        ("tls://10.0.0.7:8443#www.example", ["tls:10.0.0.7:8443#www.example"]),
        ("a_b.example x.example:1\n\n # what follows is prose\n y.example # and this", None),
        ("a.example a.example:443 tls://a.example:443", ["tls:a.example:443"]),
        ("10.0.0.0/30 10.0.0.2 10.0.0.1:443", ["tls:10.0.0.1:443", "tls:10.0.0.2:443"]),
        ("10.0.0.1:1,2 10.0.0.2:1,2", ["tls:10.0.0.1:1", "tls:10.0.0.2:1", "tls:10.0.0.1:2", "tls:10.0.0.2:2"]),
    ],
)
def test_targets_as_people_write_them(text: str, expected: list[str] | None) -> None:
    """Hosts, ports, ranges, networks without their own and their broadcast address, and protocols; each once."""
    assert places(text) == (expected or ["tls:a_b.example:443", "tls:x.example:1", "tls:y.example:443"])
    assert parse(text).total == len(places(text))


NONSENSE = (
    *("", "   # nothing", "a b.example:0", "a:65536", "a:99999999", "a:", "a:http", "a:1-", "a:2-1", "a:1,,2", "a:-1"),
    *(
        "http://a",
        "://a",
        "smtp:/a",
        "tls://",
        "-a.example",
        "a-.example",
        "a..example",
        ".a",
        "x" * 64,
        "a." * 127 + "a",
    ),
    *("127.1", "2130706433", "0x7f000001", "1.2.3.4.5", "10.0.0.256", "a.0x7f", "10.0.0.1/24", "10.0.0.0/33", "a/24"),
    *("224.0.0.1", "239.0.0.0/24", "255.255.255.255", "0.0.0.0", "0.0.0.0/24", "240.0.0.1", "169.254.169.254", "::"),
    *("ff02::1", "fe80::1", "fe80::1%eth0", "::ffff:10.0.0.1", "::ffff:0:0/120", "[::1", "::1]:443", "[::1]443"),
    *("[::1]:", "[a]b", "bücher.example", "a\x00b", "a\x1b[2J", "a#", "a#b c#", "a:443#-x", "a:443#1.2", "[::1]/x"),
)


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_refused_with_a_reason(text: str) -> None:
    """Wrong ports, names and networks, what a resolver would take for an address, and what is no host's address."""
    with pytest.raises(BadRequest) as caught:
        parse(text)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 250


def test_too_many_are_refused_before_they_are_counted_one_by_one() -> None:
    """With their number; and no list is endless."""
    with pytest.raises(BadRequest, match=r"16,777,214 endpoints, and one scan takes 100,000"):
        parse("10.0.0.0/8")
    with pytest.raises(BadRequest, match="1,099,494,719,490"):
        parse("10.0.0.0/8:1-65535")
    with pytest.raises(BadRequest, match="and one scan takes 5"):
        parse("10.0.0.0/29", most=5)
    with pytest.raises(TooLarge):
        parse("a " * targets.LONGEST_TEXT)
    assert parse("10.0.0.0/8", most=20_000_000).total == 16_777_214


def test_a_network_is_expanded_as_it_is_used() -> None:
    """The first of many millions is there at once."""
    found = parse("[2001:db8::/64]:443", most=2**65)
    assert found.total == 2**64 - 1
    assert [target.host for target in islice(found, 2)] == ["2001:db8::1", "2001:db8::2"]


def test_no_host_gets_all_of_its_ports_in_a_row() -> None:
    """Each host once, then each again."""
    found = [target.host for target in parse("10.0.0.0/28:1-3 a.example:1-3")]
    assert [len(set(found[start : start + 15])) for start in (0, 15, 30)] == [15, 15, 15]


hosts = st.one_of(
    st.ip_addresses(v=4, network="10.0.0.0/8").map(str),
    st.ip_addresses(v=6, network="2001:db8::/32").map(lambda address: f"[{address}]"),
    st.from_regex(r"[a-z][a-z0-9]{0,10}(\.[a-z][a-z0-9]{0,10}){0,3}", fullmatch=True),
)
ports = st.lists(st.integers(1, 65535), min_size=1, max_size=5, unique=True)


@given(st.sampled_from(sorted(DEFAULT_PORTS)), hosts, ports)
def test_what_is_written_is_read_back(protocol: str, host: str, numbers: list[int]) -> None:
    """A place leads back to its target, for every protocol, host and port."""
    found = list(parse(f"{protocol}://{host}:{','.join(map(str, numbers))}"))
    assert found == [Target(protocol, host.strip("[]"), number) for number in numbers]
    assert [parse_place(target.place) for target in found] == found


@given(st.integers(24, 32), st.integers(0, 2**24 - 1), st.integers(1, 65535), st.integers(0, 3))
def test_a_network_is_its_hosts(length: int, number: int, port: int, more: int) -> None:
    """Just those, each with each port, and their number is known before."""
    network = ip_network(((10 << 24) | number, length), strict=False)
    last = min(port + more, 65535)
    found = parse(f"{network}:{port}-{last}")
    expected = {(str(host), number) for host in network.hosts() for number in range(port, last + 1)}
    assert {(target.host, target.port) for target in found} == expected
    assert found.total == len(expected) == sum(1 for _ in found)


@given(st.text(max_size=60))
@pytest.mark.parametrize("read", [parse, parse_place])
def test_any_text_is_read_or_refused(read: Callable[[str], object], text: str) -> None:
    """Nothing else ever comes of it."""
    with suppress(BadRequest):
        read(text)


@pytest.mark.parametrize("place", ["file:/etc/a.pem", "tls:a", "tls:10.0.0.0/24:1", "tls:a:1#", "gopher:a:1", "tls::1"])
def test_what_is_no_place_of_an_endpoint_is_refused(place: str) -> None:
    """Files, networks and half a place among them."""
    with pytest.raises(BadRequest):
        parse_place(place)
