"""CAs that follow each other, and certificates that are replaced in numbers."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Text, text
from sqlmodel import Field, SQLModel

from renewers.models.columns import Id, identity


class Rotation(SQLModel, table=True):
    """One rotation of one line of authorities: which stage it is in, and what it has found so far.

    `outgoing` and `incoming` are names of authorities, JSON lists: a root takes the issuing CAs beneath it along. An
    abort after activation swaps them (`is_reverting`): the way back is the same story. Of one line only one is open.
    """

    __tablename__ = "rotation"
    __table_args__ = (
        Index(
            "rotation_open",
            "line",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
    )

    id: int | None = Field(default=None, sa_column=identity())
    line: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)
    stage: str = Field(sa_type=Text)
    stage_since: int = Field(sa_type=BigInteger)
    is_compromise: bool = False
    is_paused: bool = False
    is_reverting: bool = False
    outgoing: str = Field(sa_type=Text)
    incoming: str = Field(sa_type=Text)
    policy: str = Field(sa_type=Text)
    versions: str = Field(sa_type=Text)
    """JSON: for each stage that published, the version of each stream that consumers have to hold."""
    waits_for: str = Field(sa_type=Text)
    """JSON: what keeps it in its stage at present, for people."""
    reason: str = Field(sa_type=Text)
    started_at: int = Field(sa_type=BigInteger)
    started_by: str = Field(sa_type=Text)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)


class RotationStep(SQLModel, table=True):
    """One thing that happened in a rotation: a stage entered or left with its evidence, an override, a pause."""

    __tablename__ = "rotation_step"
    __table_args__ = (Index("rotation_step_rotation", "rotation_id", "id"),)

    id: int | None = Field(default=None, sa_column=identity())
    rotation_id: int = Field(sa_type=Id)
    stage: str = Field(sa_type=Text)
    what: str = Field(sa_type=Text)
    at: int = Field(sa_type=BigInteger)
    by: str = Field(sa_type=Text)
    evidence: str = Field(sa_type=Text)


class Override(SQLModel, table=True):
    """That a person lets a rotation pass a gate without one consumer, or a certificate, in writing."""

    __tablename__ = "override"

    rotation_id: int = Field(sa_type=Id, primary_key=True)
    gate: str = Field(sa_type=Text, primary_key=True)
    subject: str = Field(sa_type=Text, primary_key=True)
    reason: str = Field(sa_type=Text)
    at: int = Field(sa_type=BigInteger)
    by: str = Field(sa_type=Text)


class Replacement(SQLModel, table=True):
    """A mass replacement: which certificates (`selection`, JSON), how fast, and whether the old ones are revoked.

    `policy` says how they are revoked and until when proof is waited for; `found` is how far it is: where listing has
    stopped, since when it paces itself. `counts` is the account at the end, by the states of its items. All JSON.
    """

    __tablename__ = "replacement"

    id: int | None = Field(default=None, sa_column=identity())
    rotation_id: int | None = Field(default=None, sa_type=Id, index=True)
    state: str = Field(sa_type=Text, index=True)
    selection: str = Field(sa_type=Text)
    reason: str = Field(sa_type=Text)
    per_minute: int
    revokes: bool = False
    policy: str = Field(default="{}", sa_type=Text)
    found: str = Field(default="{}", sa_type=Text)
    counts: str = Field(sa_type=Text)
    started_at: int = Field(sa_type=BigInteger)
    started_by: str = Field(sa_type=Text)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)


class ReplacementItem(SQLModel, table=True):
    """One certificate that a mass replacement is about, its turn (the lowest `place` first), and what became of it."""

    __tablename__ = "replacement_item"
    __table_args__ = (
        Index("replacement_item_place", "replacement_id", "state", "place"),
        Index("replacement_item_lineage", "lineage_id"),
    )

    replacement_id: int = Field(sa_type=Id, primary_key=True)
    tracked_id: int = Field(sa_type=Id, primary_key=True)
    place: int
    lineage_id: int | None = Field(default=None, sa_type=Id)
    serial: str = Field(sa_type=Text)
    shown_as: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)
    successor_id: int | None = Field(default=None, sa_type=Id)
    changed_at: int = Field(sa_type=BigInteger)
    note: str = Field(sa_type=Text)
