"""Subject alternative names as text to search by: `dns:api.example`, whatever the certificate says they are.

A name that our own CA could certify has the form that `ca/x509/names` gives it. Any other is kept, escaped, and matches
nothing but itself: it is never compared as a domain, and never opens anything.
"""

from __future__ import annotations

from ipaddress import ip_address

from cryptography import x509

from ca.errors import BadRequest
from ca.x509 import names
from ca.x509.names import Kind, Name
from renewers.inventory import shown
from renewers.inventory.elements import Element, dotted, elements, inside

_KINDS = {0x81: Kind.EMAIL, 0x82: Kind.DNS, 0x86: Kind.URI}
_ADDRESS, _REGISTERED, _OTHER, _DIRECTORY = 0x87, 0x88, 0xA0, 0xA4


def general_names(encoded: bytes) -> list[str]:
    """The names in a DER SubjectAltName (RFC 5280 section 4.2.1.6), in their order."""
    return [shown.capped(_text(element), shown.MAX_NAME) for element in inside(encoded)]


def text_of(name: Name) -> str:
    """A checked name as it stands in the tables."""
    return shown.capped(str(name), shown.MAX_NAME)


def spellings(text: str) -> list[str]:
    """What somebody may mean who types a name: as it stands in the tables, with its kind or guessed."""
    kinds = [kind.value for kind in Kind]
    found = [text] if text.partition(":")[0] in (*kinds, "other", "directory", "registered", "more") else []
    try:
        found.append(text_of(names.parse(text)))
    except BadRequest:
        found += [f"{kind}:{text}" for kind in kinds]
    return [shown.capped(spelling, shown.MAX_NAME) for spelling in dict.fromkeys(found)]


def _text(element: Element) -> str:
    if element.tag in _KINDS:
        return _plain(_KINDS[element.tag], element.content)
    if element.tag == _ADDRESS:
        return f"ip:{_address(element.content)}"
    if element.tag == _REGISTERED:
        return f"registered:{_identifier(element.content)}"
    if element.tag == _OTHER:
        return _other(element)
    if element.tag == _DIRECTORY:
        return f"directory:{_directory(element)}"
    return f"other:{element.whole.hex()}"


def _plain(kind: Kind, content: bytes) -> str:
    try:
        return str(names.make(kind, content.decode("ascii")))
    except (BadRequest, UnicodeDecodeError):
        text = shown.literal(content)
        return f"{kind}:{text.lower() if kind is Kind.DNS else text}"


def _address(content: bytes) -> str:
    return str(ip_address(content)) if len(content) in (4, 16) else f"0x{content.hex()}"


def _identifier(content: bytes) -> str:
    try:
        return dotted(content)
    except ValueError:
        return f"0x{content.hex()}"


def _other(element: Element) -> str:
    """An otherName by its type and its bytes, such as a user principal name."""
    try:
        kind, value = elements(element.content)
        return f"other:{dotted(kind.content)}:{value.content.hex()}"
    except ValueError:
        return f"other:{element.whole.hex()}"


def _directory(element: Element) -> str:
    """A directoryName as RFC 4514 writes it."""
    try:
        return shown.harmless(x509.Name.from_bytes(element.content).rfc4514_string())
    except Exception:  # noqa: BLE001 - parsers raise what they like; then its bytes are its name
        return f"0x{element.content.hex()}"
