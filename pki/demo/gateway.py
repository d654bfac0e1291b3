"""A TLS server that accepts whom our CA vouches for, and whom its CRLs do not name. And a client to knock with.

It stands for any proxy or service that loads a CA file and a CRL file: it is OpenSSL, checks the whole chain, and
reads its files again when it is told to, as nginx does on reload.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from pki.demo.listening import TIMEOUT, Listener


class Gateway:
    """Listens on a loopback port until it is closed."""

    def __init__(self, certificate: Path, key: Path, trusted: Path, crls: Path) -> None:
        self._files = (certificate, key, trusted, crls)
        self._context = self._load()
        self._listener = Listener("gateway", lambda: self._context)
        self.port = self._listener.port
        """Where it listens."""

    def reload(self) -> None:
        """Read the files again; connections that stand are left alone."""
        self._context = self._load()

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def _load(self) -> ssl.SSLContext:
        certificate, key, trusted, crls = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(trusted)
        context.load_verify_locations(crls)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN | ssl.VERIFY_X509_STRICT
        return context


def knock(port: int, trusted: Path, certificate: Path, key: Path) -> str | None:
    """Connect with a client certificate. None if the gateway let us in, else what it said."""
    context = ssl.create_default_context(cafile=str(trusted))
    context.load_cert_chain(certificate, key)
    try:
        with (
            socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection,
            context.wrap_socket(connection, server_hostname="localhost") as tls,
        ):
            return None if tls.recv(64) else "it hung up"
    except ssl.SSLError as error:
        return str(error.reason or error).lower().replace("_", " ")
