"""Acknowledgements end: on their day, with what they are about, or when a newer certificate came; none is for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ca import clock
from ca.errors import BadRequest, Conflict, Forbidden
from ca.store import Store
from renewers.answering import acknowledged
from renewers.answering.acknowledged import LONGEST, Matter
from renewers.inventory import ending
from renewers.lifecycle import Lifecycle
from renewers.models import Acknowledged, Lineage
from tests import rig
from tests.renewers import answering
from tests.renewers.answering import AT, DAY, NOW, certificate, later, row, rows


@pytest.fixture(autouse=True)
def _noon() -> Iterator[None]:
    with clock.pinned(NOW):
        yield


@pytest.fixture
def life(any_store: Store) -> Lifecycle:
    """With one owner, on each engine."""
    found = answering.lifecycle(any_store)
    answering.owner(found, "everybody")
    return found


def standing(life: Lifecycle, *abouts: str) -> set[str]:
    """Which of these are acknowledged now."""
    with life.store.read() as connection:
        return set(acknowledged.standing(connection, abouts, clock.timestamp()))


def test_it_stands_until_its_day(life: Lifecycle) -> None:
    """To the second; it ends by itself, and is forgotten a month later."""
    found = certificate(life, "a.example.org")
    about = f"lineage:{found.lineage_id}"
    made = acknowledged.acknowledge(life, rig.OPERATOR, found.identity, AT + 5 * DAY, "in hand")
    assert (made.about, made.by, made.at) == (about, "token:operator", AT)
    assert standing(life, about, "lineage:999", f"tracked:{found.id}") == {about}
    with clock.pinned(later(5 * DAY - 1)):
        assert standing(life, about) == {about}
    with clock.pinned(later(5 * DAY)):
        assert standing(life, about) == set()
        assert acknowledged.listing(life, rig.AUDITOR) == ([], None)
        assert acknowledged.prune(life) == 0
    with clock.pinned(later(36 * DAY)):
        assert acknowledged.prune(life) == 1
        assert rows(life, Acknowledged) == []


def test_a_newer_one_takes_its_place_and_it_can_be_taken_back(life: Lifecycle) -> None:
    """By lineage or by certificate: it is one. Each change is in the ledger and an event."""
    found = certificate(life, "a.example.org")
    name = row(life, Lineage, found.lineage_id).name
    acknowledged.acknowledge(life, rig.ADMIN, f"lineage:{name}", AT + 2 * DAY, "first")
    acknowledged.acknowledge(life, rig.ADMIN, f"tracked:{found.id}", AT + 3 * DAY, "second")
    ((kept, shown),) = acknowledged.listing(life, rig.AUDITOR)[0]
    assert (kept.reason, kept.until, shown) == ("second", AT + 3 * DAY, name)
    assert acknowledged.withdraw(life, rig.ADMIN, f"lineage:{name}")
    assert not acknowledged.withdraw(life, rig.ADMIN, f"lineage:{name}")
    said = [one["action"] for one in answering.ledger(life)]
    assert said[-3:] == ["acknowledged", "acknowledged", "acknowledgement-withdrawn"]
    assert answering.events(life)[-3:] == said[-3:]


def test_it_ends_when_a_newer_certificate_came(life: Lifecycle) -> None:
    """It was taken care of: what is wrong with the newer one is another matter."""
    found = certificate(life, "a.example.org")
    about = f"lineage:{found.lineage_id}"
    acknowledged.acknowledge(life, rig.ADMIN, found.identity, AT + 5 * DAY, "in hand")
    with clock.pinned(later(DAY)):
        certificate(life, "a.example.org", days=30)
        assert standing(life, about) == set()
        with pytest.raises(Conflict) as refused:
            acknowledged.acknowledge(life, rig.ADMIN, found.identity, AT + 5 * DAY, "in hand")
        assert refused.value.code == "replaced-already"
        acknowledged.acknowledge(life, rig.ADMIN, f"lineage:#{found.lineage_id}", AT + 15 * DAY, "once more")
        assert standing(life, about) == {about}


def test_nobody_takes_care_of_what_is_over(life: Lifecycle) -> None:
    """Retired, or expired: the end of it is told whatever somebody says."""
    found, over = certificate(life, "a.example.org"), certificate(life, "b.example.org", days=9)
    ending.retire(life, rig.ADMIN, found.identity, "gone")
    with pytest.raises(Conflict):
        acknowledged.acknowledge(life, rig.ADMIN, found.identity, AT + DAY, "in hand")
    with pytest.raises(BadRequest):
        acknowledged.acknowledge(life, rig.ADMIN, over.identity, AT + DAY, "in hand")


def test_it_takes_the_right_to_manage_the_inventory(life: Lifecycle) -> None:
    """It silences letters; an auditor reads it."""
    found = certificate(life, "a.example.org")
    for caller in (rig.AUDITOR, rig.REQUESTER, rig.CONSUMER):
        with pytest.raises(Forbidden):
            acknowledged.acknowledge(life, caller, found.identity, AT + DAY, "in hand")
        with pytest.raises(Forbidden):
            acknowledged.withdraw(life, caller, found.identity)
    acknowledged.listing(life, rig.AUDITOR)
    with pytest.raises(Forbidden):
        acknowledged.listing(life, rig.REQUESTER)


def test_pages_of_them(life: Lifecycle) -> None:
    """In the order of their keys, each once."""
    found = [certificate(life, f"{number}.example.org") for number in range(7)]
    for one in found:
        acknowledged.acknowledge(life, rig.ADMIN, one.identity, AT + DAY, "in hand")
    seen, cursor = [], ""
    while True:
        page, following = acknowledged.listing(life, rig.ADMIN, cursor=cursor, limit=3)
        seen += [kept.about for kept, _ in page]
        if following is None:
            break
        cursor = following
    assert sorted(seen) == sorted(f"lineage:{one.lineage_id}" for one in found)
    assert len(seen) == len(set(seen))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(min_value=-LONGEST, max_value=2 * LONGEST), st.integers(min_value=-DAY, max_value=2 * LONGEST))
def test_it_is_never_longer_than_what_it_is_about_nor_than_ninety_days(store: Store, ahead: int, left: int) -> None:
    """Whatever is asked for: it is refused, or it ends in time."""
    matter = Matter("tracked:1", "sha256:1", AT + left, 1, None)
    is_right = 0 < ahead <= min(LONGEST, left)
    with clock.pinned(NOW), nullcontext() if is_right else pytest.raises(BadRequest, match=r"acknowledgement|ends"):
        store.write(lambda tx: acknowledged.settle(tx, rig.ADMIN, matter, AT + ahead, "in hand"))
