"""What a profile file may say. Unknown keys are errors: a misspelt rule must not be a missing rule.

Durations are written `90s`, `15m`, `24h`, `7d`, `52w`. `{domain}` and `{trust_domain}` in a rule are the
installation's; `{caller.NAME}` is an attribute of whoever asks and stands for one label or path segment.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ca.access import Role
from ca.keys.algorithms import KeyType

_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
SYSTEM_KINDS = frozenset({"publication", "probe"})
"""Kinds of profile whose one name is the product's own (`ca/profiles/reserved.py`), for callers of the system alone."""
CHOOSING_KINDS = frozenset({"authority", "probe", "ocsp"})
"""Kinds of profile whose decisions may name the generation that signs, before it is active."""
LONGEST = timedelta(days=200 * 365)
"""Longer than any CA should live, and short enough that no date overflows."""


def parse_duration(text: object) -> timedelta:
    """Read `24h`; `ValueError` says what a duration looks like."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 90s, 15m, 24h, 7d or 52w")
    duration = timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
    if duration > LONGEST:
        raise ValueError(f"{text} is longer than {LONGEST.days // 365} years")
    return duration


def format_duration(duration: timedelta) -> str:
    """Write a duration the way a file would, in the largest unit that fits evenly."""
    return format_seconds(int(duration.total_seconds()))


def format_seconds(seconds: int) -> str:
    """The same for a number of seconds, which may be absurd."""
    unit = next((unit for unit in "dhm" if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0), "s")
    return f"{seconds // _SECONDS[unit]}{unit}"


def _duration(value: object) -> timedelta:
    return value if isinstance(value, timedelta) else parse_duration(value)


Duration = Annotated[timedelta, BeforeValidator(_duration)]
"""A file says text; a default, which is validated like what a file says, is a duration already."""
Pause = Annotated[timedelta, BeforeValidator(lambda value: timedelta(0) if value == "0s" else _duration(value))]
"""A duration that may be none at all."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SubjectConfig(_Table):
    """How the subject is made. It never comes from the request."""

    common_name: Literal["none", "first-dns", "first-name"] = "none"


class UsageConfig(_Table):
    """Key usage (RFC 5280 section 4.2.1.3) and extended key usage (section 4.2.1.12)."""

    key: list[Literal["digital_signature", "key_encipherment", "content_commitment", "key_agreement"]] = [
        "digital_signature"
    ]
    extended: list[Literal["server_auth", "client_auth", "email_protection", "code_signing", "ocsp_signing"]] = []


class DnsRules(_Table):
    """DNS names: listed ones, and everything at any depth beneath a domain. Wildcards only when said."""

    exact: list[str] = []
    under: list[str] = []
    wildcard: bool = False


class IpRules(_Table):
    """IP addresses inside networks."""

    within: list[str] = []


class UriRules(_Table):
    """URIs: `*` is one path segment, a closing `**` is one or more of them."""

    like: list[str] = []


class EmailRules(_Table):
    """Mail addresses: listed ones, and any at a domain."""

    exact: list[str] = []
    at: list[str] = []


class AllowConfig(_Table):
    """Who may ask for which names. A name is allowed if one block of the caller's role allows it."""

    roles: list[Role] = Field(min_length=1)
    dns: DnsRules = DnsRules()
    ip: IpRules = IpRules()
    uri: UriRules = UriRules()
    email: EmailRules = EmailRules()


class NamesConfig(_Table):
    """How many names a certificate carries."""

    minimum: int = Field(default=1, ge=0, le=100)
    maximum: int = Field(default=10, ge=0, le=100)


class RevocationConfig(_Table):
    """How those who accept a certificate may find out whether it is revoked.

    `crl` names a CRL shard in it; `crl+ocsp` names our OCSP responder besides, which most clients then ask first;
    `none` marks it as never revoked (RFC 9608), for short lives.
    """

    check: Literal["crl", "crl+ocsp", "none"] = "crl"


class LintConfig(_Table):
    """When pkilint looks at a certificate, too: at each, at a sample, or only when the profile is loaded."""

    pkilint: Literal["always", "sample", "profile"] = "profile"


class DangersConfig(_Table):
    """The dangerous combinations that somebody has looked at and wants; see `certwright profile lint`."""

    accepted: list[str] = []


class ProfileConfig(_Table):
    """One file: `config/profiles/NAME.toml`."""

    description: str = Field(min_length=1)
    kind: Literal["leaf", "authority", "ocsp", "publication", "probe"] = "leaf"
    issuer: str = Field(min_length=1)
    lifetime: Duration
    longest: Duration
    backdate: Duration = timedelta(seconds=60)
    keys: list[KeyType] = Field(min_length=1)
    subject: SubjectConfig = SubjectConfig()
    usage: UsageConfig = UsageConfig()
    names: NamesConfig = NamesConfig()
    allow: list[AllowConfig] = []
    revocation: RevocationConfig = RevocationConfig()
    lint: LintConfig = LintConfig()
    dangers: DangersConfig = DangersConfig()
