"""The story of a mass replacement on every store that there is."""

from __future__ import annotations

from datetime import timedelta

from ca import clock
from ca.store import Store
from renewers.replacing import preview, report, showing
from renewers.replacing.plans import ReplacementPlan
from renewers.replacing.selection import read_selection
from tests import rig
from tests.renewers.replacing import WHY, Replacing
from tests.renewers.rotating import NOON

LINEAGES = 4


def test_it_is_replaced_revoked_and_reported(any_store: Store) -> None:
    """By each criterion; with somebody who does not renew, whose certificate ends by itself."""
    with clock.pinned(NOON - timedelta(hours=3)):
        installation = rig.make_installation(any_store, shards=0)
    world = Replacing(installation)
    world.at = NOON - timedelta(hours=2)
    world.found(LINEAGES)
    with clock.pinned(world.at):
        rig.issue(installation, lifetime=timedelta(days=1))
    world.drain()
    world.follow()
    with clock.pinned(world.at):
        for said in ({"host": "example.internal"}, {"key_type": "P-256"}, {"profile": "server"}):
            found = preview.plan(world.lifecycle, rig.ADMIN, ReplacementPlan(read_selection(said), WHY))
            assert found.ours == LINEAGES
    made = world.begin(per_minute=6000, revokes=True)
    world.step(2, times=8)
    account = world.progress(made)
    assert (account.revoked, account.left) == (LINEAGES, 1)
    account = world.until_done(made, seconds=43200, most=6)
    assert (account.total, account.revoked, account.ended, account.unaccounted) == (LINEAGES + 1, LINEAGES, 1, 0)
    told = report.report(world.lifecycle, rig.ADMIN, made)
    assert told.notes == {"expired": 1}
    assert [course.row.id for course in showing.page(world.lifecycle, rig.ADMIN)[0]] == [made]
    assert len(showing.items(world.lifecycle, rig.ADMIN, made, limit=3)[0]) == 3
    world.box.runner.stop()
