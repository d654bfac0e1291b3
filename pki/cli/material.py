"""Keys, requests and the files that a certificate is written to. Whose a file is, is looked at before it is replaced.

Private keys are made here, on the user's machine; what is written where is decided before anything is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import typer
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

from ca.errors import BadRequest, Conflict
from ca.keys.algorithms import KeyType, PrivateKey, spki
from ca.x509.bundle import read_certificates, read_private_key, read_public_key
from ca.x509.certificate import fingerprint, serial_text
from ca.x509.request import make_request

OTHERWISE = "say where its key is with --key, or write somewhere else with --out"


def key_hash(text: str) -> str:
    """SHA-256 of a public key: as given, or of the key in a PEM file (certificate, request or public key)."""
    if len(text) == 64 and not Path(text).exists():
        return text.lower()
    with _naming(Path(text)):
        return sha256(read_public_key(Path(text).read_bytes())).hexdigest()


def serial_of(text: str) -> str:
    """A serial number: as given, or of the certificate in a file."""
    return serial_text(read_certificate(Path(text)).serial_number) if Path(text).is_file() else text


def identity_of(text: str) -> str:
    """What a certificate in a file is called where it is tracked."""
    return f"sha256:{fingerprint(read_certificate(Path(text)).public_bytes(Encoding.DER))}"


def read_certificate(path: Path) -> Certificate:
    """The first certificate in a file."""
    with _naming(path):
        return read_certificates(path.read_bytes())[0]


def new_key(key_type: str) -> tuple[PrivateKey, str]:
    """A fresh key, and a request that says nothing but that we hold it."""
    key = known_key_type(key_type).generate()
    return key, make_request(key)


def known_key_type(text: str) -> KeyType:
    """A kind of key, as an option names it."""
    try:
        return KeyType(text)
    except ValueError:
        raise typer.BadParameter(f"{text} is not one of {', '.join(KeyType)}", param_hint="--key-type") from None


def new_files(directory: Path, *, force: bool) -> dict[str, Path]:
    """Where key, certificate and chain go in a directory, which is made. What is there stays, unless `force`."""
    targets = {name: directory / f"{name}.pem" for name in ("key", "cert", "chain")}
    not_there(targets.values(), force=force)
    directory.mkdir(parents=True, exist_ok=True)
    return _writable(targets)


def not_there(paths: Iterable[Path], *, force: bool) -> None:
    """Wrong usage if one of the files exists, unless `force`."""
    taken = [str(path) for path in paths if path.exists()]
    if taken and not force:
        raise typer.BadParameter(f"there already is {', '.join(taken)}; choose another place with --out, or --force")


def own_files(cert: Path, key: Path | None) -> dict[str, Path]:
    """The files of a certificate that is renewed in its place; `Conflict` if what lies there is somebody else's.

    Its own are the certificate itself, the key that fits it, and `chain.pem` where all have the names that
    `cert issue` gives. A new certificate over an old key, or a new key over another's, stops a server at its restart.
    """
    key = key or cert.with_name("key.pem")
    if not key.is_file():
        raise Conflict(f"{cert} cannot be renewed in its place: there is no key in {key}", hint=OTHERWISE)
    if key.samefile(cert):
        raise Conflict(f"{cert} holds its key, too, and is left alone", hint=OTHERWISE)
    try:
        held = spki(read_private_key(key.read_bytes(), None).public_key())
    except BadRequest as error:
        raise Conflict(f"{key} is left alone: {error.message}", hint=OTHERWISE) from None
    if held != spki(read_certificate(cert).public_key()):  # type: ignore[arg-type]
        raise Conflict(f"{key} is left alone: it is not the key of {cert}", hint=OTHERWISE)
    chain = {"chain": cert.with_name("chain.pem")} if cert.name == "cert.pem" else {}
    return _writable({"key": key, "cert": cert, **chain})


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """What is wrong with a file is said with its name."""
    try:
        yield
    except BadRequest as error:
        raise BadRequest(f"{path}: {error.message}", code=error.code, hint=error.hint) from None


def _writable(targets: dict[str, Path]) -> dict[str, Path]:
    """Looked at before a certificate is asked for: afterwards its key would be lost."""
    for path in targets.values():
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise Conflict(f"files cannot be written into {path.parent}", code="file", hint="choose another --out")
    return targets
