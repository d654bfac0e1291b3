"""Where a name really is: its alias, its zone, and every server that speaks for that zone.

A zone is found by asking for its SOA, one label up at a time; never by guessing from lists of suffixes, which do not
know delegated subzones. The servers asked first are the system's resolvers, or those in the settings where the inside
of a house sees other zones than the outside. Read `waiting.py` next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dns.message
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.NS
import dns.resolver

from ca.errors import Misconfigured, NotDelivered
from renewers.addresses import as_address, why_not
from renewers.solvers.questions import SILENT, Server, ask, is_answer, plain, records

TIMES = 2
MOST_ALIASES = 8
MOST_SERVERS = 16
MOST_ADDRESSES = 32


class Zones:
    """Asks `nameservers` (the system's, if none are given) where things are; zones' own servers on `port`."""

    def __init__(self, nameservers: Sequence[tuple[str, int]] = (), *, port: int = 53) -> None:
        self._nameservers = tuple(Server(address, number) for address, number in nameservers)
        self._port = port

    def target_of(self, name: str, deadline: float) -> str:
        """The name itself, or what it is an alias for at the end of the chain."""
        chain = [name]
        while (following := self._alias(chain[-1], deadline)) is not None:
            if following in chain or len(chain) > MOST_ALIASES:
                message = f"the aliases (CNAME) of {name} lead nowhere: {' -> '.join([*chain, following][:4])} ..."
                raise NotDelivered(message, code="alias-loop", hint="mend the CNAME records: they form a circle")
            chain.append(following)
        return chain[-1]

    def zone_of(self, name: str, deadline: float) -> str:
        """The zone that a name is in: the longest part of it that has an SOA."""
        labels = name.split(".")
        for start in range(len(labels)):
            candidate = ".".join(labels[start:])
            if self._records(candidate, dns.rdatatype.SOA, deadline):
                return candidate
        raise NotDelivered(f"no zone is found that {name} is in", code="no-zone")

    def servers_of(self, zone: str, deadline: float) -> tuple[Server, ...]:
        """Every address of every name server of a zone."""
        found = self._records(zone, dns.rdatatype.NS, deadline)
        targets = [plain(record.target) for record in found if isinstance(record, dns.rdtypes.ANY.NS.NS)]
        names = sorted(target for target in targets if target is not None)
        if not found or len(names) < len(found) or len(names) > MOST_SERVERS:
            raise NotDelivered(f"the zone {zone} has no usable list of name servers", code="no-servers")
        servers = [server for name in names for server in self._at(name, deadline)]
        if len(servers) > MOST_ADDRESSES:
            raise NotDelivered(f"the servers of {zone} have more than {MOST_ADDRESSES} addresses", code="no-servers")
        return tuple(servers)

    def _alias(self, name: str, deadline: float) -> str | None:
        for record in self._records(name, dns.rdatatype.CNAME, deadline):
            target = plain(record.target) if isinstance(record, dns.rdtypes.ANY.CNAME.CNAME) else None
            if target is None:
                raise NotDelivered(f"{name} is an alias for something that is no usable name", code="alias-loop")
            return target
        return None

    def _at(self, name: str, deadline: float) -> Iterator[Server]:
        kinds = (dns.rdatatype.A, dns.rdatatype.AAAA)
        addresses = [str(record) for kind in kinds for record in self._records(name, kind, deadline)]
        if not addresses:
            raise NotDelivered(f"the name server {name} has no address", code="no-servers")
        for text in sorted(addresses):
            address = as_address(text)
            if address is None or (why := why_not(address)) is not None:
                raise NotDelivered(f"the name server {name} is not asked: {text} {why}", code="no-servers")
            yield Server(text, self._port, name)

    def _records(self, name: str, kind: dns.rdatatype.RdataType, deadline: float) -> list[dns.rdata.Rdata]:
        return records(self._ask(name, kind, deadline), name, kind)

    def _ask(self, name: str, kind: dns.rdatatype.RdataType, deadline: float) -> dns.message.Message:
        """The first answer of our resolvers that is one. Who is silent is asked once more: a datagram may be lost."""
        problem, asked = None, self._nameservers or _system()
        for _ in range(TIMES):
            silent = []
            for server in asked:
                try:
                    message = ask(server, name, kind, deadline, is_recursive=True)
                except NotDelivered as error:
                    problem = error.message
                    if error.code == SILENT:
                        silent.append(server)
                    continue
                if is_answer(message):
                    return message
                problem = f"{server} says {dns.rcode.to_text(message.rcode())}"
            asked = tuple(silent)
        raise NotDelivered(f"no resolver answers for {name}: {problem}", code="unresolvable")


def _system() -> tuple[Server, ...]:
    """The resolvers of this machine, as they are now."""
    try:
        found = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration:
        raise Misconfigured("this machine has no resolvers", hint="say which name servers to ask") from None
    return tuple(Server(str(address), found.port) for address in found.nameservers)
