"""An installation, opened: settings, keys, store and the rest wired together, and the work that comes due in it.

`Product.open` is what `serve`, the command line without a server, and tests begin with; `settle` does at once what
the schedule would do in its time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ca import clock, delta, facts, recording
from ca.authority import Authorities, PublicUrls
from ca.crl import CrlPolicy, CrlPublisher
from ca.errors import KeyUnavailable, Misconfigured
from ca.installation import ApprovalPolicy, Installation
from ca.keys import KeyStore
from ca.ledger.log import Ledger
from ca.ledger.witness import HEAD_FILE, Witness
from ca.ocsp.responder import OcspPolicy, Responder
from ca.profiles.collection import Profiles
from ca.rounds import Rounds
from ca.store import Store, open_store
from ca.store.engine import ProcessLock
from ca.timekeeping import Timekeeper
from ca.tokens import TokenCheck
from pki.catalog import KEY_STORES
from pki.data import data
from pki.lifecycle import make_lifecycle
from pki.metrics import Metrics
from pki.pulse import Pulses
from pki.readiness import Readiness
from pki.settings import DATABASE, FILE, Settings, database_url, load_settings
from renewers import work
from renewers.lifecycle import Lifecycle
from renewers.telling.audits import LedgerAudits
from renewers.telling.heads import NEWEST

LEDGER_ORIGIN, LEDGER_KEY, LEDGER_VERIFIER = "ledger-origin", "ledger-key", "ledger-verifier"
ABANDON_AFTER = 300
"""Seconds after which a replica's intent is given up; with SQLite every intent at the start is a dead process's."""


class Product(AbstractContextManager["Product"]):
    """One open installation. Close it, or use it in a `with` block."""

    def __init__(
        self,
        state: Path,
        settings: Settings,
        lifecycle: Lifecycle,
        responder: Responder,
        rounds: Rounds,
        metrics: Metrics,
        lock: ProcessLock,
    ) -> None:
        installation = lifecycle.installation
        self.state = state
        self.settings = settings
        self.installation = installation
        self._lists = CrlPolicy(settings.crl.lifetime, settings.crl.refresh, settings.crl.backdate)
        self.publisher = CrlPublisher(installation, self._lists)
        self.responder = responder
        self.list_rounds = rounds
        self.tokens = TokenCheck(installation)
        self.lifecycle = lifecycle
        self.metrics = metrics
        self.readiness = Readiness(installation, state)
        every = int(settings.ledger.audit_every.total_seconds())
        told = [state / settings.ledger.publish_to / NEWEST] if settings.ledger.publish_to else []
        witness = Witness(installation.store, installation.ledger, state / HEAD_FILE, *told)
        self.audits = LedgerAudits(lifecycle, every, lambda: self.readiness.is_draining, witness)
        self.pulses = Pulses()
        self._lock = lock

    @classmethod
    def open(cls, state: Path) -> Product:
        """Open the installation in a state directory; `StateLocked` while another process has it open."""
        if not (state / FILE).exists():
            raise Misconfigured(f"there is no installation in {state}", hint=f"certwright init --state {state}")
        settings = load_settings(state)
        if not settings.store.url.get_secret_value() and not (state / DATABASE).exists():  # none is made in its place
            hint = "certwright backup restore brings it back from a backup"
            raise Misconfigured(f"there is no database {state / DATABASE}", hint=hint)
        return cls.wire(state, settings, open_ledger)

    @classmethod
    def wire(cls, state: Path, settings: Settings, ledger: Callable[[Store, KeyStore], Ledger]) -> Product:
        """Put the parts together; what was opened is closed again if one of them does not work."""
        lock = ProcessLock(state / "lock")
        store = None
        try:
            keys = KEY_STORES[settings.keys.store](state, settings.keys)
            store = open_store(database_url(state, settings))
            installation = Installation(
                store=store,
                keys=keys,
                profiles=Profiles(state / "profiles", settings.variables, shipped=data("config") / "profiles"),
                authorities=Authorities(store, keys, PublicUrls(settings.installation.public_url)),
                ledger=ledger(store, keys),
                approval=ApprovalPolicy(settings.approval.two_persons, settings.approval.lifetime),
                timekeeper=Timekeeper(settings.clock.tolerance),
            )
            installation.timekeeper.compare(store)
            metrics = Metrics()
            ocsp = OcspPolicy(settings.ocsp.lifetime, settings.ocsp.refresh, settings.ocsp.backdate)
            responder = Responder(installation, ocsp)
            rounds = Rounds(installation)
            lifecycle = make_lifecycle(state, settings, installation, metrics.lifecycle, responder, rounds)
        except BaseException:
            if store is not None:
                store.close()
            lock.release()
            raise
        return cls(state, settings, lifecycle, responder, rounds, metrics, lock)

    @property
    def socket(self) -> Path:
        """The Unix socket that the running server listens on; whoever owns the state directory is admin there."""
        return self.state / "certwright.sock"

    def recover(self) -> int:
        """Give up what a dead process left half done. Returns how many intents there were.

        Work that it held is due at once where nobody else can hold any; else when its lease ends.
        """
        if not self.installation.store.is_shared:
            work.release(self.installation.store)
        alive_for = ABANDON_AFTER if self.installation.store.is_shared else -1
        total = 0
        while found := recording.abandon_intents(self.installation.store, older_than=clock.timestamp() - alive_for):
            total += found
        return total

    def publish_lists(self) -> None:
        """Build the CRLs that are due or were touched, and their deltas."""
        self.publisher.publish_due()
        delta.publish_due(self.installation, self._lists)

    def settle(self) -> None:
        """Do now what the schedule would do: publish what is due, and give every ledger entry its place."""
        self.publish_lists()
        self.installation.ledger.sequence()

    def close(self) -> None:
        """Let go of everything."""
        if self.lifecycle.mailer is not None:
            self.lifecycle.mailer.close()
        self.installation.store.close()
        self._lock.release()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_ledger(store: Store, keys: KeyStore) -> Ledger:
    """The ledger of an installation that exists."""
    key = keys.load(facts.fact(store, LEDGER_KEY))
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnavailable("the ledger's key is not an Ed25519 key")
    ledger = Ledger(store, facts.fact(store, LEDGER_ORIGIN), key)
    if str(ledger.verifier) != facts.fact(store, LEDGER_VERIFIER):
        raise KeyUnavailable("the ledger's key is not the one that this installation began with")
    return ledger
