"""What a SIGHUP makes Mosquitto 2.0 read again, with clients that shake hands all the while.

It depends on one line of its configuration. With `crlfile` beside `certfile`, `keyfile` and `require_certificate true`,
the listener's context is built anew: roots come and go, lists are exchanged. Without it, only the server's certificate
is read again, and a root that was taken away is trusted until the broker ends. Connections that stand are kept.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca.x509.bundle import pem_chain
from tests import peer
from tests.mosquitto import Mosquitto, Tls, mosquitto
from tests.renewers.listeners import Made, make

CONNECT = bytes.fromhex("101000044d5154540402003c0004")  # MQTT 3.1.1, a clean session, a name of four letters


@dataclass
class World:
    """Two roots, a broker that has a certificate of the first, and clients of both."""

    home: Path
    roots: tuple[Made, Made]
    broker: Mosquitto
    clients: dict[str, Path]
    serials: dict[str, int]

    def write(self, name: str, content: bytes) -> None:
        """Exchange one of the broker's files in one step."""
        aside = self.home / f".{name}"
        aside.write_bytes(content)
        aside.replace(self.home / name)

    def trust(self, *roots: int) -> None:
        """What the broker is to trust."""
        self.write("ca.pem", pem_chain([self.roots[root].der for root in roots]).encode())

    def revoke(self, number: int, *names: str) -> None:
        """Lists of both roots; clients by their names, all of the first one."""
        lists = [_list(self.roots[0], number, [self.serials[name] for name in names]), _list(self.roots[1], number, [])]
        self.write("crl.pem", b"".join(lists))

    def connect(self, name: str) -> ssl.SSLSocket:
        """Let in, or an error of TLS."""
        context = ssl.create_default_context(cafile=self.home / "both.pem")
        context.load_cert_chain(self.clients[name])
        plain = socket.create_connection(("127.0.0.1", self.broker.port), 60)
        try:
            secured = context.wrap_socket(plain, server_hostname="localhost")
        except OSError:
            plain.close()
            raise
        try:
            secured.sendall(CONNECT + os.urandom(2).hex().encode())
            if secured.recv(4) != b"\x20\x02\x00\x00":
                raise ConnectionResetError("it was closed")
        except OSError:
            secured.close()
            raise
        return secured

    def lets_in(self, name: str) -> bool:
        """Whether it accepts a client now."""
        try:
            self.connect(name).close()
        except OSError:
            return False
        return True

    def shows(self) -> x509.Name:
        """Who issued the certificate that it shows."""
        with self.connect("old") as secured:
            return x509.load_der_x509_certificate(secured.getpeercert(True) or b"").issuer


def _list(root: Made, number: int, serials: list[int]) -> bytes:
    now = datetime.now(UTC).replace(microsecond=0)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(root.certificate.subject)
        .last_update(now - timedelta(hours=1) + timedelta(seconds=number))
        .next_update(now + timedelta(days=1))
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(root.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _pem(leaf: Made) -> bytes:
    key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key + pem_chain([leaf.der]).encode()


@contextmanager
def world(home: Path, *, with_list: bool, by_name: bool = False) -> Iterator[World]:
    """A broker that trusts the first root, whose client certificates are `old` and `stolen`; `new` is of the second."""
    roots = make(subject="Root One", is_ca=True), make(subject="Root Two", is_ca=True)
    leaves = {"old": make("old", issuer=roots[0]), "stolen": make("stolen", issuer=roots[0])}
    leaves["new"] = make("new", issuer=roots[1])
    clients = {name: home / f"{name}.pem" for name in leaves}
    for name, leaf in leaves.items():
        clients[name].write_bytes(_pem(leaf))
    serials = {name: leaf.certificate.serial_number for name, leaf in leaves.items()}
    found = World(home, roots, None, clients, serials)  # type: ignore[arg-type]
    found.write("both.pem", pem_chain([root.der for root in roots]).encode())
    found.write("broker.pem", _pem(make("localhost", issuer=roots[0])))
    found.trust(0)
    found.revoke(1)
    crl = home / "crl.pem" if with_list else None
    certificate = home / "broker.pem"
    tls = Tls(certificate, certificate, home / "ca.pem", crl, names_by_certificate=by_name)
    with mosquitto(home, tls=tls) as found.broker:
        yield found


@pytest.fixture(params=[False, True], ids=["anybody", "by-name"])
def listed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """With a `crlfile`; clients are called what their certificates say, or nothing."""
    with world(tmp_path, with_list=True, by_name=request.param) as found:
        yield found


@pytest.fixture
def unlisted(tmp_path: Path) -> Iterator[World]:
    """Without one."""
    with world(tmp_path, with_list=False) as found:
        yield found


def until(world: World, name: str, *, is_in: bool) -> None:
    """A reload takes effect with the next turn of its loop."""
    peer.until(lambda: world.lets_in(name) is is_in, f"{name} is {'let in' if is_in else 'refused'}")


def test_with_a_list_roots_come_and_go_without_a_restart(listed: World) -> None:
    """A new root is trusted after a SIGHUP and not before; so it is with one that leaves. Connections stand."""
    with listed.connect("old") as standing:
        assert not listed.lets_in("new")
        listed.trust(0, 1)
        assert not listed.lets_in("new")
        listed.broker.reload()
        until(listed, "new", is_in=True)
        assert listed.lets_in("old")
        listed.trust(1)
        assert listed.lets_in("old")
        listed.broker.reload()
        until(listed, "old", is_in=False)
        assert listed.lets_in("new")
        standing.sendall(b"\xc0\x00")
        assert standing.recv(2) == b"\xd0\x00"


def test_with_a_list_a_revocation_takes_effect(listed: World) -> None:
    """After a SIGHUP; and is taken back by a list without it. Who is connected stays so."""
    with listed.connect("stolen") as standing:
        listed.revoke(2, "stolen")
        assert listed.lets_in("stolen")
        listed.broker.reload()
        until(listed, "stolen", is_in=False)
        assert listed.lets_in("old")
        standing.sendall(b"\xc0\x00")
        assert standing.recv(2) == b"\xd0\x00"
    listed.revoke(3)
    listed.broker.reload()
    until(listed, "stolen", is_in=True)


def test_without_a_list_a_root_neither_comes_nor_goes(unlisted: World) -> None:
    """The server's own certificate is all that is read again: this is why a broker needs `crlfile`."""
    unlisted.trust(1)
    unlisted.write("broker.pem", _pem(make("localhost", issuer=unlisted.roots[1])))
    unlisted.broker.reload()
    peer.until(lambda: unlisted.shows() == unlisted.roots[1].certificate.subject, "its new certificate")
    assert unlisted.lets_in("old")
    assert not unlisted.lets_in("new")


def test_a_list_that_cannot_be_read_lets_everybody_in(listed: World) -> None:
    """It fails open, so that no file of it may ever be half written: ours are exchanged in one step."""
    listed.revoke(2, "stolen")
    listed.broker.reload()
    until(listed, "stolen", is_in=False)
    listed.write("crl.pem", b"-----BEGIN X509 CRL-----\nMII")
    listed.broker.reload()
    until(listed, "stolen", is_in=True)


def test_no_handshake_fails_while_it_reloads(listed: World) -> None:
    """Thirty reloads, with roots and lists that come and go, among clients that never rest."""
    listed.trust(0, 1)
    listed.broker.reload()
    until(listed, "new", is_in=True)
    made, failures, done = [0], [], threading.Event()

    def shake(name: str) -> None:
        while not done.is_set():
            try:
                listed.connect(name).close()
                made[0] += 1
            except OSError as error:
                failures.append(error)

    threads = [threading.Thread(target=shake, args=(name,)) for name in ("old", "new", "old", "new")]
    for thread in threads:
        thread.start()
    for number in range(2, 32):
        listed.trust(*((0, 1), (1, 0))[number % 2])
        listed.revoke(number, *(("stolen",) if number % 2 else ()))
        before = made[0]
        listed.broker.reload()
        peer.until(lambda before=before: made[0] > before + 4 or failures != [], "handshakes")  # type: ignore[misc]
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert made[0] > 120
