"""Columns that every table here has."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer

Id = BigInteger().with_variant(Integer, "sqlite")
"""The type of an id: SQLite numbers rows by itself only for plain integers."""


def identity() -> Column[int]:
    """A primary key that the database numbers."""
    return Column(Id, primary_key=True, autoincrement=True)
