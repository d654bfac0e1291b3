"""Certification requests as real tools make them, and as nobody should: one outcome or one kind of refusal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ca import der
from ca.errors import BadRequest
from ca.files import pem
from ca.keys.algorithms import KeyType, PrivateKey, key_type_of, spki
from ca.x509.names import Kind, Name
from ca.x509.request import MAX_BYTES, read_request
from tests import peer, rig

CONFIG = """
[req]
distinguished_name = subject
prompt = no
string_mask = {mask}
req_extensions = extensions
[subject]
{subject}
[extensions]
{extensions}
[directory]
CN = api.example.internal
"""
ECDSA_SHA256 = der.oid("1.2.840.10045.4.3.2")

OpensslRequest = Callable[..., bytes]


@pytest.fixture
def openssl_request(tmp_path: Path) -> OpensslRequest:
    """Makes a request with openssl, from configuration lines; further arguments go to `openssl req`."""

    def make(
        *arguments: str,
        subject: str = "CN = api.example.internal",
        extensions: Sequence[str] = ("subjectAltName = DNS:api.example.internal",),
        key: PrivateKey | None = None,
        mask: str = "utf8only",
    ) -> bytes:
        key_file, config = tmp_path / "key.pem", tmp_path / "req.cnf"
        key = key or rig.pooled_key()
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        config.write_text(CONFIG.format(subject=subject, extensions="\n".join(extensions), mask=mask))
        if "-outform" not in arguments:
            arguments = (*arguments, "-outform", "DER")
        argv = (peer.require("openssl"), "req", "-new", "-key", key_file, "-config", config, "-utf8", *arguments)
        result = peer.run(*argv)
        assert result.returncode == 0, result.stderr.decode()
        return result.stdout

    return make


def refused(data: bytes | str) -> str:
    """The message with which a request is refused when it is read; fails if it is not refused as a bad request."""
    with pytest.raises(BadRequest) as raised:
        read_request(data)
    return raised.value.message


def test_a_request_of_openssl_is_read(openssl_request: OpensslRequest) -> None:
    """Key, names and common name of a plain request are what openssl was told, and possession is proved."""
    names = ("api.example.internal", "10.0.0.1", "::1", "spiffe://td.example/a", "ada@example.internal")
    san = "subjectAltName = DNS:api.example.internal, IP:10.0.0.1, IP:::1, URI:spiffe://td.example/a"
    request = read_request(openssl_request(extensions=[san + ", email:ada@example.internal"]))
    assert request.spki == spki(rig.pooled_key().public_key())
    assert [name.value for name in request.names] == list(names)
    assert [name.kind for name in request.names] == [Kind.DNS, Kind.IP, Kind.IP, Kind.URI, Kind.EMAIL]
    assert request.common_name == "api.example.internal"
    assert not request.wants_authority
    request.prove_possession()


def test_a_common_name_alone_is_not_a_name(openssl_request: OpensslRequest) -> None:
    """A common name does not become a name to be certified (row 45); it is kept apart, to be compared."""
    request = read_request(openssl_request(extensions=["keyUsage = digitalSignature"]))
    assert request.names == ()
    assert request.common_name == "api.example.internal"


def test_what_a_subject_says_besides_is_listed_as_ignored(openssl_request: OpensslRequest) -> None:
    """O, OU, C and the like are not copied, and the answer can say so."""
    lines = "C = ZZ\nO = Evil Corp\n0.OU = Admins\n1.OU = Domain Admins\nCN = api.example.internal\nUID = root"
    request = read_request(openssl_request(subject=lines))
    assert request.ignored == (
        "subject countryName",
        "subject organizationName",
        "subject organizationalUnitName",
        "subject userID",
    )


def test_wishes_for_usages_are_listed_as_ignored(openssl_request: OpensslRequest) -> None:
    """Key usages and unknown extensions are not copied, and the answer can say so."""
    request = read_request(
        openssl_request(
            extensions=[
                "subjectAltName = DNS:api.example.internal",
                "keyUsage = critical, digitalSignature, keyEncipherment",
                "extendedKeyUsage = serverAuth",
                "1.2.3.4 = ASN1:UTF8:hello",
            ]
        )
    )
    assert request.ignored == ("extension keyUsage", "extension extendedKeyUsage", "extension 1.2.3.4")
    assert not request.wants_authority


def test_every_unknown_extension_is_listed_as_ignored(openssl_request: OpensslRequest) -> None:
    """Two wishes of kinds that nobody knows are two wishes that were not granted."""
    request = read_request(openssl_request(extensions=["1.2.3.4 = ASN1:NULL", "1.2.3.5 = ASN1:NULL"]))
    assert request.ignored == ("extension 1.2.3.4", "extension 1.2.3.5")


@pytest.mark.parametrize(
    "line",
    [
        "basicConstraints = CA:TRUE",
        "basicConstraints = critical, CA:TRUE, pathlen:0",
        "keyUsage = keyCertSign",
        "keyUsage = critical, digitalSignature, keyCertSign",
        "keyUsage = cRLSign",
        "extendedKeyUsage = OCSPSigning",
        "extendedKeyUsage = critical, serverAuth, OCSPSigning",
        "nameConstraints = permitted;DNS:example.internal",
        "policyConstraints = requireExplicitPolicy:0",
    ],
)
def test_a_wish_for_authority_is_noticed(line: str, openssl_request: OpensslRequest) -> None:
    """Everything that only a CA or an OCSP signer may have is a wish for authority, critical or not (row 46)."""
    assert read_request(openssl_request(extensions=[line])).wants_authority


@pytest.mark.parametrize(
    "line",
    [
        "basicConstraints = CA:FALSE",
        "keyUsage = digitalSignature, keyEncipherment, keyAgreement, nonRepudiation, dataEncipherment",
        "extendedKeyUsage = serverAuth, clientAuth",
        "subjectAltName = DNS:api.example.internal",
    ],
)
def test_what_a_leaf_may_wish_is_no_wish_for_authority(line: str, openssl_request: OpensslRequest) -> None:
    """The extensions that common tools put into every request do not make it one of a CA."""
    assert not read_request(openssl_request(extensions=[line])).wants_authority


@pytest.mark.parametrize(
    "value",
    [
        "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:administrator@example.internal",
        "dirName:directory",
        "RID:1.2.3.4",
        "DNS:api.example.internal, otherName:1.2.3.4;UTF8:api.example.internal",
        "DNS:a..b",
        "URI:not-a-uri",
        "email:nobody",
        "IP:10.0.0.1, URI:https://ada@example.internal/",
    ],
)
def test_a_request_with_one_unusable_name_is_refused(value: str, openssl_request: OpensslRequest) -> None:
    """A name that cannot be certified is not dropped from the list: the request as a whole is refused."""
    with pytest.raises(BadRequest) as raised:
        read_request(openssl_request(extensions=[f"subjectAltName = {value}"]))
    assert raised.value.code in ("bad-name", "bad-csr")


@pytest.mark.parametrize("mask", ["MASK:0x800", "MASK:0x1000", "MASK:0x2", "utf8only"])
def test_a_common_name_is_read_in_every_string_type(mask: str, openssl_request: OpensslRequest) -> None:
    """BMPString, UTF8String and PrintableString of the same text are the same common name."""
    assert read_request(openssl_request(mask=mask)).common_name == "api.example.internal"


def test_two_common_names_are_refused(openssl_request: OpensslRequest) -> None:
    """Which of two common names counts is not for us to guess."""
    assert "more than one common name" in refused(
        openssl_request(subject="0.CN = api.example.internal\n1.CN = evil.example")
    )


@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.P384, KeyType.RSA2048, KeyType.ED25519])
def test_requests_of_openssl_prove_possession(key_type: KeyType, openssl_request: OpensslRequest) -> None:
    """Each kind of key that openssl 3.0 has, signed the way openssl signs by default."""
    request = read_request(openssl_request(key=rig.pooled_key(key_type)))
    assert key_type_of(request.public_key) is key_type
    request.prove_possession()


@pytest.mark.parametrize("key_type", [KeyType.MLDSA44, KeyType.MLDSA65, KeyType.MLDSA87, KeyType.RSA3072])
def test_requests_of_other_keys_prove_possession(key_type: KeyType) -> None:
    """Post-quantum keys and larger RSA keys, too."""
    request = rig.make_request("api.example.internal", key=rig.pooled_key(key_type))
    assert key_type_of(request.public_key) is key_type
    request.prove_possession()


@pytest.mark.parametrize("digest", ["-sha256", "-sha384", "-sha512"])
@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.RSA2048])
def test_any_sha2_signature_is_good(digest: str, key_type: KeyType, openssl_request: OpensslRequest) -> None:
    """A request may be signed with any of the three hashes, whatever the size of its key."""
    key = rig.pooled_key(key_type)
    request = read_request(openssl_request(digest, key=key))
    request.prove_possession()
    assert request.public_key == key.public_key()


def test_a_pss_signature_is_good(openssl_request: OpensslRequest) -> None:
    """RSASSA-PSS with SHA-256 proves possession of an RSA key as well."""
    pss = ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32")
    key = rig.pooled_key(KeyType.RSA2048)
    request = read_request(openssl_request("-sha256", *pss, key=key))
    request.prove_possession()
    assert request.public_key == key.public_key()


@pytest.mark.parametrize(
    ("key_type", "digest"),
    [
        *((KeyType.RSA2048, digest) for digest in ("-md5", "-sha1", "-sha224", "-sha3-256")),
        *((KeyType.P256, digest) for digest in ("-sha1", "-sha224", "-sha3-256")),
    ],
)
def test_a_signature_with_another_hash_is_refused(
    digest: str, key_type: KeyType, openssl_request: OpensslRequest
) -> None:
    """MD5 and SHA-1 prove nothing (row 53), and no other hash is expected."""
    data = openssl_request(digest, key=rig.pooled_key(key_type))
    with pytest.raises(BadRequest) as raised:
        read_request(data).prove_possession()
    assert raised.value.code == "bad-csr"


@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.P384, KeyType.RSA2048, KeyType.ED25519, KeyType.MLDSA44])
def test_a_request_signed_by_another_key_proves_nothing(key_type: KeyType) -> None:
    """The public key of one, the signature of another of the same kind: refused (RFC 2986 section 4.2)."""
    victim, attacker = rig.pooled_key(key_type), rig.pooled_key(key_type, place=1)
    genuine = rig.make_csr("api.example.internal", key=victim)
    forged = rig.make_csr("api.example.internal", key=attacker).replace(
        spki(attacker.public_key()), spki(victim.public_key())
    )
    assert spki(victim.public_key()) in forged
    read_request(genuine).prove_possession()
    with pytest.raises(BadRequest, match="does not verify"):
        read_request(forged).prove_possession()


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7), place=st.integers(0, 2))
@settings(deadline=None, max_examples=80)
@example(position=0, bit=0, place=0)
def test_no_signed_bit_can_be_changed(position: int, bit: int, place: int) -> None:
    """After any one bit of what was signed is flipped, the request is refused when read or when possession is asked."""
    key = rig.pooled_key((KeyType.P256, KeyType.ED25519, KeyType.RSA2048)[place])
    data = bytearray(rig.make_csr("api.example.internal", key=key))
    _, start, _ = der.header(data, 0)
    _, _, end = der.header(data, start)
    data[start + position % (end - start)] ^= 1 << bit
    with pytest.raises(BadRequest):
        read_request(bytes(data)).prove_possession()


def test_an_unknown_signature_algorithm_is_a_bad_request() -> None:
    """A signature algorithm that the parser does not know is a bad request like any other (row 50)."""
    data = rig.make_csr("api.example.internal").replace(ECDSA_SHA256, der.oid("1.2.840.10045.4.3.127"))
    with pytest.raises(BadRequest):
        read_request(data).prove_possession()


def test_the_algorithm_that_a_request_names_has_to_fit_its_key() -> None:
    """An ECDSA signature under the name of an RSA algorithm is not what the request says it is."""
    identifier = der.sequence(der.oid("1.2.840.113549.1.1.11"), der.NULL)
    csr = x509.load_der_x509_csr(rig.make_csr("api.example.internal"))
    data = der.sequence(csr.tbs_certrequest_bytes, identifier, der.bit_string(csr.signature))
    with pytest.raises(BadRequest):
        read_request(data).prove_possession()


def test_a_pss_signature_with_a_weak_mask_is_judged_by_its_hash() -> None:
    """The hash of the message is what counts in a PSS signature, and SHA-1 there is refused."""
    key = rig.pooled_key(KeyType.RSA2048)
    assert isinstance(key, rsa.RSAPrivateKey)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    weak = builder.sign(
        key, hashes.SHA224(), rsa_padding=padding.PSS(mgf=padding.MGF1(hashes.SHA224()), salt_length=20)
    )
    with pytest.raises(BadRequest, match="sha224"):
        read_request(weak.public_bytes(Encoding.DER)).prove_possession()


def test_pem_and_der_are_the_same_request(openssl_request: OpensslRequest) -> None:
    """DER, PEM as text, PEM as bytes, with blank lines around, and under the old header: one request."""
    encoded = openssl_request()
    modern = pem("CERTIFICATE REQUEST", encoded)
    old = pem("NEW CERTIFICATE REQUEST", encoded)
    crlf = modern.replace(b"\n", b"\r\n")
    for form in (encoded, modern, modern.decode(), b"\n\n  " + modern + b"\n\n", old, crlf, bytearray(encoded)):
        request = read_request(form)
        assert request.names == (Name(Kind.DNS, "api.example.internal"),)
        request.prove_possession()


def test_the_headers_that_openssl_writes_are_read(openssl_request: OpensslRequest) -> None:
    """`openssl req` with and without `-newhdr`."""
    for arguments in ((), ("-newhdr",)):
        text = openssl_request(*arguments, "-outform", "PEM")
        read_request(text).prove_possession()
        assert text.startswith(b"-----BEGIN NEW" if arguments else b"-----BEGIN CERT")


def test_anything_but_one_request_is_refused(openssl_request: OpensslRequest) -> None:
    """Two blocks, text around, other blocks, bytes behind, a mixed header: not one request, so not read."""
    encoded = openssl_request()
    block = pem("CERTIFICATE REQUEST", encoded)
    for data in (
        b"",
        b"\x30",
        b"0" * 100,
        block + block,
        block + b"x",
        b"Certificate Request:\n" + block,
        block + pem("CERTIFICATE", encoded),
        pem("CERTIFICATE", encoded),
        pem("PRIVATE KEY", encoded),
        block.replace(b"BEGIN CERT", b"BEGIN NEW CERT"),
        block.replace(b"-----END", b"----END"),
        block[:-40],
        block.replace(b"A", b"\xc3\xa9", 1),
        encoded + b"\x00",
        encoded + encoded,
        b"\x00" + encoded,
        encoded[:-1],
        b" " + encoded,
        encoded.hex().encode(),
    ):
        refused(data)
    refused(block.decode().replace("CERTIFICATE", "CERTIF\u0130CATE"))


def test_a_large_request_is_refused_before_it_is_parsed(openssl_request: OpensslRequest) -> None:
    """More than 64 KiB are not looked at, however well-formed; that many bytes exactly are."""
    block = pem("CERTIFICATE REQUEST", openssl_request())
    assert read_request(block + b"\n" * (MAX_BYTES - len(block))).names
    assert "larger than" in refused(block + b"\n" * (MAX_BYTES + 1 - len(block)))
    assert "larger than" in refused(b"\x30" + b"\x00" * MAX_BYTES)


def test_a_deeply_nested_request_is_refused() -> None:
    """Ten thousand SEQUENCEs in each other are refused, not followed (row 48)."""
    nested = b""
    for _ in range(10_000):
        nested = der.sequence(nested)
    assert len(nested) < MAX_BYTES
    refused(nested)
    refused(der.sequence(nested, der.sequence(ECDSA_SHA256), der.bit_string(b"")))


def test_more_names_than_anybody_needs_are_refused() -> None:
    """1000 names are read, one more is not; the same name twice is one name."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))

    def csr(count: int, prefix: str = "a") -> bytes:
        san = x509.SubjectAlternativeName([x509.DNSName(f"{prefix}{place}.example") for place in range(count)])
        return (
            builder.add_extension(san, critical=False)
            .sign(rig.pooled_key(), hashes.SHA256())
            .public_bytes(Encoding.DER)
        )

    assert len(read_request(csr(1000)).names) == 1000
    assert "more than 1000" in refused(csr(1001))
    twice = x509.SubjectAlternativeName([x509.DNSName("a.example"), x509.DNSName("A.example")])
    both = builder.add_extension(twice, critical=False).sign(rig.pooled_key(), hashes.SHA256())
    assert read_request(both.public_bytes(Encoding.DER)).names == (Name(Kind.DNS, "a.example"),)


def test_an_extension_that_is_there_twice_is_refused() -> None:
    """Two lists of names are not one, and which one counts is not for us to guess."""
    csr = x509.load_der_x509_csr(rig.make_csr("a.example", "b.example", extensions=[(x509.OCSPNoCheck(), False)]))
    san = der.oid("2.5.29.17")
    no_check = der.oid(x509.OCSPNoCheck.oid.dotted_string)
    padded = csr.public_bytes(Encoding.DER)
    assert padded.count(san) == padded.count(no_check) == 1
    tbs = _reencoded(csr, [_extension(san, ["a.example"]), _extension(san, ["b.example"])])
    refused(der.sequence(tbs, der.sequence(ECDSA_SHA256), der.bit_string(b"\x30\x00")))
    single = _reencoded(csr, [_extension(san, ["a.example"])])
    assert read_request(der.sequence(single, der.sequence(ECDSA_SHA256), der.bit_string(b"\x30\x00"))).names


def test_a_strange_subject_is_read_in_silence() -> None:
    """A subject that we ignore anyway does not make the process print the warnings that a stranger wants."""
    country = der.sequence(der.oid("2.5.4.6"), der.tagged(0x13, b"ZZZ"))
    csr = x509.load_der_x509_csr(rig.make_csr("a.example"))
    key = spki(csr.public_key())  # type: ignore[arg-type]
    info = der.sequence(der.integer(0), der.sequence(der.tagged(0x31, country)), key, der.explicit(0, b""))
    data = der.sequence(info, der.sequence(ECDSA_SHA256), der.bit_string(b"\x30\x00"))
    script = f"from ca.x509.request import read_request; print(read_request(bytes.fromhex('{data.hex()}')).ignored)"
    result = peer.run(sys.executable, "-c", script)
    assert result.stdout.strip() == b"('subject countryName',)"
    assert result.stderr == b""


def _extension(oid: bytes, values: Sequence[str]) -> bytes:
    names = der.sequence(*(der.tagged(0x82, value.encode()) for value in values))
    return der.sequence(oid, der.octet_string(names))


def _reencoded(csr: x509.CertificateSigningRequest, extensions: Sequence[bytes]) -> bytes:
    """A CertificationRequestInfo for the key of `csr` with these extensions."""
    attribute = der.sequence(der.oid("1.2.840.113549.1.9.14"), der.tagged(0x31, der.sequence(*extensions)))
    key = spki(csr.public_key())  # type: ignore[arg-type]
    return der.sequence(der.integer(0), der.sequence(), key, der.explicit(0, attribute))


SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example"), x509.NameAttribute(NameOID.SURNAME, "x")])
WISHES = (
    (x509.BasicConstraints(ca=True, path_length=1), True),
    (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False),
    (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), False),
)


def _valid_requests() -> list[bytes]:
    names = ("a.example", "*.b.example", "10.0.0.1", "spiffe://td.example/a", "ada@a.example")
    small = [
        rig.make_csr(*names, key=rig.pooled_key(key_type), subject=SUBJECT, extensions=WISHES)
        for key_type in (KeyType.P256, KeyType.P384, KeyType.ED25519, KeyType.RSA2048, KeyType.MLDSA44)
    ]
    return [*small, rig.make_csr(), pem("CERTIFICATE REQUEST", small[0])]


PLACES = st.floats(0, 1, exclude_max=True)
DAMAGE = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), PLACES, st.integers(0, 7)),
        st.tuples(st.just("cut"), PLACES, st.just(0)),
        st.tuples(st.just("insert"), PLACES, st.binary(min_size=1, max_size=6)),
        st.tuples(st.just("drop"), PLACES, st.integers(1, 6)),
        st.tuples(st.just("algorithm"), PLACES, st.integers(0, 127)),
        st.tuples(st.just("set"), PLACES, st.sampled_from([0x00, 0x30, 0x31, 0x7F, 0x80, 0x84, 0xA0, 0xFF])),
    ),
    min_size=1,
    max_size=4,
)


def _damaged(data: bytes, damage: Sequence[tuple[str, float, int | bytes]]) -> bytes:
    out = bytearray(data)
    for kind, fraction, value in damage:
        place = int(fraction * len(out))
        match kind, value:
            case "insert", bytes():
                out[place:place] = value
            case "algorithm", int():
                out = out.replace(ECDSA_SHA256, der.oid(f"1.2.840.10045.4.3.{value}"))
            case "flip", int() if out:
                out[place] ^= 1 << value
            case "set", int() if out:
                out[place] = value
            case "drop", int():
                del out[place : place + value]
            case _:
                del out[place:]
    return bytes(out)


@given(place=st.integers(0, 6), damage=DAMAGE)
@example(place=5, damage=[("flip", 0.999, 0)])
@example(place=5, damage=[("algorithm", 0.0, 127)])
@settings(deadline=None, max_examples=200)
def test_a_damaged_request_is_read_or_refused_and_nothing_else(
    place: int, damage: list[tuple[str, float, int | bytes]]
) -> None:
    """Whatever happens to a valid request: it is read and proves possession, or it is a bad request (row 50)."""
    data = _damaged(_valid_requests()[place], damage)
    with suppress(BadRequest):
        read_request(data).prove_possession()


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
@settings(deadline=None, max_examples=100)
def test_anything_at_all_is_a_bad_request(data: bytes | str) -> None:
    """Random bytes and random text are refused in the same words as everything else."""
    assert refused(data)
