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

from ca.errors import Conflict, Unavailable
from pki.cli.options import where
from pki.initialise import Initialised, InitPlan, initialise

DOMAIN = "demo.internal"
MARKER = ".certwright-demo"
PREFERRED = {"tls": 8443, "plain": 8080}


class World:
    """Where everything of the demo is."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.state = self.directory / "state"
        self.tls, self.plain = _port(PREFERRED["tls"]), _port(PREFERRED["plain"])
        self.trusted = self.directory / "trusted.pem"
        self.crls = self.directory / "crls.pem"
        self.head = self.directory / "kept-head.txt"

    def make(self) -> Initialised:
        """Make the directory anew, and an installation in it."""
        if self.directory.exists():
            if any(self.directory.iterdir()) and not (self.directory / MARKER).exists():
                raise Conflict(f"{self.directory} is not a demo's directory", hint="choose another one with --dir")
            shutil.rmtree(self.directory)
        self.directory.mkdir(parents=True)
        (self.directory / MARKER).touch()
        changes = {
            "installation.domain": DOMAIN,
            "installation.public_url": f"http://127.0.0.1:{self.plain}",
            "listen.tls": f"127.0.0.1:{self.tls}",
            "listen.plain": f"127.0.0.1:{self.plain}",
        }
        return initialise(self.state, InitPlan(name="Demo", changes={k: json.dumps(v) for k, v in changes.items()}))

    @contextmanager
    def serving(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run the server until the block ends; commands of this process talk to it from then on."""
        argv = [sys.executable, "-c", "from pki.cli import main; main()", "--state", str(self.state), "serve"]
        with (self.directory / "server.log").open("wb") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log)  # noqa: S603 - our own interpreter and arguments
        try:
            self._wait(process)
            where.state = self.state
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 20
        while not (self.state / "certwright.sock").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                last = (self.directory / "server.log").read_text(errors="replace").strip().splitlines()[-1:]
                raise Unavailable(f"the server did not start: {''.join(last)}", hint=f"see {self.directory}/server.log")
            time.sleep(0.02)


def _port(preferred: int) -> int:
    """The usual port if it is free, else any that is."""
    for wanted in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Unavailable("there is no free port on loopback")
