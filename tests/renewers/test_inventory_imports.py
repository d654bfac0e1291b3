"""Bringing in what others issued: every format, hostile files; no key is kept, and the rest goes on."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
    pkcs12,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ca import clock, der
from ca.errors import BadRequest, NotFound, TooLarge
from ca.secret import Secret
from ca.store import Store
from renewers.inventory import owners, reading
from renewers.inventory.imports import Target, import_pem, import_pkcs12
from renewers.inventory.owners import OwnerPlan
from renewers.inventory.reading import MAX_ITERATIONS, read_any, read_pkcs12
from renewers.lifecycle import Lifecycle
from renewers.models import Lineage, Tracked, TrackedContent
from tests import peer, rig
from tests.ca.world import entries, rows
from tests.renewers import foreign
from tests.renewers.foreign import another_key, bundle, certificate, signed

ADMIN = rig.ADMIN
BEGIN = 1_790_000_000


@pytest.fixture
def life(store: Store) -> Iterator[Lifecycle]:
    """An installation without a CA, at one moment."""
    with clock.pinned(clock.from_timestamp(BEGIN)):
        yield foreign.lifecycle(rig.make_installation(store, with_hierarchy=False))


def chain() -> tuple[bytes, bytes]:
    """A leaf and the CA that signed it."""
    key = another_key()
    return signed("dns:api.example", by=key, begin=BEGIN), signed(by=key, is_ca=True, begin=BEGIN)


def shown(life: Lifecycle) -> set[tuple[str, str]]:
    """What is tracked."""
    return {(row.kind, row.shown_as) for row in rows(life.store, Tracked)}


def test_a_bundle_brings_all_its_parts(life: Lifecycle) -> None:
    """Certificates, CAs and CRLs; keys are passed over, and a part that is broken is named."""
    leaf, ca = chain()
    private = rig.pooled_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    crl = x509.load_der_x509_crl(foreign.crl(by=another_key(), begin=BEGIN)).public_bytes(Encoding.PEM).decode()
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    text = f"Some words first\n{private}{bundle(leaf, ca)}{broken}{crl}-----BEGIN CERTIFICATE-----\n!!\n"
    found = import_pem(life, ADMIN, text.encode())
    assert shown(life) == {("certificate", "api.example"), ("authority", "A CA"), ("crl", "CRL of CN=A CA")}
    assert (len(found.tracked), found.known) == (3, ())
    assert [(part.what, part.why) for part in found.refused] == [("part 4", "it is no DER that X.509 has")]
    again = import_pem(life, ADMIN, text.encode())
    assert (again.tracked, set(again.known)) == ((), set(found.tracked))
    assert len(entries(life.store, "certificate-tracked", by=ADMIN.identity)) == 3
    assert all(
        b"PRIVATE" not in bytes(row.der) and "PRIVATE" not in row.chain for row in rows(life.store, TrackedContent)
    )


def test_a_leaf_keeps_what_leads_up_from_it(life: Lifecycle) -> None:
    """Its chain without the root, in order, whatever the order in the file."""
    root, middle = another_key(1), another_key(2)
    top = signed(by=root, issuer="Root", is_ca=True, begin=BEGIN)
    between = between_ca("Middle", middle, "Root", root)
    leaf = signed("dns:api.example", by=middle, issuer="Middle", begin=BEGIN)
    import_pem(life, ADMIN, bundle(top, leaf, between).encode())
    (row,) = [row for row in rows(life.store, Tracked) if row.kind == "certificate"]
    (content,) = [content for content in rows(life.store, TrackedContent) if content.tracked_id == row.id]
    assert content.chain == bundle(between)


def test_every_format_says_the_same(life: Lifecycle) -> None:
    """DER, PEM, PKCS#7 in both, PKCS#12 and OpenSSL's trusted form are one certificate."""
    leaf, ca = chain()
    parsed = [x509.load_der_x509_certificate(one) for one in (leaf, ca)]
    openssl = peer.require("openssl")
    trusted = subprocess.run(
        [openssl, "x509", "-inform", "DER", "-trustout", "-addtrust", "serverAuth"],
        input=leaf,
        capture_output=True,
        check=True,
    ).stdout
    assert b"TRUSTED CERTIFICATE" in trusted
    first = import_pem(life, ADMIN, bundle(leaf, ca).encode())
    for data in (
        leaf,
        trusted,
        pkcs7.serialize_certificates(parsed, Encoding.DER),
        pkcs7.serialize_certificates(parsed, Encoding.PEM),
    ):
        found = import_pem(life, ADMIN, data)
        assert found.tracked == ()
        assert found.refused == ()
        assert set(found.known) <= set(first.tracked)
    assert len(rows(life.store, Tracked)) == 2


@pytest.mark.parametrize("passphrase", [None, "s3cret"])
def test_a_pkcs12_file_brings_certificates_and_no_key(life: Lifecycle, passphrase: str | None) -> None:
    """Written by another implementation; the wrong passphrase is a plain refusal that names nothing secret."""
    leaf, ca = (x509.load_der_x509_certificate(one) for one in chain())
    how = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    data = pkcs12.serialize_key_and_certificates(b"x", rig.pooled_key(), leaf, [ca], how)  # type: ignore[arg-type]
    with pytest.raises(BadRequest) as caught:
        import_pkcs12(life, ADMIN, data, Secret("wr0ng"))
    assert "wr0ng" not in caught.value.message
    found = import_pkcs12(life, ADMIN, data, None if passphrase is None else Secret(passphrase))
    assert len(found.tracked) == 2
    assert shown(life) == {("certificate", "api.example"), ("authority", "A CA")}
    (refused,) = import_pem(life, ADMIN, data).refused
    assert "passphrase" in refused.why


def test_openssl_writes_what_we_read(life: Lifecycle, tmp_path: Path) -> None:
    """A PKCS#12 file as `openssl pkcs12 -export` makes it, with its usual derivation."""
    openssl = peer.require("openssl")
    leaf, key, out = tmp_path / "leaf.pem", tmp_path / "key.pem", tmp_path / "out.p12"
    made = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9"]
    made += ["-subj", "/CN=box", "-addext", "subjectAltName=DNS:box.example", "-keyout", key, "-out", leaf]
    subprocess.run(made, check=True, capture_output=True)
    export = [openssl, "pkcs12", "-export", "-in", leaf, "-inkey", key, "-out", out, "-passout", "pass:x"]
    subprocess.run(export, check=True, capture_output=True)
    assert len(import_pkcs12(life, ADMIN, out.read_bytes(), Secret("x")).tracked) == 1
    assert {name for _, name in shown(life)} == {"box.example"}


def test_a_file_that_would_keep_us_busy_for_hours_is_refused_at_once() -> None:
    """The rounds of key derivation are read before anything is derived, in the MAC and in the safes."""
    leaf = x509.load_der_x509_certificate(chain()[0])
    data = pkcs12.serialize_key_and_certificates(b"x", None, leaf, None, BestAvailableEncryption(b"s"))
    assert reading._iterations(data) < MAX_ITERATIONS
    mac = der.sequence(der.sequence(), der.octet_string(b"salt"), der.integer(2**31 - 1))
    inner = der.sequence(der.oid("1.2.3"), der.sequence(der.octet_string(b"salt"), der.integer(2**30)))
    for hidden in (mac, der.octet_string(der.sequence(inner)), der.explicit(0, der.octet_string(inner))):
        with pytest.raises(BadRequest, match="rounds"):
            read_pkcs12(der.sequence(der.integer(3), der.sequence(der.oid("1.2.3"), hidden)), Secret("s"))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["CERTIFICATE", "X509 CRL", "PKCS7", "TRUSTED CERTIFICATE", None]))
def test_whatever_is_brought_is_read_or_refused(data: bytes, label: str | None) -> None:
    """Bytes of any kind, bare or in PEM: parts and reasons, never another error."""
    if label is not None:
        data = f"-----BEGIN {label}-----\n{base64.b64encode(data).decode()}\n-----END {label}-----\n".encode()
    found = read_any(data)
    assert all(part.why.isprintable() for part in found.refused)


def test_there_are_bounds() -> None:
    """On bytes and on parts."""
    with pytest.raises(TooLarge):
        read_any(b"x" * (reading.MAX_BYTES + 1))
    one = bundle(certificate("dns:a.example")).encode()
    found = read_any(one * (reading.MAX_PARTS + 5))
    assert len(found.certificates) == reading.MAX_PARTS
    assert "more than" in found.refused[-1].why


def test_nothing_in_it_is_said(life: Lifecycle) -> None:
    """A file without a certificate, and a target that is not there, change nothing."""
    with pytest.raises(BadRequest):
        import_pem(life, ADMIN, b"hello")
    with pytest.raises(NotFound):
        import_pem(life, ADMIN, certificate("dns:a.example"), Target(owner="nobody"))
    with pytest.raises(NotFound):
        import_pem(life, ADMIN, certificate("dns:a.example"), Target(lineage="nobody"))
    assert rows(life.store, Tracked) == []


def test_an_import_may_say_whose_it_is_and_what_it_continues(life: Lifecycle) -> None:
    """A renewal by hand, with other names than before, stays in its lineage; two certificates cannot."""
    owners.add(life, ADMIN, OwnerPlan("web", "web@example.org"))
    import_pem(life, ADMIN, certificate("dns:old.example", begin=BEGIN), Target(owner="web"))
    later = certificate("dns:new.example", begin=BEGIN + 9)
    import_pem(life, ADMIN, later, Target(lineage="old.example"))
    (lineage,) = rows(life.store, Lineage)
    old, new = rows(life.store, Tracked)
    assert (old.replaced_by, lineage.current_id, lineage.owner_id == old.owner_id) == (new.id, new.id, True)
    two = bundle(certificate("dns:a.example"), certificate("dns:b.example")).encode()
    with pytest.raises(BadRequest, match="2 certificates"):
        import_pem(life, ADMIN, two, Target(lineage="old.example"))


def between_ca(name: str, key: Any, issuer: str, by: Any) -> bytes:
    """The certificate of a CA beneath another."""
    builder = x509.CertificateBuilder().subject_name(rig.common_name(name)).issuer_name(rig.common_name(issuer))
    builder = builder.public_key(key.public_key()).serial_number(77)
    builder = builder.not_valid_before(clock.from_timestamp(BEGIN)).not_valid_after(clock.from_timestamp(BEGIN + 999))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(by, hashes.SHA256()).public_bytes(Encoding.DER)
