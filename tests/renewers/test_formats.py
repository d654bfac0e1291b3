"""The files that a version of a trust bundle comes to, read by the programs that they are for."""

from __future__ import annotations

import base64
import json
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import josepy
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7, pkcs12

from ca.errors import BadRequest
from ca.keys.algorithms import KeyType, spki
from ca.publication.manifest import Entry
from renewers.distribution import formats
from tests import peer, rig
from tests.renewers.publications import ca_certificate

VERSION = 1_800_000_000
KINDS = (KeyType.P256, KeyType.P384, KeyType.RSA3072, KeyType.ED25519, KeyType.MLDSA65)
GOLDEN = b"""-----BEGIN CERTIFICATE-----
MIIBTzCB96ADAgECAhQVDdtcGLra2ViCufoquJUzGMjk0DAKBggqhkjOPQQDAjAW
MRQwEgYDVQQDDAtHb2xkZW4gUm9vdDAeFw0yNjEwMjcwMTQ5MzRaFw0zNjExMjMw
MTQ5MzRaMBYxFDASBgNVBAMMC0dvbGRlbiBSb290MFkwEwYHKoZIzj0CAQYIKoZI
zj0DAQcDQgAEHtERTcz7CxJzi3EalonOTFNKW5JsBk8RZDau2ZX6g0Tk/nXFPOpO
qnWaev5VGvRGDqS84D3erzVr7hw/rFSpMKMjMCEwDwYDVR0TAQH/BAUwAwEB/zAO
BgNVHQ8BAf8EBAMCAYYwCgYIKoZIzj0EAwIDRwAwRAIgCZjuf0UlfL2h9/ksIoaB
EziFhRW2PxvXEX7DNIEgRAUCIAmalasuGcRHB6pJWMRAbZNXswN5I0vWVtpGUkuy
ewSF
-----END CERTIFICATE-----
-----BEGIN CERTIFICATE-----
MIIBVzCB/aADAgECAhQGVvebmFzjSCm2Om63iQt+sqecXjAKBggqhkjOPQQDAjAZ
MRcwFQYDVQQDDA5Hb2xkZW4gSXNzdWluZzAeFw0yNjEwMjcwMTQ5MzRaFw0zNjEx
MjMwMTQ5MzRaMBkxFzAVBgNVBAMMDkdvbGRlbiBJc3N1aW5nMFkwEwYHKoZIzj0C
AQYIKoZIzj0DAQcDQgAEq/1HAmcLWrlx7u/hOkw3pz+eyTUJSLzPYESoJ3VBDsPk
ofhTquHjSWHoXS9EYm6w2kfVxDI7A6NlCKL0GX1++aMjMCEwDwYDVR0TAQH/BAUw
AwEB/zAOBgNVHQ8BAf8EBAMCAYYwCgYIKoZIzj0EAwIDSQAwRgIhAJUR1npQjy94
LKThu53jcTqRfZwlimvTI/AKITyrcESJAiEA+h6RTmGQCpxYBMRuxpIb/q4NEFYm
EAlbQNv7HnZaeZ8=
-----END CERTIFICATE-----
"""
GOLDEN_SHA256 = "7e1fb9bd22beea428e220ac1f6f52d20ea9c35a39a060f2e309e1cbe1c2c659a"


@pytest.fixture(scope="module")
def anchors() -> tuple[Entry, ...]:
    """One anchor of each kind of key."""
    return tuple(Entry(f"root-{n}", ca_certificate(f"Root {n}", kind)) for n, kind in enumerate(KINDS, start=1))


@pytest.fixture(scope="module")
def files(anchors: tuple[Entry, ...]) -> dict[str, bytes]:
    """All files of these, and one CA certificate beneath."""
    return dict(formats.trust_files(anchors, [Entry("issuing-1", ca_certificate("Issuing"))], VERSION))


def subjects(certificates: list[x509.Certificate]) -> list[str]:
    """Their common names."""
    return [certificate.subject.rfc4514_string() for certificate in certificates]


def test_the_same_certificates_come_to_the_same_bytes(anchors: tuple[Entry, ...], files: dict[str, bytes]) -> None:
    """Their hashes stand in the manifest; a consumer or a mirror makes the files itself and compares."""
    again = formats.trust_files(anchors, [Entry("issuing-1", _cas(files)[-1].public_bytes(Encoding.DER))], VERSION)
    assert again == files
    items = {item.name: item for item in formats.items_of(files)}
    assert list(items) == sorted(files)
    for name, data in files.items():
        assert (items[name].sha256, items[name].size) == (sha256(data).hexdigest(), len(data))


def test_an_edition_is_one_form_of_the_files() -> None:
    """A release that writes them otherwise raises `EDITION`, and this hash: else old manifests fit no file any more."""
    root, issuing = (one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(GOLDEN))
    files = formats.trust_files([Entry("root-1", root)], [Entry("issuing-1", issuing)], VERSION)
    told = sha256(b"".join(name.encode() + b"\0" + data for name, data in sorted(files.items()))).hexdigest()
    assert (formats.EDITION, told) == (1, GOLDEN_SHA256)


def test_anchors_stand_alone_and_ca_certificates_beside_them(files: dict[str, bytes]) -> None:
    """`bundle.*` and `NAME.cer` are what is trusted; `cas.pem` is for finding chains, too."""
    roots = [f"CN=Root {n}" for n in range(1, 6)]
    assert subjects(x509.load_pem_x509_certificates(files["bundle.pem"])) == roots
    assert subjects(_cas(files)) == [*roots, "CN=Issuing"]
    assert sorted(subjects(pkcs7.load_der_pkcs7_certificates(files["bundle.p7b"]))) == roots
    assert {name for name in files if name.endswith(".cer")} == {f"root-{n}.cer" for n in range(1, 6)}


def _cas(files: dict[str, bytes]) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(files["cas.pem"])


def test_openssl_reads_them(files: dict[str, bytes], tmp_path: Path) -> None:
    """PKCS#7 and DER, with the program that most people have."""
    openssl = peer.require("openssl")
    listed = peer.run(openssl, "pkcs7", "-inform", "DER", "-print_certs", "-noout", stdin=files["bundle.p7b"])
    assert (listed.returncode, listed.stdout.count(b"subject=")) == (0, 5)
    shown = peer.run(openssl, "x509", "-inform", "DER", "-noout", "-subject", stdin=files["root-2.cer"])
    assert shown.stdout.strip() == b"subject=CN = Root 2"
    path = tmp_path / "bundle.pem"
    path.write_bytes(files["bundle.pem"])
    chain = peer.run(openssl, "crl2pkcs7", "-nocrl", "-certfile", path)
    assert chain.stdout.count(b"\n") > 10


def test_a_jwk_set_is_read_back_as_the_same_keys(anchors: tuple[Entry, ...], files: dict[str, bytes]) -> None:
    """By a JOSE library where it knows the kind of key, by hand where it does not."""
    keys = json.loads(files["jwks.json"])["keys"]
    assert [key["kty"] for key in keys] == ["EC", "EC", "RSA", "OKP", "AKP"]
    for entry, jwk in zip(anchors, keys, strict=True):
        certificate = x509.load_der_x509_certificate(entry.certificate)
        assert base64.b64decode(jwk["x5c"][0]) == entry.certificate
        assert _decoded(jwk["x5t#S256"]) == sha256(entry.certificate).digest()
        assert spki(_key(jwk)) == spki(certificate.public_key())  # type: ignore[arg-type]
        if jwk["kty"] in {"EC", "RSA"}:
            read = josepy.JWK.from_json({name: jwk[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in jwk})
            assert spki(read.key._wrapped) == spki(certificate.public_key())  # type: ignore[arg-type]
            assert base64.urlsafe_b64encode(read.thumbprint()).rstrip(b"=").decode() == jwk["kid"]
    assert len({jwk["kid"] for jwk in keys}) == len(keys)


def _key(jwk: dict[str, str]) -> Any:
    match jwk["kty"]:
        case "EC":
            curve: ec.EllipticCurve = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}[jwk["crv"]]
            x, y = (int.from_bytes(_decoded(jwk[name]), "big") for name in "xy")
            return ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
        case "RSA":
            n, e = (int.from_bytes(_decoded(jwk[name]), "big") for name in "ne")
            return rsa.RSAPublicNumbers(e, n).public_key()
        case "OKP":
            return ed25519.Ed25519PublicKey.from_public_bytes(_decoded(jwk["x"]))
    assert jwk["alg"] == "ML-DSA-65"
    return mldsa.MLDSA65PublicKey.from_public_bytes(_decoded(jwk["pub"]))


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_thumbprints_are_those_of_the_rfcs() -> None:
    """RFC 7638 section 3.1 (RSA) and RFC 8037 appendix A.3 (Ed25519)."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjh"
        "Mstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvR"
        "L5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqD"
        "Kgw"
    )
    fields = {"kty": "RSA", "e": "AQAB", "n": modulus}
    assert formats.thumbprint(fields) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    okp = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert formats.thumbprint(okp) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_numbers_of_a_point_keep_their_leading_zeros() -> None:
    """RFC 7518 section 6.2.1.2: as many octets as the curve has, or other readers refuse the key."""
    key = next(key for key in iter(KeyType.P256.generate, None) if key.public_key().public_numbers().x >> 248 == 0)
    jwk = json.loads(formats.key_set([ca_certificate(key=key)]))["keys"][0]
    assert len(_decoded(jwk["x"])) == 32
    assert spki(_key(jwk)) == spki(key.public_key())


def test_a_spiffe_bundle_has_the_shape_of_the_specification(
    anchors: tuple[Entry, ...], files: dict[str, bytes]
) -> None:
    """SPIFFE Trust Domain and Bundle, section 4; X509-SVID, section 6.2: one certificate in each `x5c`."""
    bundle = json.loads(files["spiffe.json"])
    assert set(bundle) == {"keys", "spiffe_sequence", "spiffe_refresh_hint"}
    assert (bundle["spiffe_sequence"], bundle["spiffe_refresh_hint"]) == (VERSION, formats.REFRESH_HINT)
    assert [key["use"] for key in bundle["keys"]] == ["x509-svid"] * len(anchors)
    for entry, key in zip(anchors, bundle["keys"], strict=True):
        assert [base64.b64decode(one) for one in key["x5c"]] == [entry.certificate]
        assert "kty" in key


def test_java_takes_the_truststore(anchors: tuple[Entry, ...], tmp_path: Path) -> None:
    """As trusted certificates, each under its name: it ignores those in a PKCS#12 file that OpenSSL makes."""
    keytool = peer.require("keytool")
    path = tmp_path / "bundle.p12"
    path.write_bytes(formats.truststore(tuple((entry.name, entry.certificate) for entry in anchors[:4])))
    shown = peer.run(keytool, "-list", "-keystore", path, "-storepass", "changeit", timeout=60)
    assert shown.returncode == 0, shown.stdout
    assert shown.stdout.count(b"trustedCertEntry") == 4
    assert all(f"root-{n}".encode() in shown.stdout for n in range(1, 5))
    read = pkcs12.load_pkcs12(path.read_bytes(), b"changeit")
    assert [entry.friendly_name for entry in read.additional_certs] == [f"root-{n}".encode() for n in range(1, 5)]


def test_a_cross_certificate_for_an_anchor_is_in_no_file(tmp_path: Path) -> None:
    """OpenSSL that meets it first looks for the old root, and refuses everybody where that is no longer there."""
    old, new = (rig.pooled_key(KeyType.P256, place) for place in (1, 2))
    root = ca_certificate("New", key=new)
    cross = _signed("New", new, "Old", old)
    leaf = _signed("leaf", rig.pooled_key(KeyType.P256, 3), "New", new, is_ca=False)
    files = formats.trust_files([Entry("root-2", root)], [Entry("root-2-by-root-1", cross)], VERSION)
    assert subjects(_cas(dict(files))) == ["CN=New"]
    (tmp_path / "leaf.pem").write_bytes(x509.load_der_x509_certificate(leaf).public_bytes(Encoding.PEM))
    (tmp_path / "cas.pem").write_bytes(files["cas.pem"])
    assert _verify(tmp_path) == 0
    naive = x509.load_der_x509_certificate(cross).public_bytes(Encoding.PEM) + files["cas.pem"]
    (tmp_path / "cas.pem").write_bytes(naive)
    assert _verify(tmp_path) != 0, "OpenSSL has learnt it: the file may have them from now on"


def _verify(directory: Path) -> int:
    openssl = peer.require("openssl")
    return subprocess.run(
        [openssl, "verify", "-CAfile", "cas.pem", "leaf.pem"], cwd=directory, capture_output=True, timeout=30
    ).returncode


def _signed(name: str, key: Any, issuer: str, issuer_key: Any, *, is_ca: bool = True) -> bytes:
    return ca_certificate(name, key=key, issuer=issuer, issuer_key=issuer_key, is_ca=is_ca)


def test_keys_that_no_jwk_can_say_are_refused() -> None:
    """And all others are not: P-521 and Ed448 belong to other trust domains at most."""
    fine = [ec.generate_private_key(ec.SECP521R1()), ed448.Ed448PrivateKey.generate()]
    for key in fine:
        formats.check_anchor_key(x509.load_der_x509_certificate(ca_certificate(key=key)))
    odd = x509.load_der_x509_certificate(ca_certificate(key=ec.generate_private_key(ec.SECP256K1())))
    with pytest.raises(BadRequest) as caught:
        formats.check_anchor_key(odd)
    assert caught.value.code == "bad-anchor"
