"""From an order to a certificate: what it says, how long it lives, and that nothing wrong is signed or released."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from ca import clock, issuance, signing
from ca.access import Role
from ca.authority import Issuer
from ca.enrolment import Wish, authorise_issue
from ca.errors import CertwrightError, Defect, PolicyRefusal, Unavailable
from ca.files import pem
from ca.installation import Installation
from ca.issuance import new_serial
from ca.keys.algorithms import KeyType, PrivateKey, spki
from ca.profiles.collection import Profiles
from ca.profiles.profile import Profile, read_profile
from ca.signing import Order
from ca.store import open_store
from ca.x509.certificate import preview
from ca.x509.names import Kind, Name, parse
from tests import peer, rig

NAMES: dict[str, tuple[str, ...]] = {
    "client": ("ada@example.internal", "cron.clients.example.internal"),
    "device": ("s1.devices.example.internal", "urn:dev:mac:0024befffe804ff1"),
    "edge": ("*.edge.example.internal", "10.0.0.1"),
    "ephemeral": (rig.WORKLOAD, "api.svc.example.internal"),
    "mesh": (rig.WORKLOAD, "api.svc.example.internal"),
    "probe": ("spiffe://example.internal/certwright/probe",),
    "publication": ("spiffe://example.internal/certwright/publications",),
    "server": ("db.example.internal", "10.0.0.1", "::1"),
}
COMMON_NAMES = {
    "client": "ada@example.internal",
    "device": "s1.devices.example.internal",
    "edge": "*.edge.example.internal",
    "server": "db.example.internal",
}
SERVER, CLIENT, OCSP = (
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.OCSP_SIGNING,
)
EXTENDED = {
    "client": [CLIENT],
    "device": [CLIENT, SERVER],
    "edge": [SERVER],
    "ephemeral": [SERVER, CLIENT],
    "mesh": [SERVER, CLIENT],
    "server": [SERVER],
    "ocsp-signer": [OCSP],
    "probe": [SERVER, CLIENT],
    "publication": [SERVER, CLIENT],
    "cross-ca": [SERVER, CLIENT, OCSP],
    "sub-ca": [SERVER, CLIENT, OCSP],
}
APART = ("cross-ca", "probe", "publication", "sub-ca")
"""Profiles with authorisers of their own: see `test_crossing.py`, `test_system_leaves.py` and `test_hierarchy.py`."""
ISSUER_TYPES = (KeyType.P256, KeyType.P384, KeyType.RSA3072, KeyType.ED25519, KeyType.MLDSA65)
SIGNATURES = {
    KeyType.P256: "1.2.840.10045.4.3.2",
    KeyType.P384: "1.2.840.10045.4.3.3",
    KeyType.RSA3072: "1.2.840.113549.1.1.11",
    KeyType.ED25519: "1.3.101.112",
    KeyType.MLDSA65: "2.16.840.1.101.3.4.3.18",
}
CASES = [
    (profile.name, key_type)
    for profile in Profiles(rig.CONFIG / "profiles", rig.VARIABLES)
    for key_type in profile.config.keys
]
by_case = pytest.mark.parametrize(("name", "key_type"), CASES, ids=[f"{name}-{key}" for name, key in CASES])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation for all tests of this file."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('signing')}/certwright.db")
    yield rig.make_installation(store)
    store.close()


@pytest.fixture(scope="module")
def issuing(house: Installation) -> Issuer:
    """Its issuing CA."""
    return house.authorities.issuer_for("issuing")


@pytest.fixture(scope="module", params=ISSUER_TYPES)
def house_of_type(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[KeyType, Installation]]:
    """An installation whose CAs have keys of each type in turn."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('signing')}/certwright.db")
    yield request.param, rig.make_installation(store, key_type=request.param)
    store.close()


def order_for(profile: Profile, issuer: Issuer, key_type: KeyType = KeyType.P256, **other: Any) -> Order:
    """What the profile is made for, with something else in its place."""
    kind, serial, begins = profile.config.kind, new_serial(), clock.timestamp()
    order = Order(
        profile=profile,
        serial=serial,
        spki=spki(rig.pooled_key(key_type).public_key()),
        key_type=key_type,
        names=tuple(map(parse, NAMES.get(profile.name, ()))),
        subject=None if kind == "leaf" or profile.own_name else rig.common_name("Signer").public_bytes(),
        not_before=begins,
        not_after=begins + min(profile.lifetime, 86400) - 1,
        path_length=0 if kind == "authority" else None,
        shard=issuer.shard_of(serial) if profile.names_crl else None,
        role=Role.OPERATOR if kind == "leaf" else Role.ADMIN,
        attributes={},
    )
    return order._replace(**other)


def sign(order: Order, issuer: Issuer) -> x509.Certificate:
    """The three steps, as `ca.issuance` makes them."""
    tbs = signing.build(order, issuer)
    signing.check(tbs, order, issuer)
    return x509.load_der_x509_certificate(signing.seal(tbs, issuer)[1])


def extensions_of(certificate: x509.Certificate) -> dict[str, tuple[Any, bool]]:
    """Each extension by its class's name: its value, and whether it is critical."""
    return {type(e.value).__name__: (e.value, e.critical) for e in certificate.extensions}


def key_bits(key: Any) -> bytes:
    """The content of the BIT STRING in a SubjectPublicKeyInfo, got without parsing one."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    if isinstance(key, rsa.RSAPublicKey):
        return key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    return key.public_bytes_raw()


@by_case
def test_a_certificate_says_what_its_profile_says(
    house: Installation, issuing: Issuer, name: str, key_type: KeyType
) -> None:
    """Every extension of every profile and key type: there, with this value, critical or not, and no other."""
    profile = house.profiles[name]
    issuer = house.authorities.issuer_for(profile.config.issuer)
    order = order_for(profile, issuer, key_type)
    certificate = sign(order, issuer)
    kind, found = profile.config.kind, extensions_of(certificate)
    is_ca = kind == "authority"

    common_name = "Signer" if name in ("cross-ca", "ocsp-signer", "sub-ca") else COMMON_NAMES.get(name)
    assert [(a.oid, a.value) for a in certificate.subject] == (
        [(NameOID.COMMON_NAME, common_name)] if common_name else []
    )
    assert found.pop("BasicConstraints") == (x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), True)
    enciphers = name in ("server", "edge") and key_type.value.startswith("RSA")
    usage = x509.KeyUsage(True, False, enciphers, False, False, is_ca, is_ca, False, False)
    assert found.pop("KeyUsage") == (usage, True)
    assert found.pop("ExtendedKeyUsage") == (x509.ExtendedKeyUsage(EXTENDED[name]), False)
    if name in NAMES:
        san, is_critical = found.pop("SubjectAlternativeName")
        assert list(san) == [rig.general_name(parse(text)) for text in NAMES[name]]
        assert is_critical is (common_name is None)
    identifier = hashlib.sha256(key_bits(rig.pooled_key(key_type).public_key())).digest()[:20]
    assert found.pop("SubjectKeyIdentifier") == (x509.SubjectKeyIdentifier(identifier), False)
    above = hashlib.sha256(key_bits(issuer.public_key)).digest()[:20]
    assert found.pop("AuthorityKeyIdentifier") == (x509.AuthorityKeyIdentifier(above, None, None), False)
    url = f"{rig.PUBLIC_URL}/ca/{issuer.name}.cer"
    access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(url))
    assert found.pop("AuthorityInformationAccess") == (x509.AuthorityInformationAccess([access]), False)
    if kind == "ocsp":
        assert found.pop("OCSPNoCheck") == (x509.OCSPNoCheck(), False)
    elif name == "ephemeral":
        oid = x509.ObjectIdentifier("2.5.29.56")
        assert found.pop("UnrecognizedExtension") == (x509.UnrecognizedExtension(oid, b"\x05\x00"), False)
    else:
        shard = "" if issuer.crl_shards == 0 else f"/{order.serial % issuer.crl_shards}"
        point = x509.UniformResourceIdentifier(f"{rig.PUBLIC_URL}/crl/{issuer.name}{shard}.crl")
        points = x509.CRLDistributionPoints([x509.DistributionPoint([point], None, None, None)])
        assert found.pop("CRLDistributionPoints") == (points, False)
    assert found == {}
    assert certificate.version is x509.Version.v3
    assert certificate.serial_number == order.serial
    assert certificate.issuer == issuer.certificate.subject


@pytest.mark.parametrize(("name", "key_type"), [case for case in CASES if case[0] not in APART])
def test_a_life_is_what_was_asked_for_and_not_a_second_more(house: Installation, name: str, key_type: KeyType) -> None:
    """The first and the last second both count (row 56): their difference and one more is the profile's lifetime."""
    profile = house.profiles[name]
    wish = Wish(names=tuple(map(parse, NAMES.get(name, ()))))
    if profile.config.kind == "ocsp":
        wish = Wish(subject=rig.common_name("OCSP"))
    request = rig.make_request(key=rig.pooled_key(key_type))
    before = clock.now()
    issued = issuance.issue(authorise_issue(house, rig.ADMIN, name, request, wish), house)
    certificate = rig.parsed(issued)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    assert ends - begins + timedelta(seconds=1) == profile.config.lifetime
    assert begins.microsecond == ends.microsecond == 0
    assert timedelta(0) <= clock.now() - begins - profile.config.backdate <= clock.now() - before
    assert (issued.not_before, issued.not_after) == (begins.timestamp(), ends.timestamp())


def test_nothing_outlives_its_issuer(house: Installation, issuing: Issuer) -> None:
    """Near the issuer's end lives are cut to its last second; at that second and after, nothing is signed."""
    end = clock.from_timestamp(issuing.facts.not_after)
    exactly = house.profiles["mesh"].config.lifetime - house.profiles["mesh"].config.backdate - timedelta(seconds=1)
    second = timedelta(seconds=1)
    for left, early in (
        (timedelta(hours=1), 0),
        (second, 0),
        (exactly - second, 0),
        (exactly, 0),
        (exactly + second, 1),
    ):
        with clock.pinned(end - left):
            certificate = rig.parsed(rig.issue(house, key=rig.pooled_key(place=1)))
        assert certificate.not_valid_after_utc == end - early * second
    for late in (timedelta(0), second, timedelta(days=9)):
        with clock.pinned(end + late), pytest.raises(Unavailable) as raised:
            rig.issue(house)
        assert raised.value.code == "authority-expired"


def test_nothing_begins_before_its_issuer(house: Installation, issuing: Issuer) -> None:
    """Backdating stops where the issuer's own life begins."""
    begin = clock.from_timestamp(issuing.facts.not_before)
    with clock.pinned(begin + timedelta(seconds=5)):
        assert rig.parsed(rig.issue(house)).not_valid_before_utc == begin


def test_openssl_accepts_every_chain(house: Installation, tmp_path: Path) -> None:
    """`openssl verify -x509_strict` takes a certificate of each profile and of each key type that it can read."""
    issuing, root = (house.authorities.issuer_for(line) for line in ("issuing", "root"))
    purposes = {"server": "sslserver", "edge": "sslserver", "client": "sslclient", "mesh": "sslclient", "sub-ca": "any"}
    (tmp_path / "root.pem").write_bytes(pem("CERTIFICATE", root.der))
    (tmp_path / "issuing.pem").write_bytes(pem("CERTIFICATE", issuing.der))
    for name, key_type in CASES:
        if key_type.value.startswith("ML-DSA"):
            continue
        profile, path = house.profiles[name], tmp_path / f"{name}-{key_type}.pem"
        issuer = house.authorities.issuer_for(profile.config.issuer)
        order = order_for(profile, issuer, key_type, not_before=clock.timestamp() - 1)
        path.write_bytes(pem("CERTIFICATE", sign(order, issuer).public_bytes(Encoding.DER)))
    for name in sorted({name for name, _ in CASES}):
        argv = ("verify", "-x509_strict", "-check_ss_sig", "-purpose", purposes.get(name, "any"))
        chain = ("-CAfile", tmp_path / "root.pem", "-untrusted", tmp_path / "issuing.pem")
        paths = sorted(tmp_path.glob(f"{name}-*.pem"))
        result = peer.run(peer.require("openssl"), *argv, *chain, *paths)
        assert result.returncode == 0, (result.stdout + result.stderr).decode()
        assert result.stdout.count(b": OK") == len(paths) > 0


def test_certificates_of_every_kind_of_issuer_verify(house_of_type: tuple[KeyType, Installation]) -> None:
    """The leaf by the issuing CA, that by the root, the root by itself; each with the one algorithm of its key."""
    key_type, house = house_of_type
    issuing, root = (house.authorities.issuer_for(line).certificate for line in ("issuing", "root"))
    leaf = sign(
        order_for(house.profiles["mesh"], house.authorities.issuer_for("issuing")),
        house.authorities.issuer_for("issuing"),
    )
    leaf.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    for certificate in (leaf, issuing, root):
        assert certificate.signature_algorithm_oid.dotted_string == SIGNATURES[key_type]
        digest = certificate.signature_hash_algorithm
        assert digest is None or isinstance(digest, hashes.SHA256 | hashes.SHA384)
        sha1 = bytes.fromhex("2b0e03021a"), bytes.fromhex("2a864886f70d010105"), bytes.fromhex("2a8648ce3d0401")
        assert not any(oid in certificate.public_bytes(Encoding.DER) for oid in sha1)


class Stub:
    """A private key as a broken key store would hand it out: it signs, and then something happens to the signature."""

    def __init__(self, key: PrivateKey, damage: Callable[[bytes], bytes]) -> None:
        self._key = key
        self._damage = damage

    def public_key(self) -> object:
        """The right one: the fault is elsewhere."""
        return self._key.public_key()

    def sign(self, data: bytes, *arguments: object) -> bytes:
        """A damaged signature."""
        return self._damage(self._key.sign(data, *arguments))  # type: ignore[call-arg, arg-type]


def broken(issuer: Issuer, damage: Callable[[bytes], bytes]) -> Issuer:
    """The issuer with a key whose signatures are damaged."""
    return dataclasses.replace(issuer, key=Stub(issuer.key, damage))  # type: ignore[arg-type]


def test_the_stub_is_a_key(house: Installation, issuing: Issuer) -> None:
    """Without damage, its signatures are good: what the next tests find is the damage."""
    tbs = signing.build(order_for(house.profiles["mesh"], issuing), issuing)
    signature, certificate = signing.seal(tbs, broken(issuing, lambda signature: signature))
    x509.load_der_x509_certificate(certificate).verify_directly_issued_by(issuing.certificate)
    assert certificate.endswith(signature)


@pytest.mark.parametrize(
    "damage",
    [
        lambda signature: b"",
        lambda signature: signature[:-1],
        lambda signature: signature + b"\0",
        lambda signature: bytes(len(signature)),
        lambda signature: signature[::-1],
        lambda signature: b"\xff" * 5000,
        *(lambda signature, place=place: _flipped(signature, place) for place in range(0, 512, 37)),
    ],
)
def test_a_damaged_signature_is_a_defect(
    house_of_type: tuple[KeyType, Installation], damage: Callable[[bytes], bytes]
) -> None:
    """Whatever a faulty processor or module does to a signature, of any kind of key: it is not released (row 64)."""
    issuer = house_of_type[1].authorities.issuer_for("issuing")
    tbs = signing.build(order_for(house_of_type[1].profiles["mesh"], issuer), issuer)
    with pytest.raises(Defect, match="was not released"):
        signing.seal(tbs, broken(issuer, damage))


def _flipped(signature: bytes, bit: int) -> bytes:
    damaged = bytearray(signature)
    damaged[bit // 8 % len(damaged)] ^= 1 << bit % 8
    return bytes(damaged)


@given(bit=st.integers(0, 10_000))
@settings(deadline=None, max_examples=100)
def test_any_flipped_bit_of_a_signature_is_a_defect(house: Installation, issuing: Issuer, bit: int) -> None:
    """No bit of an ECDSA signature can change without being noticed."""
    tbs = signing.build(order_for(house.profiles["mesh"], issuing), issuing)
    with pytest.raises(Defect):
        signing.seal(tbs, broken(issuing, lambda signature: _flipped(signature, bit)))


def test_the_wrong_key_is_a_defect(house_of_type: tuple[KeyType, Installation]) -> None:
    """A key store that hands out another key of the same kind, or the right key's signature over other bytes."""
    key_type, house = house_of_type
    issuer = house.authorities.issuer_for("issuing")
    tbs = signing.build(order_for(house.profiles["mesh"], issuer), issuer)
    with pytest.raises(Defect):
        signing.seal(tbs, dataclasses.replace(issuer, key=rig.pooled_key(key_type)))
    other = issuer.scheme.sign(issuer.key, tbs + b"\0")
    with pytest.raises(Defect):
        signing.seal(tbs, broken(issuer, lambda signature: other))


def rebuilt(order: Order, issuer: Issuer, **changed: Any) -> bytes:
    """The to-be-signed bytes of an order that differs in these fields."""
    return signing.build(order._replace(**changed), issuer)


FIELDS: dict[str, Callable[[Order], dict[str, Any]]] = {
    "serial one more": lambda order: {"serial": order.serial + 1},
    "serial one bit": lambda order: {"serial": order.serial ^ 1 << 100},
    "begins earlier": lambda order: {"not_before": order.not_before - 1},
    "begins later": lambda order: {"not_before": order.not_before + 1},
    "ends earlier": lambda order: {"not_after": order.not_after - 1},
    "ends later": lambda order: {"not_after": order.not_after + 1},
    "another key": lambda order: {"spki": spki(rig.pooled_key(place=1).public_key())},
    "a name more": lambda order: {"names": (*order.names, parse("c.example.internal"))},
    "a name less": lambda order: {"names": order.names[:-1]},
    "no name": lambda order: {"names": ()},
    "names in another order": lambda order: {"names": (*order.names[1:], order.names[0])},
    "a name twice": lambda order: {"names": (order.names[0], *order.names)},
    "a name of another kind": lambda order: {"names": (Name(Kind.URI, order.names[0].value), *order.names[1:])},
    "a letter in a name": lambda order: {"names": (parse("dc.example.internal"), *order.names[1:])},
}
"""For each field that an order decides, the smallest change of it, and others that are alike or the reverse."""


@pytest.mark.parametrize("change", FIELDS.values(), ids=FIELDS.keys())
def test_a_certificate_that_was_not_ordered_is_a_defect(
    house: Installation, issuing: Issuer, change: Callable[[Order], dict[str, Any]]
) -> None:
    """Serial number, names, life and key are held against the order, one by one, before the key has done anything."""
    order = order_for(house.profiles["server"], issuing)
    signing.check(signing.build(order, issuing), order, issuing)
    with pytest.raises(Defect, match="nothing was signed"):
        signing.check(rebuilt(order, issuing, **change(order)), order, issuing)


def variant(house: Installation, *changes: tuple[str, str]) -> Profile:
    """The server's profile with something else in it."""
    text = house.profiles["server"].text
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return read_profile("server", text, rig.VARIABLES)


PROFILES: dict[str, tuple[str, str]] = {
    "no subject": ('"first-dns"', '"none"'),
    "extended usage": ('["server_auth"]', '["server_auth", "client_auth"]'),
    "OCSP signing": ('["server_auth"]', '["ocsp_signing"]'),
    "key usage": ('["digital_signature', '["content_commitment", "digital_signature'),
    "no revocation": ("[dangers]", '[revocation]\ncheck = "none"\n[dangers]'),
}
REPLACED: dict[str, Callable[[Order, Issuer], tuple[bytes, bytes]]] = {
    "issuer's URL": lambda order, issuer: (b"/ca/", b"/xx/"),
    "subject key identifier": lambda order, issuer: _backwards(signing.key_identifier(order.spki)),
    "authority key identifier": lambda order, issuer: _backwards(issuer.facts.key_identifier),
    "algorithm": lambda order, issuer: (bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a8648ce3d040303")),
    "issuer": lambda order, issuer: (b"Test Issuing CA", b"Best Issuing CA"),
}


def _backwards(content: bytes) -> tuple[bytes, bytes]:
    return content, content[::-1]


def altered(house: Installation, issuer: Issuer, order: Order, what: str) -> bytes:
    """What was ordered, with one thing that the order does not spell out replaced by another."""
    if what in PROFILES:
        return rebuilt(order, issuer, profile=variant(house, PROFILES[what]))
    if what in REPLACED:
        before, after = REPLACED[what](order, issuer)
        tbs = signing.build(order, issuer)
        assert before in tbs
        return tbs.replace(before, after)
    if what == "subject":
        return rebuilt(order, issuer, subject=rig.common_name("root").public_bytes())
    if what == "shard":
        return rebuilt(order, issuer, shard=((order.shard or 0) + 1) % 4)
    assert what == "authority"
    authority = variant(house, ('issuer = "issuing"', 'issuer = "issuing"\nkind = "authority"'))
    return rebuilt(order, issuer, profile=authority, subject=signing._subject(order), path_length=0)


@pytest.mark.parametrize("what", ["issuer", "authority key identifier"])
def test_a_certificate_of_another_issuer_is_not_signed(house: Installation, issuing: Issuer, what: str) -> None:
    """The lint holds a certificate against its issuer."""
    order = order_for(house.profiles["server"], issuing)
    with pytest.raises((Defect, PolicyRefusal)):
        signing.check(altered(house, issuing, order, what), order, issuing)


@pytest.mark.parametrize(
    "what",
    [
        *("subject", "no subject", "extended usage", "OCSP signing", "key usage", "no revocation", "shard"),
        *("issuer's URL", "subject key identifier", "algorithm"),
    ],
)
def test_what_the_profile_decides_is_read_back_as_well(house: Installation, issuing: Issuer, what: str) -> None:
    """Subject, usages, pointers and algorithm are what order and profile say, read from the bytes (rows 46 and 63)."""
    order = order_for(house.profiles["server"], issuing)
    with pytest.raises((Defect, PolicyRefusal)):
        signing.check(altered(house, issuing, order, what), order, issuing)


@pytest.mark.parametrize("line", ["issuing", "root"])
def test_a_leaf_never_becomes_a_ca(house: Installation, line: str) -> None:
    """A leaf's order and a CA's certificate do not fit, whatever path the issuer's own length leaves (row 46)."""
    issuer = house.authorities.issuer_for(line)
    order = order_for(house.profiles["server"], issuer)
    with pytest.raises((Defect, PolicyRefusal)):
        signing.check(altered(house, issuer, order, "authority"), order, issuer)


def test_no_bit_of_what_is_signed_changes_unnoticed(house: Installation, issuing: Issuer) -> None:
    """Between building and signing, any flipped bit is noticed, in the product's own words (row 64)."""
    order = order_for(house.profiles["server"], issuing)
    tbs = signing.build(order, issuing)
    for bit in range(0, len(tbs) * 8, 3):
        with pytest.raises(CertwrightError):
            signing.check(_flipped(tbs, bit), order, issuing)


def test_the_profile_judges_what_was_built(house: Installation, issuing: Issuer) -> None:
    """An order that no decision allowed is refused by the second look, for each of its reasons (row 5)."""
    good = order_for(house.profiles["server"], issuing)
    wrong = {
        "name-not-allowed": {"names": (parse("a.elsewhere.example"),)},
        "number-of-names": {"names": tuple(parse(f"a{place}.example.internal") for place in range(26))},
        "lifetime-not-allowed": {"not_after": good.not_before + 91 * 86400},
        "key-type-not-allowed": {"key_type": KeyType.MLDSA44},
        "role-not-allowed": {"role": Role.AUDITOR},
    }
    for code, change in wrong.items():
        order = good._replace(**change)
        with pytest.raises(PolicyRefusal) as raised:
            signing.check(signing.build(order, issuing), order, issuing)
        assert code in {reason.code for reason in raised.value.reasons}


def test_the_lint_judges_what_was_built(house: Installation, issuing: Issuer) -> None:
    """A life outside the issuer's, a serial number of 21 octets, a name twice: reasons, not certificates."""
    good = order_for(house.profiles["server"], issuing)
    for change in (
        {"not_after": issuing.facts.not_after + 1},
        {"not_before": issuing.facts.not_before - 1},
        {"serial": 1 << 159},
        {"names": good.names * 2},
        {"not_after": good.not_before - 1},
    ):
        order = good._replace(**change)
        with pytest.raises(PolicyRefusal) as raised:
            signing.check(signing.build(order, issuing), order, issuing)
        assert "lint" in {reason.code for reason in raised.value.reasons}


def test_a_profile_can_have_pkilint_look_at_each(house: Installation, issuing: Issuer) -> None:
    """With `lint.pkilint = "always"`, what the lean lint lets pass and pkilint does not is refused."""
    never = house.profiles["ocsp-signer"]
    always = read_profile("ocsp-signer", never.text + "\n[lint]\npkilint = 'always'\n", rig.VARIABLES)
    sign(order_for(always, issuing), issuing)
    too_long = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x" * 65)]).public_bytes()
    sign(order_for(never, issuing, subject=too_long), issuing)
    with pytest.raises(PolicyRefusal) as raised:
        sign(order_for(always, issuing, subject=too_long), issuing)
    assert {reason.code for reason in raised.value.reasons} == {"deep-lint"}


@given(st.integers(1, 3), st.integers(1, 63))
@settings(deadline=None, max_examples=60)
def test_a_common_name_is_the_first_name_or_absent(house: Installation, issuing: Issuer, count: int, size: int) -> None:
    """It has at most 64 characters (RFC 5280 appendix A.1); where it does not fit, the names become critical."""
    first = parse(".".join(["a" * size] * count + ["example.internal"]))
    order = order_for(house.profiles["server"], issuing, names=(parse("10.0.0.1"), first, parse("b.example.internal")))
    certificate = sign(order, issuing)
    expected = [first.value] if len(first.value) <= 64 else []
    assert [attribute.value for attribute in certificate.subject] == expected
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert san.critical is not bool(expected)


def test_building_is_pure(house: Installation, issuing: Issuer) -> None:
    """The same order makes the same bytes, and a preview of them is the certificate without its signature."""
    order = order_for(house.profiles["server"], issuing)
    tbs = signing.build(order, issuing)
    assert signing.build(order, issuing) == tbs
    assert preview(tbs, issuer_algorithm(issuing)).tbs_certificate_bytes == tbs
    assert preview(tbs, issuer_algorithm(issuing)).signature == b""
    assert isinstance(issuing.public_key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey)


def issuer_algorithm(issuer: Issuer) -> bytes:
    """The AlgorithmIdentifier that the issuer signs with."""
    return issuer.scheme.identifier
