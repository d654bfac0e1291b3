"""The demo's directory, and the `certwright serve` that runs in it."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ca.errors import Conflict, StateLocked, Unavailable
from ca.store.engine import ProcessLock
from pki.client.where import where
from pki.initialise import Initialised, InitPlan, initialise

DOMAIN = "demo.internal"
MARKER = ".certwright-demo"
PREFERRED = {"tls": 8443, "plain": 8080}
ATTEMPTS = 5
PATIENCE = 60.0
"""Seconds until a server that neither serves nor ends is given up."""


class World:
    """Where everything of the demo is. One process has it at a time; `close` lets it go."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.state = self.directory / "state"
        self.log = self.directory / "server.log"
        self.tls, self.plain = _port(PREFERRED["tls"]), _port(PREFERRED["plain"])
        self.trusted = self.directory / "trusted.pem"
        self.crls = self.directory / "crls.pem"
        self.head = self.directory / "kept-head.txt"
        self.mail = self.directory / "mail"
        self._lock: ProcessLock | None = None

    def make(self) -> Initialised:
        """Make the directory anew, and an installation in it. `Conflict` if it is not ours, or not ours now."""
        self._claim()
        for path in self.directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != MARKER:
                path.unlink()
        changes = {
            "installation.domain": DOMAIN,
            "installation.public_url": f"http://127.0.0.1:{self.plain}",
            "listen.tls": f"127.0.0.1:{self.tls}",
            "listen.plain": f"127.0.0.1:{self.plain}",
            "mail.directory": str(self.mail),
            "mail.sender": f"Certwright <certwright@{DOMAIN}>",
            "mail.link_url": f"https://127.0.0.1:{self.tls}",
            "consumers.canary_every": "2s",  # a newcomer does not wait ten minutes to see what a gateway holds
            "renewals.programs": [shutil.which("touch") or "/usr/bin/touch"],
        }
        return initialise(self.state, InitPlan(name="Demo", changes={k: json.dumps(v) for k, v in changes.items()}))

    @contextmanager
    def serving(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run the server until the block ends; commands of this process talk to it from then on."""
        process = self._start()
        try:
            where.here(self.state)
            yield process
        finally:
            _stop(process)

    def close(self) -> None:
        """Let another demo have the directory."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _claim(self) -> None:
        marker, lock = self.directory / MARKER, self.state / "lock"
        if self.directory.exists() and any(self.directory.iterdir()) and not marker.exists():
            raise Conflict(f"{self.directory} is not a demo's directory", hint="choose another one with --dir")
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            if self._lock is None:
                self._lock = ProcessLock(marker)
            if lock.exists():  # of a server that has outlived its demo, or that somebody has started since
                ProcessLock(lock).release()
        except StateLocked:
            hint = "stop it, or choose another directory with --dir"
            raise Conflict(f"something still runs in {self.directory}", code="demo-running", hint=hint) from None

    def _start(self) -> subprocess.Popen[bytes]:
        """A server that serves. Its ports are part of its certificates: with other ports, all is made anew."""
        for _ in range(ATTEMPTS):
            argv = [sys.executable, "-P", "-c", "from pki.cli import main; main()", "--state", str(self.state), "serve"]
            with self.log.open("wb") as log:
                process = subprocess.Popen(argv, stdout=log, stderr=log)  # noqa: S603 - our own interpreter and arguments
            try:
                if self._serves(process):
                    return process
            except BaseException:
                _stop(process)
                raise
            # Since the ports were chosen, another program was quicker to listen there.
            self.tls, self.plain = _port(0), _port(0)
            self.make()
        raise Unavailable(f"other programs took the port {ATTEMPTS} times", hint="try again")

    def _serves(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until the server answers. False if its port is taken; `Unavailable` says why else it does not."""
        deadline = time.monotonic() + PATIENCE
        while '"event": "serving"' not in (said := self.log.read_text(errors="replace")):
            if process.poll() is not None or time.monotonic() > deadline:
                if "cannot listen on 127.0.0.1:" in said:
                    return False
                reasons = [line for line in said.splitlines() if line.startswith("refused: ")]
                reason = reasons[-1].removeprefix("refused: ") if reasons else "it does not say why"
                raise Unavailable(f"the server did not start: {reason}", hint=f"see {self.log}")
            time.sleep(0.02)
        return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _port(preferred: int) -> int:
    """The usual port if it is free, else any that is. It may be taken by the time somebody listens there."""
    for wanted in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Unavailable("there is no free port on loopback")
