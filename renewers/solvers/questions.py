"""One question to one name server. What comes back was written by a stranger.

Every question has a time-out, goes out by UDP and again by TCP where the answer did not fit, and is answered by at most
64 records; what was not asked for is not looked at. An answer that cannot be had is `NotDelivered`, which names the
server: whoever reads it has to know which one to mend. Read `zones.py` next.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT

from ca import clock
from ca.errors import NotDelivered
from renewers.solvers.zoned import DNS_NAME

SILENT = "server-silent"
SECONDS = 3.0
"""For one answer by UDP, and the same again by TCP."""
MOST_RECORDS = 64
LONGEST_TEXT = 1024
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
NO_ROUTE = "no-route"
"""The code where it is this machine that has no way there, such as no IPv6."""


@dataclass(frozen=True, slots=True)
class Server:
    """A name server: where it listens, and what its zone calls it."""

    address: str
    port: int = 53
    name: str = ""

    def __str__(self) -> str:
        where = self.address if self.port == 53 else f"{self.address} port {self.port}"
        return f"{self.name} ({where})" if self.name else where


def ask(
    server: Server, name: str, kind: dns.rdatatype.RdataType, deadline: float, *, is_recursive: bool = False
) -> dns.message.Message:
    """The server's answer, whatever its code is. Without `is_recursive` it has to be the server's own (AA)."""
    query = dns.message.make_query(name, kind, use_edns=0, payload=1232)
    if not is_recursive:
        query.flags &= ~dns.flags.RD
    try:
        message, _ = dns.query.udp_with_fallback(
            query, server.address, _seconds(deadline), server.port, ignore_unexpected=True, ignore_errors=True
        )
    except (dns.exception.DNSException, OSError, ValueError) as error:
        raise _unanswered(server, name, error) from None
    if sum(map(len, message.answer)) > MOST_RECORDS:
        raise NotDelivered(f"{server} answers for {name} with more than {MOST_RECORDS} records", code="bad-dns-answer")
    if not is_recursive and is_answer(message) and not message.flags & dns.flags.AA:
        raise NotDelivered(f"{server} does not speak for {name}: its answer is not authoritative", code="lame-server")
    return message


def is_answer(message: dns.message.Message) -> bool:
    """Whether it says what there is, or that there is nothing."""
    return message.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


def records(message: dns.message.Message, name: str, kind: dns.rdatatype.RdataType) -> list[dns.rdata.Rdata]:
    """The records of that very name and kind in an answer; those of other names say nothing about it."""
    owner = dns.name.from_text(name)
    found = [r for r in message.answer if r.name == owner and r.rdtype == kind and r.rdclass == dns.rdataclass.IN]
    return [record for rrset in found for record in rrset]


def texts_at(server: Server, name: str, deadline: float) -> tuple[str, ...]:
    """The TXT records that one authoritative server has at a name."""
    message = ask(server, name, dns.rdatatype.TXT, deadline)
    if not is_answer(message):
        raise NotDelivered(f"{server} says {dns.rcode.to_text(message.rcode())} for {name}", code="bad-dns-answer")
    found = records(message, name, dns.rdatatype.TXT)
    joined = [b"".join(record.strings) for record in found if isinstance(record, dns.rdtypes.ANY.TXT.TXT)]
    return tuple(text[:LONGEST_TEXT].decode("ascii", "replace") for text in joined)


def plain(name: dns.name.Name) -> str | None:
    """A name from an answer, in the form that we use; None if it is not of that form."""
    text = name.to_text(omit_final_dot=True).lower()
    return text if len(text) <= 253 and DNS_NAME.fullmatch(text) else None


def _seconds(deadline: float) -> float:
    return max(min(SECONDS, deadline - clock.monotonic()), 0.05)


def _unanswered(server: Server, name: str, error: Exception) -> NotDelivered:
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return NotDelivered(f"{server} cannot be reached from here", code=NO_ROUTE)
    if isinstance(error, dns.exception.Timeout):
        return NotDelivered(f"{server} does not answer for {name}", code=SILENT)
    return NotDelivered(f"{server} gives no usable answer for {name}: {type(error).__name__}", code="bad-dns-answer")
