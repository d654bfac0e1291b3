"""Who is signed in with a browser, and the links by which somebody may be."""

from __future__ import annotations

from sqlalchemy import BigInteger, LargeBinary, Text
from sqlmodel import Field, SQLModel


class SignInLink(SQLModel, table=True):
    """A link that signs its holder in once: only the SHA-256 of its 256 random bits is kept."""

    __tablename__ = "sign_in_link"

    secret_sha256: bytes = Field(sa_type=LargeBinary, primary_key=True)
    identity: str = Field(sa_type=Text)
    role: str = Field(sa_type=Text)
    profiles: str = Field(sa_type=Text)
    attributes: str = Field(sa_type=Text)
    made_at: int = Field(sa_type=BigInteger)
    made_by: str = Field(sa_type=Text)
    expires_at: int = Field(sa_type=BigInteger, index=True)
    used_at: int | None = Field(default=None, sa_type=BigInteger)


class BrowserSession(SQLModel, table=True):
    """Somebody who is signed in, as the SHA-256 of the cookie. `how` is `link`, `certificate` or `oidc`.

    `credential` is what it rests on, where that may be revoked: a certificate's serial number, a token's id.
    """

    __tablename__ = "browser_session"

    secret_sha256: bytes = Field(sa_type=LargeBinary, primary_key=True)
    identity: str = Field(sa_type=Text, index=True)
    role: str = Field(sa_type=Text)
    profiles: str = Field(sa_type=Text)
    attributes: str = Field(sa_type=Text)
    how: str = Field(sa_type=Text)
    credential: str | None = Field(default=None, sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    seen_at: int = Field(sa_type=BigInteger)
    expires_at: int = Field(sa_type=BigInteger, index=True)
