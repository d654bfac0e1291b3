"""A real `certwright serve` for benchmarks: in a temporary directory, on free loopback ports, pinned to one core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ca.files import pem
from pki.initialise import InitPlan, initialise
from tests import peer, rig

SERVER_CPU, CLIENT_CPU = {1}, {0}


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    pid: int
    directory: Path
    port: int
    token: str

    @property
    def roots(self) -> Path:
        """The trust bundle."""
        return self.directory / "roots.pem"


@contextmanager
def running_server(*, cpus: set[int] | None = None, settings: dict[str, object] | None = None) -> Iterator[Running]:
    """Start a server without rate limits, wait until it answers, stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="certwright-bench-") as name:
        directory, port, plain = Path(name), peer.free_port(), peer.free_port()
        changes = {
            "installation.domain": rig.DOMAIN,
            "installation.public_url": f"http://127.0.0.1:{plain}",
            "listen.tls": f"127.0.0.1:{port}",
            "listen.plain": f"127.0.0.1:{plain}",
            "limits.per_second": 1e6,
            "limits.burst": 1_000_000,
            "ocsp.live_per_second": 1e6,
            "ocsp.live_burst": 1_000_000,
            **(settings or {}),
        }
        made = initialise(directory / "state", InitPlan(changes={k: json.dumps(v) for k, v in changes.items()}))
        argv = [sys.executable, "-c", "from pki.cli import main; main()", "--state", str(directory / "state"), "serve"]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            while not (directory / "state" / "certwright.sock").exists():
                if process.poll() is not None:
                    raise RuntimeError((directory / "log").read_text())
                time.sleep(0.02)
            time.sleep(0.5)
            _pin(process.pid, cpus or SERVER_CPU)
            (directory / "roots.pem").write_bytes(_get(f"http://127.0.0.1:{plain}/bundles/roots.pem"))
            yield Running(process.pid, directory, port, made.token.reveal())
        finally:
            process.terminate()
            process.wait(20)


def issue_body() -> str:
    """The JSON of one issuance, the same for all: keys cost the client, not the server."""
    csr = pem("CERTIFICATE REQUEST", rig.make_csr(rig.WORKLOAD, "api.payments.svc.example.internal")).decode()
    return json.dumps({"profile": "mesh", "csr": csr})


def _pin(pid: int, cpus: set[int]) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cpus & os.sched_getaffinity(0) or os.sched_getaffinity(0))


def _get(url: str) -> bytes:
    import httpx

    return httpx.get(url, trust_env=False).raise_for_status().content
