"""Do the listeners of this machine answer, each with what it should show? Asked from outside, as a client would.

Nothing is believed because this process says so: what the TLS listener shows is held against what our CA has recorded,
and what the plain one hands out against the CA's own certificate. Another program may have taken a port.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator

from cryptography import x509

from ca import certificates, clock
from ca.certificates import Stored
from ca.errors import NotDelivered, NotFound
from ca.x509 import names
from ca.x509.certificate import serial_text
from pki.client.where import answers
from pki.doctor.finding import Finding, Level
from pki.product import Product

LISTENERS = "listeners"
SECONDS = 5.0
REQUESTED_BY = "system:listener"
ANOTHER = "does another program listen there? `ss -ltnp` says; else see the log of certwright serve"
RENEWS = "it is renewed at half of its life: see the log of certwright serve for listener-certificate"
EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked, not bound
"""Where a listener on all addresses of this machine is asked."""


def listeners(product: Product) -> Iterator[Finding]:
    """The Unix socket, TLS, plain HTTP; each with its certificate, where it has one."""
    if not answers(product.socket):
        advice = "certwright serve, or start the unit that runs it"
        yield Finding(LISTENERS, Level.WARNING, f"certwright serve does not run on {product.state}", advice)
        return
    yield from _socket(product)
    for name, check in (("listen.tls", _tls), ("listen.plain", _plain)):
        host, _, port = getattr(product.settings.listen, name.removeprefix("listen.")).rpartition(":")
        if port == "0":
            yield Finding(LISTENERS, Level.SKIPPED, f"{name} takes any port, so that nobody knows where to ask")
            continue
        host = host.strip("[]")
        try:
            yield from check(product, EVERYWHERE.get(host, host), int(port))
        except NotDelivered as error:
            yield Finding(LISTENERS, Level.PROBLEM, f"{name}: {error.message}", ANOTHER)


def _socket(product: Product) -> Iterator[Finding]:
    if stat.S_IMODE(product.socket.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        message = f"others may use {product.socket}, and whoever does is admin"
        yield Finding(LISTENERS, Level.PROBLEM, message, f"chmod 0600 {product.socket}")
    else:
        yield Finding(LISTENERS, Level.OK, f"{product.socket} answers, the owner alone")


def _tls(product: Product, host: str, port: int) -> Iterator[Finding]:
    from renewers.handshake import look  # what speaks to others is loaded where it does

    shown = look(host, port, timeout=SECONDS).chain[0]
    stored = _recorded(product, shown)
    if stored is None or stored.requested_by != REQUESTED_BY:
        subject = x509.load_der_x509_certificate(shown).subject.rfc4514_string() or "no subject"
        message = f"listen.tls: who answers on port {port} shows a certificate that is not our listener's ({subject})"
        yield Finding(LISTENERS, Level.PROBLEM, message, ANOTHER)
        return
    yield _life(stored, port)
    missing = {names.parse(name) for name in product.settings.listen.names} - set(stored.names())
    if missing:
        message = f"listen.tls: its certificate lacks {', '.join(sorted(map(str, missing)))}, which listen.names has"
        yield Finding(LISTENERS, Level.WARNING, message, "restart certwright serve: settings are read at its start")


def _recorded(product: Product, der: bytes) -> Stored | None:
    """What our CA has recorded of this very certificate."""
    serial = serial_text(x509.load_der_x509_certificate(der).serial_number)
    try:
        stored = certificates.find(product.installation.store, serial)
    except NotFound:
        return None
    return stored if stored.der == der else None


def _life(stored: Stored, port: int) -> Finding:
    """How long it is good for; it should never be in the last quarter of its life."""
    left, life = stored.not_after - clock.timestamp(), stored.not_after - stored.not_before
    if stored.state == "revoked":
        message = f"listen.tls: the certificate on port {port} is revoked ({stored.serial})"
        return Finding(LISTENERS, Level.PROBLEM, message, "restart certwright serve: it begins with a new one")
    if left <= 0:
        return Finding(LISTENERS, Level.PROBLEM, f"listen.tls: the certificate on port {port} has expired", RENEWS)
    if left < life / 4:
        message = f"listen.tls: the certificate on port {port} ends in {left // 60} minutes"
        return Finding(LISTENERS, Level.WARNING, message, RENEWS)
    message = f"listen.tls answers on port {port}, with a certificate of ours for {left // 3600} more hours"
    return Finding(LISTENERS, Level.OK, message)


def _plain(product: Product, host: str, port: int) -> Iterator[Finding]:
    from renewers.egress import fetch

    row = next(iter(product.installation.authorities.trusted()), None)
    if row is None:
        yield Finding(LISTENERS, Level.SKIPPED, "listen.plain: there is no CA whose certificate could be asked for")
        return
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if fetch(f"http://{place}/ca/{row.name}.cer", seconds=SECONDS) != row.certificate:
        message = f"listen.plain: who answers on port {port} does not hand out the certificate of {row.name}"
        yield Finding(LISTENERS, Level.PROBLEM, message, ANOTHER)
    else:
        yield Finding(LISTENERS, Level.OK, f"listen.plain answers on port {port}, with the certificate of {row.name}")
