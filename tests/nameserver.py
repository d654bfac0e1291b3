"""A name server that says what a test wants it to: true answers, none, late ones, hostile ones.

For the truth of DNS there is `bind.py`. This one is for what no good server does, and for tests that need no better.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import dns.tsig

from tests.peer import free_port

Reply = dns.message.Message | bytes | None


@dataclass
class Nameserver:
    """One server. Names without a dot at their end; values in zone file form."""

    address: str
    port: int
    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    asked: list[tuple[str, str, bool]] = field(default_factory=list)
    """Name, kind, and whether it came by TCP."""
    twist: Callable[[dns.message.Message, bool], Reply] | None = None
    """Answers in place of the records; is given the true answer, and whether it goes by TCP."""
    key: dns.tsig.Key | None = None
    """What questions are signed with, and answers too."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def nameservers(self) -> list[tuple[str, int]]:
        """As a list of resolvers."""
        return [(self.address, self.port)]

    def zone(self, name: str, servers: Sequence[str] = ("127.0.0.1",)) -> None:
        """Speak for a zone whose name servers have these addresses."""
        with self.lock:
            self.records[name, "SOA"] = [f"ns1.{name}. hostmaster.{name}. 1 60 60 60 1"]
            self.records[name, "NS"] = [f"ns{number}.{name}." for number, _ in enumerate(servers, 1)]
            for number, address in enumerate(servers, 1):
                self.records[f"ns{number}.{name}", "AAAA" if ":" in address else "A"] = [address]

    def texts(self, name: str) -> list[str]:
        """The TXT records at a name."""
        with self.lock:
            return [text.strip('"') for text in self.records.get((name, "TXT"), [])]

    def reply(self, wire: bytes, *, is_tcp: bool) -> bytes | None:
        """What it says to a question."""
        query = dns.message.from_wire(wire, keyring=self.key)
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        kind = query.question[0].rdtype.name
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA
        with self.lock:
            self.asked.append((name, kind, is_tcp))
            found = list(self.records.get((name, kind), ()))
            is_known = any(owner == name or owner.endswith(f".{name}") for owner, _ in self.records)
        if found:
            answer.answer.append(dns.rrset.from_text(f"{name}.", 1, "IN", kind, *found))
        elif not is_known:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        said: Reply = answer if self.twist is None else self.twist(answer, is_tcp)
        if isinstance(said, dns.message.Message):
            return said.to_wire(max_size=65535 if is_tcp else 1232)
        return said


class MemoryWriter:
    """A `DnsWriter` into the records of one or several such servers."""

    def __init__(self, *servers: Nameserver) -> None:
        self.servers, self.calls = list(servers), list[tuple[str, str, str]]()

    def add(self, name: str, value: str, *, deadline: float) -> None:
        """Beside those that are there; again: nothing changes."""
        self.calls.append(("add", name, value))
        for server in self.servers:
            with server.lock:
                found = server.records.setdefault((name, "TXT"), [])
                if f'"{value}"' not in found:
                    found.append(f'"{value}"')

    def remove(self, name: str, value: str, *, deadline: float) -> None:
        """That very value."""
        self.calls.append(("remove", name, value))
        for server in self.servers:
            with server.lock:
                found = server.records.get((name, "TXT"), [])
                if f'"{value}"' in found:
                    found.remove(f'"{value}"')
                if not found:
                    server.records.pop((name, "TXT"), None)


@contextmanager
def nameservers(*addresses: str) -> Iterator[list[Nameserver]]:
    """One server at each address, all on one port."""
    port = free_port(addresses[0])
    with ExitStack() as stack:
        found = [Nameserver(address, port) for address in addresses]
        for server in found:
            stack.enter_context(_running(server))
        yield found


class _Datagram(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        reply = self.server.told.reply(self.request[0], is_tcp=False)  # type: ignore[attr-defined]
        if reply is not None:
            self.request[1].sendto(reply, self.client_address)


class _Stream(socketserver.StreamRequestHandler):
    timeout = 5

    def handle(self) -> None:
        wire = self.rfile.read(int.from_bytes(self.rfile.read(2), "big"))
        reply = self.server.told.reply(wire, is_tcp=True)  # type: ignore[attr-defined]
        if reply is not None:
            self.wfile.write(len(reply).to_bytes(2, "big") + reply)


class _Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True


@contextmanager
def _running(told: Nameserver) -> Iterator[None]:
    place = (told.address, told.port)
    servers = [socketserver.ThreadingUDPServer(place, _Datagram), _Tcp(place, _Stream)]
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in servers]
    for server, thread in zip(servers, threads, strict=True):
        server.told = told  # type: ignore[attr-defined]
        thread.start()
    try:
        yield
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()
