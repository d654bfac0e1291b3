"""A real Mosquitto on loopback, with TLS: what it trusts, whom it lets in, and what a SIGHUP makes it read again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca.x509.bundle import pem_certificate
from tests import peer
from tests.renewers.listeners import make

HEAD = """
user {user}
per_listener_settings false
allow_anonymous {anonymous}
persistence false
log_dest stderr
log_type all
connection_messages true
max_queued_messages 0
listener {port} 127.0.0.1
"""


@dataclass(frozen=True)
class Tls:
    """Files of the listener. `ca` is a file, or a directory of hashed names; without it, no client shows anything."""

    certificate: Path
    key: Path
    ca: Path | None = None
    crl: Path | None = None
    requires_certificate: bool = True
    names_by_certificate: bool = False
    """Whether a client is called what its certificate's common name says."""

    def lines(self) -> list[str]:
        """As the configuration has them."""
        lines = [f"certfile {self.certificate}", f"keyfile {self.key}"]
        if self.ca is not None:
            lines += [f"{'capath' if self.ca.is_dir() else 'cafile'} {self.ca}"]
            lines += [f"require_certificate {_word(self.requires_certificate)}"]
            lines += [f"use_identity_as_username {_word(self.names_by_certificate)}"]
        return lines + ([f"crlfile {self.crl}"] if self.crl is not None else [])


@dataclass(frozen=True)
class Mosquitto:
    """A running broker."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    home: Path
    lines: Sequence[str] = field(default=())

    def reload(self) -> None:
        """Have it read its files again, and wait until it says so."""
        before = self._reloads()
        for _ in range(20):  # a signal that comes while it is at the one before is lost
            os.kill(self.process.pid, signal.SIGHUP)
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline:
                if self._reloads() > before:
                    return
                time.sleep(0.005)
        code, said = self.process.poll(), self.log.read_text(errors="replace")[-500:]
        pytest.fail(f"Mosquitto never reloads (ended with {code}): {said}", pytrace=False)

    def stop(self) -> None:
        """Stop it before its time, as an outage does."""
        self.process.terminate()
        self.process.wait(10)

    def _reloads(self) -> int:
        return self.log.read_bytes().count(b"Reloading config")


@contextmanager
def mosquitto(
    home: Path,
    *,
    tls: Tls | None = None,
    port: int | None = None,
    users: Mapping[str, str] | None = None,
    access: Sequence[str] = (),
    more: Sequence[str] = (),
) -> Iterator[Mosquitto]:
    """Run a broker. `users` have passwords, `access` are lines of an ACL file, `more` of the configuration."""
    program = peer.require("mosquitto")
    home.mkdir(exist_ok=True)
    port = port or peer.free_port()
    user = "root" if os.geteuid() == 0 else "nobody"  # it stays who it is: the rig's files are for their owner
    text = HEAD.format(user=user, port=port, anonymous=_word(not users))
    lines = list(tls.lines() if tls is not None else [])
    if users:
        lines.append(f"password_file {_passwords(home, users)}")
    if access:
        (home / "access").write_text("\n".join([*access, ""]))
        lines.append(f"acl_file {home / 'access'}")
    config, log = home / "mosquitto.conf", home / "mosquitto.log"
    config.write_text("\n".join([text, *lines, *more, ""]))
    # It listens before it takes signals: a SIGHUP in between ends it.
    runs = lambda: log.exists() and b" running" in log.read_bytes() and peer.listens(port)()  # noqa: E731
    with peer.running([program, "-c", config], ready=runs, log=log) as process:
        yield Mosquitto(port, process, log, home, lines)


def _passwords(home: Path, users: Mapping[str, str]) -> Path:
    file = home / "passwords"
    file.write_text("".join(f"{name}:{password}\n" for name, password in users.items()))
    done = peer.run(peer.require("mosquitto_passwd"), "-U", file)
    assert done.returncode == 0, done.stderr
    file.chmod(0o600)
    return file


def _word(is_so: bool) -> str:
    return "true" if is_so else "false"


def own_tls(home: Path) -> tuple[Tls, Path]:
    """A listener for localhost under a CA of its own, and the file of that CA. Clients show no certificate."""
    authority = make("ca.example", is_ca=True)
    leaf = make("localhost", issuer=authority)
    ca_file, certificate, key = home / "broker-ca.pem", home / "broker.pem", home / "broker.key"
    ca_file.write_text(pem_certificate(authority.der))
    certificate.write_text(pem_certificate(leaf.der))
    key.write_bytes(leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Tls(certificate, key), ca_file
