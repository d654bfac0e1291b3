"""What is carried to a key that is kept offline, and what came back. Times are whole seconds since the epoch."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, LargeBinary, Text
from sqlmodel import Field, SQLModel

_Id = BigInteger().with_variant(Integer, "sqlite")


class Ceremony(SQLModel, table=True):
    """One request to an offline CA: the file as it was given out, and what waits for its signatures."""

    __tablename__ = "ceremony"

    name: str = Field(sa_type=Text, primary_key=True)
    authority_id: int = Field(sa_type=_Id)
    document: bytes = Field(sa_type=LargeBinary)
    created_at: int = Field(sa_type=BigInteger)
    created_by: str = Field(sa_type=Text)
    serial: str | None = Field(default=None, sa_type=Text)
    """Of the CA certificate that is asked for, whose intent waits; with it, what the new CA will be."""
    line: str | None = Field(default=None, sa_type=Text)
    key_label: str | None = Field(default=None, sa_type=Text)
    crl_shards: int | None = None
    profile_sha256: str | None = Field(default=None, sa_type=Text)
    crosses: str | None = Field(default=None, sa_type=Text)
    """The root that is to be certified, where that is asked for instead of a new CA."""
    listing: str | None = Field(default=None, sa_type=Text)
    """The list that is asked for, JSON: what the store has to know of it besides its bytes."""
    outcome: str | None = Field(default=None, sa_type=Text)
    """`completed` or `withdrawn`; None while it waits."""
    ended_at: int | None = Field(default=None, sa_type=BigInteger)
    ended_by: str | None = Field(default=None, sa_type=Text)
    transcript: str | None = Field(default=None, sa_type=Text)
    """What was said to have happened at the offline machine, JSON."""
