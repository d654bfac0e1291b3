"""The figures of a month: each is what a person counts in the same tables, and what is not known is not invented."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ca import clock, hierarchy, revocation
from ca.access import Caller, Role
from ca.authority import State
from ca.store import Store
from ca.x509.revocation_list import RevocationReason
from renewers.inventory.issued import PROBER
from renewers.issuers import internal
from renewers.mailers.memory import MemoryMailer
from renewers.models import (
    Acknowledged,
    Crossing,
    Delivery,
    Letter,
    Lineage,
    Mailbox,
    Owner,
    Rotation,
    RotationStep,
    Told,
    Tracked,
    Work,
)
from renewers.reports.monthly import figures, keys, owned, renewed, walking
from renewers.reports.monthly.months import Month
from renewers.timing.lead_time import DAY
from tests import rig
from tests.renewers.monthly import (
    AFTER,
    BEFORE,
    HOSTILE,
    MONTH,
    add_certificate,
    add_event,
    add_renewal,
    add_world,
    make_lifecycle,
)
from tests.renewers.test_measured import add_destination
from tests.renewers.tracking import add, add_owner, change, find


def gather(store: Store, month: Month = MONTH, at: datetime = AFTER, **choices: Any) -> dict[str, Any]:
    """The figures as they are gathered then."""
    with clock.pinned(BEFORE):
        lifecycle = make_lifecycle(store, **choices)
        lifecycle.installation.ledger.sequence()
    with clock.pinned(at):
        return figures.gather(lifecycle, month)


def test_an_empty_installation_has_figures(any_store: Store) -> None:
    """Nothing is nothing: no division by it, no percentile of it, no owner of it."""
    found = gather(any_store, with_hierarchy=False)
    assert found["moment"]["tracked"] == found["renewals"]["issued"] == found["expiries"]["total"] == 0
    assert found["renewals"]["due_to_done"]["p99"] is None
    assert found["moment"]["keys"]["keys"] == 0
    assert found["head"] is None


def test_owners_are_counted_with_what_is_theirs(any_store: Store) -> None:
    """By who renews it; an orphan is nobody's, though the fallback owner hears of it."""
    add_world(any_store)
    owned = gather(any_store)["moment"]["ownership"]
    rows = {row["name"]: row for row in owned["owners"]}
    assert list(rows) == ["fallback", "payments"]
    counts = {word: rows["payments"][word] for word in ("certificates", "program", "holder", "person")}
    assert counts == {"certificates": 3, "program": 1, "holder": 1, "person": 1}
    assert rows["fallback"]["certificates"] == 0
    assert (owned["orphans"], owned["nobody"]["certificates"]) == (2, 2)
    assert [row["renewed_by"] for row in owned["orphans_first"]] == ["program", "person"]


def test_what_is_written_on_a_row_goes_before_asking(any_store: Store) -> None:
    """Who answers was written down when the row was looked at; only where it was not, owners are asked."""
    payments, other = add_owner(any_store, "payments"), add_owner(any_store, "other")
    add_certificate(any_store, "renewed", owner_id=payments, answering_id=other)
    add_certificate(any_store, "renewed", owner_id=payments)
    rows = {row["name"]: row["certificates"] for row in gather(any_store)["moment"]["ownership"]["owners"]}
    assert rows == {"other": 1, "payments": 1}


def test_mailboxes_and_acknowledgements_stand_beside_owners(any_store: Store) -> None:
    """A dead mailbox, the last letter that left, the newest acknowledgement that is kept."""
    found = add_world(any_store)
    at = MONTH.start
    add(any_store, Letter, **letter(found["payments"], sent_at=at + 5))
    any_store.write(lambda tx: tx.add(Mailbox, {"address": "fallback@example.org", "dead_since": at}) or None)
    change(any_store, Tracked, found["person"], answering_id=found["payments"])
    row = {"about": f"tracked:{found['person']}", "until": at + DAY, "reason": "soon", "by": "ada", "at": at + 9}
    any_store.write(lambda tx: tx.add(Acknowledged, row) or None)
    rows = {row["name"]: row for row in gather(any_store)["moment"]["ownership"]["owners"]}
    assert (rows["payments"]["last_letter"], rows["payments"]["last_acknowledged"]) == (at + 5, at + 9)
    assert (rows["fallback"]["dead_since"], rows["payments"]["dead_since"]) == (at, None)


def letter(owner_id: int, **values: Any) -> dict[str, Any]:
    """A letter that left."""
    named = {
        "key": f"k{owner_id}",
        "kind": "digest",
        "recipient": "a@b.example",
        "step": 0,
        "message_id": f"m{owner_id}",
    }
    times = {"opened_at": MONTH.start, "state": "sent", "reason": "r"}
    return {"owner_id": owner_id, **named, **times, **values}


def test_what_was_replaced_or_has_ended_does_not_stand(any_store: Store) -> None:
    """Only what somebody waits for is counted."""
    standing = add_certificate(any_store, "renewed")
    for values in ({"replaced_by": standing}, {"stage": "ended"}, {"stage": "replaced"}):
        add_certificate(any_store, "renewed", **values)
    assert gather(any_store, with_hierarchy=False)["moment"]["tracked"] == 1


def test_pages_lose_nothing_and_count_nothing_twice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of a page: one, two, or more than there is."""
    add_world(store)
    for place in range(5):
        add_certificate(store, "renewed", spki_sha256=bytes([place % 2]) * 32)
    with clock.pinned(BEFORE):
        lifecycle = make_lifecycle(store)
    with clock.pinned(AFTER):
        before = figures.gather(lifecycle, MONTH)
        for size in (1, 2, 3):
            for module in (walking, keys, owned, renewed):
                monkeypatch.setattr(module, "PAGE", size)
            monkeypatch.setattr(walking, "_STANDING", walking._STANDING.limit(size))
            assert figures.gather(lifecycle, MONTH) == before


def test_keys_are_counted_by_what_they_are(any_store: Store) -> None:
    """Types, weak ones among them, keys of several certificates, and how old the oldest certificate of each is."""
    now = int(AFTER.timestamp())
    old, shared = b"\1" * 32, b"\2" * 32
    first = add_certificate(any_store, "renewed", spki_sha256=old, start=now - 800 * DAY)
    second = add_certificate(any_store, "renewed", spki_sha256=old)
    change(any_store, Tracked, first, replaced_by=second)
    for _ in range(3):
        add_certificate(any_store, "manual", spki_sha256=shared, key_type="RSA-1024")
    found = gather(any_store, with_hierarchy=False)["moment"]["keys"]
    assert found["leaves"] == [{"type": "RSA-1024", "count": 3}, {"type": "P-256", "count": 1}]
    assert (found["keys"], found["older_than_a_year"], found["shared"], found["sharing"]) == (2, 1, 1, 3)
    assert {row["age"]: row["count"] for row in found["ages"]}["older"] == 1


def test_readiness_for_ml_dsa_says_what_it_does_not_know(any_store: Store) -> None:
    """A holder's program is not ours to judge, nor is a public CA; what our own settings would do is known."""
    add_world(any_store)
    add_certificate(any_store, "renewed", key_type="ML-DSA-65")
    change_issuers(any_store, add_certificate(any_store, "renewed"), '["letsencrypt"]')
    found = gather(any_store)["moment"]
    ready = found["keys"]["mldsa_leaves"]
    assert keys.DEFAULT_PROFILE == internal.DEFAULT_PROFILE
    assert ready["already"] == ready["issuer-unknown"] == 1
    assert ready["holder-unknown"] == 3
    assert ready.get("by-profile", 0) + ready.get("by-setting", 0) == 2
    assert found["signers"]["mldsa"] == {"issuing": 1, "issuing_mldsa": 0, "consumers": 0, "consumers_holding": 0}


def change_issuers(store: Store, tracked_id: int, issuers: str) -> None:
    """Who is asked for it."""
    change(store, Lineage, find(store, tracked_id).lineage_id, issuers=issuers)


def test_issuers_are_said_to_sign_with_what_is_known(any_store: Store) -> None:
    """Ours by their key; a stranger of whom we hold no bytes: not known."""
    add_certificate(any_store, "manual", issuer="CN=Nobody we know")
    found = gather(any_store)["moment"]["signers"]
    assert [(row["issuer"], row["signs_with"]) for row in found["issuers"]] == [("CN=Nobody we know", "not known")]
    assert {row["signs_with"] for row in found["own"]} == {"ECDSA with SHA-256"}


def test_what_breaks_first_under_short_lives_is_what_ends_first(any_store: Store) -> None:
    """By hand, or failing; and how many renewals by hand a year would be."""
    now = int(AFTER.timestamp())
    add_certificate(any_store, "manual", start=now - 300 * DAY, life=398 * DAY, shown_as="soon.example")
    add_certificate(any_store, "manual", start=now, life=398 * DAY, shown_as="later.example")
    failing = add_certificate(any_store, "renewed", start=now - 40 * DAY, life=47 * DAY, shown_as="failing.example")
    work = {"kind": "renew", "subject": str(find(any_store, failing).lineage_id), "state": "waiting", "fence": 0}
    add(any_store, Work, **work, due_at=now, due_since=now, attempts=3, failing_since=now - DAY)
    found = gather(any_store)["moment"]["readiness"]
    assert [(row["name"], row["why"]) for row in found["first"]] == [
        ("failing.example", "failing"),
        ("soon.example", "by-hand"),
        ("later.example", "by-hand"),
    ]
    assert found["by_hand_yearly"] == {"now": 2, "100": 7, "47": 16}
    assert found["lives"] == {"person": {"longer": 2}, "program": {"47": 1}}


def test_the_forecast_counts_what_we_renew(any_store: Store) -> None:
    """Current certificates of our lineages; shorter lives bring more renewals, never fewer."""
    for _ in range(5):
        add_certificate(any_store, "renewed", life=365 * DAY)
    add_certificate(any_store, "manual")
    found = gather(any_store)["moment"]["forecast"]
    assert found["certificates"] == 5
    assert (len(found["weeks"]), found["months"][0], len(found["months"])) == (13, "2027-02", 12)
    a_day = [one["a_day"] for one in found["under"]]
    assert a_day == sorted(a_day)
    assert a_day[0] > 0


def test_renewals_count_in_the_month_in_which_they_were_issued(any_store: Store) -> None:
    """Not before, not after; by day, with how long they took, and how often they were tried."""
    add_renewal(any_store, day=0, took=10)
    add_renewal(any_store, day=30, took=3000, attempts=4)
    add_renewal(any_store, day=4, took=20, attempts=None)
    add_renewal(any_store, day=-1)
    add_renewal(any_store, day=31)
    found = gather(any_store)
    assert found["renewals"]["issued"] == sum(found["renewals"]["by_day"]) == 3
    assert (found["renewals"]["by_day"][0], found["renewals"]["by_day"][30]) == (1, 1)
    assert found["renewals"]["due_to_done"]["p99"] == found["renewals"]["lead_time"]["longest"] == 3000
    assert (found["tries"]["renewed"], found["tries"]["first_try"], found["tries"]["attempts"]) == (2, 1, 5)


def test_a_renewal_that_nobody_has_seen_served_has_no_lead_time(any_store: Store) -> None:
    """It is counted apart, instead of being taken for a fast one."""
    id_ = add_renewal(any_store)
    place = add_destination(any_store, 1, MONTH.start - DAY)
    at = MONTH.start + 5 * DAY
    row = {"destination_id": place, "tracked_id": id_, "started_at": at, "outcome": "failed", "error": f"no\n{HOSTILE}"}
    add(any_store, Delivery, **row)
    found = gather(any_store)
    assert (found["renewals"]["lead_time"]["count"], found["renewals"]["lead_time_unseen"]) == (0, 1)
    assert found["deliveries"]["outcomes"] == {"failed": 1}
    assert len(found["deliveries"]["reasons"][0]["reason"]) <= 160
    assert found["deliveries"]["reasons"][0]["reason"].isprintable()


def test_failures_are_counted_by_their_reason(any_store: Store) -> None:
    """As the alarms said it that were raised in the month; the same reason is one row."""
    for place, kind in enumerate(("renewal-failing", "renewal-failing", "renewal-stopped", "delivery-failing")):
        said = f"www{place}.example cannot be renewed: the CA does not answer"
        add_event(any_store, "alarm-raised", "x", MONTH.start + place, alarm=kind, message=said)
    found = gather(any_store)["tries"]
    assert (found["failing"], found["stopped"]) == (2, 1)
    assert found["reasons"] == [{"reason": "the CA does not answer", "count": 3}]


def test_an_expiry_without_notice_is_seen(any_store: Store) -> None:
    """A letter that left before the end counts; one that left after it, or was refused, does not."""
    end = MONTH.start + 9 * DAY
    for place, (state, sent_at) in enumerate((("sent", end - 1), ("sent", end + 1), ("refused", None))):
        told_of(any_store, place, end, state, sent_at)
    found = gather(any_store, mailer=MemoryMailer())["expiries"]
    assert (found["total"], found["by_letter"], found["without"], found["has_mail"]) == (3, 1, 2, True)
    assert [row["name"] for row in found["silent"]] == ["c1.example", "c2.example"]


def told_of(store: Store, place: int, end: int, state: str, sent_at: int | None) -> None:
    """A certificate that expired, of which a letter told or not."""
    id_ = add_certificate(store, "manual", start=end - 30 * DAY, life=30 * DAY, shown_as=f"c{place}.example")
    row = find(store, id_)
    add_event(store, "certificate-expired", row.identity, end + 1, tracked=id_, not_after=end)
    of = {"about": f"tracked:{id_}", "threshold": "7d", "urgency": "daily", "tracked_id": id_, "subject": "s"}
    crossing = add(store, Crossing, **of, message="m", crossed_at=end - DAY, noted_at=end - DAY, state="told", why="")
    letter_id = add(store, Letter, **letter(100 + place, state=state, sent_at=sent_at))
    told = {"crossing_id": crossing, "channel": "mail", "recipient": "a@b.example", "letter_id": letter_id, "at": end}
    store.write(lambda tx: tx.add(Told, told) or None)


def test_where_there_is_no_mail_an_alarm_counts(any_store: Store) -> None:
    """Webhooks and metrics told of it; the report says that no mail is set up."""
    end = MONTH.start + 9 * DAY
    for place in range(2):
        told_of(any_store, place, end, "refused", None)
    identity = find(any_store, 1).identity
    add_event(any_store, "alarm-raised", identity, end - DAY, alarm="expiring")
    found = gather(any_store)["expiries"]
    assert (found["total"], found["by_alarm"], found["without"], found["has_mail"]) == (2, 1, 1, False)


def test_milestones_are_those_of_the_next_two_years(any_store: Store) -> None:
    """When a successor has to be prepared, and when it ends; what is past is said to be; leaves are not in it."""
    now = int(AFTER.timestamp())
    words = {"kind": "authority", "subject": "CN=Sub", "issuer": "CN=Root"}
    add_certificate(any_store, None, **words, start=now - 800 * DAY, life=900 * DAY, shown_as="CA near")
    add_certificate(any_store, None, **words, start=now, life=3000 * DAY, shown_as="CA far")
    add_certificate(any_store, "manual", life=20 * DAY)
    found = gather(any_store, with_hierarchy=False)["moment"]["milestones"]
    assert [(row["name"], row["what"], row["is_past"]) for row in found["rows"]] == [
        ("CA near", "due", True),
        ("CA near", "end", False),
    ]
    assert found["looked_at"] == 2


def test_revocations_count_by_reason_and_canaries_apart(any_store: Store) -> None:
    """What is revoked on purpose, to see that lists are read, is no incident."""
    with clock.pinned(BEFORE):
        lifecycle = make_lifecycle(any_store)
        installation = lifecycle.installation
        serials = [rig.issue(installation, key=rig.pooled_key(place=place)).serial for place in range(3)]
        prober = Caller(PROBER, Role.ADMIN)
        revocation.revoke(installation, rig.ADMIN, serials[0], RevocationReason.KEY_COMPROMISE)
        revocation.revoke(installation, rig.ADMIN, serials[1], RevocationReason.SUPERSEDED)
        revocation.revoke(installation, prober, serials[2], RevocationReason.SUPERSEDED)
    with clock.pinned(AFTER):
        found = figures.gather(lifecycle, MONTH)["revocations"]
        assert figures.gather(lifecycle, MONTH.before)["revocations"]["total"] == 0
    assert found == {"reasons": {"key-compromise": 1, "superseded": 1}, "total": 2, "canaries": 1}


def test_changes_of_trust_and_the_head_are_those_of_the_month(any_store: Store) -> None:
    """CAs that were made in it stand in it, those of the next month do not; the head covers no later entry."""
    with clock.pinned(BEFORE):
        lifecycle = make_lifecycle(any_store)
        lifecycle.installation.ledger.sequence()
        size = lifecycle.installation.ledger.head().size  # type: ignore[union-attr]
        rotation = {"line": "issuing", "state": "open", "stage": "drain", "stage_since": 0, "outgoing": '["issuing-1"]'}
        more = {"incoming": "[]", "policy": "{}", "versions": "{}", "waits_for": "[]", "reason": HOSTILE}
        id_ = add(any_store, Rotation, **rotation, **more, started_at=MONTH.start, started_by="ada")
        step = {"stage": "prove", "what": "to activate", "by": "system:rotation", "evidence": "{}"}
        add(any_store, RotationStep, rotation_id=id_, at=MONTH.start + 5, **step)
        add(any_store, RotationStep, rotation_id=id_, at=MONTH.end + 5, **step)
    with clock.pinned(AFTER):
        hierarchy.transition(lifecycle.installation, rig.ADMIN, "issuing-1", State.TAINTED)
        lifecycle.installation.ledger.sequence()
        found = figures.gather(lifecycle, MONTH)
    assert found["head"]["size"] == size
    assert found["head"]["checkpoint"].splitlines()[1] == str(size)
    assert {row["what"] for row in found["changes"]["authorities"]} >= {"authority-created"}
    assert "authority-tainted" not in {row["what"] for row in found["changes"]["authorities"]}
    assert [row["what"] for row in found["changes"]["steps"]] == ["to activate"]
    assert found["changes"]["rotations"][0]["reason"].isprintable()


def test_a_month_later_nothing_is_said_of_a_moment(any_store: Store) -> None:
    """What there is says nothing of what there was: it is not known, while what happened still is."""
    add_world(any_store)
    found = gather(any_store, at=datetime(2027, 3, 1, 0, 10, tzinfo=UTC))
    assert found["moment"] is None
    assert found["renewals"]["issued"] == 1


def test_hostile_names_are_harmless_before_they_are_kept(any_store: Store) -> None:
    """No control character, no override of direction, and never more than a line."""
    owner = add_owner(any_store, "x")
    change(any_store, Owner, owner, name=HOSTILE)
    text = HOSTILE
    add_certificate(any_store, None, shown_as=text, issuer=text, life=398 * DAY)
    found = gather(any_store)["moment"]
    texts = [found["ownership"]["owners"][0]["name"], found["readiness"]["first"][0]["name"]]
    texts += [found["signers"]["issuers"][0]["issuer"], found["ownership"]["orphans_first"][0]["issuer"]]
    for said in texts:
        assert said.isprintable()
        assert len(said) <= 120
        assert said.startswith("<script>alert(1)</script>")
