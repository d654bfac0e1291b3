"""Evidence in, decision out: the only place where a `Decision` to issue can be made.

Every protocol gathers its evidence (who asks, with which request, under which profile) and comes here; what leaves is
either a refusal with all its reasons or a sealed `Decision`, the one thing that `ca.issuance.issue()` takes. The rules
themselves are in `ca/policy` and `ca/profiles`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from datetime import timedelta
from hashlib import sha256

from cryptography import x509

from ca import approval, policy
from ca.access import Caller, Operation, Role
from ca.certificates import Stored
from ca.errors import Conflict, Defect, Forbidden, Misconfigured, PolicyRefusal, Reason
from ca.installation import Installation
from ca.keys.algorithms import KeyType, key_type_of
from ca.keys.weak import weaknesses
from ca.profiles.config import CHOOSING_KINDS, SYSTEM_KINDS
from ca.profiles.profile import Profile
from ca.profiles.rules import Attributes
from ca.x509.constraints import Limits
from ca.x509.names import Name
from ca.x509.request import Request

_SEAL = object()
CROSS_PROFILE = "cross-ca"
"""The profile by which roots of ours certify each other (`ca/crossing.py`)."""
OCSP_PROFILE = "ocsp-signer"
"""The profile by which the program's own OCSP signers are made."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller asks for, besides the request itself; None leaves the choice to the profile or the request."""

    names: tuple[Name, ...] | None = None
    lifetime: timedelta | None = None
    subject: x509.Name | None = None
    path_length: int | None = None
    limits: Limits | None = None
    """The names that a new CA may certify, and all that is beneath it."""
    idempotency_key: str | None = None
    authority: str | None = None
    """A generation that is to sign, prepared or active: for kinds authority and probe. Else the active one signs."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Somebody with the right to decide has decided that this is to be issued. Made in this module only."""

    caller: Caller
    profile: Profile
    request: Request
    key_type: KeyType
    names: tuple[Name, ...]
    lifetime: int
    role: Role
    attributes: Attributes
    subject: x509.Name | None
    path_length: int | None
    limits: Limits | None
    renews: str | None
    idempotency_key: str | None
    authority: str | None
    """The generation that signs; None for the active one of the profile's line."""
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise Defect("a decision was made outside ca.enrolment")
        if self.authority is not None and not self.may_choose:
            raise Defect(f"a decision of kind {self.profile.config.kind} chose its CA")

    @property
    def may_choose(self) -> bool:
        """Whether the kind of its profile lets it name a generation that is not active yet."""
        return self.profile.config.kind in CHOOSING_KINDS

    @property
    def digest(self) -> bytes:
        """What makes two requests under one idempotency key the same request."""
        subject = "" if self.subject is None else self.subject.public_bytes().hex()
        chosen = () if self.authority is None else (f"authority:{self.authority}",)
        parts = (self.profile.name, *map(str, self.names), str(self.lifetime), str(self.renews), subject, *chosen)
        return sha256("\0".join(parts).encode() + b"\0" + self.request.spki).digest()


def authorise_issue(
    installation: Installation, caller: Caller, profile_name: str, request: Request, wish: Wish
) -> Decision:
    """Decide about a new leaf. A caller needs the right to issue, the profile, and names that fall under its rules."""
    profile = installation.profiles[profile_name]
    if profile.config.kind == "authority":
        raise Forbidden("CA certificates are made with `certwright ca create`", code="not-a-leaf-profile")
    if profile.config.kind in SYSTEM_KINDS:
        raise Forbidden(
            f"only the program itself uses profiles of kind {profile.config.kind}", code="not-a-leaf-profile"
        )
    caller.must(Operation.MANAGE_AUTHORITIES if profile.config.kind == "ocsp" else Operation.ISSUE)
    if profile.config.kind == "ocsp":
        key, subject = sha256(request.spki).hexdigest(), "" if wish.subject is None else wish.subject.rfc4514_string()
        approval.must(installation, caller, "certify an OCSP signer", subject, spki_sha256=key)
    names = wish.names if wish.names is not None else request.names
    objections = [*_scope(caller, profile), *_subject(profile, wish)]
    if profile.config.kind == "leaf":
        objections += _request(request, names)
    elif wish.authority is not None:  # the program's own responders alone are made for a CA
        objections.append(_not_chosen(profile))
    return _decide(caller, profile, request, names, wish, caller.role, caller.attributes, objections)


def authorise_renewal(
    installation: Installation, caller: Caller, stored: Stored, request: Request, wish: Wish
) -> Decision:
    """Decide about a successor: the same identity or less.

    The holder proves itself with the certificate itself. A requester renews what it asked for, under the rules that
    hold for it today; whoever may renew anything does it in the holder's place.
    """
    _must_own(caller, stored)
    if stored.state != "valid":
        raise Conflict(f"certificate {stored.serial} is {stored.state} and cannot be renewed", code="not-renewable")
    profile = installation.profiles[stored.profile]
    if profile.config.kind != "leaf":
        raise Forbidden("only leaf certificates are renewed this way", code="not-a-leaf-profile")
    before = stored.names()
    names = wish.names if wish.names is not None else request.names or before
    objections = [*_subject(profile, wish), *_request(request, names)]
    objections += [
        Reason("identity-widened", f"{name} is not in the certificate that is renewed", "ca/README: renewal")
        for name in sorted(set(names) - set(before))[: policy.MOST_REASONS]
    ]
    role: Role = Role.HOLDER
    attributes: Attributes = None
    if caller.certificate != stored.serial:  # a holder's profile and names are those of its certificate
        objections += _scope(caller, profile)
        if caller.role is Role.REQUESTER:
            role, attributes = Role.REQUESTER, caller.attributes
    return _decide(caller, profile, request, names, wish, role, attributes, objections, renews=stored.serial)


def _must_own(caller: Caller, stored: Stored) -> None:
    if caller.may(Operation.RENEW_ANY):
        return
    caller.must(Operation.RENEW_OWN)
    if stored.serial != caller.certificate and stored.requested_by != caller.identity:
        raise Forbidden(f"certificate {stored.serial} does not belong to {caller.identity}", code="not-yours")


def authorise_authority(
    installation: Installation, caller: Caller, profile_name: str, request: Request, wish: Wish
) -> Decision:
    """Decide about a CA beneath one of ours: for admins alone, with a subject and a path length that they chose."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    profile = installation.profiles[profile_name]
    if profile.config.kind != "authority":
        raise Forbidden(f"profile {profile.name} is not for CAs", code="not-an-authority-profile")
    objections = [*_scope(caller, profile), *_subject(profile, wish)]
    return _decide(caller, profile, request, (), wish, caller.role, caller.attributes, objections)


def authorise_publication(installation: Installation, caller: Caller, request: Request) -> Decision:
    """Decide about a certificate that signs publications: for the program itself, signed by the active CA."""
    return _decide_for_system(installation, caller, "publication", request, Wish())


def authorise_probe(installation: Installation, caller: Caller, request: Request, *, authority: str) -> Decision:
    """Decide about a short-lived leaf that shows whether a consumer holds the chain of a prepared or active CA."""
    return _decide_for_system(installation, caller, "probe", request, Wish(authority=authority))


def authorise_responder(
    installation: Installation, caller: Caller, request: Request, subject: x509.Name, *, authority: str
) -> Decision:
    """Decide about the key that answers OCSP requests for one CA, signed by that very CA: for the program itself."""
    _must_be_the_system(caller, "ocsp")
    profile = installation.profiles[OCSP_PROFILE]
    if profile.config.kind != "ocsp":
        raise Misconfigured(f"profile {OCSP_PROFILE} is of kind {profile.config.kind}, where it has to be of kind ocsp")
    wish = Wish(subject=subject, authority=authority)
    objections = _subject(profile, wish)
    return _decide(caller, profile, request, (), wish, caller.role, caller.attributes, objections)


def _must_be_the_system(caller: Caller, kind: str) -> None:
    caller.must(Operation.MANAGE_AUTHORITIES)
    if not caller.identity.startswith("system:") or caller.certificate is not None:
        raise Forbidden(f"certificates of kind {kind} are for the program itself", code="not-the-system")


def _decide_for_system(installation: Installation, caller: Caller, kind: str, request: Request, wish: Wish) -> Decision:
    """The profile has the name of its kind. No credential makes a caller of this sort: those of others never get here.

    Whoever holds such a certificate speaks for the product, so an admin with a token is refused like anybody.
    """
    _must_be_the_system(caller, kind)
    profile = installation.profiles[kind]
    if profile.config.kind != kind or profile.own_name is None:
        raise Misconfigured(f"profile {kind} is of kind {profile.config.kind}, where it has to be of kind {kind}")
    names = (profile.own_name,)
    objections = [*_subject(profile, wish), *_request(request, names)]
    return _decide(caller, profile, request, names, wish, caller.role, caller.attributes, objections)


def _decide(
    caller: Caller,
    profile: Profile,
    request: Request,
    names: Sequence[Name],
    wish: Wish,
    role: Role,
    attributes: Attributes,
    objections: Sequence[Reason],
    renews: str | None = None,
) -> Decision:
    """Every decision passes here: the objections of the caller's case, the key's weaknesses and the profile's rules."""
    objections = [*objections, *_choice(profile, wish)]
    lifetime = profile.lifetime if wish.lifetime is None else int(wish.lifetime.total_seconds())
    key_type = key_type_of(request.public_key)
    subject = policy.Subject(names, key_type, lifetime, role, attributes)
    reasons = [*objections, *weaknesses(request.public_key), *policy.judge(profile, subject)]
    if reasons or key_type is None:
        raise PolicyRefusal(reasons)
    return Decision(
        caller=caller,
        profile=profile,
        request=request,
        key_type=key_type,
        names=tuple(names),
        lifetime=lifetime,
        role=role,
        attributes=attributes,
        subject=wish.subject,
        path_length=wish.path_length if profile.config.kind == "authority" else None,
        limits=wish.limits if profile.config.kind == "authority" else None,
        renews=renews,
        idempotency_key=_scoped(caller, wish.idempotency_key),
        authority=wish.authority,
        seal=_SEAL,
    )


def _choice(profile: Profile, wish: Wish) -> list[Reason]:
    """A leaf never chooses the generation that signs it: what is not active yet is held by no consumer."""
    if wish.authority is None or profile.config.kind in CHOOSING_KINDS:
        return []
    return [_not_chosen(profile)]


def _not_chosen(profile: Profile) -> Reason:
    message = f"the active authority of {profile.config.issuer} signs certificates of profile {profile.name}, no other"
    return Reason("authority-not-chosen", message, f"{profile.name}: kind")


def _scope(caller: Caller, profile: Profile) -> list[Reason]:
    if caller.profiles is None or profile.name in caller.profiles:
        return []
    message = f"{caller.identity} may use {', '.join(sorted(caller.profiles)) or 'no profile'}, not {profile.name}"
    return [Reason("profile-not-allowed", message, "the token's profiles")]


def _request(request: Request, names: Sequence[Name]) -> list[Reason]:
    reasons = []
    if request.wants_authority:
        message = "the request asks for powers of a CA or OCSP signer, which a leaf never gets"
        reasons.append(Reason("asks-for-authority", message, "RFC 5280 4.2.1.9"))
    if request.common_name is not None and request.common_name.lower() not in {name.value.lower() for name in names}:
        message = f"the request's common name {_cut(request.common_name)!r} is none of the certificate's names"
        reasons.append(Reason("common-name-not-a-name", message, "RFC 9525 2"))
    return reasons


def _subject(profile: Profile, wish: Wish) -> list[Reason]:
    needed = profile.config.kind not in ("leaf", *SYSTEM_KINDS)
    if needed and wish.subject is None:
        return [Reason("subject-missing", f"profile {profile.name} needs a subject", "RFC 5280 4.1.2.6")]
    if not needed and wish.subject is not None:
        return [Reason("subject-not-allowed", "a leaf's subject is made by its profile", f"{profile.name}: subject")]
    return [] if wish.subject is None else policy.judge_subject(wish.subject)


def _scoped(caller: Caller, key: str | None) -> str | None:
    """Two callers never share an idempotency key."""
    return None if key is None else sha256(f"{caller.identity}\0{key}".encode()).hexdigest()


def _cut(text: str) -> str:
    return text if len(text) <= 64 else text[:61] + "..."
