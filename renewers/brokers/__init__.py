"""Brokers that the machine's own settings name, and the one way out to them: MQTT 5 over TLS, every wait with an end.

A broker is told of in `renewers/publishers/mqtt.py`, and listened to in `renewers/distribution/reports_mqtt.py`. Both
go through a `link.Link`.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from ca.errors import Misconfigured
from ca.secret import Secret
from renewers.bounded import trusting
from renewers.plain import one_line
from renewers.urls import is_loopback


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker, as the machine's own settings name it. Its files are read anew for every connection."""

    host: str
    port: int = 8883
    ca_file: Path | None = None
    username: str | None = None
    password: Secret | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    tls: bool = True

    def __post_init__(self) -> None:
        """`Misconfigured` if it is not to be talked to like this."""
        if not self.host or not self.host.isprintable() or not 0 < self.port < 65536:
            raise Misconfigured(f"{self.place} is no broker", hint="a host, and a port up to 65535")
        if not self.tls and not is_loopback(self.host):
            raise Misconfigured(f"{self.place} is spoken to without TLS", hint="that is for this machine alone")
        if (self.certificate_file is None) != (self.key_file is None):
            raise Misconfigured(f"{self.place} has a certificate or a key, not both")
        if self.password is not None and self.username is None:
            raise Misconfigured(f"{self.place} has a password and no user name")

    @property
    def place(self) -> str:
        """What messages call it."""
        return one_line(f"{self.host}:{self.port}", 280)

    def context(self) -> ssl.SSLContext:
        """TLS towards it: it is verified, and shown our certificate if there is one."""
        context = trusting(self.ca_file)
        context.sslsocket_class = _Shut
        if self.certificate_file is not None and self.key_file is not None:
            try:
                context.load_cert_chain(self.certificate_file, self.key_file)
            except OSError as error:
                reason = error.strerror or "they do not fit"
                raise Misconfigured(f"certificate and key for {self.place} cannot be read: {reason}") from None
        return context


class _Shut(ssl.SSLSocket):
    """Closed at once where its handshake fails."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise
