"""What was issued, revoked and written down. Times are whole seconds since the epoch.

Serial numbers are lower-case hex without leading zeros. Rows say what happened and are changed as little as possible: a
revocation is a row of its own, not a flag on the certificate, and a certificate is its to-be-signed bytes and the
signature that was made after they were recorded. Nothing secret is stored here: private keys live in a `KeyStore`,
tokens as hashes.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Text, text
from sqlmodel import Field, SQLModel

_Id = BigInteger().with_variant(Integer, "sqlite")
_Searched = Text().with_variant(Text(collation="C"), "postgresql")
"""Compared by its bytes, whatever language a database is made for: an index leads to what begins so."""


def _identity() -> Column[int]:
    return Column(_Id, primary_key=True, autoincrement=True)


class Authority(SQLModel, table=True):
    """A CA: one key, one certificate, one state. Profiles name its line, whose generations follow each other."""

    __tablename__ = "authority"

    id: int | None = Field(default=None, sa_column=_identity())
    name: str = Field(sa_type=Text, unique=True)
    line: str = Field(sa_type=Text, index=True)
    generation: int
    parent_id: int | None = Field(default=None, sa_type=_Id)
    state: str = Field(sa_type=Text)
    certificate: bytes = Field(sa_type=LargeBinary)
    serial: str = Field(sa_type=Text)
    key_label: str = Field(sa_type=Text)
    spki_sha256: bytes = Field(sa_type=LargeBinary, unique=True)
    not_before: int = Field(sa_type=BigInteger)
    not_after: int = Field(sa_type=BigInteger)
    crl_shards: int
    created_at: int = Field(sa_type=BigInteger)


class Intent(SQLModel, table=True):
    """A certificate that is about to be signed. The row goes when the certificate is recorded, or is given up.

    A table of its own because it stays tiny: the durable step before every signature writes a page or two.
    """

    __tablename__ = "intent"

    id: int | None = Field(default=None, sa_column=_identity())
    serial: str = Field(sa_type=Text, unique=True)
    authority_id: int = Field(sa_type=_Id)
    profile: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    shard: int | None = None
    spki_sha256: bytes = Field(sa_type=LargeBinary)
    not_before: int = Field(sa_type=BigInteger)
    not_after: int = Field(sa_type=BigInteger)
    requested_by: str = Field(sa_type=Text)
    renews: str | None = Field(default=None, sa_type=Text)
    tbs: bytes = Field(sa_type=LargeBinary)
    intended_at: int = Field(sa_type=BigInteger)


class Certificate(SQLModel, table=True):
    """A certificate that we signed. Without a signature it is an intent that was given up, and as revocable as any."""

    __tablename__ = "certificate"
    __table_args__ = (
        Index("certificate_spki_sha256", "spki_sha256"),
        Index("certificate_not_after", "not_after"),
        Index("certificate_profile", "profile", "id"),  # the few that sign answers and manifests, among a million
    )

    id: int | None = Field(default=None, sa_column=_identity())
    serial: str = Field(sa_type=Text, unique=True)
    authority_id: int = Field(sa_type=_Id)
    profile: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    shard: int | None = None
    spki_sha256: bytes = Field(sa_type=LargeBinary)
    not_before: int = Field(sa_type=BigInteger)
    not_after: int = Field(sa_type=BigInteger)
    requested_by: str = Field(sa_type=Text)
    renews: str | None = Field(default=None, sa_type=Text)
    tbs: bytes = Field(sa_type=LargeBinary)
    signature: bytes | None = Field(default=None, sa_type=LargeBinary)
    recorded_at: int = Field(sa_type=BigInteger)


class CertificateName(SQLModel, table=True):
    """One name of one certificate, to search by: `dns:api.example`, `uri:spiffe://...`."""

    __tablename__ = "certificate_name"
    __table_args__ = {"sqlite_with_rowid": False}

    name: str = Field(sa_type=_Searched, primary_key=True)
    serial: str = Field(sa_type=Text, primary_key=True)


class Revocation(SQLModel, table=True):
    """A revoked certificate. Listed until one CRL was signed after it expired (RFC 5280 section 3.3): `last_listed`."""

    __tablename__ = "revocation"
    __table_args__ = (
        Index(  # has all that a list is made of: a shard's rows lie scattered over the whole table
            "revocation_listed",
            *("authority_id", "shard", "serial", "revoked_at", "reason", "not_after", "last_listed"),
            sqlite_where=text("last_listed IS NULL"),
            postgresql_where=text("last_listed IS NULL"),
        ),
        Index("revocation_change", "authority_id", "change"),
        Index("revocation_held", "serial", sqlite_where=text("reason = 6"), postgresql_where=text("reason = 6")),
    )

    serial: str = Field(sa_type=Text, primary_key=True)
    authority_id: int = Field(sa_type=_Id)
    shard: int | None = None
    reason: int
    revoked_at: int = Field(sa_type=BigInteger)
    not_after: int = Field(sa_type=BigInteger)
    revoked_by: str = Field(sa_type=Text)
    last_listed: int | None = Field(default=None, sa_type=BigInteger)
    change: int | None = Field(default=None, sa_type=BigInteger)
    """Its authority's count of changes when it was recorded (`RevocationList.changes`): an order without a clock."""


class RevocationList(SQLModel, table=True):
    """The newest CRL of one shard of one authority, or (shard -1) its complete CRL; and when the next one is due.

    `changes` counts the revocations that touch it, so that one that comes while a list is being built is not lost;
    `counted` is where that count stood in what the newest list was made from: it has all of them, and none after.
    """

    __tablename__ = "revocation_list"

    authority_id: int = Field(sa_type=_Id, primary_key=True)
    shard: int = Field(primary_key=True)
    number: int = Field(sa_type=BigInteger)
    this_update: int = Field(sa_type=BigInteger)
    next_update: int = Field(sa_type=BigInteger)
    due_at: int = Field(sa_type=BigInteger, index=True)
    changes: int = Field(default=0, sa_type=BigInteger)
    counted: int | None = Field(default=None, sa_type=BigInteger)
    entries: int
    sha256: bytes = Field(sa_type=LargeBinary)


class RevocationListContent(SQLModel, table=True):
    """The bytes of a list, in a table of their own: SQLite rewrites a whole row for each change, and they are many."""

    __tablename__ = "revocation_list_content"

    authority_id: int = Field(sa_type=_Id, primary_key=True)
    shard: int = Field(primary_key=True)
    crl: bytes = Field(sa_type=LargeBinary)


class BlockedKey(SQLModel, table=True):
    """A public key that is never certified again: compromised, or one of our own CA keys."""

    __tablename__ = "blocked_key"

    spki_sha256: bytes = Field(sa_type=LargeBinary, primary_key=True)
    reason: str = Field(sa_type=Text)
    blocked_at: int = Field(sa_type=BigInteger)


class Answer(SQLModel, table=True):
    """What an idempotency key was answered with: the same key and the same request get the same certificate."""

    __tablename__ = "answer"

    key: str = Field(sa_type=Text, primary_key=True)
    request_sha256: bytes = Field(sa_type=LargeBinary)
    serial: str = Field(sa_type=Text, index=True)
    created_at: int = Field(sa_type=BigInteger, index=True)


class ApiToken(SQLModel, table=True):
    """An API token: only the SHA-256 of its 256 random bits is kept."""

    __tablename__ = "api_token"

    id: str = Field(sa_type=Text, primary_key=True)
    name: str = Field(sa_type=Text, unique=True)
    secret_sha256: bytes = Field(sa_type=LargeBinary)
    role: str = Field(sa_type=Text)
    profiles: str = Field(sa_type=Text)
    attributes: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    created_by: str = Field(sa_type=Text)
    expires_at: int = Field(sa_type=BigInteger)
    revoked_at: int | None = Field(default=None, sa_type=BigInteger)


class LedgerEntry(SQLModel, table=True):
    """One state change. Its `position` in the Merkle tree is given a moment later, in one go for many."""

    __tablename__ = "ledger_entry"
    __table_args__ = (
        Index("ledger_entry_position", "position", unique=True),
        Index(
            "ledger_entry_waiting",
            "id",
            sqlite_where=text("position IS NULL"),
            postgresql_where=text("position IS NULL"),
        ),
        Index("ledger_entry_subject", "subject"),
    )

    id: int | None = Field(default=None, sa_column=_identity())
    position: int | None = Field(default=None, sa_type=BigInteger)
    subject: str = Field(sa_type=Text)
    leaf_hash: bytes = Field(sa_type=LargeBinary)
    body: bytes = Field(sa_type=LargeBinary)


class LedgerHead(SQLModel, table=True):
    """A signed head of the ledger, and the tree's right edge at that size, from which the next head is computed."""

    __tablename__ = "ledger_head"

    size: int = Field(sa_type=BigInteger, primary_key=True, sa_column_kwargs={"autoincrement": False})
    root: bytes = Field(sa_type=LargeBinary)
    edge: bytes = Field(sa_type=LargeBinary)
    checkpoint: str = Field(sa_type=Text)
    signed_at: int = Field(sa_type=BigInteger)


class ProfileVersion(SQLModel, table=True):
    """A profile file as it was loaded, so that what was policy at a given time can be looked up."""

    __tablename__ = "profile_version"

    name: str = Field(sa_type=Text, primary_key=True)
    sha256: str = Field(sa_type=Text, primary_key=True)
    content: str = Field(sa_type=Text)
    loaded_at: int = Field(sa_type=BigInteger)


class Lease(SQLModel, table=True):
    """Who does a named piece of work, until when; see `ca/store/lease.py`."""

    __tablename__ = "lease"

    name: str = Field(sa_type=Text, primary_key=True)
    holder: str = Field(sa_type=Text)
    leased_until: int = Field(sa_type=BigInteger)
    fence: int = Field(sa_type=BigInteger)


class Fact(SQLModel, table=True):
    """A fact about this installation that is decided once, such as the ledger's origin."""

    __tablename__ = "fact"

    name: str = Field(sa_type=Text, primary_key=True)
    value: str = Field(sa_type=Text)


class CrossCertificate(SQLModel, table=True):
    """A certificate for one of our CAs by another of ours: whoever trusts only the old root gets to the new one."""

    __tablename__ = "cross_certificate"

    id: int | None = Field(default=None, sa_column=_identity())
    authority_id: int = Field(sa_type=_Id, index=True)
    issuer_id: int = Field(sa_type=_Id)
    serial: str = Field(sa_type=Text, unique=True)
    certificate: bytes = Field(sa_type=LargeBinary)
    not_after: int = Field(sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)


class DeltaList(SQLModel, table=True):
    """The newest delta CRL of an authority, and which complete list it is counted from (RFC 5280 section 5.2.4).

    It has the revocations whose `change` is larger than `base_counted` and at most `counted`.
    """

    __tablename__ = "delta_list"

    authority_id: int = Field(sa_type=_Id, primary_key=True)
    base_number: int = Field(sa_type=BigInteger)
    base_counted: int = Field(sa_type=BigInteger)
    base_size: int
    based_at: int = Field(sa_type=BigInteger)
    number: int = Field(sa_type=BigInteger)
    this_update: int = Field(sa_type=BigInteger)
    next_update: int = Field(sa_type=BigInteger)
    due_at: int = Field(sa_type=BigInteger)
    counted: int = Field(sa_type=BigInteger)
    entries: int
    sha256: bytes = Field(sa_type=LargeBinary)
    crl: bytes = Field(sa_type=LargeBinary)
