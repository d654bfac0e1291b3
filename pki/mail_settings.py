"""The settings of mail to owners and of the dashboard; as `pki/lifecycle_settings.py`, whose forms they share."""

from __future__ import annotations

import re
from datetime import timedelta
from email.utils import getaddresses, parseaddr
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from ca.access import GRANTABLE_ROLES, Role
from ca.errors import BadRequest
from ca.profiles.config import Duration
from ca.x509 import names
from ca.x509.names import Kind
from pki.addresses import DnsName
from pki.lifecycle_settings import Day, OutwardUrl, Table, Word


def _address(text: str) -> str:
    try:
        return names.make(Kind.EMAIL, text).value if text else ""
    except BadRequest as error:
        raise ValueError(error.message) from None


def _server(text: str) -> str:
    host, _, port = text.rpartition(":")
    try:
        is_host = names.guess(host.strip("[]")).kind in (Kind.DNS, Kind.IP)
    except BadRequest:
        is_host = False
    if text and not (is_host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} is not a mail server such as mail.example.org:587")
    return text


def _mailbox(text: str) -> str:
    found = getaddresses([text])
    name, address = found[0] if len(found) == 1 else ("", "")
    if not text.isprintable() or not address or not re.fullmatch(r"[ -~]{0,100}", name):
        raise ValueError(f"{text!r} is not a mailbox such as Certwright <certwright@example.org>")
    _address(address)
    return text


MailAddress = Annotated[str, AfterValidator(_address)]
"""A plain ASCII address, or nothing."""


class MailSettings(Table):
    """How owners are written to."""

    server: Annotated[str, AfterValidator(_server)] = ""
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    directory: str = ""
    sender: Annotated[str, AfterValidator(_mailbox)] = "Certwright <certwright@localhost>"
    reply_to: MailAddress = ""
    bounces_to: MailAddress = ""
    link_url: OutwardUrl | Literal[""] = ""
    digest_day: Day = "mon"
    digest_hour: int = Field(default=9, ge=0, le=23)
    when_healthy: Literal["always", "monthly", "never"] = "monthly"
    monthly_to: list[MailAddress] = Field(default=[])
    dkim_domain: DnsName | Literal[""] = ""
    dkim_selector: str = Field(default="", pattern=r"^$|^[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$")
    dkim_key_file: str = ""
    keep: Duration = timedelta(days=400)

    @model_validator(mode="after")
    def _fits_together(self) -> MailSettings:
        if self.server and self.directory:
            raise ValueError("mail goes to a server or into a directory, not both")
        if self.security == "none" and self.server and not _is_here(self.server):
            raise ValueError("mail without TLS is for addresses of this machine alone")
        if bool(self.username) != bool(self.password_file):
            raise ValueError("mail.username and mail.password_file need each other")
        if self.username and self.security == "none":
            raise ValueError("no password goes out without TLS")
        if len({bool(self.dkim_domain), bool(self.dkim_selector), bool(self.dkim_key_file)}) != 1:
            raise ValueError("DKIM needs a domain, a selector and a key file, all three")
        sender = parseaddr(self.sender)[1].rpartition("@")[2].lower()
        if self.dkim_domain and not f".{sender}".endswith(f".{self.dkim_domain}"):  # RFC 7489 section 3.1.1
            raise ValueError(f"a signature of {self.dkim_domain} says nothing about mail from {sender}")
        return self


class RoleClaim(Table):
    """Who gets which role by what a provider says of it: the first entry that fits."""

    claim: str = "groups"
    value: str
    role: Role

    @field_validator("role")
    @classmethod
    def _can_be_given(cls, role: Role) -> Role:
        if role not in GRANTABLE_ROLES:
            raise ValueError(f"the role {role} cannot be given")
        return role


class OidcSettings(Table):
    """An OpenID Connect provider that people sign in with."""

    name: Word
    issuer: OutwardUrl
    client_id: str = Field(min_length=1)
    client_secret_file: str = ""
    ca_file: str = ""
    also_hosts: list[str] = Field(default=[])
    scopes: list[str] = Field(default=["openid", "profile", "email"])
    roles: list[RoleClaim] = Field(min_length=1)


class DashboardSettings(Table):
    """The pages, and who may see them."""

    session: Duration = timedelta(hours=12)
    idle: Duration = timedelta(hours=2)
    oidc: list[OidcSettings] = Field(default=[])


def _is_here(server: str) -> bool:
    from renewers.urls import is_loopback

    return is_loopback(server.rpartition(":")[0].strip("[]"))
