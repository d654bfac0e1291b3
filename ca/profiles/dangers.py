"""Dangerous combinations in a profile: legal, sometimes wanted, and the way other CAs were broken into.

Each is flagged by `certwright profile lint` until the profile lists its code under `dangers.accepted`; a profile with
a danger that nobody accepted is not loaded. Some combinations cannot be accepted at all (`is_error`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from ca.access import Role
from ca.profiles.config import SYSTEM_KINDS
from ca.profiles.profile import Profile
from ca.profiles.reserved import is_reserved
from ca.profiles.rules import NetworkRule, Rule
from ca.x509.names import Kind

SHORT_LIVED = timedelta(days=7)
"""Up to here a certificate may do without revocation information (CA/B BR 1.6.1, "short-lived")."""


@dataclass(frozen=True, slots=True)
class Danger:
    """One flagged combination."""

    code: str
    message: str
    is_error: bool = False


def unaccepted(profile: Profile) -> list[Danger]:
    """The dangers that keep a profile from being loaded."""
    accepted = profile.config.dangers.accepted
    return [danger for danger in find_dangers(profile) if danger.is_error or danger.code not in accepted]


def find_dangers(profile: Profile) -> list[Danger]:
    """Everything about a profile that somebody should have thought about."""
    return [*_errors(profile), *_names(profile), *_lifetimes(profile)]


def _errors(profile: Profile) -> Iterator[Danger]:
    config = profile.config
    if config.revocation.check == "none" and config.longest > SHORT_LIVED:
        yield Danger("no-revocation-for-long-life", "without revocation a life is at most 7d (RFC 9608)", is_error=True)
    if config.kind != "leaf" and any(profile.allow):
        yield Danger(
            "authority-for-roles", f"a profile of kind {config.kind} is for admins: no [[allow]]", is_error=True
        )
    if config.kind in SYSTEM_KINDS and set(config.usage.extended) != {"server_auth", "client_auth"}:
        message = "usage.extended is server_auth and client_auth (SPIFFE X509-SVID 4.4)"
        yield Danger("system-usages", f"a profile of kind {config.kind} has a SPIFFE ID: {message}", is_error=True)
    if config.kind in SYSTEM_KINDS and config.revocation.check != "crl":
        yield Danger("system-without-crl", "what speaks for the product names its CRL", is_error=True)
    if config.kind == "probe" and config.longest > SHORT_LIVED:
        yield Danger("long-probe", "a probe may be signed by a CA that is not active yet: at most 7d", is_error=True)
    if config.kind == "ocsp" and config.usage.extended:
        yield Danger("ocsp-with-usages", "an OCSP signer is for OCSP alone: no usage.extended", is_error=True)
    if config.kind == "leaf" and "ocsp_signing" in config.usage.extended:
        yield Danger("leaf-signs-ocsp", "OCSP signing is for profiles of kind ocsp", is_error=True)
    if config.kind == "leaf" and not config.usage.extended:
        yield Danger("any-usage", "without usage.extended the certificate is good for everything", is_error=True)
    if config.kind == "leaf" and not any(block.rules for block in profile.allow):
        yield Danger("allows-nothing", "no [[allow]] block has a rule, so nothing can be issued", is_error=True)
    for role in sorted(profile.roles - {Role.ADMIN, Role.OPERATOR, Role.REQUESTER}):
        yield Danger("role-cannot-issue", f"the role {role} cannot ask for new certificates", is_error=True)


def _names(profile: Profile) -> Iterator[Danger]:
    is_client = "client_auth" in profile.config.usage.extended
    for block in profile.allow:
        for rule in block.rules:
            if is_reserved(rule.sample):
                yield Danger(
                    "reserved-name", f"{rule.text} allows what only the product itself is named", is_error=True
                )
            chosen = not rule.is_bound and _is_open(rule)
            if is_client and Role.REQUESTER in block.roles and chosen:
                yield Danger(
                    "requester-chooses-identity",
                    f"a requester can choose whom to authenticate as: {rule.text} is not bound to {{caller.NAME}}",
                )
            if isinstance(rule, NetworkRule) and rule.network.prefixlen <= 8 and not rule.network.is_private:
                yield Danger("wide-network", f"{rule.text} is a large part of the internet")
            if isinstance(rule, Rule) and rule.kind is Kind.DNS and "." not in _fixed_part(rule):
                yield Danger("whole-top-level", f"DNS names {rule.text}: a whole top-level domain or a bare host name")
            if is_client and isinstance(rule, Rule) and _covers_wildcards(rule):
                yield Danger("client-wildcard", f"a client certificate with a wildcard name ({rule.text}) is nobody")


def _is_open(rule: Rule | NetworkRule) -> bool:
    return isinstance(rule, NetworkRule) or "*" in rule.text or rule.text.startswith(("under ", "at "))


def _fixed_part(rule: Rule) -> str:
    """What of a DNS rule nobody chooses: without its star and without the caller's attributes."""
    return re.sub(r"\{caller\.[a-z_.]+\}\.?", "", rule.text.split(",")[0].removeprefix("under ")).removeprefix("*.")


def _covers_wildcards(rule: Rule) -> bool:
    return rule.text.startswith("*.") or rule.text.endswith(", wildcards too")


def _lifetimes(profile: Profile) -> Iterator[Danger]:
    config = profile.config
    if config.kind == "leaf" and config.longest > timedelta(days=398):
        yield Danger("very-long-life", "leaves that live longer than 398d outlive keys, owners and algorithms")
    if config.backdate > timedelta(hours=1):
        yield Danger("long-backdate", "backdating by more than 1h hides when a certificate was made")
