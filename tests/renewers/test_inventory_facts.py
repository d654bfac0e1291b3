"""What strangers' certificates say: everything that parses is read, however odd; nothing that is read can hurt."""

from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from ca import der
from ca.errors import BadRequest, TooLarge
from ca.keys.algorithms import KeyType
from ca.x509.certificate import fingerprint
from renewers.inventory import shown
from renewers.inventory.elements import dotted, elements
from renewers.inventory.facts import FOREVER, MAX_NAMES, names_key, read_certificate, read_crl, successor_key
from renewers.inventory.names import general_names, spellings
from tests import rig
from tests.renewers import foreign
from tests.renewers.foreign import certificate, dn, extension, facts

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parsed a serial number"),
    pytest.mark.filterwarnings("ignore:Attribute's length"),
]
BEGIN = 1_700_000_000


def general(tag: int, content: bytes) -> bytes:
    """A subject alternative name extension with one raw name."""
    return extension("2.5.29.17", der.sequence(der.tagged(tag, content)))


def test_an_ordinary_certificate_says_what_it_says() -> None:
    """Every field, from one that a real CA key has signed."""
    encoded = foreign.signed("dns:api.example", "ip:10.0.0.1", by=foreign.another_key(), begin=BEGIN, days=30)
    parsed, found = x509.load_der_x509_certificate(encoded), read_certificate(encoded)
    assert found.identity == f"sha256:{fingerprint(encoded)}"
    assert (found.kind, found.shown_as, found.subject, found.issuer) == ("certificate", "api.example", "", "CN=A CA")
    assert (found.serial, found.key_type) == (f"{parsed.serial_number:x}", "P-256")
    assert (found.not_before, found.not_after) == (BEGIN, BEGIN + 30 * foreign.DAY)
    assert found.names == ("dns:api.example", "ip:10.0.0.1")
    assert found.der == encoded


ODD_NAMES = [
    (0x82, b"a\0b", "dns:a\\x00b"),
    (0x82, b"evil.example\n", "dns:evil.example\\x0a"),
    (0x82, b"a\\x00b", "dns:a\\x5cx00b"),
    (0x82, b"\xe9.example", "dns:\\xe9.example"),
    (0x82, "a\u202egnp.exe".encode(), "dns:a\\xe2\\x80\\xaegnp.exe"),
    (0x82, b"", "dns:"),
    (0x82, b"Under_Score.Example", "dns:under_score.example"),
    (0x82, b"trailing.example.", "dns:trailing.example."),
    (0x82, b"API.Example", "dns:api.example"),
    (0x87, b"\x0a\x00\x00\x01", "ip:10.0.0.1"),
    (0x87, b"abc", "ip:0x616263"),
    (0x81, b"\xff@x", "email:\\xff@x"),
    (0x86, b"SPIFFE://Td/a", "uri:SPIFFE://Td/a"),
    (0x88, b"\x2a\x03\x04", "registered:1.2.3.4"),
    (0x88, b"\xff", "registered:0xff"),
    (0xA0, der.oid("1.3.6.1.4.1.311.20.2.3") + der.explicit(0, der.tagged(0x0C, b"a@b")), None),
    (0xA0, b"\x01", None),
    (0xA4, dn(b"Room\x07"), "directory:CN=Room\\x07"),
    (0xA4, b"\x05\x00", None),
    (0x9F, b"", None),
]


@pytest.mark.parametrize(("tag", "content", "text"), ODD_NAMES)
def test_odd_names_are_kept_escaped(tag: int, content: bytes, text: str | None) -> None:
    """Each is one line of harmless text that matches nothing but itself (rows 42 and 98)."""
    try:
        found = general_names(der.sequence(der.tagged(tag, content)))
    except ValueError:
        assert tag == 0x9F
        return
    assert len(found) == 1
    assert found[0].isprintable()
    assert text is None or found == [text]
    assert read_certificate(certificate(extensions=[general(tag, content)])).names == tuple(found)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=40))
def test_two_different_names_never_look_alike(one: bytes, other: bytes) -> None:
    """Escaping forgets nothing but the case of a domain."""
    texts = [general_names(der.sequence(der.tagged(0x86, content)))[0] for content in (one, other)]
    assert (texts[0] == texts[1]) == (one == other) or one.lower() == other.lower()


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({"version": b""}, {"serial": "5"}),
        ({"serial": b"\x02\x01\xff"}, {"serial": "-1"}),
        ({"serial": b"\x02\x01\x00"}, {"serial": "0"}),
        ({"subject": der.sequence()}, {"subject": ""}),
        ({"subject": dn(b"\xff\xfe")}, {"subject": "2.5.4.3=\\xff\\xfe"}),
        ({"subject": dn(b"a\0b")}, {"shown_as": "a\\x00b"}),
        ({"subject": dn("a\u202eb".encode())}, {"shown_as": "a\\u202eb", "subject": "CN=a\\u202eb"}),
        ({"subject": dn(b"abc", tag=0x05)}, {"subject": "2.5.4.3=abc"}),
        ({"subject": dn(b"DEU", tag=0x13, oid="2.5.4.6")}, {"subject": "C=DEU"}),
        ({"key": der.sequence(der.sequence(der.oid("1.2.3.4")), der.bit_string(b"k"))}, {"key_type": "1.2.3.4"}),
        ({"extensions": [extension("1.2.3", b""), extension("1.2.3", b"")]}, {"kind": "certificate"}),
        ({"extensions": [extension("2.5.29.19", b"\x01")]}, {"kind": "certificate"}),
        ({"extensions": [extension("2.5.29.17", b"\x30\x05abc")]}, {"names": ()}),
        ({"extensions": [extension("1.2.3.4", b"?", critical=True)]}, {"names": ()}),
        ({"extensions": [foreign.CA]}, {"kind": "authority"}),
        ({"times": der.sequence(der.time(BEGIN), der.tagged(0x18, b"99991231235959Z"))}, {"not_after": FOREVER}),
        ({"times": der.sequence(der.tagged(0x18, b"00000101000000Z"), der.time(BEGIN))}, {"not_before": 0}),
        ({"times": der.sequence(der.time(BEGIN + 9), der.time(BEGIN))}, {"not_before": BEGIN + 9, "not_after": BEGIN}),
    ],
)
def test_oddities_are_tracked_all_the_same(choices: dict[str, bytes], expected: dict[str, object]) -> None:
    """Each field that is odd costs itself alone."""
    found = facts(**choices)
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.shown_as
    assert all(text.isprintable() for text in (found.shown_as, found.subject, found.issuer, found.serial, *found.names))


def test_a_key_of_every_type_has_a_name() -> None:
    """Those that we certify under our name for it, others by curve or size."""
    for key_type in (KeyType.P384, KeyType.ED25519, KeyType.RSA2048, KeyType.MLDSA44):
        encoded = certificate("dns:a.example", key=foreign.spki(rig.pooled_key(key_type).public_key()))
        assert read_certificate(encoded).key_type == key_type.value


def test_what_cannot_be_parsed_is_refused_plainly() -> None:
    """One error, with the same code, whatever the parser raised; and nothing of the content in it."""
    good = certificate("dns:secret.example")
    for bad in (
        b"",
        b"\x30",
        b"nonsense",
        good[:-1],
        good + b"\0",
        certificate(version=der.explicit(0, der.integer(7))),
    ):
        with pytest.raises(BadRequest) as caught:
            read_certificate(bad)
        assert caught.value.code == "bad-certificate"
        assert "secret" not in caught.value.message
    with pytest.raises(TooLarge):
        read_certificate(b"\x30" * 70_000)
    with pytest.raises(BadRequest) as caught:
        read_crl(good)
    assert caught.value.code == "bad-crl"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_read_or_refused_and_never_worse(data: st.DataObject) -> None:
    """A certificate with any octets changed is either facts with harmless text, or a `BadRequest`."""
    encoded = bytearray(certificate("dns:api.example", extensions=[foreign.CA], begin=BEGIN))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_certificate(bytes(encoded))
    except BadRequest:
        return
    texts = (found.shown_as, found.subject, found.issuer, found.serial, found.key_type, *found.names)
    assert all(text.isprintable() and len(text) <= shown.MAX_NAME for text in texts)
    assert successor_key(found)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_the_reader_ends(data: bytes) -> None:
    """Elements of any bytes add up to the bytes, or it is said that they are none."""
    try:
        found = list(elements(data))
    except ValueError:
        return
    assert b"".join(element.whole for element in found) == data


@pytest.mark.parametrize("text", ["1.2.840.113549.1.1.11", "2.5.29.17", "2.999.3", "0.9.2342"])
def test_identifiers_are_written_as_people_do(text: str) -> None:
    """Large arcs and the joint first octet included."""
    first, second, *rest = (int(arc) for arc in text.split("."))
    encoded = bytearray()
    for arc in (first * 40 + second, *rest):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.append(0x80 | arc & 0x7F)
        encoded.extend(reversed(septets))
    assert dotted(bytes(encoded)) == text


def test_very_many_names_are_bounded_and_still_told_apart() -> None:
    """A thousand are kept, the rest by their hash: two certificates that differ in the last name are no successors."""

    def of(last: str) -> tuple[str, ...]:
        inner = b"".join(der.tagged(0x82, f"n{i}.e".encode()) for i in range(MAX_NAMES + 50))
        return read_certificate(
            certificate(extensions=[extension("2.5.29.17", der.sequence(inner, der.tagged(0x82, last.encode())))])
        ).names

    assert len(of("a.e")) == MAX_NAMES + 1
    assert names_key(of("a.e")) != names_key(of("b.e"))


def test_a_very_long_name_is_capped_and_still_found() -> None:
    """Whoever searches for all of it finds it; another one with the same beginning is another."""
    long = f"spiffe://example.internal/{'a' * 1500}"
    found = facts(f"uri:{long}")
    assert len(found.names[0]) == shown.MAX_NAME
    assert found.names[0] in spellings(f"uri:{long}")
    assert found.names[0] not in spellings(f"uri:{long}b")


def test_without_names_the_subject_makes_the_successor() -> None:
    """Certificates that name nobody are not all one lineage."""
    one, other = facts(subject=dn(b"one")), facts(subject=dn(b"other"))
    assert successor_key(one) == successor_key(facts(subject=dn(b"one"), serial=foreign.numbered(9)))
    assert successor_key(one) != successor_key(other)
    nobody = [facts(subject=der.sequence(), key=foreign.spki(foreign.another_key(n).public_key())) for n in (1, 2)]
    assert successor_key(nobody[0]) != successor_key(nobody[1])


def test_the_next_list_of_an_issuer_is_the_same_thing() -> None:
    """A CRL is known by who issues it for which distribution point, and ends with its next update."""
    key = foreign.another_key()
    first = read_crl(foreign.crl(by=key, begin=BEGIN, number=7))
    second = read_crl(foreign.crl(by=key, begin=BEGIN + foreign.DAY, number=8))
    shard = read_crl(foreign.crl(by=key, begin=BEGIN, url="http://ca.example/1.crl"))
    other = read_crl(foreign.crl(by=key, begin=BEGIN, issuer="B CA"))
    assert first.identity == second.identity
    assert len({first.identity, shard.identity, other.identity}) == 3
    assert (first.kind, first.serial, second.serial) == ("crl", "7", "8")
    assert first.not_after == BEGIN + 7 * foreign.DAY
    assert "http://ca.example/1.crl" in shard.shown_as
