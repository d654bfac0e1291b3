"""Certification requests (PKCS#10, RFC 2986): read, distrusted, reduced to what may be used.

Of a request only the public key and the names survive. `read_request` parses; `prove_possession` checks that whoever
sent it holds the private key, and is called by `ca/issuance` for every request, whatever door it came through.
The parser may raise anything at all (measured: plain `Exception` subclasses beside `ValueError`); here all of it
becomes one `BadRequest`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

from ca.errors import BadRequest
from ca.keys.algorithms import PrivateKey, PublicKey, spki
from ca.x509 import names
from ca.x509.names import Name

MAX_BYTES = 64 * 1024
MAX_NAMES = 1000

_PEM = re.compile(
    rb"\s*-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----[A-Za-z0-9+/=\s]+-----END (?:NEW )?CERTIFICATE REQUEST-----\s*"
)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_ECDSA = frozenset(
    {
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
    }
)
_SAN = x509.SubjectAlternativeName.oid

# `cryptography` warns about odd subjects in requests. They are strangers' and we copy nothing from them.
warnings.filterwarnings("ignore", message="Attribute's length must be", category=UserWarning)


@dataclass(frozen=True, slots=True)
class Request:
    """What a PKCS#10 request said, after everything that must not be used was left behind."""

    public_key: PublicKey
    spki: bytes
    names: tuple[Name, ...]
    common_name: str | None
    wants_authority: bool
    ignored: tuple[str, ...]
    _csr: x509.CertificateSigningRequest

    def prove_possession(self) -> None:
        """`BadRequest` unless it is signed with the private half of its own public key (RFC 2986 section 4.2)."""
        if not _signed_by_its_key(self._csr, self.public_key):
            raise _bad("its signature does not verify under its own public key", "RFC 2986 4.2")


def read_request(data: bytes | str) -> Request:
    """Parse one request, PEM or DER, of at most `MAX_BYTES`."""
    raw = data.encode("ascii", "replace") if isinstance(data, str) else bytes(data)
    if len(raw) > MAX_BYTES:
        raise _bad(f"it is larger than {MAX_BYTES} bytes", "our limit")
    try:
        return _read(raw)
    except BadRequest:
        raise
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the parser's panics are not even Exceptions
        raise _bad(f"it cannot be parsed ({type(error).__name__})", "RFC 2986") from None


def make_request(
    key: PrivateKey,
    subject: x509.Name | None = None,
    wanted: Sequence[Name] = (),
    powers: Sequence[x509.ExtensionType] = (),
) -> str:
    """A PEM request that says no more than that somebody holds `key`, for a subject and names if they are given.

    `powers` are critical extensions that somebody else's CA is asked for.
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject or x509.Name([]))
    if wanted:
        san = x509.SubjectAlternativeName([names.to_general_name(name) for name in wanted])
        builder = builder.add_extension(san, critical=False)
    for power in powers:
        builder = builder.add_extension(power, critical=True)
    is_hashed = isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    csr = builder.sign(key, hashes.SHA256() if is_hashed else None)
    return csr.public_bytes(Encoding.PEM).decode()


def _read(raw: bytes) -> Request:
    if raw[:1] == b"\x30":
        csr = x509.load_der_x509_csr(raw)
    elif _PEM.fullmatch(raw):
        csr = x509.load_pem_x509_csr(raw)
    else:
        raise _bad("it is neither DER nor exactly one PEM block CERTIFICATE REQUEST", "RFC 7468 7")
    public_key = csr.public_key()
    values = [extension.value for extension in csr.extensions]
    extensions = {type(value): value for value in values}
    san = extensions.get(x509.SubjectAlternativeName, ())
    subject = csr.subject
    return Request(
        public_key=public_key,  # type: ignore[arg-type]  # `ca.keys.weak` refuses the kinds that we do not certify
        spki=spki(public_key),  # type: ignore[arg-type]
        names=_names(san),
        common_name=_common_name(subject) if subject.rdns else None,
        wants_authority=_wants_authority(extensions),
        ignored=_ignored(subject, values),
        _csr=csr,
    )


def _names(general_names: Iterable[x509.GeneralName]) -> tuple[Name, ...]:
    found = list(general_names)
    if len(found) > MAX_NAMES:
        raise _bad(f"it asks for more than {MAX_NAMES} names", "our limit")
    return tuple(dict.fromkeys(map(names.from_general_name, found)))


def _common_name(subject: x509.Name) -> str | None:
    values = [attribute.value for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(values) > 1:
        raise _bad("its subject has more than one common name", "CA/B BR 7.1.4.2.2")
    if values and not isinstance(values[0], str):
        raise _bad("its common name is not text", "RFC 5280 4.1.2.4")
    return str(values[0]) if values and values[0] else None


def _wants_authority(extensions: Mapping[type, Any]) -> bool:
    """Whether it asks for anything that only a CA may have: such a wish is refused aloud, not dropped in silence."""
    if x509.NameConstraints in extensions or x509.PolicyConstraints in extensions:
        return True
    constraints, usage = extensions.get(x509.BasicConstraints), extensions.get(x509.KeyUsage)
    if (constraints is not None and constraints.ca) or (usage is not None and (usage.key_cert_sign or usage.crl_sign)):
        return True
    return x509.oid.ExtendedKeyUsageOID.OCSP_SIGNING in extensions.get(x509.ExtendedKeyUsage, ())


def _ignored(subject: x509.Name, extensions: Iterable[x509.ExtensionType]) -> tuple[str, ...]:
    """What was asked for and is not copied, so that the answer can say so."""
    attributes = [f"subject {_oid_name(a.oid)}" for a in subject if a.oid != NameOID.COMMON_NAME]
    wishes = [f"extension {_oid_name(value.oid)}" for value in extensions if value.oid != _SAN]
    return tuple(dict.fromkeys((*attributes, *wishes)))[:20]


def _oid_name(oid: x509.ObjectIdentifier) -> str:
    name = oid._name  # the public repr carries the same name between angle brackets
    return oid.dotted_string if name == "Unknown OID" else name


def _signed_by_its_key(csr: x509.CertificateSigningRequest, key: PublicKey) -> bool:
    try:
        digest = csr.signature_hash_algorithm
        if digest is not None and not isinstance(digest, _HASHES):
            raise _bad(f"it is signed with {digest.name}", "SHA-256, SHA-384 or SHA-512 only")
        if isinstance(key, ec.EllipticCurvePublicKey) and csr.signature_algorithm_oid in _ECDSA and digest is not None:
            key.verify(csr.signature, csr.tbs_certrequest_bytes, ec.ECDSA(digest))  # without parsing the key again
            return True
        return csr.is_signature_valid
    except BadRequest:
        raise
    except InvalidSignature:
        return False
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - as above
        raise _bad(f"its signature cannot be checked ({type(error).__name__})", "RFC 2986 4.2") from None


def _bad(why: str, rule: str) -> BadRequest:
    return BadRequest(f"the certification request is not usable: {why} [{rule}]", code="bad-csr")
