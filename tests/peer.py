"""Real counterparts: finding them, starting them on loopback, stopping them by process id.

A missing one skips its test with the reason; where CERTWRIGHT_REQUIRE_PEERS is set (in CI), it fails instead.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

FIRST_PORT, STRETCHES, STRETCH = 10_100, 16, 1400  # Chromium refuses 10,080
"""So many workers have ports of their own, and so many each."""
_TURN = itertools.count(secrets.randbelow(STRETCH))
"""Begins anywhere, so that two runs on one machine rarely meet."""
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that speak none: it trusts nobody, and no CAs of the machine are read for it, which takes 30 ms."""
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/lib/postgresql/15/bin"])


def require(program: str) -> str:
    """The path of a program, or the end of this test."""
    found = shutil.which(program, path=SEARCH)
    if found is None:
        missing(f"{program} is not installed (make peers)")
    return found


def missing(reason: str) -> None:
    """Skip, or fail where counterparts are required."""
    if os.environ.get("CERTWRIGHT_REQUIRE_PEERS"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def run(*argv: str | Path, stdin: bytes | None = None, timeout: float = 300) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end; its exit code and output are for the test to judge."""
    return subprocess.run([str(a) for a in argv], input=stdin, capture_output=True, timeout=timeout)


def free_port(address: str = "127.0.0.1") -> int:
    """A port of an address of this machine that is free for TCP and UDP, and that nobody is given by chance.

    It is named now and listened on later. The kernel's own choices, for whoever connects or listens without naming a
    port, begin at 32,768 (Linux); each worker of pytest has a stretch of its own beneath.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for _ in range(STRETCH):
        number = FIRST_PORT + worker % STRETCHES * STRETCH + next(_TURN) % STRETCH
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, suppress(OSError):
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((address, number))
            udp.bind((address, number))
            return number
    raise RuntimeError("there is no free port")


@contextmanager
def running(
    argv: Sequence[str | Path],
    *,
    ready: Callable[[], bool],
    log: Path,
    timeout: float = 60,
    env: dict[str, str] | None = None,
    start: Callable[[], subprocess.Popen[bytes]] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server, wait until it is ready, stop it by its process id; `start` if that is not done by `argv`."""
    with log.open("ab") as out:
        process = (
            subprocess.Popen([str(a) for a in argv], stdout=out, stderr=out, env=env) if start is None else start()
        )
    try:
        deadline = time.monotonic() + timeout
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{argv[0]} did not start:\n{log.read_text(errors='replace')[-3000:]}", pytrace=False)
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(condition: Callable[[], bool], what: str, timeout: float = 60) -> None:
    """Wait until something is so; fail with its name if it never is."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"never: {what}", pytrace=False)
        time.sleep(0.005)


def listens(port: int) -> Callable[[], bool]:
    """Whether something accepts connections on a loopback port."""

    def probe() -> bool:
        with socket.socket() as client:
            client.settimeout(0.2)
            return client.connect_ex(("127.0.0.1", port)) == 0

    return probe
