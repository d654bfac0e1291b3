"""What we know of issuers: our accounts, whether they answer, what we have used of their rate limits."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, LargeBinary, Text
from sqlmodel import Field, SQLModel

from renewers.models.columns import identity


class AcmeAccount(SQLModel, table=True):
    """Our account at one ACME issuer. Its key is sealed; a rollover that is under way keeps the next one beside it."""

    __tablename__ = "acme_account"

    issuer: str = Field(sa_type=Text, primary_key=True)
    directory: str = Field(sa_type=Text)
    url: str | None = Field(default=None, sa_type=Text)
    sealed_key: bytes = Field(sa_type=LargeBinary)
    next_sealed_key: bytes | None = Field(default=None, sa_type=LargeBinary)
    key_made_at: int = Field(sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)


class IssuerHealth(SQLModel, table=True):
    """Whether an issuer answers: since when it fails, and before when it is not to be asked again."""

    __tablename__ = "issuer_health"

    issuer: str = Field(sa_type=Text, primary_key=True)
    failures: int
    failing_since: int | None = Field(default=None, sa_type=BigInteger)
    not_before: int = Field(sa_type=BigInteger)
    last_error: str | None = Field(default=None, sa_type=Text)
    last_success: int | None = Field(default=None, sa_type=BigInteger)


class Spending(SQLModel, table=True):
    """One use of one of an issuer's rate limits: the book that foresees a refusal."""

    __tablename__ = "spending"
    __table_args__ = (Index("spending_scope", "issuer", "budget", "scope", "at"),)

    id: int | None = Field(default=None, sa_column=identity())
    issuer: str = Field(sa_type=Text)
    budget: str = Field(sa_type=Text)
    scope: str = Field(sa_type=Text)
    at: int = Field(sa_type=BigInteger)
