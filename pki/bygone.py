"""What the installation that a backup replaces can still tell: how far it had come when it was lost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, func, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col

from ca.ledger.witness import HEAD_FILE, read
from ca.models import Certificate, DeltaList, LedgerHead, Revocation, RevocationList
from ca.store.many import table_of
from pki.settings import database_url, load_settings


@dataclass(slots=True)
class Known:
    """What is known of the time after the backup."""

    size: int = 0
    certificates: int | None = None
    revocations: int | None = None
    list_number: int = 0
    checkpoint: str | None = None
    """The newest head that it had seen, which its state directory keeps: it tells although the database does not."""


def known_of(state: Path) -> Known:
    """What the installation that is there can still tell; the newest head alone if its database does not open."""
    settings, known = load_settings(state), Known(checkpoint=read(state / HEAD_FILE))
    url = make_url(database_url(state, settings))
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    elif not Path(str(url.database)).exists():
        return known
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            there = set(inspect(connection).get_table_names())
            known.size = connection.execute(select(func.max(col(LedgerHead.size)))).scalar() or 0
            for name, table in (("certificates", Certificate), ("revocations", Revocation)):
                setattr(known, name, connection.execute(select(func.count()).select_from(table_of(table))).scalar())
            for lists in (RevocationList, DeltaList):
                if lists.__tablename__ in there:
                    number = connection.execute(select(func.max(col(lists.number)))).scalar() or 0
                    known.list_number = max(known.list_number, number)
    except SQLAlchemyError:
        return known
    finally:
        engine.dispose()
    return known
