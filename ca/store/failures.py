"""What the errors of a database mean to those who asked it for something."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from ca.errors import BadRequest, Conflict, StoreUnavailable


def as_ours(error: Exception) -> Exception:
    """The error of our tree that says the same; what is not the database's stays as it is."""
    if not isinstance(error, SQLAlchemyError):
        return error
    if isinstance(error, IntegrityError):
        return Conflict("it clashes with what is stored", code="duplicate")
    if isinstance(error, DataError):  # such as a NUL character, which PostgreSQL does not take
        return BadRequest("the database takes no such value", code="bad-value")
    reason = str(error.orig).strip().splitlines()[0] if isinstance(error, DBAPIError) and error.orig else str(error)
    return StoreUnavailable(f"the database did not take it: {reason}")


def is_of_a_statement(error: SQLAlchemyError) -> bool:
    """Whether one statement was wrong, rather than the database unable: then its neighbours need not fail with it."""
    origin = getattr(error, "orig", None)
    if (state := getattr(origin, "sqlstate", None)) is not None:
        return str(state)[:2] in ("21", "22", "42")
    return getattr(origin, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR or isinstance(error, DataError)


def is_transient(error: SQLAlchemyError) -> bool:
    """PostgreSQL gives up one of two transactions that block each other: it may simply be tried again."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state in ("40001", "40P01")
