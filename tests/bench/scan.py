"""Endpoints scanned per second: real nginx processes with thousands of addresses and ports on loopback.

The scan alone shows what it costs; recorded, what discovery costs from the first ClientHello to the last row. The
default pace is a choice (500 connections a second), so it is measured without one, too.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ca.keys.sealed import Sealer
from ca.secret import Secret
from renewers.discovery.run import Pace, discover
from renewers.discovery.scan import Seen, scan
from renewers.discovery.targets import parse
from renewers.lifecycle import Lifecycle
from tests import peer, rig
from tests.bench.issuing import fresh_installation
from tests.bench.report import Figure, heading, show
from tests.renewers.listeners import make, serving

HOSTS = 100
FIRST_PORT = 20_000
HASTE = 1_000_000.0
"""Connections a second: as many as there is time for."""


def run(*, quick: bool) -> None:
    """Print the figures for two sizes."""
    heading("Discovery: TLS endpoints scanned on loopback, beside the servers that answer")
    for ports in (2, 10) if quick else (10, 100):
        with nginx(HOSTS, ports), fresh_installation() as installation:
            text = " ".join(f"127.1.7.{n}:{FIRST_PORT}-{FIRST_PORT + ports - 1}" for n in range(1, HOSTS + 1))
            _scan(text, ports)
            _discover(Lifecycle(installation, Sealer(Secret("for a benchmark"), bytes(16))), text, ports)
    _closed(1_000 if quick else 10_000)


def _scan(text: str, ports: int) -> None:
    label = f"{HOSTS * ports:>6,} endpoints:"
    wall, cpu = time.perf_counter(), time.process_time()
    seen = sum(isinstance(one, Seen) for one in scan(parse(text), a_second=HASTE))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if seen != HOSTS * ports:
        raise RuntimeError(f"only {seen} of {HOSTS * ports} were seen")
    show(Figure(f"{label} scanned a second, as fast as it goes", seen / wall, "/s"))
    show(Figure(f"{label} CPU of the scan for each", cpu / seen * 1e6, "us"))


def _discover(lifecycle: Lifecycle, text: str, ports: int) -> None:
    label = f"{HOSTS * ports:>6,} endpoints:"
    for words, pace in (("first", Pace(a_second=HASTE)), ("again", Pace(a_second=HASTE)), ("default pace", Pace())):
        before = time.perf_counter()
        last = list(discover(lifecycle, rig.ADMIN, text, pace=pace))[-1]
        show(
            Figure(f"{label} scanned and recorded a second, {words}", last.seen / (time.perf_counter() - before), "/s")
        )


def _closed(count: int) -> None:
    """Nobody listens there: a refusal is quick."""
    hosts = -(-count // 250)
    text = " ".join(f"127.3.{n}.0/24:9" for n in range(hosts))
    before = time.perf_counter()
    done = sum(1 for _ in scan(parse(text), a_second=HASTE))
    show(Figure(f"{done:>6,} closed ports: asked a second", done / (time.perf_counter() - before), "/s"))


@contextmanager
def nginx(hosts: int, ports: int) -> Iterator[None]:
    """An nginx that listens on so many ports of so many addresses of loopback."""
    program = peer.require("nginx")
    files = hosts * ports + 4_096
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    with tempfile.TemporaryDirectory(prefix="certwright-bench-") as name:
        home = Path(name)
        leaf = make("scanned.example", issuer=make(subject="Bench CA", is_ca=True))
        serving(home, leaf)
        (pem,) = home.glob("*.pem")
        listens = "".join(
            f"listen 127.1.7.{host}:{FIRST_PORT + port} ssl;\n" for host in range(1, hosts + 1) for port in range(ports)
        )
        (home / "nginx.conf").write_text(f"""
            daemon off; pid nginx.pid; worker_processes 1; worker_rlimit_nofile {files}; error_log error.log;
            events {{ worker_connections {files}; }}
            http {{
              access_log off; client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t;
              scgi_temp_path t; ssl_session_cache off;
              server {{ {listens} ssl_certificate {pem}; ssl_certificate_key {pem}; return 200; }}
            }}""")
        argv = (program, "-p", home, "-c", home / "nginx.conf", "-e", "stderr")
        with peer.running(argv, ready=_answers, log=home / "log", timeout=30):
            yield


def _answers() -> bool:
    return any(isinstance(one, Seen) for one in scan(parse(f"127.1.7.1:{FIRST_PORT}")))
