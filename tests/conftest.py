"""Fixtures that more than one folder of tests needs: stores on both engines, an installation, counterparts."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from _pytest.nodeid import NodeId
from hypothesis import HealthCheck, settings

from ca.installation import Installation
from ca.store import Store, open_store
from tests import cheap, rig
from tests.postgresql import Tables, cluster, fresh_database

__all__ = ["fresh_database"]
IN_MEMORY = Path("/dev/shm")
ROOM = 4 << 30
"""Bytes that have to be free there; a whole run takes less than a quarter of it."""
DEAR = frozenset({"material_of", "configmap", "kubernetes"})
"""Fixtures of a session and kinds of a place that cost ten seconds of a core: key material, a Kubernetes API server."""
LONG = (
    *("tests/flows", "tests/crash", "tests/fuzz", "tests/pictures", "tests/test_wheel", "tests/pki/test_demo"),
    *("tests/peers", "tests/contracts", "tests/pki"),
)
"""Where tests take long, the longest first (`--no-loadscope-reorder` keeps to that)."""
_NOTHING = SimpleNamespace(params={})

settings.register_profile("certwright", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("certwright")  # a machine that is busy with something else is no fault of ours


def pytest_configure() -> None:
    """What is dear is made cheap; temporary files lie in memory where there is room, unless TMPDIR says otherwise.

    Tests wait for a hundred thousand syncs, and none of them pulls the plug: what reaches a disk, and when, is seen by
    the calls that the kernel gets (`tests/crash/test_trace.py`).
    """
    cheap.make()
    if "TMPDIR" not in os.environ and os.access(IN_MEMORY, os.W_OK) and shutil.disk_usage(IN_MEMORY).free > ROOM:
        os.environ["TMPDIR"] = str(IN_MEMORY)
        tempfile.tempdir = None  # whoever has asked already asks again


def pytest_collection_finish() -> None:
    """What was collected stays to the end: each look for garbage would go through all of it again."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """What is dear is made in one process alone, and begun first: what is short fills the gaps at the end."""
    for item in items:
        together = _together(item)
        if together is not None and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(together))
    items.sort(key=lambda item: next((n for n, part in enumerate(LONG) if item.nodeid.startswith(part)), len(LONG)))
    yield
    for item in items:  # where pytest-xdist 3.8 writes the group, pytest 9.2 does not look any more
        grouped = getattr(item, "_nodeid", None)
        if grouped is not None and item.nodeid != grouped:
            item._id = NodeId.parse(grouped)


def _together(item: pytest.Item) -> str | None:
    """What a test shares with others that would be made again in each process: a module's fixtures, or a dear one."""
    shared = getattr(item, "_fixtureinfo", None)
    found = [one for ones in (shared.name2fixturedefs.values() if shared is not None else ()) for one in ones]
    dear = DEAR.intersection(one.argname for one in found)
    if dear:
        return min(dear)
    kind = next(iter(DEAR.intersection(map(str, getattr(item, "callspec", _NOTHING).params.values()))), None)
    if kind is not None:
        return kind
    is_shared = any(one.scope == "module" and not one.argname.startswith("_xunit") for one in found)
    return item.nodeid.partition("::")[0] if is_shared else None


def copied(tables: Path, directory: Path) -> Path:
    """A copy of an empty database, in a directory."""
    return Path(shutil.copy(tables, directory / "certwright.db"))


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all tables and nothing in them: making them is what takes long."""
    path = tmp_path_factory.mktemp("tables") / "certwright.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def store(tables: Path, tmp_path: Path) -> Iterator[Store]:
    """An empty SQLite store."""
    opened = open_store(f"sqlite:///{copied(tables, tmp_path)}")
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


@pytest.fixture(scope="session")
def databases(postgresql: str) -> Tables:
    """Empty databases of that cluster, with all tables."""
    return Tables(postgresql)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tables: Path, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, on each engine in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{copied(tables, tmp_path)}"
    else:
        with request.getfixturevalue("databases").lent() as url:
            yield url


@pytest.fixture
def any_store(store_url: str) -> Iterator[Store]:
    """An empty store, on each engine in turn."""
    opened = open_store(store_url)
    yield opened
    opened.close()
