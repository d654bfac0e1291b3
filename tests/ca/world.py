"""Ways to look at an installation past its store, as a stranger or an attacker would; and to make a second replica.

Nothing here is a test. Read `tests/rig.py` first, which builds what this looks at.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cryptography import x509
from sqlalchemy import Connection, NullPool, create_engine, func, select, text
from sqlmodel import SQLModel, col

from ca import crl
from ca.authority import Authorities
from ca.crl import COMPLETE, CrlPolicy, CrlPublisher
from ca.installation import Installation
from ca.issuance import Issued, Story
from ca.ledger.log import Ledger
from ca.models import LedgerEntry
from ca.profiles.collection import Profiles
from ca.store import Store


@contextmanager
def outside(store: Store) -> Iterator[Connection]:
    """A connection to the same database that the store knows nothing of; what is changed through it is committed."""
    engine = create_engine(store._readers.url, poolclass=NullPool)
    with engine.begin() as connection:
        yield connection


def until_it_waits(store: Store) -> None:
    """Return when somebody waits for a lock in this PostgreSQL database."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + 60
    while True:
        with outside(store) as connection:
            if connection.execute(waiting).scalar_one():
                return
        assert time.monotonic() < deadline, "nobody waits"
        time.sleep(0.01)


def url_of(store: Store) -> str:
    """The URL that the store was opened with."""
    return store._readers.url.render_as_string(hide_password=False)


def replica(of: Installation, store: Store) -> Installation:
    """The same installation as another process would have it: another store, the same database and keys."""
    return Installation(
        store=store,
        keys=of.keys,
        profiles=Profiles(of.profiles.directory, of.profiles.variables),
        authorities=Authorities(store, of.keys, of.authorities.urls),
        ledger=Ledger(store, of.ledger.origin, of.keys.load("ledger")),  # type: ignore[arg-type]
    )


def rows(store: Store, table: type[SQLModel], **where: Any) -> list[Any]:
    """Committed rows, seen from outside."""
    query = select(table).where(*(col(getattr(table, name)) == value for name, value in where.items()))
    with outside(store) as connection:
        return list(connection.execute(query))


def count(store: Store, table: type[SQLModel]) -> int:
    """How many rows are committed, seen from outside."""
    with outside(store) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def entries(store: Store, action: str | None = None, **where: Any) -> list[dict[str, Any]]:
    """The bodies of the ledger's entries, oldest first, those of one action or all."""
    with outside(store) as connection:
        bodies = [json.loads(row.body) for row in connection.execute(select(LedgerEntry).order_by(col(LedgerEntry.id)))]
    return [
        body
        for body in bodies
        if action in (None, body["action"]) and all(body.get(name) == value for name, value in where.items())
    ]


def perform(story: Story, installation: Installation, steps: int | None = None) -> Issued | None:
    """Drive an issuance by hand: make so many of its effects durable, or all; returns what it answers, if it does."""
    with suppress(StopIteration):
        effect = next(story)
        while steps is None or steps > 0:
            installation.store.write(effect)  # type: ignore[arg-type]
            steps = None if steps is None else steps - 1
            try:
                effect = story.send(None)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
    return None


def publish(installation: Installation, policy: CrlPolicy | None = None) -> list[crl.Published]:
    """Make every CRL that is due, the complete ones without the pause between two of them."""
    return CrlPublisher(installation, policy or CrlPolicy()).publish_due()


def load_crl(
    installation: Installation, authority: str = "issuing-1", shard: int = COMPLETE
) -> x509.CertificateRevocationList:
    """A stored CRL as a relying party sees it."""
    row = crl.load(installation, authority, shard)
    assert row is not None, f"{authority} has no list {shard} yet"
    return x509.load_der_x509_crl(row.crl)


def listed(installation: Installation, authority: str = "issuing-1", shard: int = COMPLETE) -> set[str]:
    """The serial numbers on a stored CRL."""
    return {f"{entry.serial_number:x}" for entry in load_crl(installation, authority, shard)}
