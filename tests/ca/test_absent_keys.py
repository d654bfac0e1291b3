"""Keys in a device that is away: nothing is written for it, and a refusal leaves nothing in the way."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select
from sqlmodel import col

from ca.errors import BadRequest, Conflict, KeyUnavailable
from ca.installation import Installation
from ca.issuance import issue
from ca.keys.algorithms import KeyType, scheme_of
from ca.keys.divided import DividedKeyStore
from ca.keys.memory import MemoryKeyStore
from ca.keys.pkcs11_keys import TokenEcKey
from ca.ledger.reconcile import audit
from ca.models import Certificate, Intent
from ca.store import Store
from tests import rig


class FlakyDevice:
    """A device that holds P-256 keys and can be told to fail."""

    def __init__(self) -> None:
        self.keys = MemoryKeyStore()
        self.is_known_away = False
        self.fails = False
        self.signed = 0

    def create(self, label: str, key_type: KeyType) -> Any:
        """Make one."""
        self.keys.create(label, key_type)
        return self.load(label)

    def load(self, label: str) -> Any:
        """A key that asks this device."""
        device, inner = self, self.keys.load(label)

        class Held(TokenEcKey):
            def sign(self, data: Any, signature_algorithm: Any) -> bytes:
                if device.fails:
                    raise KeyUnavailable("the token is not there")
                device.signed += 1
                return scheme_of(KeyType.P256).sign(inner, data)

        def check() -> None:
            if device.is_known_away:
                raise KeyUnavailable("the token is not there")

        return Held(label, inner.public_key(), lambda mechanism, data: b"", check)

    def destroy(self, label: str) -> None:
        """Forget it."""
        self.keys.destroy(label)


@pytest.fixture
def device() -> FlakyDevice:
    """One that works."""
    return FlakyDevice()


@pytest.fixture
def installation(store: Store, device: FlakyDevice) -> Installation:
    """CAs whose keys are in it."""
    keys = DividedKeyStore(device, MemoryKeyStore(), ledger_in_hardware=False)
    ledger = keys.create("ledger-0badcafe", KeyType.ED25519)
    return rig.make_installation(store, keys=_Named(keys, ledger))


class _Named:
    """The rig calls the ledger's key `ledger`, which no installation does."""

    def __init__(self, keys: DividedKeyStore, ledger: Any) -> None:
        self._keys = keys
        self._ledger = ledger

    def create(self, label: str, key_type: KeyType) -> Any:
        return self._ledger if label == "ledger" else self._keys.create(label, key_type)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._keys, name)


def rows(store: Store, table: Any) -> int:
    """How many there are."""
    with store.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_nothing_is_written_while_the_device_is_known_to_be_away(
    installation: Installation, device: FlakyDevice, store: Store
) -> None:
    """A flood of requests during an outage leaves no row behind."""
    before = rows(store, Certificate)
    device.is_known_away = True
    for _ in range(3):
        with pytest.raises(KeyUnavailable):
            rig.issue(installation)
    assert (rows(store, Certificate), rows(store, Intent)) == (before, 0)


def test_a_refusal_in_the_middle_gives_the_intent_up(
    installation: Installation, device: FlakyDevice, store: Store
) -> None:
    """It stays on record, without a signature and revocable; the same idempotency key is answered at once, anew."""
    decision = rig.decide(installation, idempotency_key="order-1")
    device.fails = True
    with pytest.raises(KeyUnavailable):
        issue(decision, installation)
    assert rows(store, Intent) == 0
    with store.read() as connection:
        [given_up] = connection.execute(
            select(col(Certificate.serial)).where(col(Certificate.signature).is_(None))
        ).scalars()
    device.fails = False
    issued = issue(rig.decide(installation, idempotency_key="order-1"), installation)
    assert not issued.is_repeat
    assert issued.serial != given_up
    assert issue(rig.decide(installation, idempotency_key="order-1"), installation).serial == issued.serial
    installation.ledger.sequence()
    assert audit(store, installation.ledger.verifier).is_sound


def test_a_ca_key_is_never_in_software(device: FlakyDevice) -> None:
    """Whatever its line is called; only what the program itself names goes there, and nothing can be brought in."""
    software = MemoryKeyStore()
    keys = DividedKeyStore(device, software, ledger_in_hardware=False)
    for label in (
        "ledger-1-0badcafe",
        "publication-1-0badcafe",
        "ocsp-2-0badcafe0badcafe",
        "root-1",
        "ledger",
        "ocsp-",
    ):
        keys.create(label, KeyType.P256)
        assert isinstance(keys.load(label), TokenEcKey)
        with pytest.raises(KeyUnavailable):
            software.load(label)
        with pytest.raises(BadRequest) as raised:
            keys.put(label, rig.pooled_key())
        assert raised.value.code == "key-import-unsupported"
    for label in ("ledger-0badcafe", "publication-0123456789abcdef", "ocsp-0123456789abcdef"):
        keys.put(label, rig.pooled_key())
        assert keys.load(label) is software.load(label)
        with pytest.raises(Conflict):
            keys.create(label, KeyType.P256)
        keys.destroy(label)
        with pytest.raises(KeyUnavailable):
            software.load(label)
