"""TXT records by dynamic update (RFC 2136), signed with TSIG (RFC 8945) by HMAC-SHA-256 or better.

One value is added or removed, never a set: two challenges share a name. The zone is the one whose SOA the server itself
speaks for. On the server, bind the key to what it is for: `update-policy { grant KEY name _acme-challenge.NAME TXT; };`
a key with `allow-update` could write the whole zone.
"""

from __future__ import annotations

import binascii

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT
import dns.tsig
import dns.update

from ca import clock
from ca.errors import Misconfigured, NotDelivered
from ca.secret import Secret
from renewers.addresses import resolve
from renewers.solvers.questions import records
from renewers.solvers.zoned import domain_of

ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512")
SHORTEST_SECRET = 16
SECONDS = 10.0
TTL = 60
SILENT = "server-silent"
CHUNK = 255
"""Bytes that one string of a TXT record holds (RFC 1035 section 3.3)."""


class Rfc2136Writer:
    """Writes to the zones of one primary server, over TCP."""

    def __init__(self, server: str, port: int, key_name: str, secret: Secret, algorithm: str = "hmac-sha256") -> None:
        """`server` is a host's name or address; `secret` is base64, as `tsig-keygen` prints it."""
        self._server, self._port = server, port
        self._named = (key_name, secret, algorithm.lower())
        _key(*self._named)

    def add(self, name: str, value: str, *, deadline: float) -> None:
        """Add one TXT record; again: nothing changes."""
        update, address = self._update(name, deadline)
        update.add(dns.name.from_text(name), TTL, _text(value))
        self._send(update, address, name, deadline)

    def remove(self, name: str, value: str, *, deadline: float) -> None:
        """Remove that very record."""
        update, address = self._update(name, deadline)
        update.delete(dns.name.from_text(name), _text(value))
        self._send(update, address, name, deadline)

    def _update(self, name: str, deadline: float) -> tuple[dns.update.UpdateMessage, str]:
        """An empty update of the zone that a name is in, and the address where it is taken."""
        problem = NotDelivered(f"{self._server} has no address", code=SILENT)
        for address in resolve(self._server, self._port, _seconds(deadline)):
            try:
                zone = self._zone_of(name, address, deadline)
            except NotDelivered as error:
                if error.code != SILENT:
                    raise
                problem = error
                continue
            update = dns.update.UpdateMessage(zone)
            self._sign(update)
            return update, address
        raise problem

    def _zone_of(self, name: str, address: str, deadline: float) -> str:
        """The zone that the server speaks for. The question is signed, too: views choose by the key."""
        labels = name.split(".")
        for start in range(len(labels)):
            candidate = ".".join(labels[start:])
            query = dns.message.make_query(candidate, dns.rdatatype.SOA, flags=0)
            self._sign(query)
            message = self._exchange(query, address, candidate, deadline)
            if message.flags & dns.flags.AA and records(message, candidate, dns.rdatatype.SOA):
                return candidate
        raise NotDelivered(
            f"{self._server} is not the server of a zone that {name} is in",
            code="no-zone",
            hint="updates go to the primary server of the zone; with views, to the one that takes this key",
        )

    def _sign(self, message: dns.message.Message) -> None:
        """The library's key shows its secret to whoever prints it, so that it is made for one message."""
        key = _key(*self._named)
        message.use_tsig(key, algorithm=key.algorithm)

    def _send(self, update: dns.update.UpdateMessage, address: str, name: str, deadline: float) -> None:
        code = self._exchange(update, address, name, deadline).rcode()
        if code != dns.rcode.NOERROR:
            why, hint = _REFUSALS.get(code, (f"says {dns.rcode.to_text(code)}", "see its log"))
            raise NotDelivered(f"{self._server} {why}: {name}", code="update-refused", hint=hint)

    def _exchange(self, query: dns.message.Message, address: str, name: str, deadline: float) -> dns.message.Message:
        try:
            return dns.query.tcp(query, address, timeout=_seconds(deadline), port=self._port)
        except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
            raise self._failed(error, name) from None

    def _failed(self, error: Exception, name: str) -> NotDelivered:
        for kinds, why, hint in _FAILURES:
            if isinstance(error, kinds):
                return NotDelivered(f"{self._server} {why}: {name}", code="update-refused", hint=hint)
        return NotDelivered(
            f"{self._server} does not answer to an update of {name}: {type(error).__name__}", code=SILENT
        )


_FAILURES: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    (
        (dns.tsig.PeerBadKey, dns.tsig.BadKey, dns.message.UnknownTSIGKey),
        "does not know the key (BADKEY)",
        "key name and algorithm have to be the same on both sides",
    ),
    (
        (dns.tsig.PeerBadSignature, dns.tsig.BadSignature, dns.tsig.PeerBadTruncation),
        "does not accept the signature of the key (BADSIG)",
        "the key has the same name on both sides, and another secret",
    ),
    (
        (dns.tsig.PeerBadTime, dns.tsig.BadTime),
        "has another time than this machine (BADTIME)",
        "a signed update is good for five minutes: set both clocks, by NTP",
    ),
    (
        (dns.exception.FormError,),
        "gives no answer that is signed with the key",
        "something else listens there, or somebody on the way answers in its place",
    ),
)
_REFUSALS = {
    dns.rcode.REFUSED: ("refuses the update", "its update-policy has to grant this key TXT records of this name"),
    dns.rcode.NOTAUTH: ("is not authoritative, or does not know the key", "updates go to the primary, with its key"),
    dns.rcode.NOTZONE: ("says that the name is not in the zone", "see where its zones are cut"),
    dns.rcode.SERVFAIL: ("could not store the update", "its log says why: often the journal cannot be written"),
    dns.rcode.NOTIMP: ("takes no updates", "updates go to the primary server of the zone"),
}


def _key(name: str, secret: Secret, algorithm: str) -> dns.tsig.Key:
    if algorithm not in ALGORITHMS:
        raise Misconfigured(
            f"TSIG by {algorithm!r} is not used", hint=f"one of {', '.join(ALGORITHMS)}; see tsig-keygen"
        )
    try:
        owner = dns.name.from_text(domain_of(name))
        value = binascii.a2b_base64(secret.reveal().encode(), strict_mode=True)
    except ValueError:
        raise Misconfigured(f"the secret of the TSIG key {name!r} is not base64", hint="see tsig-keygen") from None
    if len(value) < SHORTEST_SECRET:
        raise Misconfigured(f"the TSIG key {name!r} is shorter than {SHORTEST_SECRET} bytes", hint="see tsig-keygen")
    return dns.tsig.Key(owner, value, algorithm)


def _text(value: str) -> dns.rdtypes.ANY.TXT.TXT:
    content = value.encode("ascii")
    chunks = [content[start : start + CHUNK] for start in range(0, len(content), CHUNK)] or [b""]
    return dns.rdtypes.ANY.TXT.TXT(dns.rdataclass.IN, dns.rdatatype.TXT, chunks)


def _seconds(deadline: float) -> float:
    return max(min(SECONDS, deadline - clock.monotonic()), 0.05)
