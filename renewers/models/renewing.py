"""What is due, what is being renewed, and where it is brought."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, LargeBinary, Text, text
from sqlmodel import Field, SQLModel

from renewers.models.columns import Id, identity


class Work(SQLModel, table=True):
    """One piece of due work; see `renewers/work.py`. While somebody holds it, `due_at` is when the lease ends."""

    __tablename__ = "work"
    __table_args__ = (
        Index("work_what", "kind", "subject", unique=True),
        Index(
            "work_due_at", "due_at", sqlite_where=text("state = 'waiting'"), postgresql_where=text("state = 'waiting'")
        ),
        Index(
            "work_failing",
            "kind",
            "subject",
            sqlite_where=text("failing_since IS NOT NULL"),
            postgresql_where=text("failing_since IS NOT NULL"),
        ),
    )

    id: int | None = Field(default=None, sa_column=identity())
    kind: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)
    due_at: int = Field(sa_type=BigInteger)
    due_since: int = Field(sa_type=BigInteger)
    holder: str | None = Field(default=None, sa_type=Text)
    fence: int = Field(sa_type=BigInteger)
    attempts: int
    failing_since: int | None = Field(default=None, sa_type=BigInteger)
    last_code: str | None = Field(default=None, sa_type=Text)
    last_error: str | None = Field(default=None, sa_type=Text)


class Renewal(SQLModel, table=True):
    """One renewal of one lineage, from its key to its end. A lineage has at most one that is `open`.

    `left_out` are names that it goes without, since they could not be proved and time was running out.
    """

    __tablename__ = "renewal"
    __table_args__ = (
        Index(
            "renewal_open",
            "lineage_id",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
        Index("renewal_lineage", "lineage_id", "id"),
        Index("renewal_tracked", "tracked_id"),
    )

    id: int | None = Field(default=None, sa_column=identity())
    lineage_id: int = Field(sa_type=Id)
    state: str = Field(sa_type=Text)
    reason: str = Field(sa_type=Text)
    issuer: str = Field(sa_type=Text)
    replaces_id: int | None = Field(default=None, sa_type=Id)
    left_out: str = Field(default="[]", sa_type=Text)
    csr: bytes = Field(sa_type=LargeBinary)
    sealed_key: bytes | None = Field(default=None, sa_type=LargeBinary)
    key_made_at: int = Field(sa_type=BigInteger)
    order_url: str | None = Field(default=None, sa_type=Text)
    finalized_at: int | None = Field(default=None, sa_type=BigInteger)
    tracked_id: int | None = Field(default=None, sa_type=Id)
    started_at: int = Field(sa_type=BigInteger)
    issued_at: int | None = Field(default=None, sa_type=BigInteger)
    finished_at: int | None = Field(default=None, sa_type=BigInteger)
    error: str | None = Field(default=None, sa_type=Text)


class Destination(SQLModel, table=True):
    """Where a lineage's certificate is used: by which publisher it gets there, where it is then looked at.

    Destinations of one lineage with a lower `rank` go first; the others wait until those were seen serving it.
    `wanted_id` is what it shall have, `delivered_id` what was committed there, both ids of `Tracked`. `bundle` is the
    PEM file of what its own users trust.
    """

    __tablename__ = "destination"

    id: int | None = Field(default=None, sa_column=identity())
    name: str = Field(sa_type=Text, unique=True)
    lineage_id: int = Field(sa_type=Id, index=True)
    publisher: str = Field(sa_type=Text)
    settings: str = Field(sa_type=Text)
    probe: str = Field(sa_type=Text)
    bundle: str | None = Field(default=None, sa_type=Text)
    rank: int
    state: str = Field(sa_type=Text)
    wanted_id: int | None = Field(default=None, sa_type=Id)
    delivered_id: int | None = Field(default=None, sa_type=Id)
    failing_since: int | None = Field(default=None, sa_type=BigInteger)
    last_error: str | None = Field(default=None, sa_type=Text)
    changed_at: int = Field(sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)
    created_by: str = Field(sa_type=Text)


class Delivery(SQLModel, table=True):
    """One attempt to bring one certificate to one destination, and what became of it."""

    __tablename__ = "delivery"
    __table_args__ = (Index("delivery_destination", "destination_id", "id"), Index("delivery_tracked", "tracked_id"))

    id: int | None = Field(default=None, sa_column=identity())
    destination_id: int = Field(sa_type=Id)
    tracked_id: int = Field(sa_type=Id)
    started_at: int = Field(sa_type=BigInteger)
    swapped_at: int | None = Field(default=None, sa_type=BigInteger)
    seen_at: int | None = Field(default=None, sa_type=BigInteger)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)
    outcome: str = Field(sa_type=Text)
    error: str | None = Field(default=None, sa_type=Text)
