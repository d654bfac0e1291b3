"""Judging a request against a profile: reasons, not booleans, and all of them at once.

The same judge sees a request twice: as it was asked for, to refuse early and plainly, and as read back from the
to-be-signed certificate, which is what counts (`ca/issuance.py`, step 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from ca.access import Role
from ca.errors import Reason
from ca.keys.algorithms import KeyType
from ca.profiles.config import SYSTEM_KINDS, format_duration, format_seconds
from ca.profiles.profile import Profile
from ca.profiles.reserved import is_reserved
from ca.profiles.rules import Attributes
from ca.x509.names import Kind, Name

MOST_REASONS = 20
"""How many names a refusal spells out; the rest is a number."""

LONGEST_ATTRIBUTE = 64
"""What RFC 5280 appendix A.1 allows for most attributes of a subject, and we for those that it does not limit."""
_LONGEST = {
    NameOID.LOCALITY_NAME: 128,
    NameOID.STATE_OR_PROVINCE_NAME: 128,
    NameOID.EMAIL_ADDRESS: 255,
    NameOID.USER_ID: 256,
}


class Subject(NamedTuple):
    """What is judged: who would be named how, with which key, for how long, on whose word."""

    names: Sequence[Name]
    key_type: KeyType | None
    lifetime: int
    role: Role
    attributes: Attributes


def judge(profile: Profile, subject: Subject) -> list[Reason]:
    """Every reason why `profile` forbids `subject`; empty if it allows it."""
    reasons: list[Reason] = []
    _role(reasons, profile, subject)
    _key(reasons, profile, subject)
    _lifetime(reasons, profile, subject)
    _names(reasons, profile, subject)
    return reasons


def judge_subject(subject: x509.Name) -> list[Reason]:
    """Why no certificate can carry a subject that somebody wrote: of a CA, or of an OCSP signer."""
    attributes = list(subject)
    if not attributes:
        return [Reason("subject-missing", "a CA has a subject that is not empty", "RFC 5280 4.1.2.4")]
    reasons = []
    for attribute in attributes:
        value, what = str(attribute.value), attribute.rfc4514_attribute_name
        if not value.isprintable():
            reasons.append(Reason("subject-not-printable", f"{what} holds what cannot be shown", "RFC 5280 4.1.2.4"))
        if len(value) > (limit := _LONGEST.get(attribute.oid, LONGEST_ATTRIBUTE)):
            reasons.append(Reason("subject-too-long", f"{what} has more than {limit} characters", "RFC 5280 A.1"))
    return reasons


def _role(reasons: list[Reason], profile: Profile, subject: Subject) -> None:
    if profile.rules[subject.role] or (profile.config.kind != "leaf" and subject.role is Role.ADMIN):
        return
    roles = ", ".join(sorted(profile.roles)) or "nobody"
    message = f"the role {subject.role} may not use profile {profile.name}, which is for {roles}"
    reasons.append(Reason("role-not-allowed", message, f"{profile.name}: allow.roles"))


def _key(reasons: list[Reason], profile: Profile, subject: Subject) -> None:
    if subject.key_type is None or subject.key_type in profile.keys:  # an unknown kind is reported as a weak key
        return
    message = f"{subject.key_type} keys are not allowed, only {', '.join(profile.config.keys)}"
    reasons.append(Reason("key-type-not-allowed", message, f"{profile.name}: keys"))


def _lifetime(reasons: list[Reason], profile: Profile, subject: Subject) -> None:
    if 0 < subject.lifetime <= profile.longest:
        return
    longest = format_duration(profile.config.longest)
    message = f"a lifetime of {format_seconds(subject.lifetime)} is not between 1s and {longest}"
    reasons.append(Reason("lifetime-not-allowed", message, f"{profile.name}: longest"))


def _names(reasons: list[Reason], profile: Profile, subject: Subject) -> None:
    names, limits = subject.names, profile.config.names
    if not limits.minimum <= len(names) <= limits.maximum:
        message = f"{len(names)} names were asked for, where {limits.minimum} to {limits.maximum} are allowed"
        reasons.append(Reason("number-of-names", message, f"{profile.name}: names"))
    uris = [name for name in names if name.kind is Kind.URI]
    if len(uris) > 1 and any(name.is_spiffe for name in uris):
        reasons.append(Reason("one-spiffe-id", "an X.509-SVID has exactly one URI name", "SPIFFE X509-SVID 2"))
    if profile.config.kind in SYSTEM_KINDS:
        if list(names) != [profile.own_name]:
            message = f"a certificate of kind {profile.config.kind} has the name {profile.own_name} and no other"
            reasons.append(Reason("name-not-allowed", message, f"{profile.name}: kind"))
        return
    reasons += [_name_reserved(name) for name in list(filter(is_reserved, names))[:MOST_REASONS]]
    if profile.config.kind != "leaf":
        return
    refused = [name for name in names if not profile.allows_name(name, subject.role, subject.attributes)]
    reasons += [_name_refused(profile, subject, name) for name in refused[:MOST_REASONS]]
    if len(refused) > MOST_REASONS:
        more = f"{len(refused) - MOST_REASONS} more names are not allowed"
        reasons.append(Reason("name-not-allowed", more, f"{profile.name}: allow"))


def _name_reserved(name: Name) -> Reason:
    return Reason("name-reserved", f"{name} is for this installation itself", "ca/README: reserved names")


def _name_refused(profile: Profile, subject: Subject, name: Name) -> Reason:
    rules = [rule.text for rule in profile.rules[subject.role] if rule.kind is name.kind]
    allowed = f"allowed for {subject.role}: {'; '.join(rules)}" if rules else f"no {name.kind.value} names are allowed"
    return Reason("name-not-allowed", f"{name} is not allowed ({allowed})", f"{profile.name}: allow.{name.kind.value}")
