"""Measured lead time: from started to last seen, of what waited for it, and never more rows than a bound."""

from __future__ import annotations

from typing import Any

import pytest

from ca.store import Store
from renewers.models import Delivery, Destination, Renewal
from renewers.timing import measured
from renewers.timing.measured import Measured
from tests.renewers.tracking import START, add, add_lineage, add_tracked


def add_destination(store: Store, lineage_id: int, created_at: int = START - 1000) -> int:
    """Where a lineage's certificate is used."""
    words = {"name": f"d{lineage_id}-{created_at}", "publisher": "memory", "settings": "{}", "probe": "", "state": ""}
    times = {"changed_at": created_at, "created_at": created_at, "created_by": "test"}
    return add(store, Destination, **words, **times, lineage_id=lineage_id, rank=0)


def renew(store: Store, lineage_id: int, issue: int | None, *deliveries: tuple[int, int | None, int | None]) -> int:
    """A renewal that was issued after so many seconds; deliveries are (destination, swapped after, seen after)."""
    tracked_id = add_tracked(store, lineage_id=lineage_id)
    issued_at = None if issue is None else START + issue
    common = {"state": "done", "reason": "due", "issuer": "internal", "csr": b"", "key_made_at": START}
    add(store, Renewal, lineage_id=lineage_id, tracked_id=tracked_id, started_at=START, issued_at=issued_at, **common)
    for destination_id, swapped, seen in deliveries:
        add_delivery(store, destination_id, tracked_id, swapped, seen)
    return tracked_id


def add_delivery(store: Store, destination_id: int, tracked_id: int, swapped: int | None, seen: int | None) -> None:
    """An attempt to bring it there."""
    row: dict[str, Any] = {"destination_id": destination_id, "tracked_id": tracked_id, "started_at": START}
    times = {"swapped_at": swapped and START + swapped, "seen_at": seen and START + seen}
    add(store, Delivery, **row, **times, outcome="seen" if seen else "failed")


def measure(store: Store, lineage_id: int | None = None) -> Measured:
    """What `measured.p99` says."""
    with store.read() as connection:
        return measured.p99(connection, lineage_id)


def test_nothing_was_measured(any_store: Store) -> None:
    """No renewal, no lead time: None, and not zero."""
    assert measure(any_store).seconds is None
    assert measure(any_store, 7).whole == measured.Spread(0, None, None)


def test_a_renewal_takes_until_its_last_destination_was_seen(any_store: Store) -> None:
    """Step by step and as a whole: issued after 10 s, in use after 15 and 20, seen after 30 and 100."""
    lineage = add_lineage(any_store, "renewed")
    first, second = add_destination(any_store, lineage), add_destination(any_store, lineage, START - 2000)
    for _ in range(measured.ENOUGH):
        renew(any_store, lineage, 10, (first, 15, 30), (second, 20, 100))
    found = measure(any_store, lineage)
    assert found.is_own
    assert found.seconds == 100
    assert (found.issue.p99, found.deliver.p99, found.verify.p99) == (10, 10, 80)
    assert (found.deliver.p50, found.verify.p50) == (5, 15)


def test_retries_count_until_it_was_first_seen(any_store: Store) -> None:
    """What failed twice took as long as it took; bringing it there again next month is no lead time."""
    lineage = add_lineage(any_store, "renewed")
    place = add_destination(any_store, lineage)
    for _ in range(measured.ENOUGH):
        renew(any_store, lineage, 10, (place, None, None), (place, 500, 600), (place, 9_000_000, 9_000_001))
    assert measure(any_store, lineage).seconds == 600


def test_a_destination_that_came_later_waited_for_nothing(any_store: Store) -> None:
    """It got the certificate that was there, weeks after it was issued."""
    lineage = add_lineage(any_store, "renewed")
    late = add_destination(any_store, lineage, START + 2_000_000)
    for _ in range(measured.ENOUGH):
        renew(any_store, lineage, 10, (late, 2_000_010, 2_000_020))
    assert measure(any_store, lineage).seconds == 10


def test_what_is_under_way_is_not_measured_yet(any_store: Store) -> None:
    """Neither what is not issued nor what is not seen; how long issuing took is known all the same."""
    lineage = add_lineage(any_store, "renewed")
    place = add_destination(any_store, lineage)
    renew(any_store, lineage, None)
    renew(any_store, lineage, 40, (place, 50, None))
    found = measure(any_store)
    assert (found.whole.samples, found.issue.samples, found.issue.p99) == (0, 1, 40)


def test_few_of_its_own_are_not_enough(any_store: Store) -> None:
    """A new lineage is taken for as slow as all are, until it has three renewals of its own."""
    slow, new = add_lineage(any_store, "renewed"), add_lineage(any_store, "renewed")
    for _ in range(5):
        renew(any_store, slow, 1000)
    renew(any_store, new, 1)
    assert (measure(any_store, new).seconds, measure(any_store, new).is_own) == (1000, False)
    renew(any_store, new, 1)
    renew(any_store, new, 1)
    assert (measure(any_store, new).seconds, measure(any_store, new).is_own) == (1, True)
    assert measure(any_store, slow).seconds == 1000


def test_the_last_ones_count(any_store: Store) -> None:
    """What was slow once is forgotten after so many."""
    lineage = add_lineage(any_store, "renewed")
    renew(any_store, lineage, 100_000)
    for _ in range(measured.OF_A_LINEAGE):
        renew(any_store, lineage, 5)
    assert measure(any_store, lineage).seconds == 5


@pytest.mark.parametrize(
    ("count", "p50", "p99"), [(1, 1, 1), (2, 1, 2), (100, 50, 99), (101, 51, 100), (200, 100, 198)]
)
def test_a_spread_is_by_nearest_rank(count: int, p50: int, p99: int) -> None:
    """Never a number that was not measured; with few, the longest."""
    assert measured.spread(range(count, 0, -1)) == measured.Spread(count, p50, p99)
