"""Who has to hold trust bundles and CRLs, what was published, and who holds what of it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, LargeBinary, Text
from sqlmodel import Field, SQLModel

from renewers.models.columns import Id, identity


class Consumer(SQLModel, table=True):
    """Whoever must hold bundles and CRLs: a proxy, a broker, a host, a group of devices, a person with curl.

    `needs` says what, `publisher` and `settings` how it gets it. It proves what it holds by acknowledging it,
    as one of `identities` or signed with its secret, or where it is probed. Rotations wait for one that `gates`.
    """

    __tablename__ = "consumer"

    id: int | None = Field(default=None, sa_column=identity())
    name: str = Field(sa_type=Text, unique=True)
    kind: str = Field(sa_type=Text)
    owner_id: int | None = Field(default=None, sa_type=Id, index=True)
    needs: str = Field(sa_type=Text)
    publisher: str = Field(sa_type=Text)
    settings: str = Field(sa_type=Text)
    probe: str = Field(sa_type=Text)
    identities: str = Field(sa_type=Text)
    sealed_secret: bytes | None = Field(default=None, sa_type=LargeBinary)
    gates: bool = True
    fresh_within: int
    state: str = Field(sa_type=Text)
    failing_since: int | None = Field(default=None, sa_type=BigInteger)
    last_error: str | None = Field(default=None, sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    created_by: str = Field(sa_type=Text)


class Holding(SQLModel, table=True):
    """Of one stream: the version that a consumer was sent last, and the one that it was proved to hold.

    `reported_at` is the consumer's own time in its last report: an older report is a replay.
    """

    __tablename__ = "holding"
    __table_args__ = (Index("holding_stream", "stream", "held_version"),)

    consumer_id: int = Field(sa_type=Id, primary_key=True)
    stream: str = Field(sa_type=Text, primary_key=True)
    sent_version: int = Field(sa_type=BigInteger)
    sent_at: int | None = Field(default=None, sa_type=BigInteger)
    held_version: int = Field(sa_type=BigInteger)
    held_since: int | None = Field(default=None, sa_type=BigInteger)
    proved_at: int | None = Field(default=None, sa_type=BigInteger)
    proved_by: str = Field(sa_type=Text)
    reported_at: int = Field(sa_type=BigInteger)


class Publication(SQLModel, table=True):
    """One version of one stream: its manifest, as it was signed. Rows are never changed and versions never go back."""

    __tablename__ = "publication"

    stream: str = Field(sa_type=Text, primary_key=True)
    version: int = Field(sa_type=BigInteger, primary_key=True, sa_column_kwargs={"autoincrement": False})
    sha256: str = Field(sa_type=Text)
    cause: str = Field(sa_type=Text)
    digest: str = Field(sa_type=Text)
    """Of what it is about, without version and times: two of the same are not published one after the other."""
    issued_at: int = Field(sa_type=BigInteger)
    expires_at: int = Field(sa_type=BigInteger)
    published_at: float
    """With its fraction, since latencies are measured from here."""
    revoked_until: int = Field(sa_type=BigInteger)
    """Every revocation that was recorded up to then is in it; 0 for a stream without CRLs."""
    signed: bytes = Field(sa_type=LargeBinary)


class ProbeLeaf(SQLModel, table=True):
    """A leaf to shake hands with: `good` ones are to be accepted, `revoked` ones refused, by whom they are shown to."""

    __tablename__ = "probe_leaf"
    __table_args__ = (Index("probe_leaf_authority", "authority", "purpose", "id"),)

    id: int | None = Field(default=None, sa_column=identity())
    authority: str = Field(sa_type=Text)
    purpose: str = Field(sa_type=Text)
    serial: str = Field(sa_type=Text)
    certificate: bytes = Field(sa_type=LargeBinary)
    chain: str = Field(sa_type=Text)
    sealed_key: bytes = Field(sa_type=LargeBinary)
    not_after: int = Field(sa_type=BigInteger)
    revoked_at: float | None = None
    listed_in: int | None = Field(default=None, sa_type=BigInteger)
    """Of a canary: the first version of our CRL stream whose list has it."""
    made_at: int = Field(sa_type=BigInteger)


class ForeignAnchor(SQLModel, table=True):
    """A trust anchor of another trust domain, for consumers that must trust it, too."""

    __tablename__ = "foreign_anchor"

    trust_domain: str = Field(sa_type=Text, primary_key=True)
    sha256: str = Field(sa_type=Text, primary_key=True)
    certificate: bytes = Field(sa_type=LargeBinary)
    added_at: int = Field(sa_type=BigInteger)
    added_by: str = Field(sa_type=Text)


class Latency(SQLModel, table=True):
    """How long one change took until one consumer was proved to hold it: seconds, newest rows kept."""

    __tablename__ = "latency"
    __table_args__ = (
        Index("latency_stream", "stream", "id"),
        Index("latency_consumer", "consumer_id", "stream", "version", unique=True),
    )

    id: int | None = Field(default=None, sa_column=identity())
    consumer_id: int = Field(sa_type=Id)
    stream: str = Field(sa_type=Text)
    version: int = Field(sa_type=BigInteger)
    proved_by: str = Field(sa_type=Text)
    seconds: float
    at: int = Field(sa_type=BigInteger)
