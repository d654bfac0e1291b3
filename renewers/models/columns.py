"""Columns that every table here has."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Text

Id = BigInteger().with_variant(Integer, "sqlite")
"""The type of an id: SQLite numbers rows by itself only for plain integers."""

Searched = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is searched by its beginning: it is compared by its bytes, whatever language a database is made for."""


def identity() -> Column[int]:
    """A primary key that the database numbers."""
    return Column(Id, primary_key=True, autoincrement=True)
