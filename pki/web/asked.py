"""What comes in over the REST API, as OpenAPI shows it. Everything unknown is refused, everything has a size."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from ca.access import Role

MAX_NAMES = 100
PLAIN = r"^[^\x00-\x1f\x7f]*$"
"""Without control characters, which no name of ours has and not every database takes."""
Text = Annotated[str, StringConstraints(max_length=2048)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=PLAIN)]
IdentityText = Annotated[str, StringConstraints(min_length=1, max_length=400, pattern=PLAIN)]
"""Of a caller, as the ledger names it: the subject of a JWT may have 255 characters."""
Pem = Annotated[str, StringConstraints(max_length=64 * 1024)]
DurationText = Annotated[str, StringConstraints(max_length=16)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CertificateFilter(_In):
    """Which certificates; every field narrows."""

    name: Text | None = None
    profile: Word | None = None
    authority: Word | None = None
    requested_by: IdentityText | None = None


class IssueRequest(_In):
    """A certificate that is wanted."""

    profile: Word
    csr: Pem = Field(description="PKCS#10 request, PEM. Only its key is used, and its names unless `names` are given.")
    names: list[Text] | None = Field(
        default=None, max_length=MAX_NAMES, description="`dns:...`, `uri:...`, `ip:...`, `email:...`, or without a kind"
    )
    lifetime: DurationText | None = Field(default=None, description="such as 24h or 30d; the profile's if left out")
    subject: Text | None = Field(default=None, description="RFC 4514, for OCSP signers alone")


class RenewRequest(_In):
    """A successor for a certificate: the same identity, or less."""

    csr: Pem
    names: list[Text] | None = Field(default=None, max_length=MAX_NAMES)
    lifetime: DurationText | None = None


class RevokeRequest(_In):
    """A revocation of one certificate."""

    reason: Word = "unspecified"


class RevokeManyRequest(_In):
    """Revocations by key, by filter or of a certificate that is handed in; exactly one of them."""

    reason: Word = "unspecified"
    key: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = Field(
        default=None,
        description="SHA-256 of the SubjectPublicKeyInfo, hex: blocked, and all that carries it revoked",
    )
    filter: CertificateFilter | None = None
    certificate: Pem | None = Field(
        default=None,
        description="a certificate that a key of ours has signed, PEM; whether it is on record or not",
    )
    dry_run: bool = False


class AuthorityRequest(_In):
    """A CA that is wanted: a root, or one beneath the authority that `profile` names."""

    line: Word
    subject: Text
    profile: Word | None = Field(default="sub-ca", description="null for a root")
    key_type: Word = "P-256"
    lifetime: DurationText | None = None
    crl_shards: int | None = Field(default=None, ge=0, le=4096)
    permit: list[Text] = Field(default=[], max_length=100, description="name constraints, such as dns:internal.example")
    exclude: list[Text] = Field(default=[], max_length=100)


class AuthorityWanted(_In):
    """A CA of ours that somebody else is to certify."""

    line: Word
    subject: Text
    key_type: Word = "P-256"
    crl_shards: int | None = Field(default=None, ge=0, le=4096)
    permit: list[Text] = Field(default=[], max_length=100, description="name constraints that the request asks for")
    exclude: list[Text] = Field(default=[], max_length=100)


class AuthorityChain(_In):
    """What came back for it: its certificate, those above it and the self-signed root, PEM, in any order."""

    certificates: Pem


class AuthorityImport(_In):
    """A CA that exists. Only over the Unix socket or in process: a private key does not travel."""

    line: Word
    certificate: Pem
    key: Annotated[SecretStr, Field(max_length=64 * 1024)]
    passphrase: Annotated[SecretStr, Field(max_length=2048)] | None = None
    crl_shards: int | None = Field(default=None, ge=0, le=4096)


class StateRequest(_In):
    """The state that an authority shall have."""

    state: Word


class TokenRequest(_In):
    """A token that is wanted."""

    name: Word
    role: Role
    lifetime: DurationText = "30d"
    profiles: list[Word] | None = Field(default=None, max_length=100)
    attributes: dict[Word, Word] = Field(default={}, max_length=20)


class TokenText(_In):
    """A JSON Web Token that somebody was given."""

    token: SecretStr = Field(max_length=32 * 1024)


class SignInLinkRequest(_In):
    """A link to sign in with; for oneself, if nothing else is said."""

    role: Role | None = None
    name: Word | None = None
    lifetime: DurationText = "10m"


class BlockRequest(_In):
    """A key that shall never be certified again."""

    key: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    reason: Word = "key-compromise"


class CompareRequest(_In):
    """A profile's file as it would be, and how many of the last issuances to judge by it."""

    content: Annotated[str, StringConstraints(max_length=64 * 1024)]
    last: int = Field(default=1000, ge=1, le=10_000)


class VerifyRequest(_In):
    """What to hold the ledger against: a checkpoint that was kept elsewhere."""

    checkpoint: Annotated[str, StringConstraints(max_length=8192)] | None = None
