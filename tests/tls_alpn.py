"""The eyes of a CA for tls-alpn-01: a handshake as RFC 8737 section 3 tells a server to make it, and what it shows."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import ip_address

from cryptography import x509
from OpenSSL import SSL

from ca.x509.names import Kind
from renewers.solvers import Challenge

IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")


@dataclass(frozen=True)
class Shown:
    """What a handshake ended in."""

    certificate: x509.Certificate
    protocol: bytes
    version: str


def handshake(port: int, server_name: bytes | None, offered: list[bytes] | None, *, newest: int | None = None) -> Shown:
    """Shake hands with whoever listens there. `SSL.Error` or `OSError` if it does not come to that."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    context.set_min_proto_version(SSL.TLS1_VERSION)
    if newest is not None:
        context.set_max_proto_version(newest)
    if offered is not None:
        context.set_alpn_protos(offered)
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.settimeout(None)
        tls = SSL.Connection(context, connection)
        tls.set_connect_state()
        if server_name is not None:
            tls.set_tlsext_host_name(server_name)
        tls.do_handshake()
        chain = tls.get_peer_cert_chain(as_cryptography=True) or []
        assert len(chain) == 1
        return Shown(chain[0], tls.get_alpn_proto_negotiated(), tls.get_protocol_version_name())


def shown(port: int, challenge: Challenge) -> bytes | None:
    """The digest that is shown for a challenge's name, or None."""
    name = challenge.name
    asked = ip_address(name.value).reverse_pointer if name.kind is Kind.IP else name.value
    try:
        found = handshake(port, asked.encode(), [b"acme-tls/1"])
    except (SSL.Error, OSError):
        return None
    assert found.protocol == b"acme-tls/1"
    extension = found.certificate.extensions.get_extension_for_oid(IDENTIFIER)
    assert extension.critical
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    assert extension.value.value[:2] == b"\x04\x20"
    return extension.value.value[2:]
