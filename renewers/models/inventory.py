"""What is tracked, whose it is, and where it is seen."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, LargeBinary, Text, false, text
from sqlmodel import Field, SQLModel

from renewers.models.columns import Id, Searched, identity


class Owner(SQLModel, table=True):
    """Whoever answers for certificates: a team with a mailbox. One owner is the fallback for what has none.

    `feed_version` is part of the address of its calendar: a larger one makes the older addresses hold no more.
    """

    __tablename__ = "owner"
    __table_args__ = (
        Index(
            "owner_fallback",
            "is_fallback",
            unique=True,
            sqlite_where=text("is_fallback"),
            postgresql_where=text("is_fallback"),
        ),
    )

    id: int | None = Field(default=None, sa_column=identity())
    name: str = Field(sa_type=Text, unique=True)
    email: str = Field(sa_type=Text)
    escalation: str = Field(sa_type=Text)
    time_zone: str = Field(sa_type=Text)
    is_fallback: bool = False
    feed_version: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    created_at: int = Field(sa_type=BigInteger)
    created_by: str = Field(sa_type=Text)


class OwnerClaim(SQLModel, table=True):
    """What belongs to an owner by rule: all that one `requester` asked for, or all `name`s beneath a domain."""

    __tablename__ = "owner_claim"

    kind: str = Field(sa_type=Text, primary_key=True)
    pattern: str = Field(sa_type=Text, primary_key=True)
    owner_id: int = Field(sa_type=Id, index=True)


class Lineage(SQLModel, table=True):
    """One certificate through all its renewals: which names, by which issuers, whose it is, and which is current.

    `mode` says who renews: `renewed` (we do), `manual` (a person), `holder` (whoever holds its key). `names_key` is the
    SHA-256 of its sorted names, by which a successor is recognised.
    """

    __tablename__ = "lineage"

    id: int | None = Field(default=None, sa_column=identity())
    name: str = Field(sa_type=Searched, unique=True)
    owner_id: int | None = Field(default=None, sa_type=Id, index=True)
    mode: str = Field(sa_type=Text, index=True)
    names: str = Field(sa_type=Text)
    names_key: str = Field(sa_type=Text, index=True)
    issuers: str = Field(sa_type=Text)
    profile: str = Field(sa_type=Text)
    key_type: str = Field(sa_type=Text)
    key_age: int = Field(sa_type=BigInteger)
    lifetime: int | None = Field(default=None, sa_type=BigInteger)
    window: str = Field(sa_type=Text)
    may_shrink: bool = False
    current_id: int | None = Field(default=None, sa_type=Id)
    ari_start: int | None = Field(default=None, sa_type=BigInteger)
    ari_end: int | None = Field(default=None, sa_type=BigInteger)
    ari_chosen: int | None = Field(default=None, sa_type=BigInteger)
    ari_explanation: str | None = Field(default=None, sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    created_by: str = Field(sa_type=Text)


class Tracked(SQLModel, table=True):
    """Something that ends: a certificate, an authority's, a CRL, a bundle. `identity` tells two of them apart.

    `stage` is its place on the way to its end (`renewers/timing/lead_time`), `next_look` when that may next change.
    `answering_id` is who answers for it as of the last look, the fallback owner for orphans (`is_orphan`): an index to
    search and count by. Before anybody is told anything, `inventory/ownership.py` is asked.
    """

    __tablename__ = "tracked"
    __table_args__ = (
        Index(
            "tracked_next_look",
            "next_look",
            sqlite_where=text("next_look IS NOT NULL"),
            postgresql_where=text("next_look IS NOT NULL"),
        ),
        Index("tracked_serial", "serial"),
        Index(
            "tracked_authority",
            "subject",
            sqlite_where=text("kind = 'authority'"),
            postgresql_where=text("kind = 'authority'"),
        ),
        Index("tracked_spki_sha256", "spki_sha256"),
        Index("tracked_issuer", "issuer", "id"),
        Index("tracked_not_after", "not_after"),
        Index("tracked_stage", "stage", "id"),
        Index("tracked_answering", "answering_id", "stage", "not_after"),
        Index("tracked_ending", "stage", "not_after"),
        Index(
            "tracked_orphan",
            *("stage", "not_after"),
            sqlite_where=text("is_orphan"),
            postgresql_where=text("is_orphan"),
        ),
        Index(  # what signs and what is published: few, and never lost among a million leaves
            "tracked_signing",
            *("stage", "not_after"),
            sqlite_where=text("kind != 'certificate'"),
            postgresql_where=text("kind != 'certificate'"),
        ),
        Index(  # of a lineage through years of renewals, those that nothing has replaced
            "tracked_standing",
            "lineage_id",
            sqlite_where=text("replaced_by IS NULL"),
            postgresql_where=text("replaced_by IS NULL"),
        ),
    )

    id: int | None = Field(default=None, sa_column=identity())
    identity: str = Field(sa_type=Text, unique=True)
    kind: str = Field(sa_type=Text)
    source: str = Field(sa_type=Text)
    shown_as: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    issuer: str = Field(sa_type=Text)
    serial: str = Field(sa_type=Text)
    spki_sha256: bytes | None = Field(default=None, sa_type=LargeBinary)
    key_type: str = Field(sa_type=Text)
    not_before: int = Field(sa_type=BigInteger)
    not_after: int = Field(sa_type=BigInteger)
    lineage_id: int | None = Field(default=None, sa_type=Id, index=True)
    owner_id: int | None = Field(default=None, sa_type=Id, index=True)
    replaced_by: int | None = Field(default=None, sa_type=Id)
    stage: str = Field(sa_type=Text)
    stage_since: int = Field(sa_type=BigInteger)
    next_look: int | None = Field(default=None, sa_type=BigInteger)
    recorded_at: int = Field(sa_type=BigInteger)
    answering_id: int | None = Field(default=None, sa_type=Id)
    is_orphan: bool = Field(default=False, sa_column_kwargs={"server_default": false()})


class TrackedName(SQLModel, table=True):
    """One name of one tracked certificate, to search by: `dns:api.example`."""

    __tablename__ = "tracked_name"
    __table_args__ = {"sqlite_with_rowid": False}

    name: str = Field(sa_type=Searched, primary_key=True)
    tracked_id: int = Field(sa_type=Id, primary_key=True, index=True)


class TrackedContent(SQLModel, table=True):
    """The bytes of what did not come from our own CA's tables: DER, and for a certificate its chain as PEM text."""

    __tablename__ = "tracked_content"

    tracked_id: int = Field(sa_type=Id, primary_key=True, sa_column_kwargs={"autoincrement": False})
    der: bytes = Field(sa_type=LargeBinary)
    chain: str = Field(sa_type=Text)


class Endpoint(SQLModel, table=True):
    """A place where a certificate is seen: `tls:host:port`, `smtp:host:25`, `file:/etc/...`; and which it is now."""

    __tablename__ = "endpoint"

    id: int | None = Field(default=None, sa_column=identity())
    place: str = Field(sa_type=Text, unique=True)
    lineage_id: int | None = Field(default=None, sa_type=Id, index=True)
    tracked_id: int | None = Field(default=None, sa_type=Id, index=True)
    found_by: str = Field(sa_type=Text)
    findings: str = Field(sa_type=Text)
    last_seen: int | None = Field(default=None, sa_type=BigInteger)
    last_asked: int = Field(sa_type=BigInteger)
    failing_since: int | None = Field(default=None, sa_type=BigInteger)
    last_error: str | None = Field(default=None, sa_type=Text)


class Sighting(SQLModel, table=True):
    """That a certificate was seen at an endpoint, from when to when: its history."""

    __tablename__ = "sighting"

    endpoint_id: int = Field(sa_type=Id, primary_key=True)
    tracked_id: int = Field(sa_type=Id, primary_key=True, index=True)
    first_seen: int = Field(sa_type=BigInteger)
    last_seen: int = Field(sa_type=BigInteger)
