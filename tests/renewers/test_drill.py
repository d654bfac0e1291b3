"""The drill: the same code on as many lineages in a sandbox, measured; nothing of the real installation is touched."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy import func, select

from ca import external
from ca.authority import State
from ca.errors import BadRequest, Forbidden
from ca.founding import Plan
from ca.keys.algorithms import KeyType
from ca.store.many import table_of
from renewers.models import Lineage
from renewers.publishers.memory import PLACES
from renewers.replacing import drill
from renewers.replacing.plans import ReplacementPlan
from renewers.replacing.selection import Selection
from tests import rig
from tests.pki.test_authority_requests import chain_for
from tests.renewers.replacing import WHY, Replacing, Template, template

LINEAGES = 6


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Lineages that have their certificates."""
    return template(tmp_path_factory.mktemp("template"), LINEAGES)


@pytest.fixture
def world(ready: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replacing]:
    """A world of one's own; sandboxes are made in its directory."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ready.world(tmp_path) as made:
        yield made


def counts(world: Replacing) -> dict[str, int]:
    """How many rows every table has."""
    tables = table_of(Lineage).metadata.sorted_tables
    with world.store.read() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables
        }


@pytest.mark.parametrize("said", [Selection(authorities=("issuing",)), Selection(key_type="P-256")])
def test_as_many_as_there_are_are_replaced_in_a_sandbox(world: Replacing, tmp_path: Path, said: Selection) -> None:
    """All of them, measured, said as it goes; no row, no file and no place is left of it."""
    before, places, told = counts(world), set(PLACES), list[tuple[int, int]]()
    found = drill.drill(
        world.lifecycle, rig.OPERATOR, ReplacementPlan(said, WHY), lambda done, of: told.append((done, of))
    )
    assert (found.lineages, found.real, found.left) == (LINEAGES, LINEAGES, [])
    assert (found.progress.verified, found.progress.left, found.progress.unaccounted) == (LINEAGES, 0, 0)
    assert found.seconds > 0
    assert found.per_minute > 0
    assert found.real_seconds >= LINEAGES, "at the pace of the plan, which is 60 a minute"
    assert told[-1] == (2 * LINEAGES, 2 * LINEAGES)
    assert counts(world) == before
    assert set(PLACES) == places
    assert not list(tmp_path.glob("certwright-drill-*"))


def test_a_ca_beneath_somebody_elses_root_is_no_hindrance(world: Replacing) -> None:
    """No profile of ours makes it, so that in the sandbox it has nobody above it."""
    installation = world.lifecycle.installation
    wanted = external.request(installation, rig.ADMIN, Plan("mesh", rig.common_name("Mesh"), KeyType.P256))
    chain = x509.load_pem_x509_certificates(chain_for(wanted.csr).encode())
    assert external.accept(installation, rig.ADMIN, wanted.name, chain).state == State.ACTIVE
    plan = ReplacementPlan(Selection(key_type="P-256"), WHY)
    found = drill.drill(world.lifecycle, rig.OPERATOR, plan, lambda _done, _of: None, count=1)
    assert found.progress.verified == 1


def test_a_slow_machine_does_not_end_a_drill(world: Replacing, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is delivered waits for a turn of the replacement, however long that takes to come."""
    monkeypatch.setattr(drill, "RESTING", 0.0)
    monkeypatch.setattr(drill, "LOOK_EVERY", 0.0)
    plan = ReplacementPlan(Selection(authorities=("issuing",)), WHY)
    found = drill.drill(world.lifecycle, rig.OPERATOR, plan, lambda _done, _of: None, count=1)
    assert (found.progress.verified, found.left) == (1, [])


def test_more_than_there_are_are_made_after_them(world: Replacing) -> None:
    """With names of their own, which the profiles allow."""
    plan = ReplacementPlan(Selection(lineages=("drill-0000001",)), WHY)
    found = drill.drill(world.lifecycle, rig.OPERATOR, plan, lambda _done, _of: None, count=10)
    assert (found.lineages, found.real, found.progress.verified) == (10, 1, 10)


def test_a_drill_of_nothing_or_by_nobody_is_refused(world: Replacing) -> None:
    """And so is one that is too large."""
    nothing = ReplacementPlan(Selection(profile="mesh"), WHY)
    for count in (None, drill.MOST + 1):
        with pytest.raises(BadRequest):
            drill.drill(world.lifecycle, rig.OPERATOR, nothing, lambda _done, _of: None, count=count)
    with pytest.raises(Forbidden):
        drill.drill(world.lifecycle, rig.AUDITOR, nothing, lambda _done, _of: None)
