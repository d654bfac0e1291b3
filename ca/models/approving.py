"""What needs a second person. Times are whole seconds since the epoch."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, Text
from sqlmodel import Field, SQLModel

_Id = BigInteger().with_variant(Integer, "sqlite")


class Approval(SQLModel, table=True):
    """One act that somebody wants to do, and what another one said to it. See `ca/approval.py`."""

    __tablename__ = "approval"

    id: int | None = Field(default=None, sa_type=_Id, primary_key=True)
    act: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    details: str = Field(sa_type=Text)
    """What else decides what will happen, JSON; nothing secret."""
    digest: str = Field(sa_type=Text, index=True)
    asked_by: str = Field(sa_type=Text)
    asked_at: int = Field(sa_type=BigInteger)
    expires_at: int = Field(sa_type=BigInteger)
    decision: str | None = Field(default=None, sa_type=Text)
    """`granted` or `refused`; None while it waits."""
    decided_by: str | None = Field(default=None, sa_type=Text)
    decided_at: int | None = Field(default=None, sa_type=BigInteger)
    used_at: int | None = Field(default=None, sa_type=BigInteger)
