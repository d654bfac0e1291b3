"""`certwright serve` as a process: starts or says why not, answers what it took on, is back at once after a crash.

Promise 8 (refusals are plain, and it recovers without help) and promise 1 (what was answered is there) on the real
thing: a process, its signals, its ports, its lock and its socket.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import peer, rig
from tests.pki.conftest import API, MAIN, Server, Template, certwright, environment, serving, wish

PATIENCE = 60.0


def until(done: Callable[[], bool], what: str, patience: float = PATIENCE) -> float:
    """Poll until something holds; how long it took."""
    begun = time.monotonic()
    while not done():
        if time.monotonic() - begun > patience:
            pytest.fail(f"{what}: not within {patience} s", pytrace=False)
        time.sleep(0.01)
    return time.monotonic() - begun


@pytest.fixture
def home(template: Template, tmp_path: Path) -> Template:
    """An installation of this test's own."""
    return Template(Path(shutil.copytree(template.state, tmp_path / "state")), template.token)


@pytest.fixture
def running(home: Template) -> Iterator[Server]:
    """A server on it."""
    with serving(home.state, home.token) as server:
        yield server


def process_of(server: Server) -> subprocess.Popen[bytes]:
    """The process that was started."""
    assert server.process is not None
    return server.process


def is_healthy(port: int) -> bool:
    """Whether the plain listener says that all is well."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2, trust_env=False).status_code == 200
    return False


def test_health_is_told_on_every_listener(server: Server) -> None:
    """On the plain port, over TLS without a credential, and on the socket."""
    with server.over_plain() as plain, server.over_tls() as tls, server.over_socket() as local:
        for client in (plain, tls, local):
            answer = client.get("/healthz")
            assert (answer.status_code, answer.json()) == (200, {"status": "ok", "problems": []})
            assert answer.headers["cache-control"] == "no-store"


def test_it_says_where_it_listens(running: Server) -> None:
    """One line with the three addresses, when all of them answer."""
    (said,) = [event for event in running.events() if event["event"] == "serving"]
    assert said["tls"] == f"127.0.0.1:{running.tls}"
    assert said["plain"] == f"127.0.0.1:{running.plain}"
    assert said["socket"] == str(running.socket)
    assert said["level"] == "info"


@pytest.mark.parametrize("options", [(), ("--only", "api"), ("--only", "schedule")], ids=" ".join)
def test_a_second_server_is_refused(running: Server, options: tuple[str, ...]) -> None:
    """SQLite is one process's: the second one says whose it is, with exit code 1, and the first does not notice."""
    process = process_of(running)
    done = certwright("--state", running.state, "serve", *options, CERTWRIGHT_LISTEN__TLS="127.0.0.1:0")
    assert (done.returncode, done.stdout) == (1, "")
    first, hint = done.stderr.splitlines()
    assert first.startswith("refused: ")
    assert str(process.pid) in first + hint
    assert hint.startswith("hint: ")
    assert running.socket.exists()
    assert is_healthy(running.plain)
    with running.over_socket() as client:
        client.post(f"{API}/certificates", json=wish()).raise_for_status()


def listen_with(state: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Serve with addresses that do not work, to the end that this has."""
    usual = {"TLS": f"127.0.0.1:{peer.free_port()}", "PLAIN": f"127.0.0.1:{peer.free_port()}"}
    addresses = {f"CERTWRIGHT_LISTEN__{name}": value for name, value in {**usual, **variables}.items()}
    return certwright("--state", state, "serve", **addresses)


@pytest.mark.parametrize("listener", ["tls", "plain"])
def test_a_taken_port_is_a_plain_refusal(home: Template, listener: str) -> None:
    """Which address it was, what may be the matter, exit code 1; nothing is left behind that stops the next start."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = listen_with(home.state, **{listener.upper(): address})
    assert (done.returncode, done.stdout) == (1, "")
    refused, hint = done.stderr.splitlines()[-2:]
    assert refused.startswith(f"refused: cannot listen on {address}: Address already in use")
    assert hint == "hint: another program listens there? see the settings listen.tls and listen.plain"
    assert "Traceback" not in done.stderr
    assert not (home.state / "certwright.sock").exists()
    assert certwright("--state", home.state, "ca", "list").returncode == 0


def test_a_refusal_says_an_address_once(home: Template) -> None:
    """One line for people: no tuple of Python's beside the address that was asked for."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = listen_with(home.state, TLS=address)
    assert f"refused: cannot listen on {address}: Address already in use" in done.stderr.splitlines()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("192.0.2.1:8443", "cannot listen on 192.0.2.1:8443: Cannot assign requested address"),
        ("no-such-host.invalid:8443", "cannot listen on no-such-host.invalid:8443"),
        ("nonsense", "listen.tls"),
        ("127.0.0.1:99999", "listen.tls"),
    ],
)
def test_an_address_that_cannot_be_is_a_plain_refusal(home: Template, address: str, said: str) -> None:
    """An address of another machine, a name that nobody knows, and what is none at all."""
    done = listen_with(home.state, TLS=address)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    refused = next(line for line in done.stderr.splitlines() if line.startswith("refused: "))
    assert said in refused
    assert done.stderr.splitlines()[-1].startswith("hint: ")


def test_a_state_directory_too_deep_for_a_socket_is_a_plain_refusal(home: Template, tmp_path: Path) -> None:
    """The path of a socket has an end; the refusal says so."""
    deep = tmp_path / ("d" * 60) / ("e" * 60) / "state"
    deep.parent.mkdir(parents=True)
    home.state.rename(deep)
    done = listen_with(deep)
    assert done.returncode == 1
    assert "cannot listen on " in done.stderr
    assert "choose a shorter state directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_there_are_two_parts_and_no_third(home: Template) -> None:
    """`--only` with another word is wrong usage."""
    done = certwright("--state", home.state, "serve", "--only", "dashboard")
    assert done.returncode == 2
    assert "api, schedule" in done.stderr


def test_only_the_schedule_does_what_is_due(home: Template) -> None:
    """Without listeners: nothing can be asked, no socket is there, and the ledger still gets its heads."""
    cli = ("--state", home.state, "ledger", "head", "--json")
    before = json.loads(certwright(*cli).stdout)["size"]
    with serving(home.state, home.token, "--only", "schedule", has_listeners=False) as server:
        assert not server.socket.exists()
        assert not peer.listens(server.tls)()
        assert not peer.listens(server.plain)()
        crls = certwright(*cli)
        assert crls.returncode == 1, "the state is the schedule's"
        process_of(server).send_signal(signal.SIGTERM)
        assert process_of(server).wait(PATIENCE) == 0
    assert json.loads(certwright(*cli).stdout)["size"] >= before


def heads(client: httpx.Client) -> tuple[int, int]:
    """How many entries the newest head covers, and how many none covers yet."""
    text = client.get("/metrics").raise_for_status().text
    found = dict(re.findall(r"(?m)^certwright_ledger_(size|waiting) ([0-9.]+)$", text))
    return int(float(found["size"])), int(float(found["waiting"]))


def test_only_the_api_answers_and_leaves_the_rest(home: Template) -> None:
    """Requests are answered; what is due waits for a schedule: the ledger's head covers no new entry."""
    with serving(home.state, home.token, "--only", "api") as server, server.over_socket() as client:
        size, waiting = heads(client)
        client.post(f"{API}/certificates", json=wish()).raise_for_status()
        beats = time.monotonic() + 2.5
        while time.monotonic() < beats:  # the schedule would have looked twice
            assert heads(client) == (size, waiting + 1)
            time.sleep(0.1)
    with serving(home.state, home.token) as server, server.over_socket() as client:
        until(lambda: heads(client)[1] == 0, "the ledger catches up")
        assert heads(client)[0] > size


def test_only_the_api_does_what_nobody_can_do_for_it(home: Template) -> None:
    """Its listener's certificate is followed, and a changed profile taken into service: both are this process's own."""
    with serving(home.state, home.token, "--only", "api", CERTWRIGHT_LISTEN__LIFETIME="2m") as server:
        profile = server.state / "profiles" / "server.toml"
        profile.write_text(profile.read_text() + "# changed\n")

        def said(word: str) -> int:
            return sum(event["event"] == word for event in server.events())

        until(lambda: said("listener-certificate") > 1 and said("profile-changed") == 1, "it looks after itself")


def test_the_socket_is_its_owners_alone(home: Template) -> None:
    """Mode 0600 in a directory that nobody else enters, whatever the umask; gone when the server has ended."""
    inherited = os.umask(0)
    try:
        with serving(home.state, home.token) as server:
            mode = server.socket.stat().st_mode
            assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)
            assert stat.S_IMODE(server.state.stat().st_mode) == 0o700
    finally:
        os.umask(inherited)
    assert not server.socket.exists()


def test_the_command_line_speaks_to_the_running_server(running: Server, tmp_path: Path) -> None:
    """Through the socket: the server's lock stands, its counters move, and what it wrote has its owner's name."""
    name = rig.WORKLOAD
    done = certwright(
        "--state", running.state, "cert", "issue", name, "--profile", "mesh", "--out", tmp_path / "api", "--json"
    )
    assert done.returncode == 0, done.stderr
    serial = json.loads(done.stdout)["serial"]
    with running.over_socket() as client:
        shown = client.get(f"{API}/certificates/{serial}").json()
        metrics = client.get("/metrics").text
    assert (shown["state"], shown["requested_by"]) == ("valid", f"local:uid={os.geteuid()}")
    assert 'certwright_certificates_issued_total{authority="issuing-1",profile="mesh"} 1.0' in metrics
    refused = certwright("--state", running.state, "cert", "issue", "spiffe://elsewhere.example/x", "--profile", "mesh")
    assert (refused.returncode, refused.stderr.startswith("refused: ")) == (1, True)


class Asking:
    """Callers that issue one certificate after another until the server is gone, and remember what they were told."""

    def __init__(self, server: Server, callers: int) -> None:
        self.answered: list[str] = []
        self.odd: list[str] = []
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(place,)) for place in range(callers)]
        for thread in self._threads:
            thread.start()

    def _ask(self, place: int) -> None:
        body = wish(place=place)
        with self._server.over_tls(self._server.token) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(f"{API}/certificates", json=body)
                except httpx.TransportError:
                    return
                if answer.status_code == 201:
                    self.answered.append(answer.json()["serial"])
                else:
                    self.odd.append(answer.text)
                    return

    def end(self) -> None:
        """No more questions."""
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a caller was never answered"


def serials(client: httpx.Client) -> set[str]:
    """Every certificate that an installation lists."""
    found: set[str] = set()
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        cursor = {"cursor": page["next"]} if page["next"] else {}
        page = client.get(f"{API}/certificates", params={"limit": 200, **cursor}).raise_for_status().json()
        found |= {item["serial"] for item in page["items"]}
    return found


def check_that_all_is_there(state: Path, token: str, answered: list[str]) -> None:
    """Everything that was answered is found after a restart, and the ledger agrees with all of it."""
    with serving(state, token) as again, again.over_socket() as client:
        assert set(answered) - serials(client) == set()
        last = client.post(f"{API}/ledger/verify", json={}).raise_for_status().text.splitlines()[-1]
        assert json.loads(last)["is_sound"], last


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_the_end_loses_nothing_that_was_answered(home: Template, number: signal.Signals) -> None:
    """Asked to stop under load, it ends with 0 within seconds; every certificate that it answered is there later."""
    with serving(home.state, home.token) as server:
        asking = Asking(server, 4)
        try:
            until(lambda: len(asking.answered) >= 40, "certificates are issued")
            process_of(server).send_signal(number)
            assert process_of(server).wait(PATIENCE) == 0
        finally:
            asking.end()
        assert asking.odd == []
        assert [event["event"] for event in server.events()][-1] == "stopped"
        assert not server.socket.exists()
    check_that_all_is_there(home.state, home.token, asking.answered)


def connect(server: Server, listener: str) -> socket.socket:
    """A connection to a listener, by hand."""
    if listener == "socket":
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        raw.settimeout(PATIENCE)
        raw.connect(str(server.socket))
        return raw
    raw = socket.create_connection(("127.0.0.1", server.tls), PATIENCE)
    return ssl.create_default_context(cafile=str(server.roots)).wrap_socket(raw, server_hostname="localhost")


def begin_request(server: Server, listener: str, body: bytes) -> socket.socket:
    """Send the head of a request and half of its body; returns when the server has said that it is reading."""
    connection = connect(server, listener)
    head = (
        f"POST {API}/certificates HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    connection.sendall(head.encode())
    assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
    connection.sendall(body[: len(body) // 2])
    return connection


def received(connection: socket.socket) -> bytes:
    """Everything that comes until the other side closes."""
    found = b""
    with contextlib.suppress(OSError):
        while part := connection.recv(65536):
            found += part
    return found


@pytest.mark.parametrize("listener", ["tls", "socket"])
def test_a_request_in_flight_is_answered(home: Template, listener: str) -> None:
    """SIGTERM comes in the middle of a body: nobody new is let in, this one is answered, and its certificate kept."""
    body = json.dumps(wish()).encode()
    with serving(home.state, home.token) as server:
        with begin_request(server, listener, body) as connection:
            process_of(server).send_signal(signal.SIGTERM)
            until(lambda: not peer.listens(server.tls)() and not peer.listens(server.plain)(), "the ports are closed")
            connection.settimeout(0.5)
            with pytest.raises(TimeoutError):  # after a while it is still waited for
                connection.recv(1)
            assert process_of(server).poll() is None
            connection.settimeout(PATIENCE)
            connection.sendall(body[len(body) // 2 :])
            head, _, content = received(connection).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 201 "), head
        assert process_of(server).wait(PATIENCE) == 0
    check_that_all_is_there(home.state, home.token, [json.loads(content)["serial"]])


def waited_in_vain(server: Server) -> bool:
    """Whether its end came only when the time for those it waited for was over."""
    return "timeout graceful shutdown exceeded" in server.log.read_text()


@pytest.mark.parametrize("listener", ["tls", "socket"])
def test_an_idle_connection_delays_nothing(home: Template, listener: str) -> None:
    """Clients that keep their connections open between requests are not waited for."""
    with (
        serving(home.state, home.token) as server,
        server.over_tls(server.token) if listener == "tls" else server.over_socket() as client,
    ):
        assert client.get(f"{API}/me").status_code == 200
        process_of(server).send_signal(signal.SIGTERM)
        assert process_of(server).wait(PATIENCE) == 0
        assert not waited_in_vain(server)


def test_a_caller_that_never_finishes_does_not_hold_the_end_up(home: Template) -> None:
    """Half a request is waited for, but not for ever: a stopped server ends within seconds, with its reason.

    The log says in one line that somebody was not waited for; a traceback is for what nobody expected.
    """
    body = json.dumps(wish()).encode()
    with serving(home.state, home.token) as server, begin_request(server, "tls", body):
        begun = time.monotonic()
        process_of(server).send_signal(signal.SIGTERM)
        assert process_of(server).wait(PATIENCE) == 0
        assert time.monotonic() - begun < 30
        assert waited_in_vain(server)
        assert "request-given-up" in [event["event"] for event in server.events()]
        assert "Traceback" not in server.log.read_text()
    assert not server.socket.exists()


FROM_NOTHING = (*MAIN[:2], f"{MAIN[2]}  # not forked")
"""The command as a process that begins with its imports, as after a crash."""


def test_it_is_back_at_once_after_kill_9(home: Template) -> None:
    """Killed under load: the next start needs no help, answers within five seconds, and has all that was answered.

    Where any start takes longer than a second or so, it takes not much longer than the first one.
    """
    begun = time.monotonic()
    with serving(home.state, home.token, argv=FROM_NOTHING) as server:
        usual = time.monotonic() - begun
        asking = Asking(server, 4)
        try:
            until(lambda: len(asking.answered) >= 40, "certificates are issued")
            process_of(server).kill()
            process_of(server).wait(PATIENCE)
        finally:
            asking.end()
        assert server.socket.exists(), "it was not killed in the middle of things"
    listen = {
        "CERTWRIGHT_LISTEN__TLS": f"127.0.0.1:{server.tls}",
        "CERTWRIGHT_LISTEN__PLAIN": f"127.0.0.1:{server.plain}",
    }
    begun = time.monotonic()
    argv = [*FROM_NOTHING, "--state", str(home.state), "serve"]
    ready = lambda: is_healthy(server.plain)  # noqa: E731
    with peer.running(argv, ready=ready, log=server.log, env=environment(**listen)):
        assert time.monotonic() - begun < max(5, 10 * usual)
        with server.over_tls(server.token) as client:
            assert set(asking.answered) - serials(client) == set()
            assert client.post(f"{API}/certificates", json=wish()).status_code == 201
    assert json.loads(certwright("--state", home.state, "ledger", "verify", "--json").stdout)["is_sound"]


def test_a_socket_that_was_left_is_replaced(home: Template) -> None:
    """What a killed server leaves, and any other file of that name, does not stop the next one."""
    (home.state / "certwright.sock").write_text("left")
    with serving(home.state, home.token) as server, server.over_socket() as client:
        assert client.get(f"{API}/me").json()["role"] == "admin"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("certwright.toml", "there is no installation in"),
        ("key-passphrase", "the passphrase of the key files was not found"),
        ("profiles", "there are no profiles in"),
    ],
)
def test_a_state_directory_that_is_not_whole_is_refused(home: Template, broken: str, said: str) -> None:
    """What is missing is said in one line with a hint."""
    victim = home.state / broken
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
    done = listen_with(home.state)
    assert done.returncode == 1
    assert said in done.stderr
    assert re.search(r"(?m)^hint: ", done.stderr)
    assert "Traceback" not in done.stderr
