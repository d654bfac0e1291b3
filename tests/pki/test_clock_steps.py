"""The clock is stepped both ways under a running process: nothing is dated by it, all else goes on, and it recovers."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from ca import clock
from ca.errors import ClockUnavailable
from ca.models import Certificate
from pki import catching_up
from pki.doctor.checks import time_of_day
from pki.doctor.finding import Level
from pki.product import Product
from pki.schedule import Schedule
from renewers.models import Work
from tests import peer
from tests.pki.conftest import API, Server, Template, World, problem, serving, wish

STEPS = pytest.mark.parametrize("step", [timedelta(days=-1), timedelta(hours=-1), timedelta(days=30)], ids=str)


@pytest.fixture(autouse=True)
def _no_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Complete lists are made as often as something changes."""
    monkeypatch.setattr("ca.crl.THROTTLE", 0)


@pytest.fixture(autouse=True)
def _kept_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's clock is kept by; and every question is a look."""
    monkeypatch.setattr(clock, "is_disciplined", lambda: False)
    monkeypatch.setattr("pki.readiness.FRESH_FOR", 0.0)


def listed(world: World) -> x509.CertificateRevocationList:
    """The complete CRL of the issuing CA, as a stranger gets it."""
    return x509.load_der_x509_crl(world.nobody.get("/crl/issuing-1.crl").raise_for_status().content)


def number(crl: x509.CertificateRevocationList) -> int:
    """Its CRL number."""
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def certified(world: World) -> dict[str, Any]:
    """A new certificate, as it is answered."""
    return dict(world.local.post(f"{API}/certificates", json=wish()).raise_for_status().json())


def issued(world: World) -> str:
    """The serial number of a new certificate."""
    return str(certified(world)["serial"])


def revoke(world: World, serial: str) -> None:
    """Revoke it, and publish what follows."""
    world.local.post(f"{API}/certificates/{serial}/revoke", json={"reason": "superseded"}).raise_for_status()
    world.product.settle()


def ocsp_request(found: dict[str, Any]) -> bytes:
    """A question about a certificate, as a client puts it."""
    leaf, issuer = x509.load_pem_x509_certificates((found["certificate"] + found["chain"]).encode())[:2]
    request = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA1()).build()
    return request.public_bytes(Encoding.DER)


def status(world: World, request: bytes) -> ocsp.OCSPCertStatus:
    """What we answer to it."""
    answer = world.nobody.post("/ocsp", content=request, headers={"Content-Type": "application/ocsp-request"})
    return ocsp.load_der_ocsp_response(answer.raise_for_status().content).certificate_status


@STEPS
def test_a_stepped_clock_issues_nothing(world: World, step: timedelta) -> None:
    """503 with the reason; reading, revoking, CRLs and OCSP go on; once it is right it issues, without a restart."""
    first, whole = number(listed(world)), certified(world)
    early, asked = whole["serial"], ocsp_request(whole)
    assert status(world, asked) is ocsp.OCSPCertStatus.GOOD
    with clock.stepped(step):
        refused = problem(world.local.post(f"{API}/certificates", json=wish()), 503, "clock-unavailable")
        way = "forward" if step > timedelta() else "back"
        assert f"the clock was set {way} by {abs(step)}, and no time service keeps it" in refused["detail"]
        assert "chronyc makestep" in refused["hint"]
        ready = world.nobody.get("/readyz")
        assert (ready.status_code, ready.json()["problems"]) == (503, [refused["detail"].partition(": ")[2]])
        assert world.nobody.get("/livez").status_code == 200
        assert world.local.get(f"{API}/certificates/{early}").status_code == 200
        revoke(world, early)
        second = listed(world)
        assert number(second) > first
        assert early in {f"{one.serial_number:x}" for one in second}
        peer.until(lambda: status(world, asked) is ocsp.OCSPCertStatus.REVOKED, "OCSP says that it is revoked")
        (finding,) = time_of_day(world.product)
        assert finding.level is Level.PROBLEM
        assert "certwright_clock_wrong 1.0" in world.local.get("/metrics").text
    issued(world)
    revoke(world, issued(world))
    third = listed(world)
    assert number(third) > number(second)
    assert third.last_update_utc <= clock.now()
    assert [world.nobody.get(path).status_code for path in ("/readyz", "/healthz")] == [200, 200]
    assert "certwright_clock_wrong 0.0" in world.local.get("/metrics").text
    last = world.local.post(f"{API}/ledger/verify", json={}).raise_for_status().text.splitlines()[-1]
    assert json.loads(last)["is_sound"], last


@STEPS
def test_a_wrong_clock_that_nothing_speaks_against_breaks_nothing(world: World, step: timedelta) -> None:
    """Everything goes on, the ledger stays whole, and no list is left from a future that was none."""
    before: datetime = clock.now()
    first, early = number(listed(world)), issued(world)
    with clock.pinned(before + step):
        assert world.nobody.get("/healthz").status_code == (503 if step > timedelta(days=3) else 200)
        there = issued(world)
        revoke(world, there)
        second = listed(world)
        assert number(second) > first
        assert world.nobody.get("/healthz").status_code == 200
        assert world.local.get(f"{API}/certificates/{early}").status_code == 200
    revoke(world, early)
    third = listed(world)
    assert number(third) > number(second)
    assert third.last_update_utc <= clock.now()
    assert {f"{one.serial_number:x}" for one in third} >= {early, there}
    assert [world.nobody.get(path).status_code for path in ("/readyz", "/healthz")] == [200, 200]
    last = world.local.post(f"{API}/ledger/verify", json={}).raise_for_status().text.splitlines()[-1]
    assert json.loads(last)["is_sound"], last


def test_lists_from_a_future_that_was_none_are_made_again(world: World) -> None:
    """Consumers refuse a list whose time has not come: it is due as soon as the clock is right again."""
    with clock.pinned(clock.now() + timedelta(days=30)):
        world.product.settle()
    world.product.settle()
    assert listed(world).last_update_utc <= clock.now()


def test_an_answer_under_an_idempotency_key_is_given_again(world: World) -> None:
    """It was dated before."""
    headers = {"Idempotency-Key": "once"}
    first = world.local.post(f"{API}/certificates", json=wish(), headers=headers).raise_for_status().json()["serial"]
    with clock.stepped(timedelta(days=30)):
        again = world.local.post(f"{API}/certificates", json=wish(), headers=headers).raise_for_status().json()
    assert again["serial"] == first


def test_nothing_is_begun_sent_or_forgotten_by_a_wrong_date(product: Product, world: World) -> None:
    """A year ahead everything is due, late, expired or old; lists are made all the same."""
    serial = issued(world)
    catching_up.catch_up(product)
    before, work, first = world.count(Certificate), world.count(Work), number(listed(world))
    with clock.stepped(timedelta(days=365)):
        world.local.post(f"{API}/certificates/{serial}/revoke", json={"reason": "superseded"}).raise_for_status()
        schedule = Schedule(product)
        schedule.start()
        schedule.stop()
        waits = {name for name, pulse in product.pulses.known.items() if pulse.trouble}
        assert {"watch-clock", "prune", "prune-inventory", "write-letters", "watch-lead-time", "rotate-due"} <= waits
        assert not {"sequence-ledger", "publish-head", "track-issued", "reload-profiles"} & waits
        for door in (catching_up.catch_up, catching_up.send_letters):
            with pytest.raises(ClockUnavailable):
                door(product)
        assert (world.count(Certificate), world.count(Work)) == (before, work)
        assert number(listed(world)) > first
    schedule = Schedule(product)
    schedule.start()
    schedule.stop()
    assert {name: pulse.trouble for name, pulse in product.pulses.known.items() if pulse.trouble} == {}


def test_a_machine_that_wakes_up_in_the_past_waits(state: Path) -> None:
    """A battery is empty, and it is 1999 again: it opens, reads, and is ready as soon as the time is known."""
    long = timedelta(days=10_000)
    with clock.stepped(-long, at_start=True), Product.open(state) as product:
        objection = product.installation.timekeeper.objection
        assert objection is not None
        assert "behind the newest certificate" in objection
        (problem,) = product.readiness.problems()  # which counts the seconds, too
        assert "behind the newest certificate" in problem
        with clock.stepped(long):
            assert product.readiness.problems() == ()


CLOCK = """
import pathlib, time
from ca import clock
clock.is_disciplined = lambda: False
clock._machine = lambda: time.time() + float(pathlib.Path(STEP).read_text() or 0)
clock.believe()
from pki.cli import main
main()
"""


@pytest.fixture
def step(tmp_path: Path) -> Path:
    """The file that says by how many seconds the clock of a server is wrong."""
    path = tmp_path / "step"
    path.write_text("0")
    return path


def turned(step: Path) -> tuple[str, ...]:
    """The command, with a clock that a test sets, on a machine without a time service."""
    return sys.executable, "-c", f"STEP = {str(step)!r}\n{CLOCK}"


def is_ready(server: Server) -> bool:
    """What a load balancer is told."""
    with server.over_plain() as stranger:
        return stranger.get("/readyz").status_code == 200


def test_a_server_whose_clock_is_set(template: Template, state: Path, step: Path) -> None:
    """By the real command, over its listeners: 503 both ways, lists go on, the log says it once, no restart."""
    with serving(state, template.token, argv=turned(step)) as server, server.over_socket() as admin:
        peer.until(lambda: is_ready(server), "ready")
        for seconds in ("2592000", "-7200"):
            step.write_text(seconds)
            problem(admin.post(f"{API}/certificates", json=wish()), 503, "clock-unavailable")
            peer.until(lambda: not is_ready(server), "not ready")
            with server.over_plain() as stranger:
                assert stranger.get("/crl/root-1.crl").status_code == 200
            step.write_text("0")
            admin.post(f"{API}/certificates", json=wish()).raise_for_status()
            peer.until(lambda: is_ready(server), "ready again")
        peer.until(lambda: _said(server, "work-recovered", "watch-clock"), "the log says that it is right again")
        assert _said(server, "work-failed", "watch-clock")


def _said(server: Server, event: str, work: str) -> bool:
    return any(one["event"] == event and one["work"] == work for one in server.events())


def test_a_server_that_starts_in_the_past(template: Template, state: Path, step: Path) -> None:
    """It serves lists and reads at once; its TLS listener gets its certificate when the clock is right."""
    step.write_text("-8640000")
    with serving(state, template.token, argv=turned(step)) as server, server.over_socket() as admin:
        refused = problem(admin.post(f"{API}/certificates", json=wish()), 503, "clock-unavailable")
        assert "behind the newest certificate" in refused["detail"]
        assert admin.get(f"{API}/certificates").status_code == 200
        with server.over_plain() as stranger:
            assert stranger.get("/crl/root-1.crl").status_code == 200
        with pytest.raises(httpx.ConnectError), server.over_tls() as client:
            client.get("/livez")
        assert "listener-certificate-waits" in [one["event"] for one in server.events()]
        step.write_text("0")
        peer.until(lambda: is_ready(server), "ready")
        admin.post(f"{API}/certificates", json=wish()).raise_for_status()
        peer.until(lambda: _has_tls(server), "the TLS listener has a certificate")


def _has_tls(server: Server) -> bool:
    with suppress(httpx.ConnectError), server.over_tls() as client:
        return client.get("/livez").status_code == 200
    return False
