"""What is wrong, and what has happened."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Text, text
from sqlmodel import Field, SQLModel

from renewers.models.columns import Id, identity


class Alarm(SQLModel, table=True):
    """Something is wrong since then. The row goes when it has recovered; both are said once, as an event."""

    __tablename__ = "alarm"
    __table_args__ = (Index("alarm_severity", "severity", "since"),)

    kind: str = Field(sa_type=Text, primary_key=True)
    subject: str = Field(sa_type=Text, primary_key=True)
    severity: str = Field(sa_type=Text)
    since: int = Field(sa_type=BigInteger)
    message: str = Field(sa_type=Text)
    hint: str | None = Field(default=None, sa_type=Text)
    owner_id: int | None = Field(default=None, sa_type=Id)


class Event(SQLModel, table=True):
    """Something happened that others want to know. Written in the transaction that made it so; sent afterwards."""

    __tablename__ = "event"
    __table_args__ = (
        Index("event_subject", "subject"),
        Index("event_pending", "id", sqlite_where=text("is_pending"), postgresql_where=text("is_pending")),
    )

    id: int | None = Field(default=None, sa_column=identity())
    kind: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    severity: str = Field(sa_type=Text)
    at: int = Field(sa_type=BigInteger, index=True)
    body: str = Field(sa_type=Text)
    is_pending: bool = True
