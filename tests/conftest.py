"""Fixtures that more than one folder of tests needs: stores on both engines, an installation, counterparts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ca.installation import Installation
from ca.store import Store, open_store
from tests import rig
from tests.postgresql import cluster, fresh_database

__all__ = ["fresh_database"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty SQLite store."""
    opened = open_store(f"sqlite:///{tmp_path}/certwright.db")
    yield opened
    opened.close()


@pytest.fixture
def installation(store: Store) -> Installation:
    """A root, an issuing CA with four CRL shards, and the shipped profiles, on SQLite."""
    return rig.make_installation(store)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A private PostgreSQL cluster on a loopback port; yields its URL without a database's name."""
    with cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, on each engine in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/certwright.db"
    return fresh_database(request.getfixturevalue("postgresql"))


@pytest.fixture
def any_store(store_url: str) -> Iterator[Store]:
    """An empty store, on each engine in turn."""
    opened = open_store(store_url)
    yield opened
    opened.close()
