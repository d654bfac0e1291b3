"""DER (ITU-T X.690) that a stranger sent, element by element: every length is checked, nothing is followed blindly.

`cryptography` parses certificates; this reader gets out what it refuses to hand over because one field is odd, and what
must be taken as it stands, such as alternative names. Definite lengths and low tag numbers are all that X.509 needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

INTEGER, OCTETS, OID, SEQUENCE, SET, BOOLEAN = 0x02, 0x04, 0x06, 0x30, 0x31, 0x01


class Element(NamedTuple):
    """One element: its identifier octet, its content, and all of it as it stands."""

    tag: int
    content: bytes
    whole: bytes


def elements(data: bytes) -> Iterator[Element]:
    """The elements that `data` is made of, one after the other. `ValueError` where it is no DER."""
    start = 0
    while start < len(data):
        content, end = _header(data, start)
        yield Element(data[start], data[content:end], data[start:end])
        start = end


def inside(data: bytes) -> list[Element]:
    """What is inside the one element that `data` is."""
    whole = list(elements(data))
    if len(whole) != 1:
        raise ValueError("not one element")
    return list(elements(whole[0].content))


def dotted(content: bytes) -> str:
    """An OBJECT IDENTIFIER as people write it."""
    if not content or content[-1] & 0x80 or len(content) > 64:
        raise ValueError("not an object identifier")
    arcs, arc = [], 0
    for octet in content:
        arc = arc << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def _header(data: bytes, start: int) -> tuple[int, int]:
    """Where the content of the element at `start` begins and ends."""
    if start + 2 > len(data) or data[start] & 0x1F == 0x1F:
        raise ValueError("no element that X.509 has")
    length, content = data[start + 1], start + 2
    if length >= 0x80:
        octets = length & 0x7F
        if not 1 <= octets <= 4 or content + octets > len(data):
            raise ValueError("no definite length")
        length = int.from_bytes(data[content : content + octets], "big")
        content += octets
    if content + length > len(data):
        raise ValueError("an element ends after its data")
    return content, content + length
