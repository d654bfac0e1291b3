"""The same change for many rows, in few and large statements, with little between it and the database driver.

A statement for many rows costs less than many statements, and not only in the database: Python's `sqlite3` gives up
the interpreter lock for every statement it runs, and under load each time means waiting for it again. The columns of
the hot tables are plain text, numbers and bytes, which every driver takes without conversion.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Select, Table
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel

CHUNK = 64
"""How many rows a statement takes at most."""
STATEMENTS = 5 * CHUNK + 64
"""How many prepared statements a connection should keep: every size of the five that issuance uses, and some more."""


def table_of(model: type[SQLModel]) -> Table:
    """The table behind a model."""
    return model.__table__  # type: ignore[attr-defined,no-any-return]  # SQLModel does not type it


def insert_many(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that have the same keys."""
    keys = tuple(rows[0])
    for chunk in _chunks(rows):
        sql = _insert_sql(table, keys, len(chunk), connection.dialect)
        _run(connection, sql, [row[key] for row in chunk for key in keys])


def delete_many(connection: Connection, table: Table, key: str, values: Sequence[Any]) -> int:
    """Delete the rows whose `key` is one of `values`; returns how many there were."""
    return sum(
        _run(connection, _delete_sql(table, key, len(chunk), connection.dialect), chunk) for chunk in _chunks(values)
    )


def any_row(connection: Connection, statement: Select[Any], values: Collection[Any]) -> bool:
    """Whether `statement`, whose bind `values` expands to a list, finds a row."""
    sql, order, fixed = _expanded(statement, len(values), connection.dialect)
    given = {**fixed, **{f"values_{place}": value for place, value in enumerate(values, start=1)}}
    parameters = given if order is None else tuple(map(given.__getitem__, order))
    return _run(connection, sql, parameters, fetch=True) > 0


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def _run(connection: Connection, sql: str, parameters: Any, *, fetch: bool = False) -> int:
    """Run one statement; returns how many rows it touched or, with `fetch`, whether it found one."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(sql, parameters)
        return int(cursor.fetchone() is not None) if fetch else int(cursor.rowcount)
    except connection.dialect.loaded_dbapi.Error as error:
        base = connection.dialect.loaded_dbapi.Error
        raise DBAPIError.instance(sql, None, error, base, dialect=connection.dialect) from error
    finally:
        cursor.close()


def _place(dialect: Dialect) -> str:
    return "?" if dialect.paramstyle == "qmark" else "%s"


@lru_cache(maxsize=1024)
def _insert_sql(table: Table, keys: tuple[str, ...], count: int, dialect: Dialect) -> str:
    row = f"({', '.join([_place(dialect)] * len(keys))})"
    columns = ", ".join(table.columns[key].name for key in keys)
    return f"INSERT INTO {table.name} ({columns}) VALUES {', '.join([row] * count)}"  # noqa: S608 - names are ours


@lru_cache(maxsize=256)
def _delete_sql(table: Table, key: str, count: int, dialect: Dialect) -> str:
    places = ", ".join([_place(dialect)] * count)
    return f"DELETE FROM {table.name} WHERE {table.columns[key].name} IN ({places})"  # noqa: S608 - names are ours


@lru_cache(maxsize=1024)
def _expanded(
    statement: Select[Any], count: int, dialect: Dialect
) -> tuple[str, tuple[str, ...] | None, Mapping[str, Any]]:
    """SQL text with `count` places for the bind `values`, the order of all parameters, and those that are fixed."""
    compiled = statement.compile(dialect=dialect)
    state = compiled.construct_expanded_state({"values": [None] * count})
    order = state.positiontup
    return state.statement, None if order is None else tuple(order), state.parameters
