"""Hold, release, certificates that only our key knows, and what a mass revocation comes to: over the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
import structlog
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import delete, update
from sqlmodel import col

from ca import clock, cost, crl, revocation
from ca.access import Role
from ca.certificates import Query
from ca.ledger.checkpoint import open_head
from ca.models import Revocation, RevocationListContent
from ca.x509.bundle import pem_certificate
from ca.x509.revocation_list import RevocationReason
from pki import schedule
from pki.web.app import measure
from pki.web.ocsp import REQUEST_TYPE
from renewers.distribution import freshness
from tests import rig
from tests.ca.asking import ca_of, request_about
from tests.ca.test_unrecorded import signed
from tests.ca.world import outside
from tests.pki.conftest import API, World

PATH = f"{API}/certificates/revocations"
SUPERSEDED = RevocationReason.SUPERSEDED


@pytest.fixture
def admin(world: World) -> httpx.Client:
    """An administrator."""
    return world.as_(world.token(Role.ADMIN))


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem that it is."""
    found: dict[str, Any] = answer.json()
    assert (answer.status_code, found["code"]) == (status, code), found
    return found


def test_hold_and_release(world: World, admin: httpx.Client) -> None:
    """It opens no door meanwhile, cannot be renewed, and is good again; the metrics count it."""
    holder = world.holder()
    path = f"{API}/certificates/{holder.serial}"
    assert world.as_(holder.credential).get(f"{API}/me").status_code == 200
    held = admin.post(f"{path}/hold").raise_for_status().json()
    assert (held["serial"], held["released_at"]) == (holder.serial, None)
    shown = admin.get(path).json()
    assert (shown["state"], shown["reason"], shown["revoked_at"]) == ("held", "certificate-hold", held["held_at"])
    assert [one["serial"] for one in admin.get(f"{API}/certificates", params={"state": "held"}).json()["items"]] == [
        holder.serial
    ]
    assert world.as_(holder.credential).get(f"{API}/me").status_code == 401
    refused(admin.post(f"{path}/hold"), 409, "already-held")
    assert b'certwright_certificates_revoked_total{reason="certificate-hold"} 1.0' in world.product.metrics.text()
    released = admin.post(f"{path}/release").raise_for_status().json()
    assert released["held_at"] == held["held_at"]
    assert world.as_(holder.credential).get(f"{API}/me").status_code == 200
    refused(admin.post(f"{path}/release"), 409, "not-held")
    admin.post(f"{path}/revoke", json={}).raise_for_status()
    assert "for good" in refused(admin.post(f"{path}/release"), 409, "not-held")["hint"]


def test_a_certificate_that_only_our_key_knows(world: World, admin: httpx.Client) -> None:
    """Handed in as PEM, one at a time; what our key did not sign is somebody else's."""
    authority = world.installation.authorities.get("issuing").name
    stranger = signed(world.installation, 0x2A, authority=authority)
    pem = stranger.public_bytes(Encoding.PEM).decode()
    done = admin.post(PATH, json={"certificate": pem, "reason": "superseded"}).raise_for_status().json()
    assert (done["serials"], done["key_blocked"], done["cost"]) == (["2a"], False, None)
    refused(admin.post(PATH, json={"certificate": pem}), 409, "already-revoked")
    refused(admin.post(PATH, json={"certificate": pem + pem}), 400, "bad-certificate")
    refused(admin.post(PATH, json={"certificate": "garbage"}), 400, "bad-certificate")
    refused(admin.post(PATH, json={"certificate": pem, "key": "ab" * 32}), 400, "bad-revocation")
    refused(admin.post(PATH, json={"certificate": pem, "dry_run": True}), 400, "bad-revocation")
    ours = pem_certificate(world.installation.authorities.get(authority).certificate)
    refused(admin.post(PATH, json={"certificate": ours}), 403, "authority-key")
    requester = world.as_(world.token(Role.REQUESTER))
    refused(requester.post(PATH, json={"certificate": pem}), 403, "forbidden")


def test_what_a_mass_revocation_comes_to(world: World, admin: httpx.Client) -> None:
    """Said before it is done, and it comes so: lists, entries and bytes."""
    installation, issued = world.installation, [rig.issue(world.installation) for _ in range(12)]
    admin.post(f"{API}/certificates/{issued[0].serial}/hold").raise_for_status()
    world.product.settle()
    anybody = world.nobody
    for one in issued[1:4]:
        request = request_about(rig.parsed(one), ca_of(installation, "issuing-1"))
        assert anybody.post("/ocsp", content=request, headers={"Content-Type": REQUEST_TYPE}).status_code == 200
    body = {"filter": {"profile": "mesh"}, "reason": "superseded"}
    before = world.counts()
    asked = admin.post(PATH, json={**body, "dry_run": True}).raise_for_status().json()
    found = asked["cost"]
    assert (found["certificates"], found["held"], found["ocsp_answers"]) == (12, 1, 3)
    assert found["consumers"] == {}
    assert 0 < found["seconds"] < 10
    assert world.counts() == before
    admin.post(PATH, json=body).raise_for_status()
    world.product.publisher._not_before.clear()
    world.product.settle()
    for one in found["lists"]:
        row = crl.load(installation, one["authority"], crl.COMPLETE if one["shard"] is None else one["shard"])
        assert row is not None
        assert row.entries == one["entries_after"]
        assert abs(len(row.crl) - one["size_after"]) <= 12 + row.entries
    assert {one["shard"] for one in found["lists"]} > {None}


def test_what_is_reckoned_is_what_it_takes(world: World) -> None:
    """Of some hundreds, in the right order of magnitude; a retired CA makes no list."""
    for _ in range(300):
        rig.issue(world.installation)
    query = Query(profile="mesh")
    found = cost.estimate(world.installation, revocation.matching(world.installation, query), SUPERSEDED)
    assert found.certificates == 300
    assert found.delta_bytes == 300 * 53
    assert 0.01 < found.seconds < 5
    assert cost.estimate(world.installation, [], SUPERSEDED) == cost.Cost(0, 0, (), 0, 0.0)


def test_lists_are_checked(world: World, admin: httpx.Client) -> None:
    """By hand, and by the schedule, with metrics and an alarm while one is wrong."""
    issued = rig.issue(world.installation)
    admin.post(f"{API}/certificates/{issued.serial}/revoke", json={}).raise_for_status()
    world.product.settle()
    path = f"{API}/authorities/issuing/crls/check"
    found = admin.post(path).raise_for_status().json()
    assert len(found) == 4 + 2
    assert [one for one in found if one["wrong"]] == []
    assert sum(one["entries"] for one in found) >= 2
    with outside(world.installation.store) as connection:
        connection.execute(delete(Revocation).where(col(Revocation.serial) == issued.serial))
    wrong = [one for one in admin.post(path).json() if one["wrong"]]
    assert all(f"{issued.serial} stands there" in one["findings"][0] for one in wrong)
    assert len(wrong) >= 2
    schedule.check_lists(world.product)
    measure(world.product)
    assert b'certwright_crl_findings{authority="issuing-1"} ' + str(len(wrong)).encode() in world.product.metrics.text()
    assert freshness.watch(world.product.lifecycle) >= 1
    alarms = admin.get(f"{API}/alarms").json()["items"]
    assert [(one["subject"], one["severity"]) for one in alarms if one["kind"] == "crl-incomplete"] == [
        ("issuing-1", "critical")
    ]


def test_a_list_that_cannot_be_used_is_made_anew_by_the_schedule(world: World, admin: httpx.Client) -> None:
    """It is in the log; the alarm is raised, and is over at the next look."""
    world.product.settle()
    lists = col(RevocationListContent.shard) == crl.COMPLETE
    with outside(world.installation.store) as connection:
        connection.execute(update(RevocationListContent).where(lists).values(crl=b"garbage"))
    with structlog.testing.capture_logs() as logs:
        schedule.check_lists(world.product)
    assert {one["authority"] for one in logs if one["event"] == "crl-made-anew"} == {"root-1", "issuing-1"}
    assert freshness.watch(world.product.lifecycle) >= 2
    world.product.settle()
    schedule.check_lists(world.product)
    assert freshness.watch(world.product.lifecycle) >= 2
    assert [one for one in admin.get(f"{API}/alarms").json()["items"] if one["kind"] == "crl-incomplete"] == []
    assert admin.post(f"{API}/authorities/issuing/crls/check").json()[-1]["wrong"] == 0


def test_what_was_so_then(world: World, admin: httpx.Client) -> None:
    """A certificate, the CAs, the profiles and counts, at a moment before it was revoked and after."""
    start = clock.now()
    schedule.record_profiles(world.product)
    with clock.pinned(start + timedelta(hours=1)):
        serial = rig.issue(world.installation, lifetime=timedelta(days=7)).serial
    with clock.pinned(start + timedelta(hours=2)):
        revocation.revoke(world.installation, rig.OPERATOR, serial, SUPERSEDED)
    with clock.pinned(start + timedelta(hours=3)):
        _ask_about_then(world, admin, serial)


def _ask_about_then(world: World, admin: httpx.Client, serial: str) -> None:
    now = clock.timestamp()

    def then(at: int, **asked: str) -> dict[str, Any]:
        answer = admin.get(f"{API}/ledger/state", params={"at": str(at), **asked})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert open_head(found["checkpoint"], world.installation.ledger.verifier).size == found["size"]
        return dict(found)

    of_it = {"of": "certificate", "serial": serial}
    states = [then(at, **of_it)["certificate"]["state"] for at in (now - 9000, now - 5400, now)]
    assert states == ["unknown", "valid", "revoked"]
    assert [one["name"] for one in then(now)["authorities"]] == ["root-1", "issuing-1"]
    assert {one["name"] for one in then(now - 60, of="profiles")["profiles"]} == {
        profile.name for profile in world.installation.profiles
    }
    counts = then(now, of="counts")["counts"]
    assert (counts["revoked"], counts["by_profile"].get("mesh", 0)) == (1, 0)
    assert counts["disordered"] == 0
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"at": now + 60}, "bad-moment"),
        ({"at": now, "of": "certificate"}, "bad-state"),
        ({"at": now, "serial": "1a"}, "bad-state"),
        ({"at": now, "of": "certificate", "serial": "no hex"}, "bad-serial"),
        ({"at": -1}, "bad-request"),
    )
    for asked, code in wrong:
        refused(admin.get(f"{API}/ledger/state", params=asked), 400, code)
