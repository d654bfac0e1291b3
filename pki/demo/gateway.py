"""A TLS server that accepts whom our CA vouches for, and whom its CRLs do not name. And a client to knock with.

It stands for any proxy or service that loads a CA file and a CRL file: it is OpenSSL, checks the whole chain, and
reads its files again when it is told to, as nginx does on reload. Both files are brought to it: it is a consumer.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from pki.demo.listening import TIMEOUT, Listener, Reloading


class Gateway:
    """Listens on a loopback port until it is closed, from before it trusts anybody."""

    def __init__(self, directory: Path, own: Path) -> None:
        self.directory = directory
        self._own = own
        """Where its own `cert.pem` and `key.pem` are."""
        self._files = Reloading(directory, self._load)
        self._listener = Listener("gateway", self._files.current)
        self.port = self._listener.port
        """Where it listens."""

    @property
    def reload(self) -> list[str]:
        """The command that has it read its files again."""
        return self._files.command

    def serve_with(self, own: Path) -> None:
        """Show the certificate in another directory from now on."""
        self._own = own
        self._files.forget()

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def _load(self, live: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._own / "cert.pem", self._own / "key.pem")
        context.load_verify_locations(live / "bundle.pem")
        context.load_verify_locations(live / "crl.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN | ssl.VERIFY_X509_STRICT
        return context


def knock(port: int, trusted: Path, own: Path) -> str | None:
    """Connect with the client certificate in a directory. None if the gateway let us in, else what it said."""
    context = ssl.create_default_context(cafile=str(trusted))
    context.load_cert_chain(own / "cert.pem", own / "key.pem")
    try:
        with (
            socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection,
            context.wrap_socket(connection, server_hostname="localhost") as tls,
        ):
            return None if tls.recv(64) else "it hung up"
    except ssl.SSLError as error:
        return str(error.reason or error).lower().replace("_", " ")
