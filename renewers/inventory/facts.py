"""What a certificate or a CRL says, whoever made it: read from hostile DER, never believed, not refused for oddities.

Unknown extensions, negative serial numbers, version 1, no names, names with NULs, keys of no known kind: all of it is
tracked, since all of it ends. Only what cannot be parsed at all is a `BadRequest`. Nothing is verified here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import NameOID

from ca.errors import BadRequest, CertwrightError, TooLarge
from ca.keys.algorithms import key_type_of
from renewers.inventory import shown
from renewers.inventory.elements import BOOLEAN, OCTETS, OID, Element, dotted, elements, inside
from renewers.inventory.names import general_names

T = TypeVar("T")
MAX_CERTIFICATE = 64 * 1024
MAX_LIST = 64 * 1024 * 1024
MAX_NAMES = 1000
FOREVER = 253402300799
"""9999-12-31T23:59:59Z, the end of what has none (RFC 5280 section 4.1.2.5)."""
CERTIFICATE, AUTHORITY, LIST, BUNDLE = "certificate", "authority", "crl", "bundle"
"""The kinds of what is tracked."""

_ALTERNATIVE_NAMES, _CONSTRAINTS = "2.5.29.17", "2.5.29.19"

# Strangers' serial numbers and subjects are odd; that is theirs to mend, and no news for our log.
warnings.filterwarnings("ignore", message="Parsed a serial number which wasn't positive")
warnings.filterwarnings("ignore", message="Attribute's length must be", category=UserWarning)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is tracked of something that ends. Texts are harmless and bounded, times seconds since the epoch."""

    identity: str
    kind: str
    shown_as: str
    subject: str
    issuer: str
    serial: str
    spki_sha256: bytes | None
    key_type: str
    not_before: int
    not_after: int
    names: tuple[str, ...]
    der: bytes


def read_certificate(der: bytes) -> Facts:
    """The facts of any certificate. `BadRequest` if it cannot be read."""
    if len(der) > MAX_CERTIFICATE:
        raise TooLarge(f"the certificate is larger than {MAX_CERTIFICATE} bytes")
    return _reading("certificate", lambda: _certificate(bytes(der)))


def read_crl(der: bytes) -> Facts:
    """The facts of any CRL; the next one of the same issuer for the same distribution point has the same identity."""
    if len(der) > MAX_LIST:
        raise TooLarge(f"the CRL is larger than {MAX_LIST} bytes")
    return _reading("CRL", lambda: _list(bytes(der)))


def names_key(names: Iterable[str], otherwise: str = "") -> str:
    """What a successor is recognised by: the SHA-256 of the sorted names or, where there are none, of another text."""
    text = "\n".join(sorted({shown.capped(name, shown.MAX_NAME) for name in names})) or f"\n{otherwise}"
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


def successor_key(facts: Facts) -> str:
    """The `names_key` of what was read; without a name it is the subject that counts, and without one the key."""
    key = facts.spki_sha256.hex() if facts.spki_sha256 is not None else facts.identity
    return names_key(facts.names, f"{facts.issuer}\n{facts.subject}" if facts.subject else key)


def fingerprint_identity(der: bytes) -> str:
    """The identity of a certificate."""
    return f"sha256:{sha256(der).hexdigest()}"


def _reading(what: str, read: Callable[[], Facts]) -> Facts:
    try:
        return read()
    except (CertwrightError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the parser's panics are not even Exceptions
        raise BadRequest(f"the {what} cannot be parsed ({type(error).__name__})", code=f"bad-{what.lower()}") from None


def _certificate(der: bytes) -> Facts:
    certificate = x509.load_der_x509_certificate(der)
    fields = inside(certificate.tbs_certificate_bytes)
    if fields[0].tag != 0xA0:  # version 1 does not say so
        fields.insert(0, Element(0xA0, b"", b""))
    serial, issuer, subject, spki = fields[1], fields[3], fields[5], fields[6]
    extensions = _extensions(fields[7:])
    names = _names(extensions.get(_ALTERNATIVE_NAMES))
    subject_text = _name_text(lambda: certificate.subject, subject)
    key_sha256 = sha256(spki.whole).digest()
    common = _lenient(lambda: _common_name(certificate), "")
    return Facts(
        identity=fingerprint_identity(der),
        kind=AUTHORITY if _is_authority(extensions.get(_CONSTRAINTS)) else CERTIFICATE,
        shown_as=shown_as(names, common or subject_text, key_sha256),
        subject=subject_text,
        issuer=_name_text(lambda: certificate.issuer, issuer),
        serial=_serial(serial),
        spki_sha256=key_sha256,
        key_type=_key_type(certificate),
        not_before=_lenient(lambda: _seconds(certificate.not_valid_before_utc), 0),
        not_after=_lenient(lambda: _seconds(certificate.not_valid_after_utc), 0),
        names=names,
        der=der,
    )


def _list(der: bytes) -> Facts:
    crl = x509.load_der_x509_crl(der)
    fields = inside(crl.tbs_certlist_bytes)
    place = 1 if fields[0].tag == 0x02 else 0  # version 1 does not say so
    issuer = _name_text(lambda: crl.issuer, fields[place + 1])
    extensions = _extensions(fields[place + 3 :])
    point = _lenient(lambda: _point(crl), None)
    if point is None:
        point = shown.capped(extensions.get("2.5.29.28", b"").hex(), shown.MAX_NAME)
    end = _lenient(lambda: crl.next_update_utc, None)
    number = extensions.get("2.5.29.20")
    return Facts(
        identity=f"crl:{sha256(fields[place + 1].whole + point.encode()).hexdigest()}",
        kind=LIST,
        shown_as=shown.line(f"CRL of {issuer}" + (f" at {point}" if point else "")),
        subject="",
        issuer=issuer,
        serial="" if number is None else _lenient(lambda: _serial(next(elements(number))), ""),
        spki_sha256=None,
        key_type="",
        not_before=_lenient(lambda: _seconds(crl.last_update_utc), 0),
        not_after=FOREVER if end is None else _seconds(end),
        names=(),
        der=der,
    )


def shown_as(names: Sequence[str], subject: str, spki_sha256: bytes) -> str:
    """What a person calls a certificate: its first name, else its subject, else its key."""
    values = (name.partition(":")[2] for name in names)
    found = next((value for value in values if value), None)
    return shown.capped(found or subject or f"key {spki_sha256.hex()[:16]}", shown.MAX_TEXT)


def _names(encoded: bytes | None) -> tuple[str, ...]:
    """All alternative names; where there are too many, the last one stands for the rest."""
    found: list[str] = []
    if encoded is not None:
        found = _lenient(lambda: general_names(encoded), found)
    if len(found) > MAX_NAMES:
        rest = sha256("\n".join(found[MAX_NAMES:]).encode()).hexdigest()
        found = [*found[:MAX_NAMES], f"more:{len(found) - MAX_NAMES}-{rest[:32]}"]
    return tuple(dict.fromkeys(found))


def _extensions(fields: Sequence[Element]) -> dict[str, bytes]:
    """The values of the extensions by their identifier, as far as they can be told apart; the first one counts."""
    found: dict[str, bytes] = {}
    wrapped = next((field for field in fields if field.tag in (0xA0, 0xA3)), None)
    if wrapped is None:
        return found
    for extension in _inside(wrapped.content):
        parts = _inside(extension.whole)
        if len(parts) >= 2 and parts[0].tag == OID and parts[-1].tag == OCTETS:
            found.setdefault(_identifier(parts[0].content), parts[-1].content)
    return found


def _is_authority(encoded: bytes | None) -> bool:
    parts = _inside(encoded) if encoded is not None else []
    return bool(parts) and parts[0].tag == BOOLEAN and parts[0].content not in (b"", b"\x00")


def _inside(data: bytes) -> list[Element]:
    """What is inside an element, or nothing if it is no element."""
    try:
        return inside(data)
    except ValueError:
        return []


def _identifier(content: bytes) -> str:
    return _lenient(lambda: dotted(content), "")


def _serial(element: Element) -> str:
    number = int.from_bytes(element.content[:1024], "big", signed=True)
    return shown.capped(f"{number:x}", 80)


def _common_name(certificate: x509.Certificate) -> str:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return shown.harmless(str(found[0].value)) if found else ""


def _name_text(parsed: Callable[[], x509.Name], encoded: Element) -> str:
    """A distinguished name as RFC 4514 writes it; where it cannot be decoded, its attributes with their bytes."""
    text = _lenient(lambda: parsed().rfc4514_string(), None)
    if text is None:
        text = _lenient(lambda: ",".join(map(_attribute, reversed(list(elements(encoded.content))))), "unreadable")
    return shown.line(text)


def _attribute(relative: Element) -> str:
    parts = [inside(element.whole) for element in elements(relative.content)]
    return "+".join(f"{dotted(kind.content)}={shown.literal(value.content)}" for kind, value in parts)


def _key_type(certificate: x509.Certificate) -> str:
    """`P-256`, `RSA-2048`; others by curve, size or identifier."""
    key: Any = _lenient(certificate.public_key, None)
    if key is None:
        return _lenient(lambda: certificate.public_key_algorithm_oid.dotted_string, "unknown")
    known = _lenient(lambda: key_type_of(key), None)
    if known is not None:
        return known.value
    match key:
        case rsa.RSAPublicKey():
            return f"RSA-{key.key_size}"
        case dsa.DSAPublicKey():
            return f"DSA-{key.key_size}"
        case ec.EllipticCurvePublicKey():
            return str(key.curve.name)
    return type(key).__name__.lstrip("_").removesuffix("PublicKey")


def _point(crl: x509.CertificateRevocationList) -> str | None:
    """The first URI of the issuing distribution point; empty for a list without one, None if it is of another form."""
    try:
        value = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    except x509.ExtensionNotFound:
        return ""
    uris = [name.value for name in value.full_name or () if isinstance(name, x509.UniformResourceIdentifier)]
    return shown.capped(shown.harmless(uris[0]), shown.MAX_NAME) if uris else None


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _lenient(read: Callable[[], T], otherwise: T) -> T:
    """What `read` returns; `otherwise`, where the certificate is odd there: the rest of it still counts."""
    try:
        return read()
    except Exception:  # noqa: BLE001 - parsers raise what they like, and one odd field is no reason to lose sight of it
        return otherwise
