"""What breaks if a CA is distrusted: counted, owned, placed, a page at a time; and what counts as alive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, update
from sqlalchemy.dialects import sqlite
from sqlmodel import col

from ca import clock, revocation
from ca.errors import BadRequest
from ca.x509.revocation_list import RevocationReason
from renewers.inventory import issued, owners
from renewers.inventory.owners import OwnerPlan
from renewers.models import Endpoint, Tracked
from renewers.rotation import impact, leaves
from tests import rig
from tests.renewers.rotating import NOON, Rotating, Template, template


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A hierarchy to copy."""
    return template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def world(made: Template, tmp_path: Path) -> Iterator[Rotating]:
    """A world of its own, with the clock at hand."""
    with made.world(tmp_path) as found, clock.pinned(NOON):
        yield found


def test_it_is_counted_and_named(world: Rotating) -> None:
    """By profile, by owner, with where it is seen."""
    owners.add(world.lifecycle, rig.ADMIN, OwnerPlan(name="payments", email="payments@example.org"))
    world.hold("web")
    issued.catch_up(world.lifecycle)
    row = world.rows(Tracked, col(Tracked.serial) == world.holders["web"].serial)[0]
    seen = {"place": "tls:web:443", "tracked_id": row.id, "found_by": "scan", "findings": "[]", "last_asked": 1}
    world.store.write(lambda tx: tx.execute(insert(Endpoint).values(**seen)) and None)
    found = impact.weigh(world.lifecycle, rig.AUDITOR, ["root"])
    assert found.authorities == ("root-1", "issuing-1")
    assert (found.leaves, found.by_profile) == (2, {"mesh": 2})
    assert sum(found.by_owner.values()) == 2
    assert (found.endpoints, found.endpoints_first) == (1, ("tls:web:443",))
    assert found.unready == ("broker", "proxy")
    assert found.last_end == row.not_after
    page, cursor = impact.page(world.lifecycle, rig.AUDITOR, ["issuing"], limit=1)
    rest, end = impact.page(world.lifecycle, rig.AUDITOR, ["issuing"], cursor=cursor or 0, limit=1)
    assert [each.places for each in (*page, *rest)] == [(), ("tls:web:443",)]
    assert end is None
    with pytest.raises(BadRequest):
        impact.page(world.lifecycle, rig.AUDITOR, ["issuing"], limit=0)


def test_what_is_revoked_or_over_is_not_alive(world: Rotating) -> None:
    """Nor is what was renewed, by whoever holds it."""
    revocation.revoke(world.installation, rig.ADMIN, world.hold("gone").serial, RevocationReason.SUPERSEDED)
    issued.catch_up(world.lifecycle)
    issuers = leaves.issuers_of(world.installation.authorities.all())

    def alive() -> set[str]:
        with world.store.read() as connection:
            return {leaf.serial for leaf in leaves.live(connection, issuers)}

    assert alive() == {world.holders["old"].serial}
    over = update(Tracked).where(col(Tracked.serial) == world.holders["old"].serial)
    world.store.write(lambda tx: tx.execute(over.values(not_after=int(NOON.timestamp()) - 1)) and None)
    assert alive() == set()


def test_to_look_for_what_is_alive_walks_an_index(world: Rotating) -> None:
    """The one of issuers, from where the last look has stopped; no table is read from end to end."""
    query = leaves.joined(col(Tracked.id)).where(leaves.is_alive(["CN=x"], 1), col(Tracked.id) > 5)
    text = str(
        query.order_by(col(Tracked.id))
        .limit(5)
        .compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    )
    with world.store.read() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
    assert any("tracked_issuer (issuer=? AND id>?)" in line for line in plan), plan
    assert [line for line in plan if line.startswith("SCAN")] == []
