"""The doctor finds what is broken, each thing once it is broken, and nothing where all is well."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select, update

from ca import clock, completeness
from ca.authority import OFFLINE
from ca.errors import KeyUnavailable, StoreUnavailable
from ca.models import Authority, RevocationList
from ca.store import migrate
from pki import backup
from pki.doctor import checks, signers
from pki.doctor.finding import Level
from pki.initialise import InitPlan, initialise
from pki.product import Product
from pki.pulse import Pulses
from pki.settings import make_settings
from tests.ca.world import outside
from tests.tokens import CLUSTER, GRANTS, entry, jwks, public


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
    assert {each.check for each in found} == set(checks.CHECKS)
    assert all(each.advice for each in found if each.level in (Level.WARNING, Level.PROBLEM))
    assert {each.check for each in found if each.level is Level.WARNING} == {"cdp", "listeners", "backup"}


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


def test_the_list_of_an_offline_ca_is_asked_of_people(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it has to say more, and when a quarter of its own life is left: no schedule renews it."""
    rows = [SimpleNamespace(name=name, key_label=OFFLINE) for name in ("root-1", "issuing-1")]
    monkeypatch.setattr(product.installation.authorities, "all", lambda: rows)
    assert [each.level for each in checks.lists(product)] == [Level.OK]
    advice = {f"certwright ceremony request {row.name}" for row in rows}
    with clock.pinned(clock.now() + timedelta(hours=60)):
        found = list(checks.lists(product))
    assert ({each.level for each in found}, {each.advice for each in found}) == ({Level.WARNING}, advice)
    with outside(product.installation.store) as connection:
        due = connection.execute(select(RevocationList.due_at)).scalar()
        connection.execute(update(RevocationList).values(due_at=0))
    found = list(checks.lists(product))
    assert ({each.level for each in found}, {each.advice for each in found}) == ({Level.WARNING}, advice)
    with outside(product.installation.store) as connection:
        connection.execute(update(RevocationList).values(due_at=due))


def test_an_expired_ca_is_found(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its certificate's end."""
    rows = [Authority(name="old-1", state="active", not_after=1)]  # type: ignore[call-arg]
    monkeypatch.setattr(product.installation.authorities, "trusted", lambda: rows)
    monkeypatch.setattr(product.installation.authorities, "issuer", lambda _name: None)
    assert bad(product) == {"expiry"}


def test_keys_of_issuers_that_cannot_be_had_are_found(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not there, one without a key that is taken, an issuer to whom nothing is granted."""
    for algorithms, grants, content, level in (
        (["ES256"], GRANTS["cluster"], None, Level.PROBLEM),
        (["RS256"], GRANTS["cluster"], jwks(public(CLUSTER, "c-1")), Level.PROBLEM),
        (["ES256"], [], jwks(public(CLUSTER, "c-1")), Level.WARNING),
        (["ES256"], GRANTS["cluster"], jwks(public(CLUSTER, "c-1")), Level.OK),
    ):
        if content is not None:
            (product.state / "keys.json").write_bytes(content)
        said = {**entry("cluster", CLUSTER, jwks_file="keys.json"), "algorithms": algorithms, "grants": grants}
        identity = make_settings({"identity": {"jwt": [said]}}).identity
        monkeypatch.setattr(product, "settings", product.settings.model_copy(update={"identity": identity}))
        found = [each for each in checks.examine(product) if each.check == "identity"]
        assert [each.level for each in found] == [level]
        assert found[0].advice or level is Level.OK


def test_a_late_backup_is_found(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """None at all is late, too."""
    asked = product.settings.backup.model_copy(update={"to": "backups", "every": timedelta(hours=1)})
    monkeypatch.setattr(product, "settings", product.settings.model_copy(update={"backup": asked}))
    assert backup.is_late(product)
    assert bad(product) == {"backup"}


def test_a_list_that_lacks_a_revocation_is_found(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, as in the rounds of the schedule."""
    wrong = completeness.Checked("issuing-1", 0)
    wrong.add("1a does not stand there")
    monkeypatch.setattr(completeness, "check", lambda _installation, _place: wrong)
    assert bad(product) == {"completeness"}


def test_only_some_lists_are_looked_at_where_there_are_many(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that is said."""
    monkeypatch.setattr(checks, "CHECKED_FOR", 0)
    (found,) = checks.complete(product)
    assert found.message == "1 of 6 lists say what the tables say; certwright ca crl --check looks at all"


def test_work_that_fails_or_stands_is_found(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the schedule has written down; without one, nothing is known."""
    assert [each.level for each in checks.schedule(product)] == [Level.SKIPPED]
    pulses = Pulses()
    monkeypatch.setattr(product, "pulses", pulses)
    for name in ("publish", "recover", "prune"):
        pulses.begin(name, 60)
    assert [each.level for each in checks.schedule(product)] == [Level.OK]
    pulses.failed("publish", "KeyUnavailable: it is gone", "plug it in")
    pulses.known["recover"].succeeded_at -= 2 * checks.STANDS
    failing, standing = checks.schedule(product)
    assert (failing.message.split()[0], failing.advice) == ("publish", "plug it in")
    assert "it is gone" in failing.message
    assert standing.message.startswith("recover was last done 18")
    assert bad(product) == {"schedule"}
    assert pulses.succeeded("publish")
    assert len(list(checks.schedule(product))) == 1


def test_signers_that_cannot_be_had_or_are_not_followed_are_found(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of OCSP answers and of publications."""
    signing = product.responder.signers.of(product.installation.authorities.get("issuing"))
    (found,) = signers.signers(product)
    assert "sign OCSP answers and publications, the first ends in 13 days" in found.message
    with clock.pinned(clock.from_timestamp(signing.not_after - 86400)):
        (found,) = signers.signers(product)
        assert (found.level, "ends in 24 hours and was not followed" in found.message) == (Level.WARNING, True)
    trouble = KeyUnavailable("no room", hint="make some")
    monkeypatch.setattr(type(product.responder.signers), "trouble", {"issuing-1": trouble})
    assert bad(product) == {"signers"}
    assert [each.advice for each in signers.signers(product)] == ["make some"]


def test_a_database_that_is_away_is_said_once(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever needs it is not looked at, the rest is."""

    def away(**_choices: Any) -> Any:
        raise StoreUnavailable("the database does not answer: OperationalError")

    monkeypatch.setattr(product.installation.store, "read", away)
    found = checks.examine(product)
    assert [each.check for each in found if each.level is Level.PROBLEM] == ["database"]
    assert all(each.advice for each in found if each.level is Level.PROBLEM)
    assert {"permissions", "disk"} <= {each.check for each in found if each.level is Level.OK}
    assert {each.check for each in found} == set(checks.CHECKS)


def test_tables_that_another_version_has_changed_are_found(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer replica, while this one goes on."""
    monkeypatch.setattr(migrate, "newest_revision", lambda: "0005")
    assert bad(product) == {"database"}
