"""DKIM: what we sign, a verifier that is not ours believes; whatever else somebody makes of it, it does not."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dkim
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from dkim.canonicalization import Relaxed
from hypothesis import given, settings
from hypothesis import strategies as st

from ca import clock
from ca.errors import Misconfigured
from ca.secret import Secret
from renewers.mailers.dkim import HEADERS, DkimSigner, relaxed_body, relaxed_header
from renewers.mailers.envelope import bytes_of
from renewers.mailers.server import Server
from renewers.mailers.smtp import SmtpMailer
from tests.letters import outgoing
from tests.mailserver import serving_mail

NOON = datetime(2020, 6, 1, 12, tzinfo=UTC)
"""In the past: dkimpy believes nothing that was signed in the future by its own clock."""


@cache
def key(kind: str) -> Any:
    """One of each kind; making RSA keys takes long."""
    made = {
        "RSA-2048": lambda: rsa.generate_private_key(65537, 2048),
        "RSA-1024": lambda: rsa.generate_private_key(65537, 1024),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
        "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    }
    return made[kind]()


def pem(kind: str, style: PrivateFormat = PrivateFormat.PKCS8, passphrase: bytes | None = None) -> Secret:
    """As it stands in a file."""
    lock = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return Secret(key(kind).private_bytes(Encoding.PEM, style, lock).decode())


def signer(kind: str = "RSA-2048") -> DkimSigner:
    """For the domain that letters come from."""
    return DkimSigner("pki.example", "s2030", pem(kind))


class _VerifyKey:
    """What dkimpy wants of PyNaCl, which is not here: `cryptography` checks, dkimpy does all the rest."""

    def __init__(self, text: bytes, encoder: Any) -> None:
        self._key = ed25519.Ed25519PublicKey.from_public_bytes(b64decode(text))

    def verify(self, digest: bytes, signature: bytes) -> None:
        try:
            self._key.verify(signature, digest)
        except InvalidSignature:
            raise _Bad from None


class _Bad(Exception):
    pass


@pytest.fixture(autouse=True)
def nacl(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its place."""
    found = SimpleNamespace(
        signing=SimpleNamespace(VerifyKey=_VerifyKey),
        encoding=SimpleNamespace(Base64Encoder=None),
        exceptions=SimpleNamespace(BadSignatureError=_Bad),
    )
    monkeypatch.setattr(dkim, "nacl", found, raising=False)


def holds(raw: bytes, kind: str = "RSA-2048", *, asked: list[bytes] | None = None) -> bool:
    """Whether dkimpy believes it, with our public key in what it takes for the DNS."""

    def txt(name: bytes, timeout: float = 5) -> bytes:
        if asked is not None:
            asked.append(name)
        public = key(kind).public_key()
        if kind == "Ed25519":
            return b"v=DKIM1; k=ed25519; p=" + b64encode(public.public_bytes_raw())
        return b"v=DKIM1; k=rsa; p=" + b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    return bool(dkim.verify(raw, dnsfunc=txt))


def letter(text: str = "Two   spaces, and at the end \n\n\n") -> bytes:
    """The bytes of one, with what RFC 8058 wants to be signed."""
    made = outgoing(text=text).message
    made["List-Unsubscribe"] = "<https://pki.example/unsubscribe/x>"
    made["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return bytes_of(made)


@pytest.mark.parametrize("kind", ["RSA-2048", "Ed25519"])
def test_a_verifier_believes_it(kind: str) -> None:
    """At the place in the DNS that it names, with the time of our clock; all that matters is named in it."""
    asked: list[bytes] = []
    with clock.pinned(NOON):
        signed = signer(kind).signed(letter())
    assert holds(signed, kind, asked=asked)
    assert asked == [b"s2030._domainkey.pki.example."]
    head = signed[: signed.index(b"\r\nFrom:")].decode()
    assert f"t={int(NOON.timestamp())};" in head
    assert f"a={'rsa' if kind == 'RSA-2048' else 'ed25519'}-sha256; c=relaxed/relaxed; d=pki.example;" in head
    named = "".join(head.split("h=")[1].split(";")[0].split()).split(":")
    assert {"from", "to", "subject", "date", "message-id", "list-unsubscribe", "list-unsubscribe-post"} <= set(named)
    assert set(named) == set(HEADERS)
    assert max(map(len, signed.split(b"\r\n"))) <= 100


@pytest.mark.parametrize("kind", ["RSA-2048", "Ed25519"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"[1 act now]", b"[9 act now]"),
        (b"To: ada@", b"To: eve@"),
        (b"Subject:", b"Subject: another\r\nSubject:"),
        (b"From:", b"From: eve@evil.example\r\nFrom:"),
        (b"To:", b"Reply-To: eve@evil.example\r\nTo:"),
        (b"/unsubscribe/x", b"/unsubscribe/y"),
        (b"Two", b"Ten"),
        (b"multipart/alternative", b"multipart/mixed"),
        (b"d=pki.example", b"d=evil.example"),
        (b"--\r\n", b"--\r\nand more\r\n"),
    ],
)
def test_what_was_changed_is_not_believed(kind: str, before: bytes, after: bytes) -> None:
    """Anything that is read or acted upon, changed, or added as a second one."""
    signed = signer(kind).signed(letter())
    assert before in signed
    assert not holds(signed.replace(before, after), kind)
    assert not holds(b"".join(signed.rpartition(before)[:1]) + after + signed.rpartition(before)[2], kind)


def test_what_relays_do_is_borne() -> None:
    """Headers that are folded anew, spaces at the ends of lines, empty lines at the end, a trace above."""
    signed = signer().signed(letter())
    relayed = signed.replace(b"Subject: ", b"Subject:\r\n  ").replace(b"spaces, ", b"spaces,  ") + b"\r\n\r\n"
    assert relayed != signed
    assert holds(b"Received: from a by b; Sat, 1 Jun 2030 12:00:00 +0000\r\n" + relayed)


def test_another_key_is_none() -> None:
    """A signature with a key that does not stand in the DNS."""
    signed = DkimSigner("pki.example", "s2030", Secret(_fresh_rsa())).signed(letter())
    assert not holds(signed)


def _fresh_rsa() -> str:
    made = rsa.generate_private_key(65537, 2048)
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_it_survives_the_journey(tmp_path: Path) -> None:
    """What a real server took, over TLS and with its dots doubled and undoubled, is believed as what was signed."""
    with serving_mail(tmp_path) as server:
        mailer = SmtpMailer(Server("localhost", server.port, "starttls", server.ca_file), signer().signed)
        mailer.send(outgoing(text=".\n..\n. dots\nGrüße \n\n"))
        mailer.close()
        (taken,) = server.taken()
    assert taken.raw.startswith(b"DKIM-Signature: ")
    assert holds(taken.raw)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["Subject", "X-Other", "Reply-To"]),
    value=st.text(st.sampled_from("ab: ;=\t")).map(str.strip),
    body=st.text(st.sampled_from("ab \t\r\n.=")),
)
def test_dkimpy_reduces_as_we_do(name: str, value: str, body: str) -> None:
    """Whatever spaces and empty lines there are: the bytes that are signed are those that others compute."""
    raw = body.replace("\r", "").replace("\n", "\r\n").encode() + b"\r\n"
    assert relaxed_body(raw) == Relaxed.canonicalize_body(raw)
    ((found, rest),) = Relaxed.canonicalize_headers([(name.encode(), f" {value}\r\n".encode())])
    assert relaxed_header(f"{name}: {value}".encode()) + b"\r\n" == found + b":" + rest


@pytest.mark.parametrize("secret", ["", "canary", "RSA-1024", "P-256", "locked", "public"])
def test_keys_that_are_not_taken(secret: str) -> None:
    """Too short, of another kind, behind a passphrase, or none: said when the installation is opened, never shown."""
    public = key("Ed25519").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    texts = {
        "RSA-1024": pem("RSA-1024"),
        "P-256": pem("P-256"),
        "locked": pem("Ed25519", passphrase=b"canary"),
        "public": Secret(public),
    }
    with pytest.raises(Misconfigured) as caught:
        DkimSigner("pki.example", "s2030", texts.get(secret, Secret(secret)))
    assert "canary" not in f"{caught.value} {caught.value.hint}"
    assert "openssl genrsa" in (caught.value.hint or "")


def test_openssl_makes_keys_that_are_taken() -> None:
    """Both PEM styles of RSA keys: the hint of the error above works, old OpenSSL or new."""
    for style in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        made = DkimSigner("pki.example", "s2030", pem("RSA-2048", style))
        assert holds(made.signed(letter()))
        assert "PRIVATE" not in f"{made!r} {vars(made)}"
