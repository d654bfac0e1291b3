"""Lists and clocks that are wrong: nobody who is revoked leaves a list for a future that was none, none goes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509

from ca import clock, completeness, delta, retention, revocation, unrecorded
from ca.ceremony import asking
from ca.crl import CrlPolicy
from ca.errors import ClockUnavailable
from ca.installation import Installation
from ca.store import Store
from ca.timekeeping import Timekeeper
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.test_ceremony import Safe, safe
from tests.ca.test_unrecorded import signed
from tests.ca.world import listed, load_crl, publish

__all__ = ["safe"]
POLICY = CrlPolicy()
SUPERSEDED = RevocationReason.SUPERSEDED
MONTH = timedelta(days=30)


class Doubted(Timekeeper):
    """Something speaks against the clock, whatever it says."""

    objection = "it is said to be wrong"


@contextmanager
def wrong(installation: Installation, by: timedelta) -> Iterator[Installation]:
    """The same installation on a machine whose clock is wrong by so much, and known to be."""
    with clock.pinned(clock.now() + by):
        yield replace(installation, timekeeper=Doubted())


def revoke(installation: Installation) -> str:
    """The serial number of a certificate of a day that is revoked."""
    return revocation.revoke(installation, rig.OPERATOR, rig.issue(installation).serial, SUPERSEDED).serials[0]


def publish_all(installation: Installation) -> None:
    """Make what is due, deltas as well."""
    publish(installation)
    delta.publish_due(installation, POLICY)


def days_ahead(installation: Installation) -> None:
    """Two days of publishing, a month from now: what ends leaves after the next list but one."""
    now = clock.now() + MONTH
    for hours in (0, 13, 26, 39):
        with clock.pinned(now + timedelta(hours=hours)):
            publish_all(installation)


def is_complete(installation: Installation) -> bool:
    """Whether the published lists have what is revoked, all of it."""
    return not any(found.findings for found in completeness.check_all(installation))


@pytest.mark.peer("postgresql")
def test_who_left_the_lists_in_a_future_that_was_none_comes_back(any_store: Store) -> None:
    """The clock was a month ahead from the start, which nobody could know: what was revoked had seemed to be over."""
    installation = rig.make_installation(any_store)
    ours = revoke(installation)
    strange = signed(installation, 77)
    unrecorded.revoke(installation, rig.ADMIN, strange, SUPERSEDED)
    publish_all(installation)
    everybody = listed(installation)
    assert {ours, f"{strange.serial_number:x}"} <= everybody
    days_ahead(installation)
    assert ours not in listed(installation)
    publish_all(installation)
    assert listed(installation) == everybody
    assert load_crl(installation).last_update_utc <= clock.now()
    assert is_complete(installation)
    made = load_crl(installation)
    publish_all(installation)
    assert load_crl(installation) == made  # and that was that


def test_nobody_leaves_the_lists_by_a_clock_in_doubt(installation: Installation) -> None:
    """Nor is anybody spared since that clock says that his certificate has ended."""
    first = revoke(installation)
    publish_all(installation)
    live = rig.issue(installation).serial
    days_ahead(replace(installation, timekeeper=Doubted()))
    with wrong(installation, MONTH + timedelta(days=3)) as ahead:
        assert revocation.revoke(ahead, rig.OPERATOR, live, SUPERSEDED).serials == (live,)
        publish_all(ahead)
        assert listed(ahead) == {first, live}
    publish_all(installation)
    assert listed(installation) == {first, live}
    assert is_complete(installation)


def test_no_list_is_dated_before_the_one_that_it_follows(installation: Installation) -> None:
    """By a clock that is known to be behind: consumers would refuse it as an older one, or as one that is over."""
    first = load_crl(installation)
    with wrong(installation, -MONTH) as behind:
        serial = revoke_elsewhere(installation, behind)
        publish_all(behind)
        second = load_crl(behind)
    assert serial in listed(installation)
    assert second.last_update_utc >= first.last_update_utc
    assert second.next_update_utc is not None
    assert second.next_update_utc > clock.now()


def test_no_delta_is_dated_before_what_it_follows(installation: Installation) -> None:
    """Neither before the complete list that it starts from, nor before the delta that it replaces; nor is it over."""
    publish_all(installation)
    with clock.pinned(clock.now() + timedelta(hours=1)):  # so that the delta is younger than its complete list
        serial = revoke(installation)
        delta.publish_due(installation, POLICY)
        first = delta.load(installation, "issuing-1")
        with wrong(installation, -MONTH) as behind:
            second_serial = revoke_elsewhere(installation, behind)
            delta.publish_due(behind, POLICY)
            second = delta.load(behind, "issuing-1")
            assert behind.timekeeper.horizon == 0
        assert first is not None
        assert second is not None
        assert second.this_update >= first.this_update
        assert second.next_update > clock.timestamp()
        crl = x509.load_der_x509_crl(second.crl)
        assert {f"{one.serial_number:x}" for one in crl} == {serial, second_serial}


def test_no_delta_is_dated_before_its_complete_list(installation: Installation) -> None:
    """The first one, with none before it to go by."""
    with clock.pinned(clock.now() + timedelta(hours=3)):  # younger than its CA, before whom nothing is dated anyway
        revoke(installation)
        publish(installation)
        complete = load_crl(installation)
        with wrong(installation, -MONTH) as behind:
            delta.publish_due(behind, POLICY)
            made = delta.load(behind, "issuing-1")
    assert made is not None
    assert x509.load_der_x509_crl(made.crl).last_update_utc >= complete.last_update_utc


def revoke_elsewhere(installation: Installation, behind: Installation) -> str:
    """Revoke by one clock what was issued by another."""
    serial = rig.issue(installation).serial
    return revocation.revoke(behind, rig.OPERATOR, serial, SUPERSEDED).serials[0]


def test_lists_of_others_are_no_lists_of_the_future_to_who_is_behind(store: Store) -> None:
    """One replica whose clock is behind makes none anew because of that: the others would again, and so on."""
    with clock.pinned(clock.now() - 2 * MONTH):
        installation = rig.make_installation(store)
    publish_all(installation)
    before = load_crl(installation)
    with wrong(installation, -MONTH) as behind:
        assert publish(behind) == []
        assert delta.publish_due(behind, POLICY) == []
    assert load_crl(installation) == before


def test_a_delta_from_a_future_that_was_none_is_made_again(installation: Installation) -> None:
    """Also when the complete list is not."""
    publish_all(installation)
    revoke(installation)
    with clock.pinned(clock.now() + timedelta(hours=2)):
        (made,) = (one for one in delta.publish_due(installation, POLICY) if one.authority == "issuing-1")
    (again,) = (one for one in delta.publish_due(installation, POLICY) if one.authority == "issuing-1")
    assert again.number > made.number
    row = delta.load(installation, "issuing-1")
    assert row is not None
    assert row.this_update <= clock.timestamp()
    assert "issuing-1" not in {one.authority for one in delta.publish_due(installation, POLICY)}


def test_what_comes_back_is_kept(installation: Installation) -> None:
    """A certificate that leaves the lists in the end may be forgotten then, and not before."""
    serial = revoke(installation)
    publish_all(installation)
    days_ahead(installation)
    publish_all(installation)
    tomorrow = clock.now() + timedelta(hours=23)
    with clock.pinned(tomorrow + timedelta(hours=2)):
        assert retention.prune_certificates(installation, timedelta(seconds=1)) == 0
    days_ahead(installation)
    assert serial not in listed(installation)
    with clock.pinned(clock.now() + MONTH):
        assert retention.prune_certificates(installation, timedelta(seconds=1)) == 1


def test_no_dates_are_carried_to_an_offline_key_from_a_clock_in_doubt(installation: Installation, safe: Safe) -> None:
    """Whoever signs there sees no other clock; with it right, the same is asked for and signed."""
    with wrong(installation, MONTH) as ahead, pytest.raises(ClockUnavailable):
        asking.request(ahead, rig.ADMIN, "root")
    assert safe.sign(asking.request(installation, rig.ADMIN, "root").document)
