"""What pages look at: counts that agree with the rows, what needs a person, one thing's story; on both databases."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlmodel import col

from ca import clock, revocation
from ca.access import Caller, Role
from ca.errors import BadRequest, Forbidden, NotFound
from ca.models import Lease
from ca.store import Store
from ca.x509.revocation_list import RevocationReason
from renewers.inventory import answering, ending, issued, own, owners
from renewers.inventory.owners import OwnerPlan
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Crossing, Letter, Lineage, Snapshot, Told, Tracked, Work
from renewers.overview import ahead, devices, kept, needs, owned, recorded, saying, signing, story, tallies, typed
from renewers.reports.rows import Need
from renewers.telling import alarms
from renewers.telling.alarms import Trouble
from renewers.timing import watch
from tests import rig
from tests.renewers import foreign, tracking
from tests.renewers.tracking import DAY

ADMIN = rig.ADMIN


@pytest.fixture
def life(any_store: Store) -> Lifecycle:
    """An installation with its CA and two owners, on each database."""
    found = foreign.lifecycle(rig.make_installation(any_store))
    for name in ("ops", "pay"):
        owners.add(found, ADMIN, OwnerPlan(name, f"{name}@example.org", escalation=("lead@example.org",)))
    return found


def settle(life: Lifecycle) -> None:
    """Everything that beats do."""
    issued.catch_up(life)
    own.catch_up(life)
    watch.watch_due(life, limit=10_000)
    while answering.walk(life):
        continue


def imported(life: Lifecycle, name: str, *, begin: int, days: int, owner: str | None = "pay") -> int:
    """Something that a person renews, begun so many days ago."""
    whose = next((row.id for row in owners.listing(life, ADMIN) if row.name == owner), None)
    imported.serial += 1  # type: ignore[attr-defined]
    serial = foreign.numbered(imported.serial)  # type: ignore[attr-defined]
    facts = foreign.facts(f"dns:{name}", begin=clock.timestamp() - begin * DAY, days=days, serial=serial)
    return foreign.tracked(life, facts, "imported", owner_id=whose)


imported.serial = 1000  # type: ignore[attr-defined]


# Figures.


def test_the_counts_are_those_of_the_rows(life: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """By stage, owner, source, day and profile; read in stretches, each row is counted once."""
    monkeypatch.setattr(tallies, "STRETCH", 3)
    for number in range(11):
        imported(life, f"h{number}.example", begin=number * 9, days=90, owner="pay" if number % 3 else None)
    for _ in range(3):
        rig.issue(life.installation, "a.example.internal", profile="server")
    settle(life)
    assert tallies.take(life)
    with life.store.read() as connection:
        body = tallies.find(connection).body  # type: ignore[union-attr]
        rows = connection.execute(select(Tracked)).all()
    alive = [row for row in rows if row.stage in tallies.ALIVE]
    assert body["kinds"] == dict(Counter(row.kind for row in alive))
    assert body["sources"] == dict(Counter(row.source for row in alive))
    assert body["orphans"] == sum(row.is_orphan for row in alive)
    assert tallies.by_stage(kept.Kept(0, body)) == dict(Counter(row.stage for row in rows))
    owned_by: dict[str, Counter[str]] = {}
    for row in alive:
        owned_by.setdefault(str(row.answering_id), Counter())[row.stage] += 1
    assert body["owners"] == {name: dict(counts) for name, counts in owned_by.items()}
    begin = clock.timestamp() // DAY * DAY
    days = Counter((row.not_after - begin) // DAY for row in alive if begin <= row.not_after < begin + 91 * DAY)
    assert {place: sum(counts.values()) for place, counts in enumerate(body["days"]) if counts} == dict(days)
    assert body["profiles"]["server"]["issued"] == 3
    assert body["profiles"]["server"]["valid"] == 3


def test_what_is_revoked_is_in_force_no_more(life: Lifecycle) -> None:
    """Of a profile: issued, in force, revoked."""
    first = rig.issue(life.installation, "a.example.internal", profile="server")
    rig.issue(life.installation, "b.example.internal", profile="server")
    revocation.revoke(life.installation, ADMIN, first.serial, RevocationReason.SUPERSEDED)
    settle(life)
    tallies.take(life)
    with life.store.read() as connection:
        counts = tallies.find(connection).body["profiles"]["server"]  # type: ignore[union-attr]
    assert (counts["issued"], counts["valid"], counts["revoked"], counts["today"]) == (2, 1, 1, 2)


def test_figures_of_nothing_are_zeros(life: Lifecycle) -> None:
    """A new installation can be counted, too."""
    assert tallies.take(life)
    assert ahead.take(life)
    with life.store.read() as connection:
        assert tallies.find(connection).body["kinds"] == {}  # type: ignore[union-attr]
        assert all(max(each["renewals"]) == 0 for each in ahead.find(connection).body["under"])  # type: ignore[union-attr]


def test_one_replica_counts_and_not_again_at_once(life: Lifecycle) -> None:
    """While another holds the lease, and while the figures are fresh, nothing is done; a lease that ended is taken."""
    held = {"name": tallies.NAME, "holder": "another", "leased_until": clock.timestamp() + 60, "fence": 1}
    life.store.write(lambda tx: tx.execute(insert(Lease).values(**held)) and None)
    assert not tallies.take_due(life)
    life.store.write(lambda tx: tx.execute(update(Lease).values(leased_until=0)) and None)
    assert tallies.take_due(life)
    assert not tallies.take_due(life)
    with clock.pinned(clock.now() + timedelta(seconds=tallies.EVERY)):
        assert tallies.take_due(life)


def test_a_start_does_not_wait_for_a_million_rows(life: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is large is counted by the next beat."""
    imported(life, "a.example", begin=1, days=90)
    monkeypatch.setattr(kept, "SMALL", 1)
    assert not tallies.take_due(life, is_start=True)
    assert tallies.take_due(life)
    lineage = update(Lineage).values(mode="renewed")
    life.store.write(lambda tx: tx.execute(lineage) and None)
    assert not ahead.take_due(life, is_start=True)
    assert ahead.take_due(life)


# What needs a person.


def test_what_needs_a_person_is_in_the_order_of_letters(life: Lifecycle) -> None:
    """What a person renews by how soon it ends; what fails of itself first; what signs last; the healthy not at all."""
    imported(life, "far.example", begin=1, days=90)
    imported(life, "late.example", begin=80, days=90)
    imported(life, "soon.example", begin=89, days=90)
    broken = imported(life, "broken.example", begin=50, days=90)
    settle(life)
    lineage = tracking.find(life.store, broken).lineage_id
    renewed = update(Lineage).where(col(Lineage.id) == lineage).values(mode="renewed")
    life.store.write(lambda tx: tx.execute(renewed) and None)
    life.store.write(lambda tx: tx.add(Work, _failing(str(lineage))))
    found = needs.now(life, ADMIN)
    assert [section.need for section in found.sections][:2] == [Need.BROKEN, Need.MANUAL]
    names = [[each.row.name for each in section.rows] for section in found.sections]
    assert names[0] == ["broken.example"]
    assert names[1] == ["soon.example", "late.example"]
    assert {each.owner for each in found.sections[1].rows} == {"pay"}
    assert not found.is_quiet
    assert found.quiet_since is None


def _failing(subject: str) -> dict[str, Any]:
    now = clock.timestamp()
    times = {"due_at": now + 60, "due_since": now, "failing_since": now - DAY}
    trouble = {"attempts": 9, "last_code": "issuer-unavailable", "last_error": "no answer"}
    return {"kind": "renew", "subject": subject, "state": "waiting", "holder": None, "fence": 0, **times, **trouble}


def test_quiet_is_known_since_the_last_alarm_ended(life: Lifecycle) -> None:
    """An installation without a trouble says so, and since when."""
    settle(life)
    assert needs.now(life, ADMIN).is_quiet
    trouble = Trouble("issuer-unreachable", "internal", "error", "no answer", "see whether it runs")
    life.store.write(lambda tx: alarms.raise_alarm(tx, trouble))
    found = needs.now(life, ADMIN)
    assert not found.is_quiet
    assert [alarm.kind for alarm, _ in found.alarms] == ["issuer-unreachable"]
    assert found.counts == {"error": 1}
    with clock.pinned(clock.now() + timedelta(hours=1)):
        life.store.write(lambda tx: alarms.clear_alarm(tx, trouble.kind, trouble.subject))
        found = needs.now(life, ADMIN)
        assert (found.is_quiet, found.quiet_since) == (True, clock.timestamp())


def test_an_alarm_that_a_row_says_all_of_is_said_once(life: Lifecycle) -> None:
    """A certificate that ends is a row; that it ends is no further alarm beside it."""
    imported(life, "soon.example", begin=89, days=90)
    settle(life)
    found = needs.now(life, ADMIN)
    assert found.counts
    assert found.alarms == ()


# The rest.


def test_a_story_has_everything_in_one_line(life: Lifecycle) -> None:
    """Who asked, when it was seen, what was raised, who was told: newest first, and each once."""
    certificate = rig.issue(life.installation, "a.example.internal", profile="server")
    settle(life)
    (row,) = [row for row in _rows(life) if row.serial == certificate.serial]
    revocation.revoke(life.installation, ADMIN, certificate.serial, RevocationReason.SUPERSEDED)
    life.installation.ledger.sequence()
    named = {"key": "k", "kind": "urgent", "owner_id": 1, "recipient": "ops@example.org", "step": 0, "reason": ""}
    letter = {**named, "message_id": "<m>", "opened_at": 5, "sent_at": 6, "state": "sent", "rows": 1}
    about = {"about": f"tracked:{row.id}", "threshold": "late", "urgency": "daily", "tracked_id": row.id}
    crossing = {**about, "subject": "a", "message": "late", "crossed_at": 4, "noted_at": 4, "state": "told", "why": ""}
    life.store.write(lambda tx: tx.add(Letter, {**letter, "subject": ""}))
    life.store.write(lambda tx: tx.add(Crossing, crossing))
    told = {"crossing_id": 1, "channel": "mail", "recipient": "ops@example.org", "letter_id": 1, "at": 5}
    life.store.write(lambda tx: tx.add(Told, told))
    found = story.whole(life, ADMIN, row.id)
    assert found.origin is not None
    assert (found.origin.requested_by, found.origin.profile) == ("token:operator", "server")
    assert found.origin.position is not None
    assert found.origin.revoked_because == "superseded"
    kinds = Counter(moment.what for moment in found.moments)
    assert kinds["mail"] == kinds["threshold"] == kinds["issued"] == kinds["revoked"] == kinds["tracked"] == 1
    assert [moment.at for moment in found.moments] == sorted((moment.at for moment in found.moments), reverse=True)
    assert next(moment for moment in found.moments if moment.what == "mail").href == "/letters/1"
    with pytest.raises(NotFound):
        story.whole(life, ADMIN, 10**6)


def _rows(life: Lifecycle) -> list[Any]:
    with life.store.read() as connection:
        return list(connection.execute(select(Tracked)).all())


def test_owners_are_shown_with_what_is_theirs(life: Lifecycle) -> None:
    """Counts as of the tallies, the path with what is known of it; pages by name."""
    imported(life, "late.example", begin=80, days=90)
    settle(life)
    assert owned.show(life, ADMIN, "pay").summary.stages is None
    tallies.take(life)
    whole = owned.show(life, ADMIN, "pay")
    assert sum((whole.summary.stages or {}).values()) == 1
    assert [step.address for step in whole.summary.path] == ["pay@example.org", "lead@example.org"]
    assert whole.summary.is_reached
    first, following, _ = owned.page(life, ADMIN, limit=1)
    second, end, _ = owned.page(life, ADMIN, cursor=following or "", limit=1)
    assert [each.owner.name for each in (*first, *second)] == ["ops", "pay"]
    assert end is None


def test_authorities_stand_beneath_their_issuers(life: Lifecycle) -> None:
    """A tree with the freshness of lists; one with its shards and children."""
    branches, rotations = signing.tree(life, ADMIN)
    assert [(branch.authority.name, branch.depth) for branch in branches] == [("root-1", 0), ("issuing-1", 1)]
    assert rotations == []
    whole = signing.show(life, ADMIN, "root-1")
    assert [child.name for child in whole.children] == ["issuing-1"]
    assert signing.show(life, ADMIN, "issuing-1").parent is not None
    with pytest.raises(NotFound):
        signing.show(life, ADMIN, "nobody")


def test_what_was_issued_is_found_by_profile_and_by_name(life: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newest first, in pages; a rare profile shows that not everything was looked through."""
    monkeypatch.setattr(devices, "LOOKED_AT", 4)
    for number in range(9):
        rig.issue(life.installation, f"d{number}.example.internal", profile="server")
    rig.issue(life.installation)
    settle(life)
    found, cursor = list[str](), None
    for _ in range(20):
        page = devices.page(life, ADMIN, profile="server", cursor=cursor, limit=2)
        found += [row.names[0] for row in page.rows]
        cursor = page.next
        if cursor is None:
            break
    assert found == [f"dns:d{number}.example.internal" for number in reversed(range(9))]
    for text in ("d3.example.internal", "dns:d3.ex", "D3.EXAMPLE"):
        (row,) = devices.page(life, ADMIN, name=text).rows
        assert row.names == ("dns:d3.example.internal",)
        assert row.tracked_id is not None
    assert devices.page(life, ADMIN, name="d3.example.internal", profile="mesh").rows == ()
    assert devices.page(life, ADMIN, name=row.serial).rows[0].serial == row.serial
    assert devices.page(life, ADMIN, name="%").rows == ()


def test_alarms_come_the_worst_and_oldest_first(life: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pages, each once; one severity or one kind alone."""
    monkeypatch.setattr(saying, "PAGE", 4)
    severities = ("info", "critical", "warning", "error")
    for number in range(19):
        row = {
            "kind": f"k{number % 3}",
            "subject": f"s{number}",
            "severity": severities[number % 4],
            "since": 100 - number // 8,
        }
        life.store.write(lambda tx, row=row: tx.add(Alarm, {**row, "message": "m", "hint": None, "owner_id": None}))
    found, cursor = list[Any](), None
    for _ in range(20):
        page = saying.alarms(life, ADMIN, cursor=cursor)
        found += [each.alarm for each in page.rows]
        cursor = page.next
        if cursor is None:
            break
    assert len({alarm.subject for alarm in found}) == len(found) == 19
    order = ("critical", "error", "warning", "info")
    keys = [(order.index(alarm.severity), alarm.since, alarm.kind, alarm.subject) for alarm in found]
    assert keys == sorted(keys)
    assert sum(page.severities.values()) == sum(page.kinds.values()) == 19
    assert {each.alarm.kind for each in saying.alarms(life, ADMIN, kind="k1").rows} == {"k1"}
    assert {each.alarm.severity for each in saying.alarms(life, ADMIN, severity="error").rows} == {"error"}
    for cursor in ("", "1", "9:1", "1:-1", "a:b"):
        with pytest.raises(BadRequest):
            saying.alarms(life, ADMIN, cursor=cursor)


def test_the_ledger_is_shown_newest_first(life: Lifecycle) -> None:
    """All of it, or what is about one subject; not to everybody."""
    life.installation.ledger.sequence()
    found = recorded.show(life.installation, ADMIN)
    assert found.head is not None
    assert found.entries[0].action == "owner-added"
    about = recorded.show(life.installation, ADMIN, subject="pay")
    assert {entry.subject for entry in about.entries} == {"pay"}
    with pytest.raises(Forbidden):
        recorded.show(life.installation, Caller("token:x", Role.REQUESTER))


def test_whoever_may_not_read_the_inventory_sees_none_of_it(life: Lifecycle) -> None:
    """Each function asks for itself: no page is the only door."""
    nobody = Caller("token:x", Role.CONSUMER)
    for look in (
        lambda: needs.now(life, nobody),
        lambda: story.whole(life, nobody, 1),
        lambda: owned.page(life, nobody),
        lambda: owned.show(life, nobody, "pay"),
        lambda: devices.page(life, nobody),
        lambda: saying.alarms(life, nobody),
    ):
        with pytest.raises(Forbidden):
            look()


def test_what_is_out_of_use_needs_nobody(life: Lifecycle) -> None:
    """Somebody says that it is given up: the first page lists it no more."""
    id_ = imported(life, "soon.example", begin=89, days=90)
    settle(life)
    assert needs.now(life, ADMIN).sections
    ending.retire(life, ADMIN, f"#{id_}", "it was switched off")
    settle(life)
    assert all(each.row.tracked_id != id_ for section in needs.now(life, ADMIN).sections for each in section.rows)


def test_snapshots_replace_those_before(life: Lifecycle) -> None:
    """One row a name, however often it is made."""
    for number in range(3):
        kept.keep(life.store, "x", {"n": number})
    with life.store.read() as connection:
        assert kept.find(connection, "x").body == {"n": 2}  # type: ignore[union-attr]
        assert len(connection.execute(select(Snapshot).where(col(Snapshot.name) == "x")).all()) == 1
        assert typed.find(connection, "") == []
