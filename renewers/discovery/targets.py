"""Which endpoints a person means: hosts, `host:port`, ranges of ports, networks, and how each is spoken to.

    api.example   10.0.0.0/24:443,8443-8445   [2001:db8::1]:443   smtp://mail.example   10.0.0.7:443#www.example

Read once, counted before anything is asked, expanded one by one, and in an order that goes round the hosts: no host is
asked for all of its ports in a row. What no host can have for an address is refused here. Read `scan.py` next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from types import MappingProxyType

from ca.errors import BadRequest, TooLarge
from renewers.addresses import as_address, spoken, why_not

DEFAULT_PORTS = MappingProxyType({"tls": 443, "smtp": 25, "imap": 143, "postgresql": 5432})
MOST = 100_000
"""Endpoints of one scan, unless more are asked for."""
LONGEST_TEXT = 4 * 1024 * 1024

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint to look at."""

    protocol: str
    host: str
    port: int
    server_name: str | None = None
    """The name under which it is asked, where that is not the host's."""

    @property
    def place(self) -> str:
        """How it is written down: `tls:api.example:443`, `smtp:[2001:db8::1]:25`, `tls:10.0.0.7:443#www.example`."""
        name = f"#{self.server_name}" if self.server_name else ""
        return f"{self.protocol}:{spoken(self.host, self.port)}{name}"

    @property
    def expected_name(self) -> str | None:
        """The name for which its certificate should be; whoever is asked by an address alone may have any."""
        return self.server_name or (self.host if as_address(self.host) is None else None)


@dataclass(frozen=True, slots=True)
class _Entry:
    protocol: str
    hosts: str | IPv4Network | IPv6Network
    ports: tuple[int, ...]
    server_name: str | None

    @property
    def count(self) -> int:
        return _size(self.hosts) * len(self.ports)

    def at(self, place: int) -> Iterator[Target]:
        """All of its hosts, each with the port at that place."""
        if place < len(self.ports):
            hosts = [self.hosts] if isinstance(self.hosts, str) else map(str, self.hosts.hosts())
            yield from (Target(self.protocol, host, self.ports[place], self.server_name) for host in hosts)


class Targets:
    """Endpoints, counted; each comes once, however often it was named."""

    def __init__(self, entries: list[_Entry]) -> None:
        self._entries = entries
        single = len(entries) == 1  # then there is nothing to come twice
        self.total = entries[0].count if single else sum(1 for _ in self)

    def __iter__(self) -> Iterator[Target]:
        known: set[Target] = set()
        for place in range(max(len(entry.ports) for entry in self._entries)):
            for entry in self._entries:
                for target in entry.at(place):
                    if len(self._entries) == 1:
                        yield target
                    elif target not in known:
                        known.add(target)
                        yield target


def parse(text: str, *, most: int = MOST) -> Targets:
    """Read what stands between spaces; a word that begins with `#` ends its line. `BadRequest` says what is wrong."""
    if len(text) > LONGEST_TEXT:
        raise TooLarge(f"the list of targets is longer than {LONGEST_TEXT} characters")
    words = [word for line in text.splitlines() for word in re.split(r"(?:^|\s)#", line, maxsplit=1)[0].split()]
    if not words:
        raise BadRequest("there is nothing to look at", hint="name a host, host:port or network: 10.0.0.0/24:443")
    entries = list(dict.fromkeys(map(_entry, words)))
    total = sum(entry.count for entry in entries)
    if total > most:
        raise BadRequest(f"these are {total:,} endpoints, and one scan takes {most:,}", hint="name fewer at once")
    return Targets(entries)


def parse_place(place: str) -> Target:
    """Read back what `Target.place` wrote. `BadRequest` if it is not the place of an endpoint."""
    protocol, _, rest = place.partition(":")
    rest, mark, name = rest.partition("#")
    host, _, port = rest.rpartition(":")
    if protocol not in DEFAULT_PORTS or not host:
        raise _bad(place, "is not the place of an endpoint")
    hosts = _hosts(place, host.removeprefix("[").removesuffix("]"))
    if not isinstance(hosts, str):
        raise _bad(place, "is a network")
    return Target(protocol, hosts, _number(place, port), _name(place, name) if mark else None)


def _entry(word: str) -> _Entry:
    if word.startswith(("/", ".")):
        raise _bad(word, "is a path, and no endpoint", "by itself: certwright track scan /etc/ssl")
    asked, sharp, server_name = word.lower().partition("#")
    scheme, mark, rest = asked.partition("://")
    protocol, rest = (scheme, rest) if mark else ("tls", scheme)
    if protocol not in DEFAULT_PORTS:
        raise _bad(word, "begins with a protocol that is not looked at", f"one of {', '.join(DEFAULT_PORTS)}")
    host, ports = _split(word, rest)
    numbers = _read_ports(word, ports) if ports else (DEFAULT_PORTS[protocol],)
    return _Entry(protocol, _hosts(word, host), numbers, _name(word, server_name) if sharp else None)


def _split(word: str, rest: str) -> tuple[str, str]:
    """The host or network, and what is said about ports; brackets enclose IPv6, which needs none without a port."""
    if rest.startswith("["):
        host, bracket, ports = rest[1:].partition("]")
        if not bracket or (ports and not re.fullmatch(r"(/[0-9]{1,3})?(:.+)?", ports, re.ASCII)):
            raise _bad(word, "has brackets that do not enclose an address")
        length, _, ports = ports.partition(":")
        return host + length, ports
    if rest.count(":") > 1 and "," not in rest:
        return rest, ""
    host, colon, ports = rest.partition(":")
    if colon and not ports:
        raise _bad(word, "ends where a port should be")
    return host, ports


def _hosts(word: str, host: str) -> str | IPv4Network | IPv6Network:
    if "%" in host:
        raise _bad(word, "has a zone, which means something on this machine only")
    if "/" in host:
        return _network(word, host)
    address = as_address(host)
    if address is not None:
        why = why_not(address)
        if why is not None:
            raise _bad(word, why)
        return str(address)
    return _name(word, host)


def _name(word: str, host: str) -> str:
    name = host.removesuffix(".")
    if not _HOST.fullmatch(name) or len(name) > 253:
        raise _bad(word, "is neither an address nor a name", "names beyond ASCII are written xn--...")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):  # the resolver would take 127.1 and 0x7f000001 for addresses
        raise _bad(word, "is not a whole address", "four numbers from 0 to 255")
    return name


def _network(word: str, text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text)
    except ValueError:
        raise _bad(word, "is not a network", "the address of the network, a slash, its length: 10.0.0.0/24") from None
    for address in (network.network_address, network.broadcast_address):
        why = why_not(address)
        if why is not None:
            raise _bad(word, f"reaches {address}, which {why}")
    return network


def _size(hosts: str | IPv4Network | IPv6Network) -> int:
    """How many `hosts()` has: without the network's own and, in IPv4, the broadcast address."""
    if isinstance(hosts, str):
        return 1
    if hosts.num_addresses <= 2:
        return hosts.num_addresses
    return hosts.num_addresses - (2 if isinstance(hosts, IPv4Network) else 1)


def _read_ports(word: str, text: str) -> tuple[int, ...]:
    ports: dict[int, None] = {}
    for part in text.split(","):
        match = _PORTS.fullmatch(part)
        if match is None:
            raise _bad(word, "does not end in ports", "443 or 443,8443-8445")
        low = _number(word, match[1])
        high = _number(word, match[2] or match[1])
        if low > high:
            raise _bad(word, f"has a range of ports that goes down, {low}-{high}")
        ports.update(dict.fromkeys(range(low, high + 1)))
    return tuple(ports)


def _number(word: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or not 1 <= int(text) <= 65535:
        raise _bad(word, f"has the port {text[:10]!r}, and ports go from 1 to 65535")
    return int(text)


def _bad(word: str, what: str, hint: str | None = None) -> BadRequest:
    shown = "".join(c if c.isprintable() else "?" for c in word[:100])
    return BadRequest(f"{shown!r} {what}", hint=hint)
