"""The doctor finds what is broken, each thing once it is broken, and nothing where all is well."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from ca import clock
from ca.errors import KeyUnavailable
from ca.models import Authority, RevocationList
from pki import backup
from pki.doctor import checks
from pki.doctor.finding import Level
from pki.initialise import InitPlan, initialise
from pki.product import Product
from tests.ca.world import outside


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """One installation; every test mends what it broke."""
    state = tmp_path_factory.mktemp("doctor") / "state"
    initialise(state, InitPlan(changes={"crl.shards": "2"}))
    with Product.open(state) as opened:
        yield opened


def bad(product: Product) -> set[str]:
    """The checks that found a problem."""
    return {found.check for found in checks.examine(product) if found.level is Level.PROBLEM}


def test_a_sound_installation_has_no_problem(product: Product) -> None:
    """Every check says something; that no backups are made is a warning, with what to do."""
    found = checks.examine(product)
    assert bad(product) == set()
    assert {"keys", "permissions", "expiry", "clock", "disk", "database", "crl", "backup", "ledger"} == {
        each.check for each in found
    }
    assert all(each.advice for each in found if each.level is not Level.OK)


def test_open_permissions_are_found(product: Product) -> None:
    """A key file that others may read."""
    path: Path = next((product.state / "keys").glob("*.pem"))
    path.chmod(0o644)
    assert bad(product) == {"permissions"}
    path.chmod(0o600)


def test_a_key_that_does_not_work_is_found(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason."""

    def gone(_name: str) -> Any:
        raise KeyUnavailable("it is gone")

    monkeypatch.setattr(product.installation.authorities, "issuer", gone)
    assert bad(product) == {"keys"}


def test_a_clock_that_was_set_back_is_found(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is behind what the ledger has signed."""
    now = clock.timestamp()
    monkeypatch.setattr(clock, "timestamp", lambda: now - 3600)
    assert bad(product) == {"clock"}


def test_a_full_disk_is_found(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is quite full."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1 << 20))
    assert bad(product) == {"disk"}


def test_a_stale_list_is_found(product: Product) -> None:
    """Consumers refuse everybody then."""
    with outside(product.installation.store) as connection:
        connection.execute(update(RevocationList).values(next_update=RevocationList.next_update - 10 * 86400))
    assert bad(product) == {"crl"}
    with outside(product.installation.store) as connection:
        connection.execute(update(RevocationList).values(next_update=RevocationList.next_update + 10 * 86400))


def test_an_expired_ca_is_found(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its certificate's end."""
    rows = [Authority(name="old-1", state="active", not_after=1)]  # type: ignore[call-arg]
    monkeypatch.setattr(product.installation.authorities, "trusted", lambda: rows)
    monkeypatch.setattr(product.installation.authorities, "issuer", lambda _name: None)
    assert bad(product) == {"expiry"}


def test_a_late_backup_is_found(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """None at all is late, too."""
    asked = product.settings.backup.model_copy(update={"to": "backups", "every": timedelta(hours=1)})
    monkeypatch.setattr(product, "settings", product.settings.model_copy(update={"backup": asked}))
    assert backup.is_late(product)
    assert bad(product) == {"backup"}
