"""Deployed means seen: a certificate is brought to where it is used and looked at there, or the old one is put back.

Places are in memory, and their endpoints show what their user has read last. Real servers are in
`tests/peers/test_delivery_nginx.py` and `test_delivery_haproxy.py`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from sqlalchemy import delete, select, update
from sqlmodel import col

from ca import clock
from ca.errors import KeyUnavailable, Misconfigured
from ca.models import LedgerEntry
from ca.store import Store, Transaction
from ca.store.commit import StaleChange
from renewers import work
from renewers.delivering import delivery, destinations, verify
from renewers.delivering.destinations import DestinationPlan
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Delivery, Endpoint, Event, Lineage, Renewal, Tracked, TrackedContent, Work
from renewers.publishers import Material
from renewers.publishers.memory import PLACES, MemoryPublisher
from tests import rig
from tests.renewers.delivering import (
    LEASE,
    Endpoints,
    Renewed,
    add_destination,
    add_lineage,
    alarms,
    claim,
    deliveries,
    destination,
    do,
    drain,
    events,
    make_lifecycle,
    outcomes,
    renew,
    rows,
    said,
    set_settings,
    works,
)


@pytest.fixture
def lifecycle(request: pytest.FixtureRequest) -> Lifecycle:
    """An installation on SQLite; on each database in turn for tests that are about transactions."""
    is_both = request.node.get_closest_marker("usefixtures") is not None
    store: Store = request.getfixturevalue("any_store" if is_both else "store")
    return make_lifecycle(store)


on_both = pytest.mark.usefixtures("any_store")


@pytest.fixture
def endpoints(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoints]:
    """What all places show, without a wait between looks."""
    played = Endpoints()
    monkeypatch.setattr(verify.handshake, "look", played.look)
    monkeypatch.setattr(verify, "PAUSE", 0.0)
    monkeypatch.setattr(verify, "PATIENCE", 0.0)
    yield played
    PLACES.clear()


def served(name: str) -> str:
    """The fingerprint of what a place's user has read last."""
    place = PLACES[name]
    return place.staged[place.reloads[-1]].sha256


def delivered(lifecycle: Lifecycle, *names: str) -> tuple[int, Renewed]:
    """A lineage whose first certificate is at these places."""
    lineage_id = add_lineage(lifecycle)
    for name in names:
        add_destination(lifecycle, name)
    first = renew(lifecycle, lineage_id)
    assert drain(lifecycle) == list(names)
    return lineage_id, first


def later(lifecycle: Lifecycle, seconds: int) -> Any:
    """So much later than now."""
    return clock.pinned(clock.now() + timedelta(seconds=seconds))


def renewal(lifecycle: Lifecycle, renewed: Renewed) -> Any:
    """The row of a renewal as it stands."""
    return rows(lifecycle, Renewal, col(Renewal.id) == renewed.renewal_id)[0]


# There.


@on_both
def test_it_is_brought_and_seen(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """All of it is recorded: the destination, the attempt with its times, the renewal's end, event and ledger."""
    lineage_id = add_lineage(lifecycle)
    add_destination(lifecycle, "edge")
    with clock.pinned(clock.now()):
        now = clock.timestamp()
        renewed = renew(lifecycle, lineage_id)
        assert (renewed.wanted, destination(lifecycle, "edge").state) == (1, "waiting")
        assert drain(lifecycle) == ["edge"]
    assert served("edge") == renewed.sha256
    assert len(endpoints.looks) == 3
    row = destination(lifecycle, "edge")
    assert (row.state, row.delivered_id, row.last_error) == ("seen", renewed.tracked_id, None)
    (attempt,) = deliveries(lifecycle, "edge")
    assert (attempt.tracked_id, attempt.outcome, attempt.error) == (renewed.tracked_id, "seen", None)
    assert {attempt.started_at, attempt.swapped_at, attempt.seen_at, attempt.ended_at} == {now}
    assert (renewal(lifecycle, renewed).state, renewal(lifecycle, renewed).finished_at) == ("done", now)
    assert events(lifecycle) == [("certificate-delivered", "edge"), ("renewal-finished", "api")]
    assert said(lifecycle, "certificate-delivered") == ["destination:edge"]
    assert said(lifecycle, "renewal-finished") == ["api"]
    assert works(lifecycle) == {}


def test_what_is_brought_fits_together(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """The key is the certificate's, the chain leads from it to and without the root."""
    _, renewed = delivered(lifecycle, "edge")
    live = PLACES["edge"].live
    assert live is not None
    key = load_pem_private_key(live.secrets["key.pem"].reveal().encode(), None)
    certificate = x509.load_pem_x509_certificate(live.files["cert.pem"])
    assert key.public_key() == certificate.public_key() == renewed.key.public_key()
    (issuing,) = x509.load_pem_x509_certificates(live.files["chain.pem"])
    certificate.verify_directly_issued_by(issuing)
    assert live.version == f"api-{renewed.tracked_id}-{renewed.sha256[:12]}"


def test_an_endpoint_that_was_seen_is_looked_at_from_then_on(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """It is known to the inventory, with what it shows, and work is planned to look at it again."""
    lineage_id, first = delivered(lifecycle, "edge")
    (place,) = rows(lifecycle, Endpoint)
    assert (place.place, place.lineage_id) == ("tls:edge.example.internal:443", lineage_id)
    assert (place.tracked_id, place.found_by) == (first.tracked_id, "delivery")
    assert [row.kind for row in rows(lifecycle, Work)] == ["look"]


def test_without_a_probe_it_is_never_called_seen(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """It counts as delivered, and the event says that nobody looks."""
    lineage_id = add_lineage(lifecycle)
    add_destination(lifecycle, "edge", probe="")
    renewed = renew(lifecycle, lineage_id)
    drain(lifecycle)
    assert (destination(lifecycle, "edge").state, outcomes(lifecycle, "edge")) == ("delivered", ["delivered"])
    assert deliveries(lifecycle, "edge")[0].seen_at is None
    assert endpoints.looks == []
    body = json.loads(rows(lifecycle, Event)[0].body)
    assert "nobody looks whether it is served" in body["message"]
    assert body["seen"] is False
    assert renewal(lifecycle, renewed).state == "done"


def test_renewal_after_renewal(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """Each is delivered once, and each renewal is finished once."""
    lineage_id, _ = delivered(lifecycle, "edge", "mail")
    for _ in range(3):
        renewed = renew(lifecycle, lineage_id)
        assert sorted(drain(lifecycle)) == ["edge", "mail"]
        assert served("edge") == served("mail") == renewed.sha256
    assert drain(lifecycle) == []
    assert len(events(lifecycle, "renewal-finished")) == 4
    assert len(events(lifecycle, "certificate-delivered")) == 8


def test_one_that_is_its_own_again_is_not_wanted_twice(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """To want what is there plans nothing."""
    lineage_id, first = delivered(lifecycle, "edge")
    assert lifecycle.store.write(lambda tx: delivery.want(tx, lineage_id, first.tracked_id)) == 0
    assert works(lifecycle) == {}


# The canary.


@on_both
def test_lower_ranks_go_first(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """The others wait until every one before them was seen; work is planned for those alone that may go."""
    lineage_id = add_lineage(lifecycle)
    for name, rank in (("c1", 2), ("b1", 1), ("a1", 0), ("b2", 1)):
        add_destination(lifecycle, name, rank=rank)
    renewed = renew(lifecycle, lineage_id)
    order = []
    for expected in ({"a1"}, {"b1", "b2"}, {"c1"}):
        assert set(works(lifecycle)) == expected
        assert renewal(lifecycle, renewed).state == "issued"
        for one in claim(lifecycle):
            order.append(destination(lifecycle, int(one.subject)).name)
            assert do(lifecycle, one) is None
    assert order == ["a1", "b1", "b2", "c1"]
    assert renewal(lifecycle, renewed).state == "done"


@on_both
def test_a_canary_that_fails_halts_the_rest(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """Nobody else is touched, whatever is due; once it is mended, it goes on by itself."""
    lineage_id = add_lineage(lifecycle)
    add_destination(lifecycle, "canary", rank=-1)
    add_destination(lifecycle, "rest")
    first = renew(lifecycle, lineage_id)
    assert drain(lifecycle) == ["canary", "rest"]
    endpoints.down.add("canary")
    second = renew(lifecycle, lineage_id)
    lifecycle.store.write(lambda tx: work.hurry(tx, "deliver", str(destination(lifecycle, "rest").id)))
    assert sorted(drain(lifecycle)) == ["canary", "rest"]  # the rest found out that it has to wait
    assert (served("canary"), served("rest")) == (first.sha256, first.sha256)
    assert outcomes(lifecycle, "rest") == ["seen"]
    assert set(works(lifecycle)) == {"canary"}
    endpoints.down.clear()
    with later(lifecycle, 3600):
        assert drain(lifecycle) == ["canary", "rest"]
    assert (served("canary"), served("rest")) == (second.sha256, second.sha256)


@on_both
def test_of_two_that_end_at_once_one_sees_the_other(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """The next rank is planned, and the renewal is finished once, however the two transactions fall."""
    lineage_id = add_lineage(lifecycle)
    for name, rank in (("a1", 0), ("a2", 0), ("b1", 1), ("b2", 1)):
        add_destination(lifecycle, name, rank=rank)
    for turn in range(1, 6):
        renewed = renew(lifecycle, lineage_id)
        for rank in ("a", "b"):
            together = threading.Barrier(2)
            endpoints.before_look = [together.wait, together.wait]
            claims = claim(lifecycle)
            assert len(claims) == 2, rank
            with ThreadPoolExecutor(2) as threads:
                assert list(threads.map(lambda one: do(lifecycle, one), claims)) == [None, None]
        assert renewal(lifecycle, renewed).state == "done"
        assert len(events(lifecycle, "renewal-finished")) == turn


# Failures.


def test_a_failure_before_the_swap_changes_nothing(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """The old one stays in use, nobody reads anything, and it is tried again."""
    lineage_id, first = delivered(lifecycle, "edge")
    read = list(PLACES["edge"].reloads)
    set_settings(lifecycle, "edge", {"place": "edge", "fail_stage": 1})
    renew(lifecycle, lineage_id)
    drain(lifecycle)
    assert (served("edge"), PLACES["edge"].reloads) == (first.sha256, read)
    assert outcomes(lifecycle, "edge") == ["seen", "failed"]
    assert works(lifecycle)["edge"].attempts == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"fail_swap": 1}, "swap fails on order"),
        ({"fail_reload": 1}, "reload fails on order"),
    ],
)
def test_a_failed_swap_is_rolled_back(
    lifecycle: Lifecycle, endpoints: Endpoints, fault: dict[str, int], reason: str
) -> None:
    """The old one is in use and was read again, the alarm says what and since when, and the next attempt converges."""
    lineage_id, first = delivered(lifecycle, "edge")
    set_settings(lifecycle, "edge", {"place": "edge", **fault})
    second = renew(lifecycle, lineage_id)
    with clock.pinned(clock.now()):
        now = clock.timestamp()
        drain(lifecycle)
    live = PLACES["edge"].live
    assert live is not None
    assert (live.sha256, served("edge")) == (first.sha256, first.sha256)
    row = destination(lifecycle, "edge")
    assert (row.state, row.delivered_id, row.failing_since) == ("failing", first.tracked_id, now)
    assert reason in row.last_error
    assert outcomes(lifecycle, "edge") == ["seen", "rolled-back"]
    alarm = alarms(lifecycle)["edge"]
    assert (alarm.since, alarm.severity) == (now, "error")
    assert "edge does not get the certificate of api" in alarm.message
    assert reason in alarm.message
    assert said(lifecycle, "delivery-rolled-back") == ["destination:edge"]
    assert renewal(lifecycle, second).state == "issued"
    with later(lifecycle, 3600):
        drain(lifecycle)
    assert served("edge") == second.sha256
    assert alarms(lifecycle) == {}
    assert renewal(lifecycle, second).state == "done"


def _old(name: str) -> Material:
    live = PLACES[name].live
    assert live is not None
    return live


FAULTS: dict[str, Callable[[Endpoints, Renewed], None]] = {
    "refuses the connection": lambda endpoints, _: endpoints.down.add("edge"),
    "still serves the old one": lambda endpoints, _: endpoints.stuck.update(edge=_old("edge")),
    "serves another certificate": lambda endpoints, _: endpoints.stuck.update(edge=_old("other")),
    "the chain at edge.example.internal:443 is incomplete": lambda endpoints, _: endpoints.chains.update(edge=()),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_what_is_not_seen_is_rolled_back(lifecycle: Lifecycle, endpoints: Endpoints, reason: str) -> None:
    """With the reason in plain words; it is failing until it is seen."""
    add_lineage(lifecycle, "other")
    add_destination(lifecycle, "other", lineage="other")
    renew(lifecycle, rows(lifecycle, Lineage)[0].id)
    drain(lifecycle)
    lineage_id, first = delivered(lifecycle, "edge")
    FAULTS[reason](endpoints, first)
    second = renew(lifecycle, lineage_id)
    drain(lifecycle)
    assert reason in destination(lifecycle, "edge").last_error
    assert _old("edge").sha256 == first.sha256
    assert outcomes(lifecycle, "edge")[-1] == "rolled-back"
    endpoints.down, endpoints.stuck, endpoints.chains = set(), {}, {}
    with later(lifecycle, 3600):
        drain(lifecycle)
    assert served("edge") == second.sha256


def test_a_chain_that_its_own_users_do_not_trust_is_rolled_back(
    lifecycle: Lifecycle, endpoints: Endpoints, tmp_path: Any
) -> None:
    """Their bundle is asked, for the names that matter; when it has the root, the delivery goes through."""
    bundle = tmp_path / "bundle.pem"
    stranger = rig.pooled_key()
    bundle.write_text(_self_signed(stranger))
    lineage_id, first = delivered(lifecycle, "edge")
    plan = DestinationPlan("edge", "api", "memory", {"place": "edge"}, "edge.example.internal:443", 0, str(bundle))
    destinations.change(lifecycle, rig.ADMIN, plan)
    second = renew(lifecycle, lineage_id)
    drain(lifecycle)
    assert "do not trust this chain" in destination(lifecycle, "edge").last_error
    assert served("edge") == first.sha256
    root = x509.load_der_x509_certificate(lifecycle.installation.authorities.get("root-1").certificate)
    bundle.write_bytes(bundle.read_bytes() + root.public_bytes(verify.Encoding.PEM))
    with later(lifecycle, 3600):
        drain(lifecycle)
    assert served("edge") == second.sha256


def _self_signed(key: Any) -> str:
    name = rig.common_name("Stranger")
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(clock.now()).not_valid_after(clock.now() + timedelta(days=9))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(verify.Encoding.PEM).decode()


@on_both
def test_failing_is_said_once_and_its_age_is_kept(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """However often it fails there is one event when it begins and one when it is over, and one age."""
    lineage_id, _ = delivered(lifecycle, "edge")
    endpoints.down.add("edge")
    renew(lifecycle, lineage_id)
    since = clock.timestamp()
    for turn in range(4):
        with later(lifecycle, turn * 20000):
            drain(lifecycle)
    assert len(outcomes(lifecycle, "edge")) == 5
    assert since <= alarms(lifecycle)["edge"].since <= since + 2
    assert events(lifecycle, "alarm-raised") == [("alarm-raised", "edge")]
    endpoints.down.clear()
    with later(lifecycle, 90000):
        drain(lifecycle)
    assert events(lifecycle, "alarm-cleared") == [("alarm-cleared", "edge")]
    assert destination(lifecycle, "edge").failing_since is None


def test_an_old_one_that_does_not_come_back_is_critical(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """All reasons are said, and it is tried again."""
    lineage_id, _ = delivered(lifecycle, "edge")
    set_settings(lifecycle, "edge", {"place": "edge", "fail_restore": 1})
    endpoints.down.add("edge")
    second = renew(lifecycle, lineage_id)
    drain(lifecycle)
    alarm = alarms(lifecycle)["edge"]
    assert (alarm.severity, outcomes(lifecycle, "edge")[-1]) == ("critical", "failed")
    assert "refuses the connection; the old one cannot be put back: restore fails on order" in alarm.message
    assert "; the old one is not served again: edge.example.internal:443 refuses the connection" in alarm.message
    endpoints.down.clear()
    with later(lifecycle, 3600):
        drain(lifecycle)
    assert (served("edge"), alarms(lifecycle)) == (second.sha256, {})


def test_an_old_one_that_was_never_gone_is_no_disaster(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """A user that reads nothing at all goes on serving it: that is what counts."""
    lineage_id, first = delivered(lifecycle, "edge")
    set_settings(lifecycle, "edge", {"place": "edge", "fail_reload": 2})
    renew(lifecycle, lineage_id)
    drain(lifecycle)
    alarm = alarms(lifecycle)["edge"]
    assert (alarm.severity, outcomes(lifecycle, "edge")[-1]) == ("error", "rolled-back")
    assert "reload fails on order; the old one cannot be put back: reload fails on order" in alarm.message
    assert _old("edge").sha256 == served("edge") == first.sha256


def test_what_it_had_already_is_not_taken_back_for_something_older(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """A delivery that is repeated and fails leaves what was good once."""
    lineage_id, _ = delivered(lifecycle, "edge")
    second = renew(lifecycle, lineage_id)
    drain(lifecycle)
    lifecycle.store.write(lambda tx: delivery.again(tx, destination(lifecycle, "edge").id))
    endpoints.down.add("edge")
    drain(lifecycle)
    assert (_old("edge").sha256, outcomes(lifecycle, "edge")[-1]) == (second.sha256, "failed")


def test_an_old_one_that_has_ended_is_not_put_back(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """Nobody would accept it; the new one may be better than it looks."""
    lineage_id, first = delivered(lifecycle, "edge")
    ended = update(Tracked).where(col(Tracked.id) == first.tracked_id).values(not_after=clock.timestamp() - 1)
    lifecycle.store.write(lambda tx: tx.execute(ended) and None)
    second = renew(lifecycle, lineage_id)
    endpoints.down.add("edge")
    drain(lifecycle)
    assert (_old("edge").sha256, outcomes(lifecycle, "edge")[-1]) == (second.sha256, "failed")


def test_the_less_time_is_left_the_oftener_it_is_tried(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """Never later than after an eighth of what the certificate that is in use has left, nor after four hours."""
    lineage_id = add_lineage(lifecycle)
    add_destination(lifecycle, "edge")
    first = renew(lifecycle, lineage_id, lifetime=timedelta(days=2))
    drain(lifecycle)
    endpoints.down.add("edge")
    renew(lifecycle, lineage_id)
    ends = rows(lifecycle, Tracked, col(Tracked.id) == first.tracked_id)[0].not_after
    now = clock.timestamp()
    while now < ends:
        with clock.pinned(clock.from_timestamp(now)):
            drain(lifecycle)
        due = works(lifecycle)["edge"].due_at
        assert due - now <= max(min((ends - now) // 8, delivery.LONGEST_WAIT), 60)
        now = due


def test_a_setting_that_became_wrong_stops_it_until_it_is_changed(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """Only a person can mend it: said at once, and never tried in vain."""
    lineage_id, first = delivered(lifecycle, "edge")
    set_settings(lifecycle, "edge", {"place": "edge", "colour": "red"})
    second = renew(lifecycle, lineage_id)
    drain(lifecycle)
    assert works(lifecycle)["edge"].state == "stopped"
    assert "'colour' is not a setting" in alarms(lifecycle)["edge"].message
    assert served("edge") == first.sha256
    plan = DestinationPlan("edge", "api", "memory", {"place": "edge"}, "edge.example.internal:443")
    destinations.change(lifecycle, rig.ADMIN, plan)
    drain(lifecycle)
    assert (served("edge"), alarms(lifecycle)) == (second.sha256, {})


def test_an_unknown_publisher_says_which_there_are(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """It may have been there yesterday: the settings say, and it is tried again."""
    lineage_id, _ = delivered(lifecycle, "edge")
    renew(lifecycle, lineage_id)
    poorer = Lifecycle(lifecycle.installation, lifecycle.sealer)
    (one,) = claim(lifecycle)
    assert isinstance(do(poorer, one), Misconfigured)
    assert works(lifecycle)["edge"].state == "waiting"


def test_a_key_that_is_gone_is_said_before_anything_is_touched(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """A certificate is never brought without its key, nor with another's."""
    lineage_id, first = delivered(lifecycle, "edge")
    second = renew(lifecycle, lineage_id)
    other = lifecycle.sealer.wrap(rig.pooled_key(), f"lineage:{lineage_id}")
    for sealed, reason in ((None, "is not kept any more"), (other, "is not that of its certificate")):
        changed = update(Renewal).where(col(Renewal.id) == second.renewal_id).values(sealed_key=sealed)
        lifecycle.store.write(lambda tx, changed=changed: tx.execute(changed) and None)
        with later(lifecycle, 3600 if sealed else 0):
            (one,) = claim(lifecycle)
            error = do(lifecycle, one)
        assert isinstance(error, KeyUnavailable)
        assert reason in error.message
    assert served("edge") == first.sha256


def test_a_sealed_key_of_another_lineage_does_not_open(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """What a key was sealed for is checked, even by who can read the table."""
    lineage_id, _ = delivered(lifecycle, "edge")
    second = renew(lifecycle, lineage_id)
    sealed = lifecycle.sealer.wrap(second.key, "lineage:999")
    changed = update(Renewal).where(col(Renewal.id) == second.renewal_id).values(sealed_key=sealed)
    lifecycle.store.write(lambda tx: tx.execute(changed) and None)
    (one,) = claim(lifecycle)
    assert isinstance(do(lifecycle, one), KeyUnavailable)


# Meanwhile.


@on_both
def test_what_is_wanted_meanwhile_is_delivered_next(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """A renewal that comes in the middle of a delivery is not lost, and the older one does not count as the end."""
    lineage_id, _ = delivered(lifecycle, "edge")
    second = renew(lifecycle, lineage_id)
    newest: list[Renewed] = []
    endpoints.before_look.append(lambda: newest.append(renew(lifecycle, lineage_id)))
    (one,) = claim(lifecycle)
    assert do(lifecycle, one) is None
    row = destination(lifecycle, "edge")
    assert (row.state, row.delivered_id, row.wanted_id) == ("waiting", second.tracked_id, newest[0].tracked_id)
    assert events(lifecycle, "renewal-finished") == [("renewal-finished", "api")]
    assert drain(lifecycle) == ["edge"]
    assert served("edge") == newest[0].sha256
    assert renewal(lifecycle, second).state == "superseded"
    assert renewal(lifecycle, newest[0]).state == "done"


def test_a_failing_one_is_superseded_by_the_newest(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """A new certificate is a new chance: tried at once, whatever the ladder said."""
    lineage_id, _ = delivered(lifecycle, "edge")
    endpoints.down.add("edge")
    second = renew(lifecycle, lineage_id)
    drain(lifecycle)
    endpoints.down.clear()
    third = renew(lifecycle, lineage_id)
    assert drain(lifecycle) == ["edge"]
    assert served("edge") == third.sha256
    assert [row.tracked_id for row in deliveries(lifecycle, "edge")][1:] == [second.tracked_id, third.tracked_id]


@on_both
def test_who_was_too_slow_changes_nothing(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """A holder whose lease is over neither commits, nor records a failure, nor takes back what another has brought."""
    lineage_id, _ = delivered(lifecycle, "edge")
    second = renew(lifecycle, lineage_id)
    (slow,) = claim(lifecycle)

    def overtake() -> None:
        with later(lifecycle, LEASE + 1):
            (fast,) = claim(lifecycle)
            assert do(lifecycle, fast) is None
        endpoints.down.add("edge")

    endpoints.before_look.append(overtake)
    with pytest.raises(StaleChange):
        delivery.deliver(lifecycle, slow)
    assert (_old("edge").sha256, served("edge")) == (second.sha256, second.sha256)
    assert destination(lifecycle, "edge").state == "seen"
    assert outcomes(lifecycle, "edge") == ["seen", "interrupted", "seen"]
    assert len(events(lifecycle, "certificate-delivered")) == 2
    assert alarms(lifecycle) == {}


def test_who_was_too_slow_records_no_failure(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """What another process has seen since then is true, and not what the slow one believes."""
    delivered(lifecycle, "edge")
    lifecycle.store.write(lambda tx: delivery.again(tx, destination(lifecycle, "edge").id))
    (slow,) = claim(lifecycle)

    def overtake() -> None:
        with later(lifecycle, LEASE + 1):
            assert drain(lifecycle) == ["edge"]
        endpoints.down.add("edge")

    endpoints.before_look.append(overtake)
    with pytest.raises(StaleChange):
        delivery.deliver(lifecycle, slow)
    assert (destination(lifecycle, "edge").state, alarms(lifecycle)) == ("seen", {})


def test_who_was_too_slow_does_not_swap(
    lifecycle: Lifecycle, endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between staging and the swap it is asked whether this is still ours to do."""
    lineage_id, first = delivered(lifecycle, "edge")
    renew(lifecycle, lineage_id)
    (slow,) = claim(lifecycle)
    real = MemoryPublisher.stage

    def stage(self: MemoryPublisher, material: Material) -> None:
        real(self, material)
        with later(lifecycle, LEASE + 1):
            assert len(claim(lifecycle)) == 1

    monkeypatch.setattr(MemoryPublisher, "stage", stage)
    with pytest.raises(StaleChange):
        delivery.deliver(lifecycle, slow)
    assert _old("edge").sha256 == first.sha256


class Killed(BaseException):
    """The process is gone: nothing that follows is run."""


def test_killed_anywhere_another_process_ends_it(
    any_store: Store, endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every write, call and look, before and after: the next holder ends with the new one, and it is said once."""
    lifecycle = make_lifecycle(any_store)
    lineage_id, _ = delivered(lifecycle, "edge")
    step, countdown = 0, [-1]

    def fatal(call: Callable[..., Any]) -> Callable[..., Any]:
        def until_killed(*arguments: Any, **named: Any) -> Any:
            _tick(countdown)
            result = call(*arguments, **named)
            _tick(countdown)
            return result

        return until_killed

    for name in ("stage", "swap", "restore"):
        monkeypatch.setattr(MemoryPublisher, name, fatal(getattr(MemoryPublisher, name)))
    monkeypatch.setattr(verify.handshake, "look", fatal(endpoints.look))
    monkeypatch.setattr(any_store, "write", fatal(any_store.write))
    was_killed = True
    while was_killed:
        step += 1
        renewed, before = renew(lifecycle, lineage_id), len(events(lifecycle, "certificate-delivered"))
        (one,) = claim(lifecycle)
        countdown[0] = step
        try:
            delivery.deliver(lifecycle, one)
            was_killed = False
        except Killed:
            pass
        countdown[0] = -1
        with later(lifecycle, LEASE + 1):
            drain(lifecycle)
        assert served("edge") == renewed.sha256
        assert len(events(lifecycle, "certificate-delivered")) == before + 1
        assert renewal(lifecycle, renewed).state == "done"
        assert works(lifecycle) == {}
        assert not [row for row in rows(lifecycle, Delivery) if row.ended_at is None]
    assert step > 12


def _tick(countdown: list[int]) -> None:
    countdown[0] -= 1
    if countdown[0] == 0:
        raise Killed


@on_both
def test_a_destination_that_goes_meanwhile_is_gone(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """Who was at it changes nothing any more; the renewal is finished without it."""
    lineage_id, _ = delivered(lifecycle, "edge", "mail")
    second = renew(lifecycle, lineage_id)
    claims = claim(lifecycle)
    assert do(lifecycle, claims[0]) is None
    endpoints.before_look.append(lambda: destinations.remove(lifecycle, rig.ADMIN, "mail"))
    with pytest.raises(StaleChange):
        delivery.deliver(lifecycle, claims[1])
    assert renewal(lifecycle, second).state == "done"
    assert drain(lifecycle) == []


def test_settings_that_change_meanwhile_count(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """It is delivered to the new place, too."""
    lineage_id, _ = delivered(lifecycle, "edge")
    second = renew(lifecycle, lineage_id)
    plan = DestinationPlan("edge", "api", "memory", {"place": "moved"}, "moved.example.internal:443")
    endpoints.before_look.append(lambda: destinations.change(lifecycle, rig.ADMIN, plan))
    (one,) = claim(lifecycle)
    assert do(lifecycle, one) is None
    assert destination(lifecycle, "edge").state == "waiting"
    assert drain(lifecycle) == ["edge"]
    assert served("moved") == second.sha256


# Afterwards.


@on_both
def test_a_drift_is_delivered_again(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """Somebody put another one there: the look that sees it plans the delivery, of that destination alone."""
    lineage_id, first = delivered(lifecycle, "edge", "mail")
    second = renew(lifecycle, lineage_id)
    drain(lifecycle)
    place = PLACES["edge"]
    place.reloads.append(next(version for version, one in place.staged.items() if one.sha256 == first.sha256))
    seen = ("tls:edge.example.internal:443", first.tracked_id)
    assert lifecycle.store.write(lambda tx: delivery.drifted(tx, lineage_id, *seen)) == 1
    assert drain(lifecycle) == ["edge"]
    assert served("edge") == second.sha256
    expected = ("tls:edge.example.internal:443", second.tracked_id)
    assert lifecycle.store.write(lambda tx: delivery.drifted(tx, lineage_id, *expected)) == 0


def test_a_look_does_not_hurry_what_is_failing(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """It keeps its place on the ladder, however often somebody sees that the old one is served."""
    lineage_id, first = delivered(lifecycle, "edge")
    endpoints.down.add("edge")
    renew(lifecycle, lineage_id)
    drain(lifecycle)
    before = works(lifecycle)["edge"]
    seen = ("tls:edge.example.internal:443", first.tracked_id)
    lifecycle.store.write(lambda tx: delivery.drifted(tx, lineage_id, *seen) and None)
    lifecycle.store.write(lambda tx: delivery.again(tx, destination(lifecycle, "edge").id))
    assert works(lifecycle)["edge"] == before
    assert destination(lifecycle, "edge").state == "failing"


@on_both
def test_keys_that_nobody_wants_are_wiped(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """The current one's stays, and while a destination has to get an earlier one, that one's."""
    lineage_id, first = delivered(lifecycle, "edge")
    second = renew(lifecycle, lineage_id)
    assert [row.sealed_key is not None for row in rows(lifecycle, Renewal)] == [True, True]
    drain(lifecycle)
    kept = {row.id: row.sealed_key is not None for row in rows(lifecycle, Renewal)}
    assert kept == {first.renewal_id: False, second.renewal_id: True}


def test_without_destinations_the_current_key_stays(lifecycle: Lifecycle) -> None:
    """It is the one that the next destination will want; earlier ones go."""
    lineage_id = add_lineage(lifecycle)
    first, second = renew(lifecycle, lineage_id), renew(lifecycle, lineage_id)
    assert (first.wanted, second.wanted) == (0, 0)
    lifecycle.store.write(lambda tx: delivery.conclude(tx, lineage_id))
    kept = {row.id: row.sealed_key is not None for row in rows(lifecycle, Renewal)}
    assert kept == {first.renewal_id: False, second.renewal_id: True}


def test_nothing_secret_is_written_down(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """Neither in the ledger, nor in events, alarms, errors and attempts."""
    lineage_id, _ = delivered(lifecycle, "edge")
    set_settings(lifecycle, "edge", {"place": "edge", "fail_reload": 1, "fail_restore": 1})
    renewed = renew(lifecycle, lineage_id)
    drain(lifecycle)
    numbers = renewed.key.private_numbers()  # type: ignore[union-attr]
    secret = numbers.private_value.to_bytes(32)
    tables = (LedgerEntry, Event, Alarm, Work, Delivery)
    text = repr([tuple(row) for table in tables for row in rows(lifecycle, table)])
    assert "PRIVATE KEY" not in text
    assert secret.hex() not in text
    assert repr(secret)[2:-1] not in text
    assert "PRIVATE KEY" not in repr(PLACES)


def test_a_first_delivery_that_fails_leaves_what_there_is(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """A server that cannot start without a certificate can start with it, and is then seen."""
    lineage_id = add_lineage(lifecycle)
    add_destination(lifecycle, "edge")
    endpoints.down.add("edge")
    first = renew(lifecycle, lineage_id)
    drain(lifecycle)
    assert (_old("edge").sha256, outcomes(lifecycle, "edge")) == (first.sha256, ["failed"])
    endpoints.down.clear()
    with later(lifecycle, 3600):
        drain(lifecycle)
    assert destination(lifecycle, "edge").state == "seen"


def test_a_certificate_of_ours_is_found_where_we_keep_it(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """The inventory has no copy of what our own CA has issued; the chain comes from our authorities."""
    lineage_id = add_lineage(lifecycle)
    add_destination(lifecycle, "edge")
    renewed = renew(lifecycle, lineage_id)
    lifecycle.store.write(lambda tx: tx.execute(delete(TrackedContent)) and None)
    drain(lifecycle)
    assert served("edge") == renewed.sha256


def test_work_for_nobody_is_settled(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """A destination that is gone, or that has nothing to get."""
    add_lineage(lifecycle)
    empty = add_destination(lifecycle, "edge")

    def plan(tx: Transaction) -> None:
        for subject in (str(empty), "987654"):
            work.schedule(tx, "deliver", subject, clock.timestamp())

    lifecycle.store.write(plan)
    for one in claim(lifecycle):
        assert do(lifecycle, one) is None
    with lifecycle.store.read() as connection:
        assert connection.execute(select(Work)).all() == []


def test_unexpected_errors_are_failures_too(
    lifecycle: Lifecycle, endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect in a publisher after its swap is rolled back as any other failure."""
    lineage_id, first = delivered(lifecycle, "edge")
    renew(lifecycle, lineage_id)
    real = MemoryPublisher.swap

    def swap(self: MemoryPublisher, material: Material) -> None:
        real(self, material)
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(MemoryPublisher, "swap", swap)
    drain(lifecycle)
    assert "ZeroDivisionError" in destination(lifecycle, "edge").last_error
    assert served("edge") == first.sha256
