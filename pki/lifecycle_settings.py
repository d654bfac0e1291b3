"""The settings of the floor that reaches out: inventory, renewals, issuers, solvers, events; as `pki/settings.py`.

Secrets are not settings: a setting names the file that holds one, in the state directory unless absolute.
"""

from __future__ import annotations

from datetime import time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator

from ca.errors import Misconfigured
from ca.profiles.config import Duration
from pki.addresses import Address, DnsName
from renewers.urls import check_url

Word = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""A name that stands in commands and rows: lower-case letters, digits, dots, hyphens."""
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
ChallengeKind = Literal["http-01", "dns-01", "tls-alpn-01", "dns-persist-01"]
LeafKey = Literal["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096", "Ed25519"]


def _outward(text: str) -> str:
    try:
        return check_url(text)
    except Misconfigured as error:
        raise ValueError(error.message) from None


OutwardUrl = Annotated[str, AfterValidator(_outward)]
"""https, or http on this very machine; without user information."""
OptionalAddress = Annotated[str, Field(pattern=r"^$|^.*:[0-9]{1,5}$")]
"""An address to listen on, or empty for none."""


class Table(BaseModel):
    """A section, or an entry of a list in one: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class InventorySettings(Table):
    """How scans go about, and for how long what has ended is kept."""

    scan_sockets: int = Field(default=200, ge=1, le=2000)
    keep_ended: Duration = timedelta(days=365)


class WindowSettings(Table):
    """A maintenance window: renewals of lineages that name it happen within, unless that would be too late."""

    name: Word
    days: list[Day] = Field(default=["mon", "tue", "wed", "thu", "fri", "sat", "sun"], min_length=1)
    start: time
    end: time
    time_zone: str = "UTC"

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is not a time zone such as Europe/Berlin")
        return ZoneInfo(value).key


class RenewalSettings(Table):
    """When and how certificates are renewed."""

    fraction: float = Field(default=0.667, gt=0.1, lt=0.95)
    key_type: LeafKey = "P-256"
    issuers: list[Word] = Field(default=["internal"], min_length=1)
    windows: list[WindowSettings] = []
    programs: list[Annotated[str, StringConstraints(pattern=r"^/[^\x00-\x1f\x7f]+$")]] = []
    workers: int = Field(default=8, ge=1, le=64)
    lease: Duration = timedelta(minutes=2)
    patience: Duration = timedelta(minutes=10)


class AcmeSettings(Table):
    """One public CA, spoken to over ACME (RFC 8555)."""

    name: Word
    directory: OutwardUrl
    contact: list[str] = []
    terms_agreed: bool = False
    ca_file: str = ""
    also_hosts: list[str] = []
    eab_kid: str = ""
    eab_key_file: str = ""
    key_type: Literal["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"] = "P-256"
    challenges: list[ChallengeKind] = Field(default=["http-01", "tls-alpn-01", "dns-01"], min_length=1)
    preferred_chain: str = ""
    limits: Literal["letsencrypt", "none"] = "none"


class IssuerSettings(Table):
    """Who can be asked for certificates besides our own CA, which is called `internal`."""

    acme: list[AcmeSettings] = []

    @field_validator("acme")
    @classmethod
    def _names_are_one(cls, value: list[AcmeSettings]) -> list[AcmeSettings]:
        names = [each.name for each in value]
        if len(set(names)) != len(names) or "internal" in names:
            raise ValueError("each issuer has a name of its own, and `internal` is our own CA's")
        return value


class WebrootSettings(Table):
    """A directory that somebody's web server serves for a domain and all beneath it."""

    domain: DnsName
    directory: str = Field(pattern="^/")


class Rfc2136Settings(Table):
    """A zone that takes dynamic updates (RFC 2136), signed with TSIG."""

    zone: DnsName
    server: str
    port: int = Field(default=53, ge=1, le=65535)
    key_name: str
    key_file: str
    algorithm: Literal["hmac-sha256", "hmac-sha384", "hmac-sha512"] = "hmac-sha256"


class ProviderSettings(Table):
    """A zone at a DNS provider that dns-lexicon knows; `secrets` are options whose values stand in files."""

    zone: DnsName
    provider: Word
    options: dict[str, str] = {}
    secrets: dict[str, str] = {}


class SolverSettings(Table):
    """How we prove to a CA that a name is ours."""

    http01: OptionalAddress = ":80"
    webroots: list[WebrootSettings] = []
    tls_alpn01: OptionalAddress = ""
    rfc2136: list[Rfc2136Settings] = []
    providers: list[ProviderSettings] = []
    resolvers: list[Address] = []
    dns_persist: bool = False


class WebhookSettings(Table):
    """Somebody who is told of events by a signed POST."""

    name: Word
    url: OutwardUrl
    secret_file: str
    ca_file: str = ""
    kinds: list[str] = Field(default=["*"], min_length=1)
    severity: Literal["info", "warning", "error", "critical"] = "info"


class EventSettings(Table):
    """Who is told of what happens, and for how long it is kept."""

    webhooks: list[WebhookSettings] = []
    keep: Duration = timedelta(days=90)
