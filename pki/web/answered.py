"""What goes out over the REST API, as OpenAPI shows it.

Times are RFC 3339 in UTC. Serial numbers are lower-case hex. Certificates are PEM.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Reason(BaseModel):
    """One thing that is wrong with a request: for programs, for people, and by which rule."""

    code: str
    message: str
    rule: str | None = None


class Problem(BaseModel):
    """A refusal or an error (RFC 9457). `code` is stable; `reasons` has every reason at once."""

    type: str = Field(description="urn:certwright:problem:<code>")
    title: str
    status: int
    code: str
    detail: str
    hint: str | None = Field(default=None, description="what to do about it")
    reasons: list[Reason] | None = None


class IssuedCertificate(BaseModel):
    """A certificate that was just issued, or issued before under the same idempotency key (`is_repeat`)."""

    serial: str
    authority: str
    profile: str
    not_before: str
    not_after: str
    certificate: str
    chain: str = Field(description="PEM, from the issuing CA up to and without the root")
    is_repeat: bool
    ignored: list[str] = Field(description="what the request asked for and no profile copies")


class CertificateView(BaseModel):
    """A certificate of ours and what has become of it."""

    serial: str
    state: str
    subject: str
    names: list[str]
    authority: str
    profile: str
    not_before: str
    not_after: str
    recorded_at: str
    requested_by: str
    renews: str | None
    revoked_at: str | None
    reason: str | None
    crl_shard: int | None
    spki_sha256: str
    sha256: str | None
    certificate: str | None = Field(description="PEM; null if it was never signed")


class CertificatePage(BaseModel):
    """A page of certificates; ask again with `next` as cursor."""

    items: list[CertificateView]
    next: str | None


class ListCostView(BaseModel):
    """One revocation list that is made anew; sizes in bytes."""

    authority: str
    shard: int | None = Field(description="null for the complete list")
    entries: int
    entries_after: int
    size: int
    size_after: int


class RevocationCostView(BaseModel):
    """What a mass revocation comes to."""

    certificates: int
    held: int = Field(description="those among them that are on hold, and so on the lists already")
    lists: list[ListCostView]
    delta_bytes: int = Field(description="by how much the delta lists grow")
    seconds: float = Field(description="until all lists are signed, as this machine works now")
    consumers: dict[str, int] = Field(description="who is brought the lists, by the kind: complete, shards, delta")
    ocsp_answers: int = Field(description="answers that this process keeps about them, and signs anew")


class RevokedView(BaseModel):
    """What was revoked, or with `dry_run` would be."""

    serials: list[str]
    reason: str
    revoked_at: str
    key_blocked: bool
    dry_run: bool = False
    cost: RevocationCostView | None = Field(default=None, description="of a dry run by filter: what it comes to")


class HeldView(BaseModel):
    """A certificate that was put on hold, or released."""

    serial: str
    held_at: str
    released_at: str | None


class AuthorityView(BaseModel):
    """A CA."""

    name: str
    line: str
    generation: int
    state: str
    parent: str | None
    subject: str
    key_type: str
    key: str = Field(description="here; offline: signs in ceremonies; elsewhere: somebody else's, signs nothing here")
    serial: str
    not_before: str
    not_after: str
    crl_shards: int
    permitted: list[str] = Field(description="name constraints of its certificate; empty: any name")
    excluded: list[str]
    sha256: str
    certificate: str


class AuthorityRequestView(BaseModel):
    """A CA that waits for its certificate from elsewhere."""

    name: str
    line: str
    subject: str
    sha256: str = Field(description="of its public key (SubjectPublicKeyInfo), to be read aloud")
    csr: str
    created_at: str
    created_by: str


class CrlView(BaseModel):
    """How fresh a CRL is."""

    authority: str
    shard: int | None = Field(description="null for the complete list")
    number: int
    this_update: str
    next_update: str
    entries: int
    sha256: str
    is_overdue: bool
    url: str


class CrlCheckView(BaseModel):
    """One published list, held against the tables."""

    name: str
    entries: int
    wrong: int
    findings: list[str] = Field(description="the first of them, in words")


class DangerView(BaseModel):
    """A dangerous combination in a profile."""

    code: str
    message: str
    is_accepted: bool


class ProfileView(BaseModel):
    """A profile."""

    name: str
    description: str
    kind: str
    issuer: str
    lifetime: str
    longest: str
    keys: list[str]
    roles: list[str]
    revocation: str
    dangers: list[DangerView]
    sha256: str
    text: str


class FindingView(BaseModel):
    """What lint found."""

    code: str
    message: str
    rule: str | None


class ExampleView(BaseModel):
    """One example of a profile's table, and what it came to."""

    why: str
    is_as_expected: bool
    expected: list[str]
    found: list[str]
    messages: list[str]


class TokenView(BaseModel):
    """A token, without its secret."""

    id: str
    name: str
    role: str
    profiles: list[str] | None
    attributes: dict[str, str]
    created_at: str
    created_by: str
    expires_at: str
    revoked_at: str | None


class CreatedToken(TokenView):
    """A new token. The secret is shown here and never again."""

    token: str


class SignInLinkView(BaseModel):
    """A link that signs somebody in, once. It is shown here and never again."""

    identity: str
    role: str
    expires_at: str
    path: str
    url: str


class SessionView(BaseModel):
    """Somebody who is signed in with a browser."""

    identity: str
    role: str
    how: str
    created_at: str
    seen_at: str
    expires_at: str


class EndedSessions(BaseModel):
    """Who was signed out, and of how many browsers."""

    identity: str
    ended: int


class CallerView(BaseModel):
    """Who the server takes you for."""

    identity: str
    role: str
    profiles: list[str] | None
    attributes: dict[str, str]
    operations: list[str]


class HeadView(BaseModel):
    """The newest signed head of the ledger."""

    checkpoint: str
    verifier: str
    size: int
    waiting: int


class EntryView(BaseModel):
    """One ledger entry."""

    id: int
    position: int | None
    leaf_hash: str
    entry: dict[str, Any]


class EntryPage(BaseModel):
    """A page of ledger entries; ask again with `next` as cursor."""

    items: list[EntryView]
    next: str | None
