"""On the machine without a network: what a request would have signed, judged by itself, and then signed.

Nothing here knows an installation, a store or a profile. Whatever asks for it, an offline key signs two things: CAs
that RFC 5280 would have beneath it, and its own complete CRLs. What is shown is all that is in the bytes: a certificate
with an extension that the lint does not know is refused, and a list is written anew from what was read, to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from ca import clock, signing
from ca.authority import Issuer, PublicUrls, State, make_issuer
from ca.ceremony.documents import CERTIFICATE, Answered, Asked, digest
from ca.errors import BadRequest
from ca.keys.absent import absent_key
from ca.keys.algorithms import PrivateKey
from ca.models import Authority
from ca.x509.certificate import algorithm_of, assemble, preview
from ca.x509.constraints import objections
from ca.x509.lint import lint
from ca.x509.revocation_list import ToBeSignedList, entries_of

MOST_PRESENT = 20


@dataclass(frozen=True, slots=True)
class Judged:
    """A request that was read: the CA whose key is asked, and each task as what it will be."""

    asked: Asked
    sha256: str
    issuer: Issuer
    certificates: tuple[x509.Certificate, ...]
    lists: tuple[x509.CertificateRevocationList, ...]


def judge(asked: Asked) -> Judged:
    """Read what would be signed. `BadRequest` with everything for which an offline key would not sign it."""
    issuer = _issuer(asked, absent_key(_row(asked)))
    problems: list[str] = []
    certificates, lists = [], []
    for number, task in enumerate(asked.tasks, 1):
        try:
            if task.kind == CERTIFICATE:
                certificate = preview(task.tbs, issuer.scheme.identifier)
                found = _objections(certificate, task.tbs, issuer)
                certificates.append(certificate)
            else:
                crl = x509.load_der_x509_crl(assemble(task.tbs, issuer.scheme.identifier, b""))
                found = _objections_to_list(crl, task.tbs, issuer)
                lists.append(crl)
        except Exception as error:  # noqa: BLE001 - parsers raise what they like
            found = [f"it cannot be read ({type(error).__name__})"]
        problems += [f"task {number}: {each}" for each in found]
    if problems:
        raise BadRequest("this is not signed: " + "; ".join(problems), code="bad-ceremony-request")
    return Judged(asked, digest(asked.encode()), issuer, tuple(certificates), tuple(lists))


def answer(judged: Judged, key: PrivateKey, *, present: Sequence[str], program: str) -> Answered:
    """Sign all of a request that was judged. `present` are the people who stand by, as they call themselves.

    `KeyUnavailable` if the key is not the one of the CA.
    """
    if not 0 < len(present) <= MOST_PRESENT or not all(name.strip() and name.isprintable() for name in present):
        raise BadRequest("a ceremony has somebody present", code="nobody-present", hint='say --by "Ada Lovelace"')
    issuer = _issuer(judged.asked, key)
    signatures = []
    for task in judged.asked.tasks:
        if task.kind == CERTIFICATE:
            signatures.append(signing.seal(task.tbs, issuer)[0])
        else:
            signatures.append(x509.load_der_x509_crl(signing.seal_list(task.tbs, issuer)).signature)
    transcript: Mapping[str, Any] = {"signed_at": clock.timestamp(), "present": list(present), "program": program}
    return Answered(judged.asked.ceremony, judged.sha256, tuple(signatures), transcript)


def _objections(certificate: x509.Certificate, tbs: bytes, issuer: Issuer) -> list[str]:
    """Why it is not a certificate of a CA beneath this one."""
    found = [str(reason) for reason in (*lint(certificate, issuer.facts), *objections(issuer.limits, certificate))]
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    if not constraints.ca or constraints.path_length is None:
        found.append("it is not for a CA whose depth is bounded: an offline key signs no leaf")
    if certificate.subject == certificate.issuer:
        found.append("it has the name of the CA itself")
    if algorithm_of(tbs) != issuer.scheme.identifier:
        found.append("it names another algorithm than its signature will have")
    return found


def _objections_to_list(crl: x509.CertificateRevocationList, tbs: bytes, issuer: Issuer) -> list[str]:
    """Why it is not a complete list of this CA, or says more than is shown."""
    number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    ends = crl.next_update_utc
    if ends is None or not crl.last_update_utc < ends <= issuer.certificate.not_valid_after_utc:
        return ["it does not end after it begins, and with the CA at the latest"]
    again = ToBeSignedList(
        algorithm=issuer.scheme.identifier,
        issuer=issuer.subject,
        this_update=int(crl.last_update_utc.timestamp()),
        next_update=int(ends.timestamp()),
        entries=bytes(entries_of(assemble(tbs, issuer.scheme.identifier, b""))),
        number=number,
        key_identifier=issuer.facts.key_identifier,
        distribution_point=None,
    )
    return [] if again.encode() == tbs else ["it says more, or other things, than a complete list of this CA does"]


def _row(asked: Asked) -> Authority:
    """The offline CA as the request shows it, known nowhere else."""
    name = asked.ceremony
    return Authority(
        name=name,
        line=name,
        generation=1,
        state=State.ACTIVE.value,
        certificate=asked.certificate,
        serial="",
        key_label=name,
        spki_sha256=b"",
        not_before=0,
        not_after=0,
        crl_shards=0,
        created_at=0,
    )


def _issuer(asked: Asked, key: PrivateKey) -> Issuer:
    return make_issuer(_row(asked), (), key, PublicUrls(""))
