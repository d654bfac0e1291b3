"""The settings of who is believed: certificates that carry a role, and issuers of JSON Web Tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from ca.access import GRANTABLE_ROLES, Role
from ca.profiles.config import Duration
from pki.addresses import AnyName
from pki.claims import check_place, check_variable, compile_pattern
from pki.lifecycle_settings import OutwardUrl, Table, Word


def _can_be_given(role: Role) -> Role:
    if role not in GRANTABLE_ROLES:
        raise ValueError(f"the role {role} cannot be given")
    return role


def _pattern(text: str) -> str:
    return compile_pattern(text).text


GivenRole = Annotated[Role, AfterValidator(_can_be_given)]
ClaimPlace = Annotated[str, AfterValidator(check_place)]
ClaimPattern = Annotated[str, StringConstraints(max_length=500), AfterValidator(_pattern)]
VariableName = Annotated[str, AfterValidator(check_variable)]
Plain = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$")]
"""What `iss` and `aud` are compared with, letter by letter."""
Algorithm = Literal["RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"]


class CertificateGrant(Table):
    """A role for whoever holds a certificate of one profile with one name, written like `uri:spiffe://...`."""

    profile: str
    name: AnyName
    role: GivenRole
    profiles: list[str] | None = None


class JwtGrant(Table):
    """What is granted to whose token says all of `where`."""

    where: dict[ClaimPlace, ClaimPattern] = Field(min_length=1)
    role: GivenRole
    profiles: list[str] | None = None
    attributes: dict[VariableName, ClaimPlace] = Field(default={})

    @model_validator(mode="after")
    def _fits_together(self) -> JwtGrant:
        if self.role is Role.REQUESTER and not self.profiles:
            raise ValueError("a requester's grant names its profiles")
        named = [name for text in self.where.values() for name in compile_pattern(text).variables]
        if twice := {name for name in named if named.count(name) > 1 or name in self.attributes}:
            raise ValueError(f"{', '.join(sorted(twice))} is taken from two claims")
        return self


class JwtSettings(Table):
    """One issuer of JSON Web Tokens (RFC 7519): a cluster, a CI system, a provider of people."""

    name: Word
    issuer: Plain
    audience: Plain
    algorithms: list[Algorithm] = Field(min_length=1)
    jwks_url: OutwardUrl | Literal[""] = ""
    jwks_file: str = ""
    ca_file: str = ""
    token_file: str = ""
    refresh: Duration = Field(default=timedelta(minutes=5), ge=timedelta(seconds=30), le=timedelta(hours=1))
    longest: Duration = Field(default=timedelta(hours=24), ge=timedelta(minutes=1))
    identity: ClaimPlace = "sub"
    grants: list[JwtGrant] = Field(default=[])

    @model_validator(mode="after")
    def _fits_together(self) -> JwtSettings:
        if bool(self.jwks_url) == bool(self.jwks_file):
            raise ValueError("the keys of an issuer are at jwks_url or in jwks_file, one of both")
        if self.jwks_url and not self.jwks_url.startswith("https://"):
            raise ValueError("keys are fetched over https alone")
        if self.jwks_file and (self.ca_file or self.token_file):
            raise ValueError("ca_file and token_file are for fetching keys, and a file is not fetched")
        if {"RS256", "PS256"} <= set(self.algorithms):
            raise ValueError("a key signs in one way: RS256 or PS256 [RFC 8725 3.1]")
        return self


class IdentitySettings(Table):
    """Which certificates are more than their holder's own, and whose tokens are believed."""

    certificates: list[CertificateGrant] = Field(default=[])
    jwt: list[JwtSettings] = Field(default=[])

    @field_validator("jwt")
    @classmethod
    def _each_is_one(cls, value: list[JwtSettings]) -> list[JwtSettings]:
        for what in ({each.name for each in value}, {each.issuer for each in value}):
            if len(what) != len(value):
                raise ValueError("each entry has a name and an issuer of its own")
        return value
