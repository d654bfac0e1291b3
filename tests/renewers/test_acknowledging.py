"""Consumers say what they hold: who is believed, what is no proof, and what follows from what they say."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ca import clock, revocation
from ca.access import Caller, Role
from ca.errors import BadRequest, CertwrightError, Conflict, Forbidden, NotFound, TooLarge, Unauthenticated
from ca.store import Store
from ca.x509.revocation_list import RevocationReason
from renewers.distribution import acknowledging, consumers, holdings, latency, reporting, showing
from renewers.distribution.reporting import Report
from renewers.lifecycle import Lifecycle
from renewers.models import Holding, Latency
from renewers.publishers.memory import MemoryPublisher
from tests import rig
from tests.renewers.consuming import (
    CRL,
    TRUST,
    add,
    alarms,
    claim,
    consumer,
    do,
    drain,
    has,
    hash_of,
    holding,
    make_lifecycle,
    material_without_files,
    moment,
    open_rotation,
    planned,
    publish,
    report,
    rows,
    sabotage,
    said,
    signed,
    token,
    told,
)

__all__ = ["material_without_files"]


@pytest.fixture(autouse=True)
def _material(material: None) -> None:
    """Nothing here needs files."""


@pytest.fixture
def lifecycle(store: Store) -> Lifecycle:
    """Publishers in memory, and nothing published."""
    return make_lifecycle(store)


def test_it_holds_what_it_says(any_store: Store) -> None:
    """And the rows, the ledger, an event, a latency and the rotations that wait say so."""
    counted: list[tuple[str, ...]] = []
    measured: list[tuple[str, float]] = []
    lifecycle = make_lifecycle(
        any_store, count=lambda *what: counted.append(what), measure=lambda *what: measured.append(what)
    )
    with clock.pinned(moment()):
        add(lifecycle, identities=("token:edge-1",))
        version, rotation = publish(lifecycle), open_rotation(lifecycle)
        drain(lifecycle)
    with clock.pinned(moment(2.5)):
        held = report(lifecycle, version)
        assert isinstance(held, Holding)
        assert (held.held_version, held.proved_by, held.proved_at) == (version, "token:edge-1", clock.timestamp())
        assert holding(lifecycle).held_since == clock.timestamp()
        assert [(row.seconds, row.version) for row in rows(lifecycle, Latency)] == [(2.5, version)]
        assert str(rotation) in planned(lifecycle, "rotate")
        assert [entry["proved_by"] for entry in said(lifecycle, "consumer-proved")] == ["token:edge-1"]
        assert ("consumer-proved", "edge-1") in told(lifecycle)
        report(lifecycle, version, stream=CRL)
        assert len(said(lifecycle, "consumer-proved")) == 1  # of lists, with every revocation, the rows tell
        assert showing.show(lifecycle, rig.OPERATOR, "edge-1").is_current
    assert ("acknowledgements", "token", "loaded") in counted
    assert measured == [("consumer_proof", 2.5)] * 2
    assert holdings.lacking(lifecycle, TRUST, version) == []


def test_a_certificate_s_name_is_an_identity(store: Store) -> None:
    """While it is valid: not one with another name, not a revoked one, not a serial number that nobody has."""
    lifecycle = make_lifecycle(store)
    rig.make_hierarchy(lifecycle.installation)
    mine, other = (
        rig.issue(lifecycle.installation, f"spiffe://example.internal/ns/a/sa/{n}") for n in ("edge", "evil")
    )
    add(lifecycle, identities=("name:uri:spiffe://example.internal/ns/a/sa/edge",))
    version = publish(lifecycle)

    def holder(serial: str) -> Caller:
        return Caller(f"certificate:{serial}", Role.HOLDER, certificate=serial)

    for stranger in (holder(other.serial), holder("ab12"), token("uri:spiffe://example.internal/ns/a/sa/edge")):
        with pytest.raises(Forbidden) as caught:
            report(lifecycle, version, caller=stranger)
        assert caught.value.code == "not-the-consumer"
    assert report(lifecycle, version, caller=holder(mine.serial)).proved_by == (
        "name:uri:spiffe://example.internal/ns/a/sa/edge"
    )
    revocation.revoke(lifecycle.installation, rig.ADMIN, mine.serial, RevocationReason.KEY_COMPROMISE)
    with pytest.raises(Forbidden):
        report(lifecycle, version, caller=holder(mine.serial), at=clock.timestamp() + 1)


def test_nobody_else_is_believed(lifecycle: Lifecycle) -> None:
    """Who is no such consumer does not learn whether there is one; who manages them does it by hand."""
    add(lifecycle, identities=("token:edge-1",))
    add(lifecycle, "edge-2", identities=("token:edge-2",))
    version = publish(lifecycle)
    strangers = [token("edge-2"), Caller("local:token:edge-1", Role.CONSUMER), Caller("Token:edge-1", Role.CONSUMER)]
    messages = []
    for name in ("edge-1", "edge-3"):
        for stranger in strangers:
            with pytest.raises(Forbidden) as caught:
                report(lifecycle, version, name, caller=stranger)
            messages.append(caught.value.message.replace(repr(name), "NAME"))
    assert messages[:3] == messages[3:]
    for role in (Role.OPERATOR, Role.AUDITOR, Role.REQUESTER):
        with pytest.raises(Forbidden):
            report(lifecycle, version, caller=token("edge-1", role))
    assert holding(lifecycle).held_version == 0
    with pytest.raises(NotFound):
        report(lifecycle, version, "edge-3", caller=rig.ADMIN)


def test_by_hand_is_written_down_as_such(lifecycle: Lifecycle) -> None:
    """Its time is another clock's: it makes no later report old. A wrong hash is a slip, and alarms nobody."""
    add(lifecycle, identities=("token:edge-1",))
    version = publish(lifecycle)
    with pytest.raises(BadRequest):
        report(lifecycle, version, caller=rig.ADMIN, sha256="0" * 64)
    assert alarms(lifecycle) == {}
    assert report(lifecycle, version, caller=rig.ADMIN).proved_by == f"hand:{rig.ADMIN.identity}"
    report(lifecycle, version, stream=CRL, caller=rig.ADMIN)
    assert [entry["stream"] for entry in said(lifecycle, "consumer-proved")] == [TRUST, CRL]
    assert report(lifecycle, version, at=clock.timestamp() - 60).proved_by == "token:edge-1"


BAD: list[dict[str, Any]] = [
    {"stream": ""},
    {"stream": "a\nb"},
    {"stream": 3},
    {"version": 0},
    {"version": -1},
    {"version": True},
    {"version": "7"},
    {"version": 1 << 60},
    {"sha256": "x" * 64},
    {"sha256": "0" * 63},
    {"at": 0},
    {"at": 1.5},
    {"at": 1 << 52},
    {"state": "eaten"},
    {"state": None},
    {"reason": 7},
    {"colour": "red"},
]


def test_what_is_no_report_is_refused(lifecycle: Lifecycle) -> None:
    """Read from JSON, and made by hand."""
    good: dict[str, Any] = {"stream": TRUST, "version": 7, "sha256": "0" * 64, "at": clock.timestamp()}
    reporting.read_report(good)
    for wrong in BAD:
        with pytest.raises(BadRequest) as caught:
            reporting.read_report(good | wrong)
        assert caught.value.code == "bad-report", wrong
        if "colour" not in wrong:
            with pytest.raises(BadRequest):
                acknowledging.acknowledge(lifecycle, rig.ADMIN, "edge-1", Report(**(good | wrong)))
    for missing in good:
        with pytest.raises(BadRequest):
            reporting.read_report({name: value for name, value in good.items() if name != missing})


def test_a_reason_is_made_harmless() -> None:
    """It comes from whoever the consumer runs."""
    good = {"stream": TRUST, "version": 7, "sha256": "0" * 64, "at": 1, "state": "refused"}
    assert reporting.read_report({**good, "reason": "a\x1b[31m\nb" + "c" * 900}).reason.startswith("a [31m bc")
    assert len(reporting.read_report({**good, "reason": "c" * 900}).reason) == 300


def test_an_old_report_proves_nothing(lifecycle: Lifecycle) -> None:
    """Nor the same again; two in one second do if the second says more."""
    with clock.pinned(moment()):
        add(lifecycle, identities=("token:edge-1",))
        first, second = publish(lifecycle), publish(lifecycle)
        now = clock.timestamp()
        report(lifecycle, first, at=now)
        report(lifecycle, second, at=now)
        for version, at in ((second, now), (first, now), (second, now - 1), (first, now - 1)):
            with pytest.raises(Conflict) as caught:
                report(lifecycle, version, at=at)
            assert caught.value.code == "old-report"
        with pytest.raises(Conflict):
            report(lifecycle, second, at=now, state="refused")
        assert holding(lifecycle).held_version == second
        report(lifecycle, second, at=now, stream=CRL)  # each stream has a time of its own


def test_what_it_never_got_from_us_is_an_alarm(lifecycle: Lifecycle) -> None:
    """Another hash, or a version from the future: nothing is proved of it any more, until it says something better."""
    with clock.pinned(moment()):
        add(lifecycle, identities=("token:edge-1",))
        version = publish(lifecycle)
        drain(lifecycle)
        now = clock.timestamp()
        report(lifecycle, version, at=now)
        for number, (said_version, code) in enumerate([(version, "other-hash"), (version + 9, "unknown-version")]):
            with pytest.raises(BadRequest) as caught:
                report(lifecycle, said_version, at=now + 2 * number + 1, sha256="a" * 64)
            assert caught.value.code == code
            assert alarms(lifecycle)["consumer-holds-another", f"edge-1/{TRUST}"].severity == "critical"
            assert holding(lifecycle).held_version == 0
            assert [row.name for row in holdings.lacking(lifecycle, TRUST, version)] == ["edge-1"]
            assert drain(lifecycle) == 1  # it is brought ours again
            with pytest.raises(Conflict):
                report(lifecycle, version, at=now + 2 * number + 1, sha256="a" * 64)
            report(lifecycle, version, at=now + 2 * number + 2)
            assert alarms(lifecycle) == {}
        assert len(said(lifecycle, "consumer-holds-another")) == 2


def test_a_version_that_is_not_kept_any_more_is_only_unknown(lifecycle: Lifecycle) -> None:
    """It may have been away for long: no alarm. Of a stream that it does not need it says nothing."""
    add(lifecycle, needs={"crl": "none"}, identities=("token:edge-1",))
    version = publish(lifecycle)
    with pytest.raises(BadRequest) as caught:
        report(lifecycle, version - 1000)
    assert caught.value.code == "unknown-version"
    assert alarms(lifecycle) == {}
    with pytest.raises(BadRequest) as caught:
        report(lifecycle, version, stream=CRL)
    assert caught.value.code == "not-its-stream"


def test_who_falls_back_is_believed(lifecycle: Lifecycle) -> None:
    """Rotations wait for it again, an alarm says so, and it is brought the newest once more."""
    with clock.pinned(moment()):
        add(lifecycle, identities=("token:edge-1",))
        first, second = publish(lifecycle), publish(lifecycle)
        drain(lifecycle)
        report(lifecycle, second)
        rotation = open_rotation(lifecycle)
    with clock.pinned(moment(1)):
        held = report(lifecycle, first)
        assert (held.held_version, held.sent_version, held.proved_at) == (first, first, clock.timestamp())
        assert alarms(lifecycle)["consumer-fell-back", f"edge-1/{TRUST}"].severity == "error"
        assert len(said(lifecycle, "consumer-fell-back")) == 1
        assert str(rotation) in planned(lifecycle, "rotate")
        assert [row.held_version for row in holdings.lacking(lifecycle, TRUST, second)] == [first]
        assert drain(lifecycle) == 1
    with clock.pinned(moment(2)):
        report(lifecycle, first)
        assert ("consumer-fell-back", f"edge-1/{TRUST}") in alarms(lifecycle)
    with clock.pinned(moment(3)):
        report(lifecycle, second)
        assert alarms(lifecycle) == {}
        assert len(rows(lifecycle, Latency)) == 1  # the first proof of a version counts


def test_who_refuses_is_shown_with_its_reason(lifecycle: Lifecycle) -> None:
    """It holds what it held; whoever waits is told why; what it then accepts clears it."""
    with clock.pinned(moment()):
        add(lifecycle, identities=("token:edge-1",))
        first, second = publish(lifecycle), publish(lifecycle)
        drain(lifecycle)
        report(lifecycle, first)
    with clock.pinned(moment(1)):
        report(lifecycle, second, state="refused", reason="untrusted-manifest\x1b[2J" + "x" * 5000)
        assert holding(lifecycle).held_version == first
        (lacking,) = holdings.lacking(lifecycle, TRUST, second)
        assert "untrusted-manifest" in lacking.why
        (entry,) = said(lifecycle, "consumer-refused")
        assert entry["reason"].isprintable()
        assert len(entry["reason"]) == 300
    with clock.pinned(moment(2)):
        report(lifecycle, first)
        assert ("consumer-refuses", f"edge-1/{TRUST}") in alarms(lifecycle)
    with clock.pinned(moment(3)):
        with pytest.raises(BadRequest):
            report(lifecycle, second, state="refused", sha256="b" * 64)
        assert holding(lifecycle).held_version == first  # it was offered another, and did not take it
        assert ("consumer-holds-another", f"edge-1/{TRUST}") in alarms(lifecycle)
    with clock.pinned(moment(4)):
        report(lifecycle, second)
        assert alarms(lifecycle) == {}


def test_a_signature_is_an_identity(lifecycle: Lifecycle) -> None:
    """With the consumer's own secret, about now, over these bytes; each replay is refused."""
    added = add(lifecycle, makes_secret=True)
    assert added.secret is not None
    version = publish(lifecycle)
    headers, body = signed(added.secret, version)
    assert acknowledging.acknowledge_signed(lifecycle, headers, body).proved_by == "signature"
    with pytest.raises(Conflict):
        acknowledging.acknowledge_signed(lifecycle, headers, body)
    consumers.rotate_secret(lifecycle, rig.ADMIN, "edge-1")
    with pytest.raises(Unauthenticated):
        acknowledging.acknowledge_signed(lifecycle, *signed(added.secret, version, at=clock.timestamp() + 1))


def _tamper(headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
    return headers, body.replace(b"trust:", b"crl:", 1)


def _unsigned(_headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
    return {}, body


def _late(headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
    return {**headers, "Webhook-Timestamp": str(int(headers["Webhook-Timestamp"]) - 400)}, body


def _of_another(headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
    return headers, body.replace(b"edge-1", b"edge-2")


def _of_nobody(headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
    return headers, body.replace(b"edge-1", b"edge-9")


def _of_one_without(headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
    return headers, body.replace(b"edge-1", b"edge-0")


def test_all_wrong_signatures_look_alike(lifecycle: Lifecycle) -> None:
    """Whether there is such a consumer is nobody's business who cannot sign for it."""
    added = add(lifecycle, makes_secret=True)
    add(lifecycle, "edge-2", makes_secret=True)
    add(lifecycle, "edge-0")
    assert added.secret is not None
    version = publish(lifecycle)
    expected = "this is not signed with the secret of a consumer of that name, or not within five minutes"
    for spoil in (_tamper, _unsigned, _late, _of_another, _of_nobody, _of_one_without):
        with pytest.raises(Unauthenticated) as caught:
            acknowledging.acknowledge_signed(lifecycle, *spoil(*signed(added.secret, version)))
        assert (caught.value.code, caught.value.message) == ("bad-signature", expected), spoil
    assert {row.held_version for row in rows(lifecycle, Holding)} == {0}


NO_REPORTS = (b"", b"[]", b"7", b"{", b"\xff", b'{"consumer": 3}', b'{"consumer": "a\\u0000"}', b"[" * 16000, b"null")


def test_bytes_that_are_no_report(lifecycle: Lifecycle) -> None:
    """Of strangers, before anything is looked up."""
    for body in NO_REPORTS:
        with pytest.raises(BadRequest) as caught:
            acknowledging.acknowledge_signed(lifecycle, {}, body)
        assert caught.value.code == "bad-report", body[:20]


def test_a_report_of_a_megabyte_is_not_read(lifecycle: Lifecycle) -> None:
    """It is too large."""
    with pytest.raises(TooLarge):
        acknowledging.acknowledge_signed(lifecycle, {}, b" " * 1_000_000)


def test_a_probe_proves_what_there_is(lifecycle: Lifecycle) -> None:
    """More than was known, of a stream that it needs, and a version that exists."""
    with clock.pinned(moment()):
        add(lifecycle, needs={"crl": "none"})
        first, second = publish(lifecycle), publish(lifecycle)
        which = consumer(lifecycle).id

        def prove(version: int, stream: str = TRUST, whose: int = which) -> bool:
            return lifecycle.store.write(lambda tx: acknowledging.prove(tx, whose, stream, version, "probe"))

        assert [prove(first), prove(first), prove(second), prove(first)] == [True, False, True, False]
        assert (holding(lifecycle).held_version, holding(lifecycle).proved_by) == (second, "probe")
        assert [prove(second + 1), prove(second, CRL), prove(second, TRUST, which + 1)] == [False] * 3
        assert len(rows(lifecycle, Latency)) == 2


def test_an_acknowledgement_while_it_is_brought(any_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The consumer is quicker than we write down that we sent it: nothing of either is lost."""
    lifecycle = make_lifecycle(any_store)
    with clock.pinned(moment()):
        add(lifecycle, identities=("token:edge-1",))
        version = publish(lifecycle)
        (one,) = claim(lifecycle)
        sabotage(monkeypatch, MemoryPublisher, "swap", lambda: report(lifecycle, version))
        assert do(lifecycle, one) is None
        row = holding(lifecycle)
        assert (row.sent_version, row.held_version, row.proved_by) == (version, version, "token:edge-1")
        assert planned(lifecycle) == {}
        assert has(lifecycle)[TRUST] == version


def test_many_at_once_lose_nothing(any_store: Store) -> None:
    """Reports of one consumer from several connections, and probes: the highest version stays, one latency each."""
    lifecycle = make_lifecycle(any_store)
    with clock.pinned(moment()):
        add(lifecycle, identities=("token:edge-1",))
        open_rotation(lifecycle)
        versions = [publish(lifecycle, TRUST) for _ in range(8)]
        which, now = consumer(lifecycle).id, clock.timestamp()
        start = threading.Barrier(16)
        unexpected: list[Exception] = []

        def by_report(version: int) -> None:
            start.wait(60)
            try:
                report(lifecycle, version, at=now)
            except Exception as error:
                if getattr(error, "code", "") != "old-report":
                    unexpected.append(error)

        def by_probe(version: int) -> None:
            start.wait(60)
            lifecycle.store.write(lambda tx: acknowledging.prove(tx, which, TRUST, version, "probe"))

        threads = [threading.Thread(target=by_report, args=(one,)) for one in versions]
        threads += [threading.Thread(target=by_probe, args=(one,)) for one in versions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert unexpected == []
        assert holding(lifecycle).held_version == versions[-1]
        proved = [row.version for row in rows(lifecycle, Latency)]
        assert len(proved) == len(set(proved))
        assert versions[-1] in proved


def test_refusals_are_of_our_tree(lifecycle: Lifecycle) -> None:
    """Whatever is reported by whomever."""
    add(lifecycle, identities=("token:edge-1",))
    for version in (1, 2**52):
        with pytest.raises(CertwrightError):
            report(lifecycle, version, sha256=hash_of("x", 1))


def test_latencies_are_measured_by_rank(lifecycle: Lifecycle) -> None:
    """Each percentile is a time that was really measured; old rows are forgotten."""
    assert latency.of([]) is None
    assert latency.of([3.0]) == latency.Percentiles(1, 3.0, 3.0, 3.0)
    assert latency.of(float(n) for n in range(1, 201)) == latency.Percentiles(200, 100.0, 198.0, 200.0)

    def unit(tx: Any) -> None:
        for version in range(1, 31):
            latency.record(tx, version % 2, TRUST, version, "probe", float(version))
            latency.record(tx, version % 2, TRUST, version, "probe", 99.0)

    lifecycle.store.write(unit)
    with lifecycle.store.read() as connection:
        assert latency.percentiles(connection) == latency.Percentiles(30, 15.0, 30.0, 30.0)
        assert latency.percentiles(connection, stream=CRL) is None
        assert latency.percentiles(connection, stream=TRUST, consumer_id=1, last=3) == latency.Percentiles(
            3, 27.0, 29.0, 29.0
        )
    assert (latency.prune(lifecycle, keep=10), latency.prune(lifecycle, keep=10)) == (20, 0)
    assert [row.version for row in rows(lifecycle, Latency)] == list(range(21, 31))
