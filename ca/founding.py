"""What has to hold before an authority comes to be, and the one certificate that no other CA makes: a root's own.

Everything that can be refused is refused here, before a key is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509

from ca import clock
from ca.authority import State
from ca.errors import BadRequest, Defect, PolicyRefusal, Reason
from ca.issuance import new_serial
from ca.keys.algorithms import AUTHORITY_KEY_TYPES, KeyType, PrivateKey, PublicKey, key_type_of, scheme_of, spki
from ca.keys.weak import weaknesses
from ca.policy import judge_subject
from ca.x509 import certificate as encoding
from ca.x509.constraints import Limits
from ca.x509.lint import lint
from ca.x509.request import make_request

ROOT_LIFETIME = timedelta(days=3650)
ROOT_BACKDATE = timedelta(minutes=1)
LINE = re.compile(r"[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*")
LONGEST_LINE = 40
LAST_SECOND = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
"""What GeneralizedTime can say, RFC 5280 section 4.1.2.5."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A CA that somebody wants: its line, its subject, its key, its life."""

    line: str
    subject: x509.Name
    key_type: KeyType
    lifetime: timedelta | None = None
    crl_shards: int = 0
    limits: Limits | None = None
    """The names that it, and all that is beneath it, may certify; None for any."""
    state: State | None = None
    """None: active if its line has no active authority yet, else prepared."""

    def told(self) -> dict[str, Any]:
        """What decides what it will be, in words."""
        limits = self.limits or Limits()
        return {
            "subject": self.subject.rfc4514_string(),
            "key_type": str(self.key_type),
            "lifetime": None if self.lifetime is None else int(self.lifetime.total_seconds()),
            "crl_shards": self.crl_shards,
            "permit": sorted(map(str, limits.permitted)),
            "exclude": sorted(map(str, limits.excluded)),
        }


def check_plan(plan: Plan) -> None:
    """`BadRequest` or `PolicyRefusal` for a plan that no CA can be made or taken over by."""
    if not LINE.fullmatch(plan.line) or len(plan.line) > LONGEST_LINE:
        raise BadRequest(
            f"{plan.line!r} cannot name a line of authorities",
            code="bad-authority-name",
            hint="use lower-case words joined by hyphens, such as issuing or factory-north",
        )
    if plan.key_type not in AUTHORITY_KEY_TYPES:
        raise BadRequest(
            f"a CA does not sign with {plan.key_type}",
            code="bad-authority-key",
            hint=f"choose from {', '.join(AUTHORITY_KEY_TYPES)}",
        )
    if reasons := list(_objections(plan)):
        raise PolicyRefusal(reasons)


def _objections(plan: Plan) -> Iterator[Reason]:
    yield from judge_subject(plan.subject)
    if plan.lifetime is not None and not 0 < plan.lifetime.total_seconds() <= LAST_SECOND - clock.timestamp():
        message = f"a CA cannot live for {plan.lifetime.days} days: a certificate ends in the year 9999 at the latest"
        yield Reason("lifetime-not-allowed", message, "RFC 5280 4.1.2.5")


def self_signed(key: PrivateKey, plan: Plan) -> bytes:
    """A root certificate, linted, signed and verified."""
    scheme = scheme_of(plan.key_type)
    encoded_key, subject = spki(key.public_key()), plan.subject.public_bytes()
    identifier = encoding.key_identifier(encoded_key)
    not_before = clock.timestamp() - int(ROOT_BACKDATE.total_seconds())
    seconds = int((plan.lifetime or ROOT_LIFETIME).total_seconds())
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    tbs = encoding.encode_tbs(
        serial=new_serial(),
        algorithm=scheme.identifier,
        issuer=subject,
        not_before=not_before,
        not_after=not_before + seconds - 1,
        subject=subject,
        spki=encoded_key,
        extensions=(
            encoding.extension(x509.BasicConstraints(ca=True, path_length=None), critical=True),
            encoding.extension(usage, critical=True),
            encoding.extension(x509.SubjectKeyIdentifier(identifier), critical=False),
            *([encoding.extension(plan.limits.extension(), critical=True)] if plan.limits is not None else ()),
        ),
    )
    if found := lint(encoding.preview(tbs, scheme.identifier), None):
        raise Defect("the root that was built is not sound: " + "; ".join(map(str, found)))
    signature = scheme.sign(key, tbs)
    if not scheme.verify(key.public_key(), signature, tbs):
        raise Defect("the signature of the new root does not verify")
    return encoding.assemble(tbs, scheme.identifier, signature)


def authority_request(key: PrivateKey, plan: Plan) -> str:
    """A PEM request for a CA certificate from elsewhere: subject, powers and constraints as they are wanted."""
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    powers: list[x509.ExtensionType] = [x509.BasicConstraints(ca=True, path_length=0), usage]
    if plan.limits is not None:
        powers.append(plan.limits.extension())
    return make_request(key, plan.subject, powers=powers)


def check_import(certificate: x509.Certificate, public_key: PublicKey) -> None:
    """`BadRequest` with everything that keeps a CA from elsewhere from being one of ours."""
    values = {type(e.value): e.value for e in certificate.extensions}
    constraints, usage = values.get(x509.BasicConstraints), values.get(x509.KeyUsage)
    problems = [str(reason) for reason in weaknesses(public_key)]
    if not isinstance(constraints, x509.BasicConstraints) or not constraints.ca:
        problems.append("the certificate is not a CA's (basic constraints)")
    if isinstance(usage, x509.KeyUsage) and not (usage.key_cert_sign and usage.crl_sign):
        problems.append("the certificate may not sign certificates and CRLs (key usage)")
    if certificate.not_valid_after_utc <= clock.now():
        problems.append("the certificate has expired")
    if key_type_of(public_key) not in AUTHORITY_KEY_TYPES:
        problems.append(f"the key is not one of {', '.join(AUTHORITY_KEY_TYPES)}")
    elif spki(public_key) != spki(certificate.public_key()):  # type: ignore[arg-type]
        problems.append("the key does not belong to the certificate")
    if problems:
        raise BadRequest("this CA cannot be taken over: " + "; ".join(problems), code="bad-authority")
