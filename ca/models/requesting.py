"""What was asked of somebody else. Times are whole seconds since the epoch."""

from __future__ import annotations

from sqlalchemy import BigInteger, LargeBinary, Text
from sqlmodel import Field, SQLModel


class AuthorityRequest(SQLModel, table=True):
    """A CA of ours whose certificate somebody else has to sign: its key is here, and waits. See `ca/external.py`."""

    __tablename__ = "authority_request"

    name: str = Field(sa_type=Text, primary_key=True)
    line: str = Field(sa_type=Text)
    key_label: str = Field(sa_type=Text)
    spki_sha256: bytes = Field(sa_type=LargeBinary)
    subject: str = Field(sa_type=Text)
    csr: str = Field(sa_type=Text)
    crl_shards: int
    created_at: int = Field(sa_type=BigInteger)
    created_by: str = Field(sa_type=Text)
