"""Those who ask for live status: OpenSSL, GnuTLS, curl, and nginx, which staples what we say.

The responder is the one of the listeners, on a loopback port of its own; certificates name it, and every counterpart
verifies what it gets: the signer that the CA named for it, the times, and that it is about what was asked.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca import holding, revocation
from ca.installation import Installation
from ca.issuance import new_serial
from ca.keys.algorithms import KeyType
from ca.models import Certificate
from ca.ocsp.responder import OcspPolicy, Responder
from ca.store import open_store
from ca.x509.bundle import pem_certificate, pem_chain
from ca.x509.revocation_list import RevocationReason
from pki.metrics import Metrics
from pki.settings import Settings
from pki.web.ocsp import Ocsp
from pki.web.peer import GuardedProtocol
from tests import peer, rig

NAME = "localhost"
KEY_TYPES = (KeyType.P256, KeyType.P384, KeyType.RSA3072, KeyType.ED25519)
NGINX = Template("""
daemon off;
pid nginx.pid;
worker_processes 1;
error_log error.log info;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;
  server {
    listen 127.0.0.1:$port ssl;
    ssl_certificate $files/$leaf-chain.pem;
    ssl_certificate_key $files/$leaf.key;
    ssl_stapling on;
    ssl_stapling_verify on;
    ssl_trusted_certificate $files/trusted.pem;
    location / { return 200 "here"; }
  }
}
""")


@dataclass
class Asking:
    """An installation whose certificates name a responder that runs, and the files of both."""

    directory: Path
    installation: Installation
    responder: Responder
    url: str

    def issue(self, name: str) -> x509.Certificate:
        """A server's certificate with its files: `NAME.pem`, `NAME-chain.pem`, `NAME.key`."""
        key = KeyType.P256.generate()
        issued = rig.issue(self.installation, NAME, profile="server", key=key)
        self.file(name).write_text(pem_certificate(issued.certificate))
        self.file(f"{name}-chain").write_text(pem_chain([issued.certificate, *issued.chain]))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.directory / f"{name}.key").write_bytes(pem)
        return rig.parsed(issued)

    def revoke(self, certificate: x509.Certificate) -> None:
        """For a reason that is told."""
        serial = f"{certificate.serial_number:x}"
        revocation.revoke(self.installation, rig.OPERATOR, serial, RevocationReason.CESSATION_OF_OPERATION)

    def hold(self, certificate: x509.Certificate) -> None:
        """For a while."""
        holding.hold(self.installation, rig.OPERATOR, f"{certificate.serial_number:x}")

    def release(self, certificate: x509.Certificate) -> None:
        """For that to be over."""
        holding.release(self.installation, rig.OPERATOR, f"{certificate.serial_number:x}")

    def file(self, name: str) -> Path:
        """A PEM file."""
        return self.directory / f"{name}.pem"


@pytest.fixture(scope="module", params=KEY_TYPES)
def asking(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """One for each type of CA key."""
    directory, port = tmp_path_factory.mktemp("ocsp"), peer.free_port()
    profiles = directory / "profiles"
    shutil.copytree(rig.CONFIG / "profiles", profiles)
    server = profiles / "server.toml"
    server.write_text(server.read_text() + '\n[revocation]\ncheck = "crl+ocsp"\n')
    store = open_store(f"sqlite:///{directory}/certwright.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig, "PUBLIC_URL", f"http://127.0.0.1:{port}")
        installation = rig.make_installation(store, profiles=profiles, key_type=request.param)
    authorities = [installation.authorities.get(name).certificate for name in ("root-1", "issuing-1")]
    for name, certificate in zip(("root", "issuing"), authorities, strict=True):
        (directory / f"{name}.pem").write_text(pem_certificate(certificate))
    (directory / "trusted.pem").write_text(pem_chain(authorities))
    responder = Responder(installation, OcspPolicy())
    with serving(responder, port):
        yield Asking(directory, installation, responder, f"http://127.0.0.1:{port}/ocsp")
    store.close()


class serving:  # noqa: N801 - a context
    """The responder behind the HTTP protocol of the plain listener, on a thread of its own."""

    def __init__(self, responder: Responder, port: int) -> None:
        async def nothing(*_: Any) -> None:
            raise AssertionError("nothing but the responder is asked")

        product = cast(Any, SimpleNamespace(responder=responder, metrics=Metrics(), settings=Settings()))
        config = uvicorn.Config(
            Ocsp(nothing, product),
            host="127.0.0.1",
            port=port,
            http=GuardedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            date_header=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve()))

    def __enter__(self) -> None:
        self._thread.start()
        peer.until(lambda: self._server.started, "it listens")

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()


def openssl(asking: Asking, *arguments: str | Path) -> str:
    """`openssl ocsp`, which verifies; what it says."""
    trust = ("-CAfile", asking.file("trusted"), "-issuer", asking.file("issuing"))
    done = peer.run(peer.require("openssl"), "ocsp", *trust, *arguments)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    assert "Response verify OK" in said
    return said


@pytest.mark.peer("openssl")
@pytest.mark.parametrize("how", [("-no_nonce",), ("-nonce",), ("-no_nonce", "-sha256"), ("-nonce", "-sha256")])
def test_openssl_verifies_good_and_revoked(asking: Asking, how: tuple[str, ...]) -> None:
    """With and without a nonce, by SHA-1 and SHA-256; a revocation at once, with its reason."""
    certificate, path = asking.issue("asked"), asking.file("asked")
    where: tuple[str | Path, ...] = (*how, "-cert", path, "-url", asking.url)
    said = openssl(asking, *where)
    assert f"{path}: good" in said
    assert "no nonce in response" not in said
    assert "Nonce Verify error" not in said
    asking.revoke(certificate)
    peer.until(lambda: f"{path}: revoked" in openssl(asking, *where), "it is revoked", timeout=30)
    assert "Reason: cessationOfOperation" in openssl(asking, *where)


@pytest.mark.peer("openssl")
def test_openssl_verifies_held_and_released(asking: Asking) -> None:
    """Revoked with the reason certificateHold, then good again."""
    certificate, path = asking.issue("asked"), asking.file("asked")
    where: tuple[str | Path, ...] = ("-no_nonce", "-cert", path, "-url", asking.url)
    assert f"{path}: good" in openssl(asking, *where)
    asking.hold(certificate)
    peer.until(lambda: f"{path}: revoked" in openssl(asking, *where), "it is held", timeout=30)
    assert "Reason: certificateHold" in openssl(asking, *where)
    asking.release(certificate)
    peer.until(lambda: f"{path}: good" in openssl(asking, *where), "it is released", timeout=30)


@pytest.mark.peer("openssl")
def test_openssl_verifies_unknown_and_several(asking: Asking) -> None:
    """A serial number that we never issued; three certificates in one question."""
    serial = f"0x{new_serial():x}"
    assert f"{serial}: unknown" in openssl(asking, "-serial", serial, "-url", asking.url)
    first, second = asking.issue("first"), asking.issue("second")
    assert first != second
    asking.revoke(first)
    many = ("-cert", asking.file("first"), "-cert", asking.file("second"), "-serial", serial)
    said = openssl(asking, *many, "-url", asking.url)
    assert f"{asking.file('first')}: revoked" in said
    assert f"{asking.file('second')}: good" in said
    assert f"{serial}: unknown" in said


@pytest.mark.peer("openssl")
def test_openssl_is_told_that_others_are_not_ours(asking: Asking) -> None:
    """Who names another CA as the issuer gets no signed word at all."""
    asking.issue("asked")
    own = peer.run(
        *(peer.require("openssl"), "ocsp", "-CAfile", asking.file("trusted"), "-issuer", asking.file("asked")),
        *("-cert", asking.file("asked"), "-url", asking.url),
    )
    assert b"unauthorized" in own.stdout + own.stderr


@pytest.mark.peer("openssl")
def test_by_get_it_is_the_same(asking: Asking, tmp_path: Path) -> None:
    """A request that OpenSSL makes, sent by curl as caches like it, verified by OpenSSL."""
    asking.issue("asked")
    request, response = tmp_path / "request.der", tmp_path / "response.der"
    made = (peer.require("openssl"), "ocsp", "-no_nonce", "-issuer", asking.file("issuing"))
    assert peer.run(*made, "-cert", asking.file("asked"), "-reqout", request).returncode == 0
    where = f"{asking.url}/{quote(b64encode(request.read_bytes()), safe='')}"
    done = peer.run(*(peer.require("curl"), "-q", "-sS", "--fail", "--noproxy", "*", "-D", "-", "-o", response, where))
    assert done.returncode == 0, done.stderr
    headers = done.stdout.decode().lower()
    assert "content-type: application/ocsp-response" in headers
    assert "cache-control: public, max-age=300" in headers
    said = openssl(asking, "-cert", asking.file("asked"), "-respin", response)
    assert f"{asking.file('asked')}: good" in said


def gnutls(asking: Asking, *how: str) -> str:
    """`ocsptool`, which finds the responder in the certificate by itself and verifies; what it says."""
    about = ("--load-cert", asking.file("asked"), "--load-issuer", asking.file("issuing"))
    done = peer.run(peer.require("ocsptool"), "--ask", *about, "--load-trust", asking.file("trusted"), *how)
    said = (done.stdout + done.stderr).decode()
    assert "Verifying OCSP Response: Success" in said, said
    return said


@pytest.mark.peer("ocsptool")
@pytest.mark.parametrize("how", [("--no-nonce",), ("--nonce",)])
def test_gnutls_verifies_good_and_revoked(asking: Asking, how: tuple[str, ...]) -> None:
    """With and without a nonce."""
    certificate = asking.issue("asked")
    assert "Certificate Status: good" in gnutls(asking, *how)
    asking.revoke(certificate)
    peer.until(lambda: "Certificate Status: revoked" in gnutls(asking, *how), "it is revoked", timeout=30)


@pytest.mark.peer("ocsptool")
def test_gnutls_verifies_held_released_and_unknown(asking: Asking) -> None:
    """A hold is a revocation to it, and good after that; and what our key signed and our tables do not know."""
    certificate = asking.issue("asked")
    asking.hold(certificate)
    peer.until(lambda: "Certificate Status: revoked" in gnutls(asking), "it is held", timeout=30)
    asking.release(certificate)
    peer.until(lambda: "Certificate Status: good" in gnutls(asking), "it is released", timeout=30)
    serial = f"{certificate.serial_number:x}"
    asking.installation.store.write(lambda tx: tx.remove(Certificate, "serial", serial))
    assert "Certificate Status: unknown" in gnutls(asking, "--nonce")


@pytest.mark.peer("nginx")
def test_nginx_staples_what_we_say(asking: Asking, tmp_path: Path) -> None:
    """It finds us by the certificate, verifies the answer, and hands it to clients, which verify it, too."""
    certificate, port = asking.issue("web"), peer.free_port()
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.substitute(port=port, files=asking.directory, leaf="web"))
    argv = (peer.require("nginx"), "-p", tmp_path, "-c", config, "-e", "stderr")
    client = (peer.require("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-status", "-servername", NAME)

    def stapled() -> bytes:
        done = peer.run(*client, "-CAfile", asking.file("root"), "-verify_return_error", stdin=b"")
        assert b"Verify return code: 0 (ok)" in done.stdout, done.stdout + done.stderr
        return done.stdout

    with peer.running(argv, ready=peer.listens(port), log=tmp_path / "log"):
        peer.until(lambda: b"OCSP Response Status: successful" in stapled(), "it staples")
        said = stapled().decode()
    assert "Cert Status: good" in said
    assert f"{certificate.serial_number:X}" in said
    assert "[error]" not in (tmp_path / "error.log").read_text()
