"""One renewal: due and done once, with its own key, believed only when it is right, tried again when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlmodel import col

from ca import clock
from ca.access import Caller, Role
from ca.errors import Conflict, Forbidden, IssuerRefusal, IssuerUnavailable, NotFound
from ca.keys.algorithms import KeyType
from ca.store import Store
from ca.store.commit import StaleChange
from ca.x509.names import parse
from renewers import work
from renewers.inventory import lineages
from renewers.issuers import Memory, Obtained, Wanted
from renewers.issuers.memory import MemoryIssuer
from renewers.models import Renewal, Tracked, TrackedContent, TrackedName, Work
from renewers.renewing import renewal
from tests import rig
from tests.renewers.world import DAY, NOON, World, world


@pytest.fixture
def here(any_store: Store) -> Iterator[World]:
    """A world on each engine."""
    with world(any_store) as made:
        yield made


def leaf(here: World, tracked_id: int) -> x509.Certificate:
    """A tracked certificate, parsed."""
    return x509.load_der_x509_certificate(
        here.rows(TrackedContent, col(TrackedContent.tracked_id) == tracked_id)[0].der
    )


def test_a_new_lineage_gets_its_certificate_at_once(here: World) -> None:
    """With its names, for a key of its own, recorded in every place that tells of it."""
    with clock.pinned(NOON):
        lineage = here.lineage("www.example.org", "example.org")
    here.drain()
    (done,) = here.renewals(lineage)
    assert (done.state, done.reason, done.issuer, done.tracked_id) == (
        "done",
        "first",
        "first",
        here.row(lineage).current_id,
    )
    certificate = leaf(here, done.tracked_id)
    key = here.lifecycle.sealer.unwrap(done.sealed_key, renewal.purpose(lineage))
    assert certificate.public_key() == key.public_key()
    assert {row.name for row in here.rows(TrackedName)} == {"dns:example.org", "dns:www.example.org"}
    assert here.events().count("certificate-renewed") == 1
    assert here.ledger().count("certificate-renewed") == 1
    assert here.alarms() == {}


def test_it_is_not_renewed_before_it_is_due_and_is_once_it_is(here: World) -> None:
    """A tick a day, for half a year: a new certificate about every two thirds of a life, each with another key."""
    with clock.pinned(NOON):
        lineage = here.lineage()
    for day in range(180):
        here.drain(NOON + timedelta(days=day))
    starts = [row.started_at for row in here.renewals(lineage)]
    gaps = [(after - before) / DAY for before, after in pairwise(starts)]
    assert gaps
    assert all(50 <= gap <= 62 for gap in gaps), gaps
    keys = {leaf(here, row.tracked_id).public_key().public_numbers() for row in here.renewals(lineage)}  # type: ignore[union-attr]
    assert len(keys) == len(starts)
    replaced = here.rows(Tracked, col(Tracked.replaced_by).is_not(None))
    assert len(replaced) == len(starts) - 1


def test_a_missed_year_is_caught_up_with_one_renewal(here: World) -> None:
    """Whoever was down for long renews once, not as often as was missed."""
    with clock.pinned(NOON):
        lineage = here.lineage()
    here.drain()
    here.drain(NOON + timedelta(days=365))
    assert len(here.renewals(lineage)) == 2


def test_a_key_may_serve_as_long_as_the_lineage_says(here: World) -> None:
    """`key_age` lets a young enough key be certified again; an older one is replaced."""
    with clock.pinned(NOON):
        lineage = here.lineage(key_age=100 * DAY)
    for day in (0, 61, 122):
        here.drain(NOON + timedelta(days=day))
    first, second, third = (leaf(here, row.tracked_id).public_key() for row in here.renewals(lineage))
    assert first == second
    assert third != second


def test_names_that_change_make_it_due(here: World) -> None:
    """It is read from the rows, whoever changed them."""
    with clock.pinned(NOON):
        lineage = here.lineage()
    here.drain()
    later = NOON + timedelta(days=1)
    with clock.pinned(later):
        lineages.change(here.lifecycle, rig.ADMIN, "www.example.org", lambda plan: _with(plan, "api.example.org"))
    here.drain(later)
    assert [row.reason for row in here.renewals(lineage)] == ["first", "names"]
    san = leaf(here, here.row(lineage).current_id).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert {name.value for name in san.value} == {"www.example.org", "api.example.org"}


def _with(plan: Any, name: str) -> Any:
    from dataclasses import replace

    return replace(plan, names=(*plan.names, parse(name)))


def test_a_passing_failure_is_tried_again_with_the_same_key_and_order(here: World) -> None:
    """One renewal row, one request, one alarm when it begins to fail, one when it is over."""
    with clock.pinned(NOON):
        lineage = here.lineage(issuers=("first",))
    here.moods["first"].errors = [IssuerUnavailable("a network that is away", code="validation-failed")] * 2
    here.drain()
    assert here.alarms() == {"renewal-failing": "warning"}
    asked = here.renewals(lineage)[0].csr
    for minutes in range(1, 40):
        here.drain(NOON + timedelta(minutes=minutes))
    (done,) = here.renewals(lineage)
    assert (done.state, done.csr) == ("done", asked)
    assert here.events().count("alarm-raised") == 1
    assert here.events().count("alarm-cleared") == 1
    assert here.alarms() == {}
    assert here.issuers["first"].asked == 3


def test_a_permanent_refusal_stops_it_and_says_so_and_now_overrides_that(here: World) -> None:
    """Nobody asks again by itself; a person who has mended the cause does."""
    with clock.pinned(NOON):
        lineage = here.lineage(issuers=("first",))
    here.moods["first"].always = IssuerRefusal("this name is forbidden", code="rejected-identifier", hint="ask them")
    for day in range(30):
        here.drain(NOON + timedelta(days=day))
    assert here.issuers["first"].asked == 1
    assert here.work().state == "stopped"
    assert here.alarms() == {"renewal-stopped": "error"}
    here.moods["first"].always = None
    later = NOON + timedelta(days=30)
    with clock.pinned(later):
        assert renewal.now(here.lifecycle, rig.OPERATOR, lineage)
    here.drain(later)
    assert here.renewals(lineage)[-1].state == "done"
    assert here.alarms() == {}


def test_the_second_issuer_serves_while_the_first_is_down(here: World) -> None:
    """And the first is asked again once it has rested; a lineage has one certificate either way."""
    with clock.pinned(NOON):
        one, two = here.lineage(), here.lineage("api.example.org")
    here.moods["first"].always = IssuerUnavailable("connection refused")
    here.drain()
    assert {row.issuer for row in here.rows(Renewal)} == {"second"}
    assert here.issuers["first"].asked <= 2
    here.moods["first"].always = None
    here.drain(NOON + timedelta(days=61))
    assert [row.issuer for lineage in (one, two) for row in here.renewals(lineage)[1:]] == ["first", "first"]


def test_one_that_may_have_signed_is_waited_for(here: World) -> None:
    """After an order was finalized no second issuer is asked, for hours: two certificates are worse than a late one."""
    with clock.pinned(NOON):
        lineage = here.lineage()

    def lost(issuer: MemoryIssuer, real: Callable[..., Obtained]) -> Callable[..., Obtained]:
        def obtain(wanted: Wanted, memory: Memory) -> Obtained:
            real(wanted, memory)
            raise IssuerUnavailable("the answer was lost")

        return obtain

    first = here.issuers["first"]
    first.obtain = lost(first, first.obtain)  # type: ignore[method-assign]
    for minutes in (0, 2, 30, 200):
        here.drain(NOON + timedelta(minutes=minutes))
    assert here.issuers["second"].asked == 0
    for hours in range(6, 40):
        here.drain(NOON + timedelta(hours=hours))
    assert [row.issuer for row in here.renewals(lineage)] == ["second"]
    assert first.count == 1


def test_what_comes_back_is_not_believed(here: World) -> None:
    """Another key, other names, not valid now, a chain that does not hold: refused, said, and nothing is recorded."""
    with clock.pinned(NOON):
        lineage = here.lineage(issuers=("first",))
    issuer, real = here.issuers["first"], here.issuers["first"].obtain
    other = MemoryIssuer()
    key = ec.generate_private_key(ec.SECP256R1())

    def another_key(wanted: Wanted, memory: Memory) -> Obtained:
        request = rig.make_csr("www.example.org", key=key)
        return real(_changed(wanted, csr=request, reference="x"), memory)

    def other_names(wanted: Wanted, memory: Memory) -> Obtained:
        return real(_changed(wanted, names=(*wanted.names, parse("evil.example")), reference="y"), memory)

    def wrong_chain(wanted: Wanted, memory: Memory) -> Obtained:
        found = real(_changed(wanted, reference="z"), memory)
        return Obtained(found.certificate, (other.certificate,))

    def long_over(wanted: Wanted, memory: Memory) -> Obtained:
        with clock.pinned(NOON - timedelta(days=400)):
            return real(_changed(wanted, reference="w"), memory)

    for place, (trick, said) in enumerate(
        [
            (another_key, "another key"),
            (other_names, "other names"),
            (wrong_chain, "chain"),
            (long_over, "not valid now"),
        ]
    ):
        issuer.obtain = trick  # type: ignore[method-assign]
        here.drain(NOON + timedelta(days=2 * place))
        assert said in here.work().last_error
        assert here.row(lineage).current_id is None
    assert here.rows(Tracked) == []


def _changed(wanted: Wanted, **values: Any) -> Wanted:
    from dataclasses import replace

    return replace(wanted, **values)


def test_a_window_in_the_past_means_now(here: World) -> None:
    """The issuer's wish is asked for, kept, followed and said, with what it gives as its reason (RFC 9773)."""
    from renewers.issuers import Window

    with clock.pinned(NOON):
        lineage = here.lineage(issuers=("first",))
    here.drain()
    past = int(NOON.timestamp()) - 2 * DAY
    here.issuers["first"].suggested = Window(past, past + 3600, "https://status.example/incident", 3600)
    later = NOON + timedelta(days=2)
    here.drain(later)
    assert [row.reason for row in here.renewals(lineage)] == ["first", "suggested"]
    for hours in range(1, 12):
        here.drain(later + timedelta(hours=hours))
    assert here.events().count("renewal-urged") == 2  # once for each certificate, however often it was asked
    here.issuers["first"].suggested = None
    for hours in range(12, 48):
        here.drain(later + timedelta(hours=hours))
    assert len(here.renewals(lineage)) == 2


def test_a_chosen_time_is_kept_however_often_it_is_asked(here: World) -> None:
    """Asking four times a day does not make it earlier."""
    from renewers.issuers import Window

    with clock.pinned(NOON):
        lineage = here.lineage(issuers=("first",))
    start = int(NOON.timestamp()) + 30 * DAY
    here.issuers["first"].suggested = Window(start, start + 5 * DAY, None, 6 * 3600)
    here.drain()
    chosen = here.row(lineage).ari_chosen
    assert start <= chosen <= start + 5 * DAY
    for hours in range(0, 72, 6):
        here.drain(NOON + timedelta(hours=hours))
        assert here.row(lineage).ari_chosen == chosen
    for hours in range(0, 40 * 24, 12):
        here.drain(NOON + timedelta(hours=hours))
    second = here.renewals(lineage)[1]
    assert second.reason == "suggested"
    assert chosen <= second.started_at < chosen + 12 * 3600 + 1


def test_whoever_lost_the_work_changes_nothing(here: World) -> None:
    """A holder whose lease ended while the issuer was slow records nothing: the fence is another's."""
    with clock.pinned(NOON):
        lineage = here.lineage()
        (slow,) = work.claim(here.store, ["renew"], limit=1, lease=10)
    with clock.pinned(NOON + timedelta(seconds=11)):
        (swift,) = work.claim(here.store, ["renew"], limit=1, lease=100)
        with pytest.raises(StaleChange):
            renewal.renew(here.lifecycle, slow)
        assert here.renewals(lineage) == []
        renewal.renew(here.lifecycle, swift)
    assert [row.state for row in here.renewals(lineage)] == ["done"]
    assert here.issuers["first"].count == 1


def test_a_renewal_taken_over_ends_with_the_first_ones_key(here: World) -> None:
    """A process dies after each step; the next one ends the same renewal, and the issuer signs once."""
    with clock.pinned(NOON):
        lineage = here.lineage()
    issuer, real = here.issuers["first"], here.issuers["first"].obtain

    def dies(wanted: Wanted, memory: Memory) -> Obtained:
        real(wanted, memory)
        raise SystemExit

    issuer.obtain = dies  # type: ignore[method-assign]
    with clock.pinned(NOON):
        (first,) = work.claim(here.store, ["renew"], limit=1, lease=10)
        with pytest.raises(SystemExit):
            renewal.renew(here.lifecycle, first)
    begun = here.renewals(lineage)[0]
    issuer.obtain = real  # type: ignore[method-assign]
    here.drain(NOON + timedelta(minutes=1))
    (done,) = here.renewals(lineage)
    assert (done.id, done.csr, done.state) == (begun.id, begun.csr, "done")
    assert issuer.count == 1


def test_a_lineage_that_others_renew_is_left_alone(here: World) -> None:
    """By its owner or its holder: asking us is refused with the reason, and no work is planned."""
    with clock.pinned(NOON):
        lineage = here.lineage(mode="manual", issuers=())
        with pytest.raises(Conflict, match="by its owner"):
            renewal.now(here.lifecycle, rig.OPERATOR, lineage)
        with pytest.raises(NotFound):
            renewal.now(here.lifecycle, rig.OPERATOR, lineage + 1)
    assert here.rows(Work) == []


@pytest.mark.parametrize("role", [Role.REQUESTER, Role.CONSUMER, Role.AUDITOR])
def test_not_everybody_may_have_it_renewed(here: World, role: Role) -> None:
    """Those who may not renew any certificate may not have one renewed."""
    with clock.pinned(NOON):
        lineage = here.lineage()
        with pytest.raises(Forbidden):
            renewal.now(here.lifecycle, Caller("token:x", role), lineage)
    assert here.renewals(lineage) == []


def test_an_rsa_lineage_gets_rsa_keys(here: World) -> None:
    """The kind of key is the lineage's to choose."""
    with clock.pinned(NOON):
        lineage = here.lineage(key_type=KeyType.RSA2048)
    here.drain()
    assert here.current(lineage).key_type == "RSA-2048"


def unprovable(name: str) -> IssuerUnavailable:
    """A validation that fails for one name."""
    error = IssuerUnavailable(f"{name} does not answer", code="validation-failed")
    error.about = f"dns:{name}"
    return error


def test_one_name_that_cannot_be_proved_does_not_take_the_others_down(here: World) -> None:
    """Where the lineage may shrink: said at once, left out when time runs out, tried again as a whole (row 77)."""
    with clock.pinned(NOON):
        lineage = here.lineage("www.example.org", "old.example.org", issuers=("first",), may_shrink=True)
    here.drain()
    first = here.current(lineage)

    def mood(wanted: Wanted) -> None:
        if any(name.value == "old.example.org" for name in wanted.names):
            raise unprovable("old.example.org")

    here.issuers["first"]._trouble = mood
    for hours in range(54 * 24, 90 * 24, 6):
        here.drain(NOON + timedelta(hours=hours))
        if here.row(lineage).current_id != first.id:
            break
    second = here.current(lineage)
    assert (first.not_after - second.not_before) / DAY > 10
    assert {row.name for row in here.rows(TrackedName, col(TrackedName.tracked_id) == second.id)} == {
        "dns:www.example.org"
    }
    assert "renewal-failing" in here.alarms()
    asked = here.issuers["first"].asked
    here.drain(NOON + timedelta(days=91))
    assert here.issuers["first"].asked > asked
    here.issuers["first"]._trouble = lambda _wanted: None
    for days in range(92, 96):
        here.drain(NOON + timedelta(days=days))
    third = here.current(lineage)
    assert len(here.rows(TrackedName, col(TrackedName.tracked_id) == third.id)) == 2
    assert here.alarms() == {}


def test_a_lineage_that_may_not_shrink_waits_for_all_its_names(here: World) -> None:
    """By default nobody gets a certificate that lacks a name."""
    with clock.pinned(NOON):
        lineage = here.lineage("www.example.org", "old.example.org", issuers=("first",))

    def mood(wanted: Wanted) -> None:
        if any(name.value == "old.example.org" for name in wanted.names):
            raise unprovable("old.example.org")

    here.issuers["first"]._trouble = mood
    for days in range(20):
        here.drain(NOON + timedelta(days=days))
    assert here.row(lineage).current_id is None


def test_names_that_change_while_it_is_tried_begin_it_anew(here: World) -> None:
    """The request of the old names is given up with its key."""
    with clock.pinned(NOON):
        lineage = here.lineage(issuers=("first",))
    here.moods["first"].errors = [unprovable("www.example.org")]
    here.drain()
    later = NOON + timedelta(hours=1)
    with clock.pinned(later):
        lineages.change(here.lifecycle, rig.ADMIN, "www.example.org", lambda plan: _with(plan, "api.example.org"))
    here.drain(later)
    given_up, done = here.renewals(lineage)
    assert (given_up.state, given_up.sealed_key) == ("abandoned", None)
    assert done.state == "done"
    assert len(here.rows(TrackedName)) == 2
