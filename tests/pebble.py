"""Pebble, the small hostile twin of Boulder: a real ACME CA on loopback, and the DNS server that goes with it.

Both are started by a test and stopped by process id. Everything that Pebble does at random it does as much of as a test
asks for, by default nothing; its TLS is by a CA made for the occasion. Where they come from: `make peers`.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ca import clock
from tests import peer

PROFILES = {
    "default": {"description": "The profile you know and love", "validityPeriod": 7776000},
    "shortlived": {"description": "Six days", "validityPeriod": 518400},
}


@dataclass(frozen=True)
class TlsFiles:
    """A certificate for loopback, its key, and the CA that signed it, as files."""

    ca_file: Path
    certificate: Path
    key: Path


def loopback_tls(folder: Path) -> TlsFiles:
    """A throwaway CA, and a server certificate by it for 127.0.0.1 and localhost."""
    folder.mkdir(parents=True, exist_ok=True)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback test CA")])
    ski = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(ski, critical=False)
        .add_extension(_ca_usage(), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    san = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = (
        _builder(x509.Name([]), ca_name, key.public_key())
        .add_extension(x509.SubjectAlternativeName(san), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), critical=False)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    files = TlsFiles(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    files.ca_file.write_bytes(ca.public_bytes(Encoding.PEM))
    files.certificate.write_bytes(leaf.public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = clock.now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
    )


def _ca_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass(frozen=True)
class Pebble:
    """A Pebble that runs. It validates http-01 on `http_port` and tls-alpn-01 on `tls_port`."""

    directory: str
    ca_file: Path
    management: str
    http_port: int
    tls_port: int
    log: Path
    client: httpx.Client

    def root(self, number: int = 0) -> x509.Certificate:
        """A root that it issues under; alternates from 1 up."""
        return self._certificate(f"/roots/{number}")

    def intermediate(self, number: int = 0) -> x509.Certificate:
        """The issuing CA under that root."""
        return self._certificate(f"/intermediates/{number}")

    def _certificate(self, path: str) -> x509.Certificate:
        reply = self.client.get(self.management + path)
        reply.raise_for_status()
        return x509.load_pem_x509_certificates(reply.content)[0]

    def set_renewal_info(self, certificate: x509.Certificate, answer: Mapping[str, Any] | str) -> None:
        """What renewalInfo answers for this certificate from now on; a text is sent as it is, nonsense too."""
        text = answer if isinstance(answer, str) else json.dumps(answer)
        pem = certificate.public_bytes(Encoding.PEM).decode()
        reply = self.client.post(f"{self.management}/set-renewal-info/", json={"Certificate": pem, "ARIResponse": text})
        reply.raise_for_status()

    def logged(self, text: str) -> int:
        """How many lines of its log hold `text`."""
        return sum(text in line for line in self.log.read_text(errors="replace").splitlines())

    def issued(self) -> int:
        """How many certificates it has issued so far."""
        return self.logged("Issued certificate serial")


@contextmanager
def pebble(
    tmp_path: Path,
    *,
    nonce_reject: int = 0,
    authz_reuse: int = 0,
    va_sleep: bool = False,
    always_valid: bool = False,
    dns: str | None = None,
    eab: Mapping[str, str] | None = None,
    profiles: Mapping[str, Any] = PROFILES,
    alternate_roots: int = 0,
    chain_length: int = 1,
    retry_after: int = 1,
    blocked: Sequence[str] = ("blocked-domain.example",),
    http_port: int | None = None,
    tls_port: int | None = None,
    port: int | None = None,
) -> Iterator[Pebble]:
    """Run Pebble, strict. `dns` is the `host:port` it asks; `eab` key ids with their base64url keys, then required."""
    program = peer.require("pebble")
    home = tmp_path / f"pebble-{os.urandom(4).hex()}"
    tls = loopback_tls(home)
    port, management = port or peer.free_port(), peer.free_port()
    http_port, tls_port = http_port or peer.free_port(), tls_port or peer.free_port()
    settings = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(tls.certificate),
        "privateKey": str(tls.key),
        "httpPort": http_port,
        "tlsPort": tls_port,
        "externalAccountBindingRequired": eab is not None,
        "externalAccountMACKeys": dict(eab or {}),
        "domainBlocklist": list(blocked),
        "keyAlgorithm": "ecdsa",
        "profiles": dict(profiles),
        "retryAfter": {"authz": retry_after, "order": retry_after},
    }
    config, log = home / "pebble.json", home / "pebble.log"
    config.write_text(json.dumps({"pebble": settings}))
    env = {
        **os.environ,
        "PEBBLE_WFE_NONCEREJECT": str(nonce_reject),
        "PEBBLE_AUTHZREUSE": str(authz_reuse),
        "PEBBLE_VA_NOSLEEP": "0" if va_sleep else "1",
        "PEBBLE_VA_SLEEPTIME": "2",
        "PEBBLE_VA_ALWAYS_VALID": "1" if always_valid else "0",
        "PEBBLE_ALTERNATE_ROOTS": str(alternate_roots),
        "PEBBLE_CHAIN_LENGTH": str(chain_length),
    }
    argv = [program, "-strict", "-config", str(config), *(["-dnsserver", dns] if dns else [])]

    def ready() -> bool:
        return peer.listens(port)() and peer.listens(management)()

    with (
        peer.running(argv, ready=ready, log=log, env=env),
        httpx.Client(verify=_trusting(tls.ca_file), trust_env=False) as client,
    ):
        base = f"https://127.0.0.1:{management}"
        directory = f"https://127.0.0.1:{port}/dir"
        yield Pebble(directory, tls.ca_file, base, http_port, tls_port, log, client)


def _trusting(ca_file: Path) -> Any:
    import ssl

    return ssl.create_default_context(cafile=str(ca_file))


@dataclass(frozen=True)
class ChallengeDns:
    """A DNS server whose records a test sets. `dns` is its `host:port`, over UDP and TCP."""

    dns: str
    management: str
    client: httpx.Client

    def add_a(self, host: str, *addresses: str) -> None:
        """A host's addresses, instead of the default 127.0.0.1."""
        self._post("/add-a", host=host, addresses=list(addresses))

    def clear_a(self, host: str) -> None:
        """Back to the default."""
        self._post("/clear-a", host=host)

    def add_txt(self, host: str, value: str) -> None:
        """One TXT record more."""
        self._post("/set-txt", host=_absolute(host), value=value)

    def clear_txt(self, host: str) -> None:
        """Without any TXT record."""
        self._post("/clear-txt", host=_absolute(host))

    def set_cname(self, host: str, target: str) -> None:
        """An alias."""
        self._post("/set-cname", host=_absolute(host), target=_absolute(target))

    def fail(self, host: str) -> None:
        """SERVFAIL for that host from now on."""
        self._post("/set-servfail", host=_absolute(host))

    def heal(self, host: str) -> None:
        """No longer."""
        self._post("/clear-servfail", host=_absolute(host))

    def asked(self, host: str) -> int:
        """How many questions about that host came in."""
        reply = self.client.post(f"{self.management}/dns-request-history", json={"host": host})
        reply.raise_for_status()
        return len(reply.json() or [])

    def _post(self, path: str, **body: Any) -> None:
        self.client.post(self.management + path, json=body).raise_for_status()


def _absolute(host: str) -> str:
    return host if host.endswith(".") else f"{host}."


@contextmanager
def challtestsrv(tmp_path: Path, *, default_ipv4: str = "127.0.0.1") -> Iterator[ChallengeDns]:
    """Run `pebble-challtestsrv` as a DNS server alone: any name resolves to `default_ipv4` unless a test says else."""
    program = peer.require("pebble-challtestsrv")
    dns, management = peer.free_port(), peer.free_port()
    argv = [program, "-dnsserver", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{management}"]
    argv += ["-defaultIPv4", default_ipv4, "-defaultIPv6="]
    argv += ["-http01=", "-https01=", "-tlsalpn01=", "-doh="]
    tmp_path.mkdir(parents=True, exist_ok=True)
    log = tmp_path / f"challtestsrv-{os.urandom(4).hex()}.log"

    def ready() -> bool:
        return peer.listens(dns)() and peer.listens(management)()

    with peer.running(argv, ready=ready, log=log), httpx.Client(trust_env=False) as client:
        yield ChallengeDns(f"127.0.0.1:{dns}", f"http://127.0.0.1:{management}", client)
