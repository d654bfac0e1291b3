"""A scan finds what is there and harms nobody: each endpoint once, two at a time to a host, everything closed after."""

from __future__ import annotations

import gc
import os
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ca.errors import Misconfigured, NotDelivered
from renewers.discovery import scan as module
from renewers.discovery import visits
from renewers.discovery.scan import Seen, Unseen, scan
from renewers.discovery.targets import Target, parse
from tests import peer
from tests.renewers.listeners import Handle, Listener, listening, listening_all, make, serving, tls
from tests.renewers.test_handshake import answering, drips, hangs_up, never_stops, resets_at_once, says_nothing, words


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is late to close is waited for: what it has not closed yet it counts as open."""
    monkeypatch.setattr(visits, "FAREWELL", 60)


@pytest.fixture
def slowly(tmp_path: Path, patient: None) -> Handle:
    """A handler that shows a certificate after a moment, so that connections overlap."""
    show = tls(serving(tmp_path, make("slow.example")))

    def handle(connection: socket.socket, stop: threading.Event) -> None:
        stop.wait(0.05)
        show(connection, stop)

    return handle


def test_every_endpoint_is_asked_once_and_a_host_twice_at_a_time(slowly: Handle) -> None:
    """Counted by the servers: one connection each, never more than two open to one address."""
    lock, now, most = threading.Lock(), Counter[str](), Counter[str]()

    def counting(connection: socket.socket, stop: threading.Event) -> None:
        host = connection.getsockname()[0]
        with lock:
            now[host] += 1
            most[host] = max(most[host], now[host])
        slowly(connection, stop)
        with lock:
            now[host] -= 1

    hosts = [f"127.1.1.{n}" for n in (1, 2, 3)]
    base = peer.free_port()
    numbers = [base + n for n in range(6) if base + n < 65536]
    with listening_all([(host, port) for host in hosts for port in numbers], counting) as servers:
        text = " ".join(f"{host}:{base}-{numbers[-1]}" for host in hosts)
        found = list(scan(parse(text), timeout=60))
    assert len(found) == len(servers)
    assert all(isinstance(result, Seen) for result in found)
    assert {server.connections for server in servers} == {1}
    assert set(most.values()) <= {1, 2}


def test_a_host_under_several_names_is_one_host(slowly: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is the address."""
    monkeypatch.setattr(module, "resolve", lambda *_: ["127.0.0.1"])
    with listening(slowly) as server:
        found = list(scan(parse(" ".join(f"n{n}.example:{server.port}" for n in range(8))), timeout=60))
    assert len(found) == server.connections == 8
    assert server.most_at_once <= 2


@pytest.mark.usefixtures("patient")
def test_a_host_is_left_alone_between_two_connections(tmp_path: Path) -> None:
    """As long as was asked for: from the end of one, of which the server knows first, to the beginning of the next."""
    begun: list[float] = []
    ended: list[float] = []
    show = tls(serving(tmp_path, make("a.example")))

    def handle(connection: socket.socket, stop: threading.Event) -> None:
        begun.append(time.monotonic())
        show(connection, stop)
        ended.append(time.monotonic())

    with listening(handle) as server:
        targets = [Target("tls", "127.0.0.1", server.port, f"n{n}.example") for n in range(5)]
        assert len(list(scan(targets, per_host=1, pause=0.1, timeout=60))) == 5
    assert all(later - earlier >= 0.1 for earlier, later in zip(ended[:-1], begun[1:], strict=True))


def test_sockets_are_bounded_in_number_and_in_a_second(slowly: Handle) -> None:
    """Over all hosts together."""
    lock, open_now, most = threading.Lock(), [0], [0]

    def counting(connection: socket.socket, stop: threading.Event) -> None:
        with lock:
            open_now[0] += 1
            most[0] = max(most[0], open_now[0])
        slowly(connection, stop)
        with lock:
            open_now[0] -= 1

    port = peer.free_port()
    places = [(f"127.1.2.{n}", port) for n in range(1, 21)]
    with listening_all(places, counting):
        targets = [Target("tls", *place) for place in places]
        assert len(list(scan(targets, sockets=4, timeout=60))) == 20
        assert most[0] <= 4
        before = time.monotonic()
        assert len(list(scan(targets, a_second=40, timeout=60))) == 20
        assert time.monotonic() - before >= 0.4


def test_everything_that_is_heard_is_a_handshake_and_a_goodbye(tmp_path: Path) -> None:
    """No data, no ragged end, no reset."""
    heard: list[bytes] = []
    with listening(tls(serving(tmp_path, make("a.example")), heard)) as server:
        assert [type(one) for one in scan(parse(f"127.0.0.1:{server.port}"))] == [Seen]
    assert heard == [b""]


HOSTILE: dict[str, tuple[Handle, set[str]]] = {
    "silent": (says_nothing, {"timed-out"}),
    "dripping": (drips, {"timed-out", "handshake-failed"}),
    "flooding": (never_stops, {"handshake-failed"}),
    "hanging up": (hangs_up, {"hung-up"}),
    "resetting": (resets_at_once, {"hung-up", "unreachable"}),
    "http": (answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), {"no-tls"}),
    "garbage": (answering(b"\x00\xff" * 9000), {"no-tls"}),
}


def test_among_hostile_servers_the_good_ones_are_found(tmp_path: Path) -> None:
    """Everyone gets his own reason, in little more than the time that one may take."""
    good = tls(serving(tmp_path, make("a.example")))
    port = peer.free_port()
    places = {f"127.1.3.{n}": name for n, name in enumerate(HOSTILE, start=1)}
    handlers = {host: HOSTILE[name][0] for host, name in places.items()} | {"127.1.3.100": good, "127.1.3.101": good}

    def handle(connection: socket.socket, stop: threading.Event) -> None:
        handlers[connection.getsockname()[0]](connection, stop)

    before = time.monotonic()
    with listening_all([(host, port) for host in handlers], handle):
        found = {one.target.host: one for one in scan(parse(" ".join(f"{h}:{port}" for h in handlers)), timeout=4)}
        spent = time.monotonic() - before
    assert spent < 20
    assert {host for host, one in found.items() if isinstance(one, Seen)} == {"127.1.3.100", "127.1.3.101"}
    codes = {name: result.code for host, name in places.items() if isinstance(result := found[host], Unseen)}
    assert {name for name, code in codes.items() if code not in HOSTILE[name][1]} == set()
    assert len(codes) == len(HOSTILE)


def test_words_before_tls_are_said_in_a_scan_too() -> None:
    """And a refusal is told."""
    with listening(words(b"* OK hi\r\n", b"a NO not here\r\n")) as server:
        (found,) = scan([Target("imap", "127.0.0.1", server.port)])
    assert isinstance(found, Unseen)
    assert (found.code, "a NO not here" in found.reason) == ("no-tls", True)


def test_closed_ports_and_unknown_names_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused is not unresolvable; a name is resolved once, however many of its ports are asked for."""
    asked: list[str] = []

    def resolve(host: str, _port: int, _timeout: float) -> list[str]:
        asked.append(host)
        if host == "nobody.example":
            raise NotDelivered("nobody", code="unresolvable")
        return ["127.1.4.1"]

    monkeypatch.setattr(module, "resolve", resolve)
    port = peer.free_port()
    found = list(scan(parse(f"nobody.example:{port}-{port + 1} closed.example:{port}")))
    codes = Counter(one.code for one in found if isinstance(one, Unseen))
    assert codes == {"unresolvable": 2, "refused": 1}
    assert sorted(asked) == ["closed.example", "nobody.example"]


def test_the_other_address_is_asked_where_the_first_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is connected to once."""
    monkeypatch.setattr(module, "resolve", lambda *_: ["::1", "127.0.0.1"])
    with listening(tls(serving(tmp_path, make("both.example")))) as server:
        (found,) = scan(parse(f"both.example:{server.port}"))
    assert isinstance(found, Seen)
    assert found.presented.address == "127.0.0.1"
    assert server.connections == 1


def test_whoever_stops_listening_ends_the_scan(slowly: Handle) -> None:
    """No socket, no thread and no further connection is left."""
    port = peer.free_port()
    with listening_all([(f"127.1.5.{n}", port) for n in range(1, 31)], slowly) as servers:
        running = scan(parse(f"127.1.5.1 127.1.5.0/27:{port}"), sockets=5)
        next(running)
        running.close()
        gc.collect()  # a socket that was not closed would warn, and a warning is an error
        ours = [socket.create_connection((server.host, server.port), 60) for server in servers]
        for one in ours:  # when these were seen to, nothing waits to be accepted that was begun before
            with one:
                one.shutdown(socket.SHUT_WR)
                while one.recv(1000):
                    pass
        came = sum(server.connections for server in servers)
        time.sleep(0.2)
        assert sum(server.connections for server in servers) == came <= 6 + len(servers)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("scan-resolve")]


def test_a_slow_taker_makes_nobody_late(tmp_path: Path) -> None:
    """What arrived while nobody looked has arrived in time."""
    port = peer.free_port()
    places = [(f"127.1.6.{n}", port) for n in range(1, 4)]
    with listening_all(places, tls(serving(tmp_path, make("a.example")))):
        found = []
        for result in scan([Target("tls", *place) for place in places], timeout=2):
            if not found:
                time.sleep(2.2)
            found.append(result)
    assert [type(one) for one in found] == [Seen] * 3


def test_targets_are_taken_as_they_are_needed() -> None:
    """An endless list is begun, not read to its end first."""
    port, taken = peer.free_port(), [0]

    def endless() -> Iterator[Target]:
        while True:
            taken[0] += 1
            yield Target("tls", f"127.2.{taken[0] // 200 % 200}.{taken[0] % 200 + 1}", port)

    running = scan(endless())
    for _ in range(10):
        assert isinstance(next(running), Unseen)
    running.close()
    assert taken[0] <= module.AHEAD + 300


def test_too_few_files_are_said_plainly() -> None:
    """And not blamed on the endpoints."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        port, lowest = server.getsockname()[1], os.dup(0)
        os.close(lowest)
        targets = [Target("tls", "127.0.0.1", port, f"n{n}.example") for n in range(60)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 12, limits[1]))
        try:
            with pytest.raises(Misconfigured, match="no more files"):
                list(scan(targets, per_host=60, pause=0))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_nothing_to_do_is_done() -> None:
    """At once."""
    assert list(scan([])) == []


def test_servers_that_stay_are_left_after_a_moment(tmp_path: Path) -> None:
    """Who does not close after our goodbye does not hold the scan up."""
    context = serving(tmp_path, make("a.example"))

    def handle(connection: socket.socket, stop: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True):
            stop.wait(60)

    before = time.monotonic()
    with listening(handle) as server:
        assert [type(one) for one in scan(parse(f"127.0.0.1:{server.port}"))] == [Seen]
        assert time.monotonic() - before < 20
        assert isinstance(server, Listener)
