"""A mass replacement whose process dies at every write: whoever takes it over comes to the same end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import col

from ca import clock
from ca.store.commit import StaleChange
from renewers import work
from renewers.models import Lineage
from renewers.replacing import listing, replacement, turns
from renewers.work import Claim
from tests.renewers.replacing import Replacing, Template, template
from tests.renewers.rotating import Killed, dying

LINEAGES = 9
LEASE = 120


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Lineages that have their certificates."""
    return template(tmp_path_factory.mktemp("template"), LINEAGES)


@pytest.fixture
def world(ready: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replacing]:
    """A world of one's own, in which every page is a small one."""
    for module, name, size in ((listing, "WINDOW", 4), (turns, "MOST", 4)):
        monkeypatch.setattr(module, name, size)
    with ready.world(tmp_path) as made:
        yield made


def look(world: Replacing, after: int | None = None) -> int | None:
    """One look by a process that dies after so many writes; how many it made, None if it died or had nothing to do."""
    with clock.pinned(world.at):
        claims = work.claim(world.store, ("replace",), limit=1, lease=LEASE)
        if not claims:
            return None
        try:
            with dying(world.store, after, lambda: None) as count:
                replacement.replace(world.lifecycle, claims[0])
        except Killed:
            return None
    return count[0]


@pytest.mark.parametrize("after", range(14))
def test_it_ends_the_same_wherever_it_dies(world: Replacing, after: int) -> None:
    """Dead after so many writes, at the first look and at a later one: all replaced once, revoked, accounted for."""
    world.follow()
    made = world.begin(per_minute=6000, revokes=True)
    look(world, after)
    world.step(LEASE + 1)
    look(world, max(after - 6, 0))
    account = world.until_done(made, seconds=LEASE + 1)
    assert (account.total, account.revoked, account.left, account.unaccounted) == (LINEAGES, LINEAGES, 0, 0)
    assert len(world.renewals()) == 2 * LINEAGES
    assert len(world.revoked()) == LINEAGES
    assert len(world.ledger("replacement-done")) == 1
    assert len(world.ledger("certificate-revoked")) == LINEAGES
    for lineage in world.rows(Lineage, col(Lineage.mode) == "renewed"):
        assert world.current(lineage.id).issuer == "CN=Test Issuing CA 2"


def test_who_was_too_slow_changes_nothing(world: Replacing) -> None:
    """Another process has taken it over: its first write is refused."""
    world.follow()
    made = world.begin(per_minute=6000)
    with clock.pinned(world.at):
        claim = work.claim(world.store, ("replace",), limit=1, lease=LEASE)[0]
        slow = Claim(claim.id, claim.kind, claim.subject, claim.fence - 1, "another", 0, claim.due_since, None)
        with pytest.raises(StaleChange):
            replacement.replace(world.lifecycle, slow)
    assert world.items(made) == []
