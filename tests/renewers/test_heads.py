"""Signed heads of the ledger are told to files and webhooks: often enough, never too often, aloud when they are not."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import delete
from sqlmodel import col

from ca import clock
from ca.ledger import log
from ca.ledger.checkpoint import open_head
from ca.models import LedgerEntry, LedgerHead
from ca.store import Store
from renewers.models import Event
from renewers.telling import heads
from renewers.telling.heads import HeadPolicy
from tests.ca.world import outside
from tests.renewers.world import NOON, World, world

HOUR = timedelta(hours=1)


def grow(made: World) -> int:
    """One more entry, and a head that covers it; returns its size."""
    made.store.write(lambda tx: log.append(tx, "something-done", "a", "test"))
    made.lifecycle.installation.ledger.sequence()
    head = made.lifecycle.installation.ledger.head()
    assert head is not None
    return head.size


def tell(made: World, directory: Path | None, at: datetime) -> bool:
    """What the beat does at a moment."""
    with clock.pinned(at):
        return heads.publish_due(made.lifecycle, HeadPolicy(directory, 3600))


def told(made: World) -> list[int]:
    """The sizes of the heads that webhooks get."""
    return [json.loads(row.body)["size"] for row in made.rows(Event) if row.kind == heads.PUBLISHED]


def test_a_head_is_told_when_it_has_grown_and_once_a_day(any_store: Store, tmp_path: Path) -> None:
    """At most once an hour while there is something new, daily though nothing is; the files hold what was signed."""
    places = tmp_path / "heads"
    places.mkdir()
    with world(any_store) as made:
        assert not tell(made, places, NOON)  # an empty ledger has no head
        first = grow(made)
        assert tell(made, places, NOON)
        assert not tell(made, places, NOON + HOUR)  # nothing is new
        second = grow(made)
        assert not tell(made, places, NOON + HOUR / 2)  # too soon
        assert tell(made, places, NOON + HOUR)
        assert not tell(made, places, NOON + 24 * HOUR)
        assert tell(made, places, NOON + 25 * HOUR)  # a day later, as it was
        assert told(made) == [first, second, second]
        verifier = made.lifecycle.installation.ledger.verifier
        kept = {path.name: open_head(path.read_text(), verifier).size for path in places.iterdir()}
        assert kept == {"checkpoint": second, "2027-01-04.txt": second, "2027-01-05.txt": second}


def test_telling_makes_no_entry_of_its_own(any_store: Store, tmp_path: Path) -> None:
    """Else each head would make the next one, for ever."""
    with world(any_store) as made:
        size = grow(made)
        assert tell(made, tmp_path, NOON)
        made.lifecycle.installation.ledger.sequence()
        head = made.lifecycle.installation.ledger.head()
        assert head is not None
        assert head.size == size


def test_a_clock_that_was_set_back_keeps_nobody_waiting(any_store: Store, tmp_path: Path) -> None:
    """What was told in the future counts as not told."""
    with world(any_store) as made:
        grow(made)
        assert tell(made, tmp_path, NOON)
        assert tell(made, tmp_path, NOON - 48 * HOUR)


def test_a_directory_that_cannot_be_written_to_is_an_alarm(any_store: Store, tmp_path: Path) -> None:
    """Raised once, with the reason; nothing counts as told; over with the next head that gets there."""
    with world(any_store) as made:
        grow(made)
        missing = tmp_path / "elsewhere"
        assert not tell(made, missing, NOON)
        assert not tell(made, missing, NOON + HOUR)
        assert made.alarms() == {heads.ALARM: "error"}
        assert heads.published_at(any_store) is None
        assert made.events().count("alarm-raised") == 1
        missing.mkdir()
        assert tell(made, missing, NOON + 2 * HOUR)
        assert made.alarms() == {}
        assert heads.published_at(any_store) == int((NOON + 2 * HOUR).timestamp())


def test_a_head_that_the_ledger_does_not_continue_stays_where_it_is(any_store: Store, tmp_path: Path) -> None:
    """It may be all that shows what was cut off. Who decided that the ledger goes back moves it away."""
    places = tmp_path / "heads"
    places.mkdir()
    with world(any_store) as made:
        size = grow(made)
        grow(made)
        assert tell(made, places, NOON)
        there = (places / heads.NEWEST).read_bytes()
        with outside(any_store) as attacker:
            attacker.execute(delete(LedgerEntry).where(col(LedgerEntry.position) >= size))
            attacker.execute(delete(LedgerHead).where(col(LedgerHead.size) > size))
        for hours in (1, 25):
            assert not tell(made, places, NOON + hours * HOUR)
            grow(made)
        assert made.alarms() == {heads.ALARM: "critical"}
        assert {path.read_bytes() for path in places.iterdir()} == {there}
        (places / heads.NEWEST).unlink()
        assert tell(made, places, NOON + 26 * HOUR)
        assert made.alarms() == {}


def test_what_nobody_signed_is_no_head(any_store: Store, tmp_path: Path) -> None:
    """A file that was damaged keeps nobody from telling the next."""
    with world(any_store) as made:
        grow(made)
        (tmp_path / heads.NEWEST).write_bytes(b"\xff")
        assert tell(made, tmp_path, NOON)


def test_without_a_directory_webhooks_are_told(any_store: Store) -> None:
    """The event carries the whole checkpoint, so that whoever gets it holds a head."""
    with world(any_store) as made:
        grow(made)
        assert tell(made, None, NOON)
        (event,) = [row for row in made.rows(Event) if row.kind == heads.PUBLISHED]
        head = open_head(json.loads(event.body)["checkpoint"], made.lifecycle.installation.ledger.verifier)
        assert head.root.hex() == json.loads(event.body)["root"]
