"""Issuance over HTTPS: keep-alive with 32 connections, and over a fresh mutual-TLS connection each.

The server has one core, the client the other. What counts is the server's CPU for a certificate, from the kernel's own
accounting, held against a floor that was measured while the other core was just as busy.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import socket
import ssl
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from ca.keys.algorithms import KeyType
from ca.x509.request import make_request
from tests import peer
from tests.bench.floor import measure_floor
from tests.bench.report import Figure, cpu_of, heading, show
from tests.bench.server import CLIENT_CPU, Running, issue_body, running_server

CONNECTIONS = 32
BUDGET, P99_BUDGET, FRESH_BUDGET = 6.0, 50.0, 1.3
OPERATOR_NAME = "email:bench@example.internal"
GRANT = [{"profile": "client", "name": OPERATOR_NAME, "role": "operator"}]


def run(*, quick: bool) -> None:
    """Print the figures."""
    heading("Issuance over HTTPS (server on one core, client on the other)")
    seconds = 3 if quick else 8
    with running_server(settings={"identity.certificates": []}) as server:
        keep_alive(server, 2)
        pairs = [(_busy_floor(), keep_alive(server, seconds)) for _ in range(3)]
    floor = statistics.median(below for below, _ in pairs)
    cost = statistics.median(found.cpu for _, found in pairs)
    ratio = statistics.median(found.cpu / below for below, found in pairs)
    show(Figure("floor, the other core busy", floor * 1e6, "us"))
    show(Figure("keep-alive, 32 connections: server CPU of one certificate", cost * 1e6, "us"))
    show(Figure("keep-alive: ratio to the floor", ratio, "x", BUDGET))
    show(Figure("keep-alive: certificates a second", statistics.median(found.rate for _, found in pairs), "/s"))
    show(Figure("keep-alive: p50", statistics.median(found.p50 for _, found in pairs), "ms"))
    show(Figure("keep-alive: p99", statistics.median(found.p99 for _, found in pairs), "ms", P99_BUDGET))
    _fresh(quick=quick)


class Load:
    """What one load made of the server."""

    def __init__(self, requests: int, seconds: float, p50: float, p99: float, cpu: float) -> None:
        self.rate, self.p50, self.p99, self.cpu = requests / seconds, p50, p99, cpu / requests


def keep_alive(server: Running, seconds: int) -> Load:
    """Issue over kept connections for some seconds, with wrk."""
    wrk = peer.require("wrk")
    script = server.directory / "issue.lua"
    script.write_text(
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.headers["Authorization"] = "Bearer {server.token}"\nwrk.body = {json.dumps(issue_body())}\n'
    )
    url = f"https://127.0.0.1:{server.port}/api/v1/certificates"
    argv = [wrk, "--latency", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "-s", str(script), url]
    before = cpu_of(server.pid)
    text = subprocess.run(argv, check=True, capture_output=True, text=True, preexec_fn=_on_client_core).stdout
    used = cpu_of(server.pid) - before
    if "Non-2xx" in text:
        raise RuntimeError(text)
    requests, took = re.search(r"(\d+) requests in ([\d.]+)s", text).groups()  # type: ignore[union-attr]
    return Load(int(requests), float(took), _latency(text, "50%"), _latency(text, "99%"), used)


def _latency(text: str, which: str) -> float:
    value, unit = re.search(rf"{which}\s+([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


def _on_client_core() -> None:
    os.sched_setaffinity(0, CLIENT_CPU & os.sched_getaffinity(0) or os.sched_getaffinity(0))


def _busy_floor() -> float:
    """The floor, measured while another process keeps the other core as busy as a client does."""
    stop = multiprocessing.Event()
    other = multiprocessing.Process(target=_keep_busy, args=(stop,))
    other.start()
    try:
        return measure_floor()
    finally:
        stop.set()
        other.join()


def _keep_busy(stop: object) -> None:
    _on_client_core()
    key = KeyType.P256.generate()
    while not stop.is_set():  # type: ignore[attr-defined]
        make_request(key)


def _fresh(*, quick: bool) -> None:
    """A new mutual-TLS connection for every certificate, against handshake and issuance measured apart."""
    count = 300 if quick else 1200
    with running_server() as server, tempfile.TemporaryDirectory() as name:
        credential = _operator_certificate(server, Path(name))
        connect = _connector(server, credential)
        handshake = _cost(server, count, lambda: connect().close())
        kept = connect()
        issuing = _cost(server, count, lambda: _post(kept, server))
        both = _cost(server, count, lambda: _once(connect(), server))
    show(Figure("mutual-TLS handshake alone: server CPU", handshake * 1e6, "us"))
    show(Figure("issuance alone, one caller: server CPU", issuing * 1e6, "us"))
    show(Figure("fresh mutual-TLS connection and one issuance: server CPU", both * 1e6, "us"))
    show(Figure("fresh connection: ratio to the two apart", both / (handshake + issuing), "x", FRESH_BUDGET))


def _operator_certificate(server: Running, directory: Path) -> tuple[Path, Path]:
    """A client certificate that may connect; the token says what it may do."""
    import httpx
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = KeyType.P256.generate()
    context = ssl.create_default_context(cafile=str(server.roots))
    with httpx.Client(verify=context, trust_env=False) as client:
        answer = client.post(
            f"https://127.0.0.1:{server.port}/api/v1/certificates",
            headers={"Authorization": f"Bearer {server.token}"},
            json={"profile": "client", "csr": make_request(key), "names": [OPERATOR_NAME]},
        )
    issued = answer.raise_for_status().json()
    certificate, private = directory / "cert.pem", directory / "key.pem"
    certificate.write_text(issued["certificate"] + issued["chain"])
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, private


def _connector(server: Running, credential: tuple[Path, Path]) -> Callable[[], ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=str(server.roots))
    context.load_cert_chain(*credential)

    def connect() -> ssl.SSLSocket:
        return context.wrap_socket(socket.create_connection(("127.0.0.1", server.port)), server_hostname="127.0.0.1")

    return connect


def _cost(server: Running, count: int, once: Callable[[], object]) -> float:
    """Server CPU seconds of each of `count` calls, made by a client on the other core."""
    _on_client_core()
    for _ in range(20):
        once()
    before = cpu_of(server.pid)
    for _ in range(count):
        once()
    return (cpu_of(server.pid) - before) / count


def _once(connection: ssl.SSLSocket, server: Running) -> None:
    _post(connection, server)
    connection.close()


def _post(connection: ssl.SSLSocket, server: Running) -> None:
    body = _BODY.encode()
    head = (
        f"POST /api/v1/certificates HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    headers, _, rest = answer.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", headers).group(1))  # type: ignore[union-attr]
    while len(rest) < length:
        rest += connection.recv(65536)
    assert headers.startswith(b"HTTP/1.1 201"), answer[:500]


_BODY = issue_body()
