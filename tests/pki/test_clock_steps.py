"""The clock is stepped both ways under a running process: it goes on, says what is late, and recovers by itself."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from cryptography import x509

from ca import clock
from tests.pki.conftest import API, World, wish


@pytest.fixture(autouse=True)
def _no_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Complete lists are made as often as something changes."""
    monkeypatch.setattr("ca.crl.THROTTLE", 0)


def listed(world: World) -> x509.CertificateRevocationList:
    """The complete CRL of the issuing CA, as a stranger gets it."""
    return x509.load_der_x509_crl(world.nobody.get("/crl/issuing-1.crl").raise_for_status().content)


def number(crl: x509.CertificateRevocationList) -> int:
    """Its CRL number."""
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def issued(world: World) -> str:
    """The serial number of a new certificate."""
    return str(world.local.post(f"{API}/certificates", json=wish()).raise_for_status().json()["serial"])


def revoke(world: World, serial: str) -> None:
    """Revoke it, and publish what follows."""
    world.local.post(f"{API}/certificates/{serial}/revoke", json={"reason": "superseded"}).raise_for_status()
    world.product.settle()


@pytest.mark.parametrize("step", [timedelta(days=-1), timedelta(hours=-1), timedelta(days=30)], ids=str)
def test_a_stepped_clock_needs_no_restart(world: World, step: timedelta) -> None:
    """Reading, revoking and CRLs go on, the ledger stays whole, and no list is left from a future that was none."""
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
