"""What becomes of revocations that are no rows of a certificate's own: holds that were lifted, strangers' certificates.

Times are whole seconds since the epoch, serial numbers lower-case hex; see `issuing` for the rest.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, Text
from sqlmodel import Field, SQLModel

_Id = BigInteger().with_variant(Integer, "sqlite")


class Released(SQLModel, table=True):
    """That a certificate was on hold and is not any more: deltas say so, and kept OCSP answers go (`change`).

    One row for the newest release of a certificate; it goes when that is held or revoked again.
    """

    __tablename__ = "released"
    __table_args__ = (Index("released_change", "authority_id", "change"),)

    serial: str = Field(sa_type=Text, primary_key=True)
    authority_id: int = Field(sa_type=_Id)
    held_at: int = Field(sa_type=BigInteger)
    released_at: int = Field(sa_type=BigInteger)
    released_by: str = Field(sa_type=Text)
    change: int | None = Field(default=None, sa_type=BigInteger)


class UnrecordedRevocation(SQLModel, table=True):
    """A revoked certificate that our key has signed and our tables do not know; columns as those of `Revocation`.

    A table of its own: another CA's serial numbers may be small, and the same as those of a third.
    """

    __tablename__ = "unrecorded_revocation"
    __table_args__ = (Index("unrecorded_revocation_change", "authority_id", "change"),)

    authority_id: int = Field(sa_type=_Id, primary_key=True)
    serial: str = Field(sa_type=Text, primary_key=True)
    shard: int | None = None
    reason: int
    revoked_at: int = Field(sa_type=BigInteger)
    not_after: int = Field(sa_type=BigInteger)
    revoked_by: str = Field(sa_type=Text)
    last_listed: int | None = Field(default=None, sa_type=BigInteger)
    change: int | None = Field(default=None, sa_type=BigInteger)
    certificate: bytes = Field(sa_type=LargeBinary)
