"""Our handful of DER encodings, judged by two encoders that are not ours: `cryptography`'s and `openssl asn1parse`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ca import der
from tests import peer

ARCS = st.one_of(st.integers(0, 200), st.integers(0, 2**64))
OIDS = st.builds(
    lambda first, second, rest: ".".join(map(str, (first, second, *rest))),
    st.shared(st.integers(0, 2), key="first"),
    st.shared(st.integers(0, 2), key="first").flatmap(lambda first: ARCS if first == 2 else st.integers(0, 39)),
    st.lists(ARCS, max_size=8),
)
CONTENTS = st.one_of(st.binary(max_size=300), st.sampled_from([0, 127, 128, 255, 256, 65535, 65536]).map(bytes))
LAST_UTC_TIME = int(datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
LAST_SECOND = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


@given(st.integers(0, 2**200))
@example(0)
@example(127)
@example(128)
@example(255)
@example(256)
@example((1 << 159) - 1)
@settings(deadline=None)
def test_an_integer_is_encoded_as_others_encode_it(value: int) -> None:
    """INTEGER takes the fewest octets whose first bit is clear: byte for byte what another encoder writes."""
    assert der.integer(value) == asn1.encode_der(value)


def test_a_negative_integer_is_not_encoded() -> None:
    """Nothing that we write is negative, so a negative number is an error and not some other number."""
    with pytest.raises(OverflowError):
        der.integer(-1)


@given(CONTENTS)
@settings(deadline=None, max_examples=50)
def test_an_octet_string_is_encoded_as_others_encode_it(content: bytes) -> None:
    """The length is short below 128 octets and has the fewest octets from there on."""
    assert der.octet_string(content) == asn1.encode_der(content)


@given(CONTENTS)
@settings(deadline=None, max_examples=50)
def test_a_bit_string_is_encoded_as_others_encode_it(content: bytes) -> None:
    """BIT STRING of whole octets has no unused bits."""
    assert der.bit_string(content) == asn1.encode_der(asn1.BitString(content, 0))


@given(OIDS)
@example("2.5.29.56")
@example("0.0")
@example("1.39")
@example("2.47")
@example("2.48")
@example("2.999.3")
@example("1.2.840.113549.1.1.11")
@settings(deadline=None)
def test_an_object_identifier_is_encoded_as_others_encode_it(dotted: str) -> None:
    """Every arc in base 128, the first two in one, arcs above 2.47 and above 32 bits included."""
    try:
        expected = asn1.encode_der(x509.ObjectIdentifier(dotted))
    except ValueError:  # longer than `cryptography` takes
        return
    assert der.oid(dotted) == expected


@given(st.integers(0, LAST_SECOND))
@example(0)
@example(LAST_UTC_TIME - 1)
@example(LAST_UTC_TIME)
@example(LAST_UTC_TIME + 1)
@example(LAST_SECOND)
@settings(deadline=None)
def test_a_time_is_read_back_by_others_to_the_second(seconds: int) -> None:
    """UTCTime through the end of 2049, GeneralizedTime from the first second of 2050 (RFC 5280 section 4.1.2.5)."""
    moment = datetime.fromtimestamp(seconds, UTC)
    kind = asn1.UTCTime if seconds <= LAST_UTC_TIME else asn1.GeneralizedTime
    assert der.time(seconds) == asn1.encode_der(kind(moment))


def test_the_boundary_of_2050_is_seen_by_a_certificate_parser() -> None:
    """Read as a certificate's validity, the last second of 2049 and the first of 2050 are one second apart."""
    from ca.keys.algorithms import KeyType, scheme_of, spki
    from ca.x509.certificate import encode_tbs, preview
    from tests import rig

    algorithm = scheme_of(KeyType.P256).identifier
    name = rig.common_name("a").public_bytes()
    tbs = encode_tbs(
        serial=1,
        algorithm=algorithm,
        issuer=name,
        not_before=LAST_UTC_TIME,
        not_after=LAST_UTC_TIME + 1,
        subject=name,
        spki=spki(rig.pooled_key().public_key()),
        extensions=(),
    )
    certificate = preview(tbs, algorithm)
    assert certificate.not_valid_before_utc == datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(seconds=1)


@given(st.integers(0, 127))
@settings(deadline=None, max_examples=20)
def test_an_enumerated_value_is_one_octet(value: int) -> None:
    """ENUMERATED differs from INTEGER in its tag alone."""
    assert der.enumerated(value) == b"\x0a" + der.integer(value)[1:]


def test_the_constants_are_what_others_encode() -> None:
    """TRUE is 0xff (X.690 section 11.1) and NULL is empty."""
    assert asn1.encode_der(True) == der.BOOLEAN_TRUE
    assert asn1.encode_der(asn1.Null()) == der.NULL


@given(st.lists(CONTENTS, max_size=6), st.integers(0, 30))
@settings(deadline=None, max_examples=60)
def test_openssl_sees_the_structure_that_was_written(contents: list[bytes], number: int) -> None:
    """`openssl asn1parse` finds each element at the offset, with the header and length, that `elements()` reports."""
    encoded = der.sequence(der.explicit(number, der.sequence(*map(der.octet_string, contents))), der.integer(7))
    result = peer.run(peer.require("openssl"), "asn1parse", "-inform", "DER", stdin=encoded)
    assert result.returncode == 0, result.stderr
    seen = [
        (int(offset), int(header), int(length))
        for offset, header, length in re.findall(rb"^ *(\d+):d=\d+ +hl=(\d+) +l= *(\d+) ", result.stdout, re.MULTILINE)
    ]
    assert seen == list(_walk(encoded, 0, len(encoded)))


def _walk(data: bytes, start: int, end: int):
    """Offset, header size and content size of every element, as `elements()` has them, outermost first."""
    for tag, place, content, stop in der.elements(data, start, end):
        yield place, content - place, stop - content
        if tag & 0x20:
            yield from _walk(data, content, stop)


@given(st.integers(0, 255).filter(lambda tag: tag & 0x1F != 0x1F), CONTENTS)
@settings(deadline=None)
def test_header_reads_what_tagged_wrote(tag: int, content: bytes) -> None:
    """A header says the tag and where the content starts and ends, at any offset, in bytes and in a view of them."""
    data = b"\xff\xff\xff" + der.tagged(tag, content) + b"\x00"
    for source in (data, memoryview(data)):
        found, start, end = der.header(source, 3)
        assert (found, bytes(source[start:end])) == (tag, content)
        assert end == len(data) - 1


@given(st.lists(st.tuples(st.sampled_from([0x02, 0x04, 0x30, 0xA0]), CONTENTS), max_size=8))
@settings(deadline=None)
def test_elements_finds_every_part_again(parts: list[tuple[int, bytes]]) -> None:
    """What `sequence()` joined, `elements()` takes apart: the same tags and contents, nothing between them."""
    encoded = der.sequence(*(der.tagged(tag, content) for tag, content in parts))
    _, start, end = der.header(encoded, 0)
    found = list(der.elements(encoded, start, end))
    assert [(tag, encoded[content:stop]) for tag, _, content, stop in found] == parts
    assert [place for _, place, _, _ in found] == [start, *(stop for *_, stop in found)][: len(found)]
