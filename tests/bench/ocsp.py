"""OCSP: answers that were signed before they were asked for, answers signed now, and both over plain HTTP.

In process, on one core, and as a client gets them from a real server that has one core, while wrk has the other.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from itertools import cycle
from urllib.parse import quote

import httpx
from cryptography import x509

from ca.ocsp.responder import OcspPolicy, Responder
from ca.x509.revocation_list import RevocationReason
from pki.settings import load_settings
from tests import peer, rig
from tests.bench.https import CONNECTIONS, _on_client_core
from tests.bench.issuing import fresh_installation
from tests.bench.report import Figure, cpu, cpu_of, heading, show
from tests.bench.server import Running, issue_body, running_server
from tests.ca.asking import ca_of, request_about

AIM = 10_000.0
CERTIFICATES = 200


def run(*, quick: bool) -> None:
    """Print the figures."""
    heading("OCSP (one core)")
    _in_process(calls=20_000 if quick else 200_000)
    seconds = 2 if quick else 6
    with running_server() as server:
        requests = _requests(server)
        _load(server, requests, 1)
        held, cost, p99 = _load(server, requests, seconds)
        show(Figure("over HTTP, GET, signed ahead: server CPU of one", cost * 1e6, "us"))
        show(Figure("over HTTP, GET, signed ahead: for each second of server CPU", 1 / cost, "/s", AIM, at_least=True))
        show(Figure("over HTTP, GET, signed ahead: measured, 32 connections", held, "/s", note=f"p99 {p99:.1f} ms"))
        made, cost, p99 = _load(server, [_with_nonce(request) for request in requests], seconds)
        show(Figure("over HTTP, GET, with a nonce: server CPU of one", cost * 1e6, "us"))
        show(Figure("over HTTP, GET, with a nonce: measured, 32 connections", made, "/s", note=f"p99 {p99:.1f} ms"))


def _in_process(calls: int) -> None:
    with fresh_installation() as installation:
        name = installation.authorities.issuer_for("issuing").name
        issuer = ca_of(installation, name)
        issued = [rig.issue(installation) for _ in range(CERTIFICATES)]
        plain = [request_about(rig.parsed(one), issuer) for one in issued]
        responder = Responder(installation, OcspPolicy())
        for request in plain:
            assert responder.answer(request).status == "good"

        def held(request: bytes) -> None:
            if responder.held(request) is None:
                responder.answer(request)

        each = _cost(held, plain, calls)
        show(Figure("signed ahead, in process: CPU of one", each * 1e6, "us"))
        show(Figure("signed ahead, in process", 1 / each, "/s", AIM, at_least=True))
        each = _cost(responder.answer, [_with_nonce(request) for request in plain], calls // 100)
        show(Figure("signed when asked (P-256, verified), in process: CPU of one", each * 1e6, "us"))
        show(Figure("signed when asked, in process", 1 / each, "/s"))
        show(Figure("from revoked to answered so: longest of 20", _noticed(installation, responder, plain) * 1e3, "ms"))


def _cost(ask: Callable[[bytes], object], requests: Sequence[bytes], calls: int) -> float:
    many = cycle(requests)
    before = cpu()
    for _ in range(calls):
        ask(next(many))
    return (cpu() - before) / calls


def _noticed(installation: object, responder: Responder, plain: Sequence[bytes]) -> float:
    """Seconds from a revocation's return until a client that asks all the time hears of it."""
    from ca import revocation
    from ca.ocsp.asked import read_request

    longest = 0.0
    for request in plain[:20]:
        responder.answer(request)
        serial = f"{read_request(request).certificates[0].serial:x}"
        revocation.revoke(installation, rig.OPERATOR, serial, RevocationReason.SUPERSEDED)  # type: ignore[arg-type]
        started = time.perf_counter()
        while (responder.held(request) or responder.answer(request)).status != "revoked":
            continue
        longest = max(longest, time.perf_counter() - started)
    return longest


def _with_nonce(request: bytes) -> bytes:
    """The same, so that no answer of before will do."""
    from ca import der
    from ca.ocsp.asked import NONCE, read_request

    (one,) = read_request(request).certificates
    nonce = der.sequence(NONCE, der.octet_string(der.octet_string(bytes(range(32)))))
    listed = der.sequence(der.sequence(one.encoded))
    return der.sequence(der.sequence(listed, der.explicit(2, der.sequence(nonce))))


def _requests(server: Running) -> list[bytes]:
    """Requests about new certificates of a server."""
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    with httpx.Client(base_url=f"https://127.0.0.1:{server.port}", verify=_trust(server), trust_env=False) as client:
        found = []
        for _ in range(CERTIFICATES):
            answer = (
                client.post("/api/v1/certificates", content=issue_body(), headers=headers).raise_for_status().json()
            )
            pems = x509.load_pem_x509_certificates((answer["certificate"] + answer["chain"]).encode())
            found.append(request_about(pems[0], pems[1]))
        return found


def _trust(server: Running) -> object:
    import ssl

    return ssl.create_default_context(cafile=str(server.roots))


def _load(server: Running, requests: Sequence[bytes], seconds: int) -> tuple[float, float, float]:
    """With wrk: answers a second, the server's CPU seconds of one, and the 99th percentile in milliseconds."""
    paths = [f"/ocsp/{quote(b64encode(request), safe='')}" for request in requests]
    script = server.directory / "ocsp.lua"
    script.write_text(
        f"local paths = {{{', '.join(json.dumps(path) for path in paths)}}}\nlocal place = 0\n"
        "request = function()\n  place = place % #paths + 1\n  return wrk.format('GET', paths[place])\nend\n"
    )
    url = f"http://{load_settings(server.directory / 'state').listen.plain}"
    argv = [peer.require("wrk"), "--latency", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "-s", str(script), url]
    before = cpu_of(server.pid)
    text = subprocess.run(argv, check=True, capture_output=True, text=True, preexec_fn=_on_client_core).stdout
    used = cpu_of(server.pid) - before
    if "Non-2xx" in text:
        raise RuntimeError(text)
    total, took = re.search(r"(\d+) requests in ([\d.]+)s", text).groups()  # type: ignore[union-attr]
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return int(total) / float(took), used / int(total), float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]
