"""The sheet of paper of a ceremony: what is about to be signed, in words, and the steps, with a box for each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from cryptography import x509

from ca.ceremony.documents import aloud
from ca.ceremony.offline import Judged
from ca.keys.algorithms import key_type_of, spki
from ca.x509.certificate import fingerprint, serial_text
from ca.x509.constraints import limits_of

MOST_ENTRIES = 200


def write(judged: Judged, *, request: str) -> str:
    """The whole sheet, at most 100 columns wide; `request` is the name of the file."""
    lines = [f"CEREMONY {judged.asked.ceremony}", "", *_head(judged), ""]
    for certificate in judged.certificates:
        lines += ["TO BE SIGNED: THE CERTIFICATE OF A CA", *_certificate(certificate), ""]
    for crl in judged.lists:
        lines += ["TO BE SIGNED: A CERTIFICATE REVOCATION LIST, COMPLETE", *_list(crl), ""]
    return "\n".join([*lines, "STEPS", *_steps(judged, request), ""])


def _head(judged: Judged) -> Iterator[str]:
    yield from _field("request", aloud(judged.sha256))
    yield from _field("by the key of", judged.issuer.certificate.subject.rfc4514_string())
    yield from _field("certificate", aloud(fingerprint(judged.asked.certificate)))
    yield from _field("ends", _moment(judged.issuer.certificate.not_valid_after_utc))
    made = _moment(datetime.fromtimestamp(judged.asked.created_at, UTC))
    yield from _field("asked for", f"{made} by {judged.asked.created_by}")


def _certificate(certificate: x509.Certificate) -> Iterator[str]:
    public_key = certificate.public_key()
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    limits = limits_of(certificate)
    yield from _field("subject", certificate.subject.rfc4514_string())
    yield from _field("serial", serial_text(certificate.serial_number))
    yield from _field("valid from", _moment(certificate.not_valid_before_utc))
    yield from _field("valid until", _moment(certificate.not_valid_after_utc))
    yield from _field("key", str(key_type_of(public_key)))  # type: ignore[arg-type]  # the lint knows it
    yield from _field("key's SHA-256", aloud(sha256(spki(public_key)).hexdigest()))  # type: ignore[arg-type]
    yield from _field("CAs beneath it", str(constraints.path_length))
    for name, kind in (("list at", x509.CRLDistributionPoints), ("found at", x509.AuthorityInformationAccess)):
        for place in _places(certificate, kind):
            yield from _field(name, place)
    yield from _field("names", "any" if limits is None else "")
    if limits is not None:
        for word, names in (
            ("only", (*map(str, limits.permitted), *(n.rfc4514_string() for n in limits.directories_permitted))),
            ("never", (*map(str, limits.excluded), *(n.rfc4514_string() for n in limits.directories_excluded))),
        ):
            for name in names:
                yield from _field(f"  {word}", name)


def _places(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> Iterator[str]:
    """The addresses in a certificate: of its CRL, of its issuer's certificate, of a responder."""
    found: Any = next((each.value for each in certificate.extensions if isinstance(each.value, kind)), ())
    for one in found:
        for place in [one.access_location] if hasattr(one, "access_location") else one.full_name or []:
            yield str(place.value)


def _list(crl: x509.CertificateRevocationList) -> Iterator[str]:
    number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    assert crl.next_update_utc is not None  # `offline.judge` refuses a list without
    yield from _field("number", str(number))
    yield from _field("good from", _moment(crl.last_update_utc))
    yield from _field("good until", _moment(crl.next_update_utc))
    yield from _field("revoked", str(len(crl)))
    for place, entry in enumerate(crl):
        if place == MOST_ENTRIES:
            yield from _field("", f"... and {len(crl) - place} more")
            return
        try:
            reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
        except x509.ExtensionNotFound:
            reason = "unspecified"
        yield from _field("", f"{serial_text(entry.serial_number)} {_moment(entry.revocation_date_utc)} {reason}")


def _steps(judged: Judged, request: str) -> Iterator[str]:
    steps = (
        "This sheet was printed on the machine that made the request, or its digest was read out from there.",
        "The machine that signs has no network, and its clock is right.",
        f"Its words: certwright ceremony show {request}",
        "The digest of the request, the subjects, the dates and the keys there are those on this sheet.",
        f"Signed: certwright ceremony sign {request} --key KEY --by NAME --by NAME --out answer.json",
        "The key is back where it is kept; who opened that place, and when, is written there.",
        "Carried back: certwright ceremony accept answer.json",
        f"certwright ceremony show {judged.asked.ceremony} says completed.",
    )
    for number, step in enumerate(steps, 1):
        yield f"[ ] {number}. {step}"
    yield ""
    for _ in range(2):
        yield "present  ____________________________   signature  ____________________________   ______________"


def _field(name: str, value: str) -> Iterator[str]:
    yield f"  {name:<16}{value}".rstrip()


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
