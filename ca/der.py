"""The few DER encodings (ITU-T X.690) that build an outer SEQUENCE, and one reader that finds its parts again.

Values of extensions, names and keys come encoded from `cryptography`; this room only wraps them. It never parses
anything that a stranger sent: `elements()` reads back what this product has signed itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache

BOOLEAN_TRUE = b"\x01\x01\xff"
NULL = b"\x05\x00"


def tagged(tag: int, content: bytes) -> bytes:
    """One element: identifier octet `tag`, definite length, content."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def sequence(*parts: bytes) -> bytes:
    """SEQUENCE of already encoded parts."""
    return tagged(0x30, b"".join(parts))


def explicit(number: int, content: bytes) -> bytes:
    """[number] EXPLICIT."""
    return tagged(0xA0 | number, content)


def integer(value: int) -> bytes:
    """INTEGER, non-negative: the fewest octets whose first bit is clear."""
    return tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def octet_string(content: bytes) -> bytes:
    """OCTET STRING."""
    return tagged(0x04, content)


def bit_string(content: bytes) -> bytes:
    """BIT STRING with no unused bits."""
    return tagged(0x03, b"\x00" + content)


def enumerated(value: int) -> bytes:
    """ENUMERATED, below 128."""
    return bytes((0x0A, 0x01, value))


@lru_cache(maxsize=256)
def oid(dotted: str) -> bytes:
    """OBJECT IDENTIFIER."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = bytearray()
    for arc in (first * 40 + second, *rest):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.append(0x80 | arc & 0x7F)
        content.extend(reversed(septets))
    return tagged(0x06, bytes(content))


@lru_cache(maxsize=4096)
def time(seconds: int) -> bytes:
    """Time as RFC 5280 section 4.1.2.5 wants it: UTCTime through 2049, GeneralizedTime from 2050, seconds, Z."""
    moment = datetime.fromtimestamp(seconds, UTC)
    if moment.year < 2050:
        return tagged(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())
    return tagged(0x18, moment.strftime("%Y%m%d%H%M%SZ").encode())


def header(data: bytes | memoryview, offset: int) -> tuple[int, int, int]:
    """Read one element's header at `offset`: its tag, where its content starts, where it ends."""
    tag, length, start = data[offset], data[offset + 1], offset + 2
    if length >= 0x80:
        octets = length & 0x7F
        length = int.from_bytes(data[start : start + octets], "big")
        start += octets
    return tag, start, start + length


def elements(data: bytes | memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The elements between two offsets, each as (tag, where it starts, where its content starts, where it ends)."""
    while start < end:
        tag, content, stop = header(data, start)
        yield tag, start, content, stop
        start = stop
