"""What proofs of the ledger are made from."""

from __future__ import annotations

from sqlalchemy import BigInteger, LargeBinary
from sqlmodel import Field, SQLModel


class LedgerTile(SQLModel, table=True):
    """A complete tile of the ledger's tree: 256 hashes one after the other, and the root over them.

    All of it follows from the entries; it is kept so that a proof reads some tiles instead of all entries. `root` comes
    first: a reader of many roots then never touches the pages that the hashes overflow to.
    """

    __tablename__ = "ledger_tile"

    level: int = Field(primary_key=True)
    number: int = Field(sa_type=BigInteger, primary_key=True)
    root: bytes = Field(sa_type=LargeBinary)
    hashes: bytes = Field(sa_type=LargeBinary)
