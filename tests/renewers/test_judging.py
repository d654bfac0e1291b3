"""Judging: nothing healthy is alarming, nothing failing expires without one, and strangers say nothing in our voice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renewers.telling import events
from renewers.timing import deadlines, judging, lead_time
from renewers.timing.judging import EXPIRING, OLD_SERVED, STILL_SERVED, Circumstances, Judgement
from renewers.timing.lead_time import DAY, HOUR, Stage
from tests.renewers.tracking import START, tracked_row

YEAR = 365 * DAY
MODES = ("renewed", "manual", "holder")
KINDS = ("certificate", "authority", "crl", "bundle")

lifetimes = st.integers(HOUR, 30 * YEAR)
parts = st.floats(0, 1.2)


def row_of(**values: Any) -> Any:
    """A row of `Tracked`."""
    return SimpleNamespace(**{"id": 7, **tracked_row(**values)})


def lineage_of(mode: str, **values: Any) -> Any:
    """A row of `Lineage`."""
    return SimpleNamespace(**{"id": 3, "mode": mode, "current_id": 7, "ari_chosen": None, **values})


def judge(row: Any, now: int, **circumstances: Any) -> Judgement:
    """The judgement at `now`."""
    return judging.judge(row, Circumstances(**circumstances), fraction=lead_time.FRACTION, now=now)


def kinds(judgement: Judgement) -> set[str]:
    """The alarms that it raises."""
    return {trouble.kind for trouble in judgement.troubles}


@given(st.sampled_from(["renewed", "holder"]), lifetimes, st.floats(0, 1))
def test_what_renews_itself_is_silent_until_it_is_late(mode: str, lifetime: int, part: float) -> None:
    """A healthy renewal comes when it is due, or up to a tenth of a life later: nobody hears of it."""
    row, lineage = row_of(lifetime=lifetime), lineage_of(mode)
    marks = deadlines.deadlines(row, lineage, fraction=lead_time.FRACTION)
    now = START + int(part * lifetime)
    found = judge(row, now, lineage=lineage)
    assert bool(found.troubles) == (now >= marks.late)
    assert found.stage == lead_time.stage(marks, now)


@given(st.sampled_from(KINDS), st.sampled_from([*MODES, None]), lifetimes, st.lists(parts, min_size=1, max_size=5))
def test_everything_that_nobody_replaces_is_alarming_before_its_end(
    kind: str, mode: str | None, lifetime: int, looks: list[float]
) -> None:
    """Whatever it is and however few looks there were: the last one planned lies before the end, and finds it so."""
    row, lineage = row_of(kind=kind, lifetime=lifetime), None if mode is None else lineage_of(mode)
    said, last = False, START
    moments = sorted(min(START + int(part * lifetime), row.not_after) for part in looks)
    for moment in moments:  # outages of any length between looks
        last = moment
        said = said or bool(judge(row, moment, lineage=lineage).troubles)
    while not said:
        planned = judge(row, last, lineage=lineage).next_look
        assert planned is not None
        assert last < planned <= row.not_after
        last = planned
        said = EXPIRING in kinds(judge(row, planned, lineage=lineage))


@given(st.sampled_from(KINDS), st.sampled_from(MODES), lifetimes, st.lists(st.floats(0, 1), min_size=2))
def test_severity_only_grows(kind: str, mode: str, lifetime: int, looks: list[float]) -> None:
    """From silence through warning and error to critical, which it is at the latest when it has expired."""
    row, lineage = row_of(kind=kind, lifetime=lifetime), lineage_of(mode)
    ranks = []
    for moment in [*sorted(START + int(part * lifetime) for part in looks), row.not_after + 1]:
        severities = [trouble.severity for trouble in judge(row, moment, lineage=lineage).troubles]
        assert len(severities) <= 1
        ranks.append(events.rank(severities[0]) if severities else -1)
    assert ranks == sorted(ranks)
    assert ranks[-1] == events.rank("critical")


@given(
    st.sampled_from(KINDS),
    st.sampled_from(MODES),
    lifetimes,
    st.floats(-0.5, 3),
    st.sampled_from(["fine", "late", "replaced", "ended", "expired"]),
    st.none() | st.just(9),
    st.none() | st.integers(-40 * DAY, 0),
    st.booleans(),
)
def test_the_next_look_is_in_the_future(
    kind: str,
    mode: str,
    lifetime: int,
    part: float,
    stage: str,
    replaced_by: int | None,
    seen: int | None,
    orphan: bool,
) -> None:
    """Whatever is judged, the watch gets on: nothing is due again at the moment at which it was looked at."""
    now = START + int(part * lifetime)
    last_seen = None if seen is None else now + seen
    places = ("tls:a:443",) if seen is not None and seen >= -DAY else ()
    row = row_of(kind=kind, lifetime=lifetime, stage=stage, replaced_by=replaced_by)
    found = judge(row, now, lineage=lineage_of(mode), last_seen=last_seen, places=places, is_orphan=orphan)
    assert found.next_look is None or found.next_look > now
    assert found.next_look is not None or found.stage in (Stage.ENDED, Stage.REPLACED)
    assert (found.stage is Stage.REPLACED) == (replaced_by is not None and stage != "ended")
    if found.stage in (Stage.ENDED, Stage.REPLACED):
        assert EXPIRING not in kinds(found)


@given(lifetimes, parts)
def test_a_pod_that_vanishes_ends_silently(lifetime: int, part: float) -> None:
    """Its holder alone renews it, nobody owns it, nobody has seen it: no alarm, not even when it has expired."""
    row, now = row_of(lifetime=lifetime), START + int(part * lifetime)
    found = judge(row, now, lineage=lineage_of("holder"), is_orphan=True)
    assert not found.troubles
    assert (found.stage is Stage.ENDED) == (now > row.not_after)
    assert (found.next_look is None) == (now > row.not_after)


@pytest.mark.parametrize(
    "known",
    [{"is_orphan": False}, {"is_orphan": True, "last_seen": START + 89 * DAY, "places": ("tls:a:443",)}],
)
def test_what_is_owned_or_seen_does_not_end_silently(known: dict[str, Any]) -> None:
    """An owner, or a place where it is in use, makes a holder's certificate matter."""
    found = judge(row_of(), START + 89 * DAY, lineage=lineage_of("holder"), **known)
    assert kinds(found) == {EXPIRING}


def test_what_was_replaced_is_over() -> None:
    """Its end is no news, even the day before."""
    found = judge(row_of(replaced_by=9), START + 89 * DAY, lineage=lineage_of("manual"))
    assert (found.stage, found.next_look, found.troubles) == (Stage.REPLACED, None, ())


def test_a_newer_one_in_the_lineage_that_replaced_nothing_silences_nobody() -> None:
    """A stranger's certificate with the same names may be current: what counts is what the inventory vouches for."""
    found = judge(row_of(), START + 89 * DAY, lineage=lineage_of("manual", current_id=99))
    assert kinds(found) == {EXPIRING}


@pytest.mark.parametrize("over", [{"replaced_by": 9}, {"stage": "ended"}, {}])
def test_what_is_served_after_its_end_is_an_alarm(over: dict[str, Any]) -> None:
    """Whatever has replaced it, and be it revoked: the place turns away whoever connects (failures 79, 85)."""
    now = START + 90 * DAY
    seen = {"last_seen": now - HOUR, "places": ("tls:a:443", "tls:b:443")}
    found = judge(row_of(**over), now, lineage=lineage_of("manual"), **seen)
    (trouble,) = (trouble for trouble in found.troubles if trouble.kind == STILL_SERVED)
    assert trouble.severity == "critical"
    assert trouble.since == now
    assert trouble.message.startswith("tls:a:443, tls:b:443 still serves n")
    stale = {"last_seen": now - 2 * DAY, "places": ()}
    assert STILL_SERVED not in kinds(judge(row_of(**over), now, lineage=lineage_of("manual"), **stale))


def test_what_was_replaced_and_is_in_use_is_looked_at_when_it_ends() -> None:
    """The end of a certificate that somebody still serves is not missed because there is a newer one."""
    seen = {"last_seen": START + 80 * DAY, "places": ("tls:a:443",)}
    now, row = START + 80 * DAY, row_of(replaced_by=9)
    while now <= row.not_after:
        found = judge(row, now, lineage=lineage_of("manual"), **seen)
        assert (found.stage, found.troubles) == (Stage.REPLACED, ())
        assert found.next_look is not None
        now = found.next_look
    assert now == row.not_after + 1


def test_one_of_many_holders_that_stopped_renewing_is_announced() -> None:
    """Another pod's newer certificate of the same name does not hide that this one's is about to end in use."""
    now = START + 89 * DAY
    seen = {"last_seen": now, "places": ("tls:pod:443",)}
    assert kinds(judge(row_of(replaced_by=9), now, lineage=lineage_of("holder"), **seen)) == {OLD_SERVED}


def test_what_expired_long_ago_and_nobody_uses_has_ended() -> None:
    """A month after its end, or after it was last seen, it is forgotten; a CA or a CRL is not."""
    later = START + 121 * DAY
    assert judge(row_of(), later - 2 * DAY, lineage=lineage_of("manual")).stage is Stage.EXPIRED
    assert judge(row_of(), later, lineage=lineage_of("manual")) == Judgement(Stage.ENDED, START + 90 * DAY, None)
    assert judge(row_of(), later, lineage=lineage_of("manual"), last_seen=later - 5 * DAY).stage is Stage.EXPIRED
    for kind in ("authority", "crl", "bundle"):
        assert kinds(judge(row_of(kind=kind), START + YEAR)) == {EXPIRING}


def test_an_issuer_that_urges_makes_it_late_earlier() -> None:
    """A window in the past counts for the current certificate alone."""
    lineage, now = lineage_of("renewed", ari_chosen=START - DAY), START + 12 * DAY
    assert judge(row_of(), now, lineage=lineage).stage is Stage.LATE
    lineage.current_id = 8
    assert judge(row_of(), now, lineage=lineage).stage is Stage.FINE


def test_an_alarm_says_what_is_left_who_renews_and_since_when_it_fails() -> None:
    """Name, time left, date, the renewal's own words."""
    renewal = SimpleNamespace(state="waiting", failing_since=START + 61 * DAY, last_error="dns: no such zone")
    row = row_of(shown_as="api.example.org")
    found = judge(row, START + 85 * DAY, lineage=lineage_of("renewed"), renewal=renewal, owner_id=4)
    (trouble,) = found.troubles
    assert trouble.message == (
        "api.example.org ends in 5 d 0 h, on 2027-04-15 07:59 UTC; "
        "its renewal fails since 2027-03-17 08:00 UTC: dns: no such zone"
    )
    assert (trouble.severity, trouble.owner_id, trouble.subject) == ("error", 4, row.identity)
    renewal.state = "stopped"
    stopped = judge(row, START + 85 * DAY, lineage=lineage_of("renewed"), renewal=renewal).troubles[0]
    assert "its renewal has stopped, failing since" in stopped.message
    unplanned = judge(row, START + 85 * DAY, lineage=lineage_of("renewed")).troubles[0]
    assert unplanned.message.endswith("no renewal of it is planned")


@pytest.mark.parametrize(
    ("kind", "mode", "words"),
    [
        ("certificate", "manual", "a person renews it"),
        ("certificate", "holder", "whoever holds its key renews it"),
        ("authority", None, "its successor has to be prepared"),
        ("crl", None, "its publisher has not replaced it"),
    ],
)
def test_everybody_else_is_named_too(kind: str, mode: str | None, words: str) -> None:
    """Who is to act depends on what it is."""
    lineage = None if mode is None else lineage_of(mode)
    (trouble,) = judge(row_of(kind=kind), START + 89 * DAY, lineage=lineage).troubles
    assert words in trouble.message


@given(st.text(max_size=3000), st.text(max_size=3000), st.integers(-(10**11), 10**15))
def test_a_strangers_words_stay_in_one_line(name: str, error: str, end: int) -> None:
    """Names, errors and dates may be anything: a message is one printable line of bounded length."""
    renewal = SimpleNamespace(state="waiting", failing_since=end, last_error=error)
    row = row_of(shown_as=name)
    row.not_after = end
    seen = {"last_seen": end, "places": (name,) * 5}
    for mode in MODES:
        for now in (end - 1, end + 1, end + DAY):
            found = judge(row, now, lineage=lineage_of(mode), renewal=renewal, **seen)
            for trouble in found.troubles:
                assert trouble.message.isprintable()
                assert len(trouble.message) < 1000


def test_an_authority_is_a_root_if_it_signed_itself() -> None:
    """Roots have years, intermediates months, leaves what their mode gives them."""
    root = row_of(kind="authority", subject="CN=r", issuer="CN=r", lifetime=20 * YEAR)
    assert judge(root, START + 18 * YEAR + 10 * DAY).stage is Stage.DUE
    below = row_of(kind="authority", subject="CN=i", issuer="CN=r", lifetime=20 * YEAR)
    assert judge(below, START + 18 * YEAR + 10 * DAY).stage is Stage.FINE
    assert judge(below, START + 20 * YEAR - 179 * DAY).troubles[0].severity == "info"
