"""A small world in which CAs are rotated: consumers that hold what they were given, holders of leaves, and time.

The parts are the product's own; consumers are simulated, since what they hold is what is looked at. At every look each
leaf that somebody holds has to verify, by its signatures, against what every consumer holds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select
from sqlmodel import col

from ca import clock, enrolment, issuance
from ca.authority import Authorities, PublicUrls
from ca.certificates import find
from ca.crl import CrlPolicy, CrlPublisher
from ca.enrolment import Wish
from ca.installation import Installation
from ca.keys.algorithms import KeyType
from ca.keys.memory import MemoryKeyStore
from ca.keys.sealed import Sealer
from ca.ledger.log import Ledger
from ca.models import LedgerEntry, Revocation
from ca.profiles.collection import Profiles
from ca.publication.opening import Held, open_signed
from ca.publication.signer import Signer
from ca.secret import Secret
from ca.store import Store, open_store
from ca.store.commit import StaleChange
from ca.x509.certificate import serial_text
from renewers import work
from renewers.distribution import acknowledging, consumers, published, publishing
from renewers.distribution.consumers import ConsumerPlan
from renewers.distribution.streams import crl_stream, trust_stream
from renewers.inventory import issued as feed
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Consumer, Replacement, Rotation
from renewers.publishers import memory
from renewers.rotation import starting, story
from renewers.rotation.plans import RotationPlan
from tests import rig

NOON = datetime(2027, 1, 4, 12, tzinfo=UTC)
STREAMS = (trust_stream(rig.DOMAIN), crl_stream(rig.DOMAIN))
WHY = "because a test says so"


class Killed(BaseException):
    """The process ends here; nothing of it catches this."""


@dataclass
class Holder:
    """Somebody with a leaf and the chain that it came with."""

    name: str
    serial: str
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]


@dataclass
class Party:
    """A consumer as a relying party: its anchors, and the versions that it has taken."""

    name: str
    obeys: bool = True
    anchors: tuple[bytes, ...] = ()
    held: dict[str, Held] = field(default_factory=dict)


class Rotating:
    """An installation under rotation."""

    def __init__(self, installation: Installation, names: Sequence[str] = ("proxy", "broker")) -> None:
        self.installation = installation
        self.store = installation.store
        self.lifecycle = Lifecycle(
            installation=installation,
            sealer=Sealer(Secret("only for the tests"), bytes(16)),
            publishers={"pull": lambda _settings: memory.make_memory({"place": f"pull-{id(self)}"})},
            trust_domain=rig.DOMAIN,
            sign_manifest=Signer(installation, rig.DOMAIN).sign,
        )
        self.parties: dict[str, Party] = {}
        self.holders: dict[str, Holder] = {}
        self.renews = True
        self.dies_after: int | None = None
        """How many writes of the rotation are durable before its process dies; None if it lives."""
        self.deaths = 0
        self.watch: Callable[[], None] = lambda: None
        """Called after each write of the rotation."""
        self.errors: list[Exception] = []
        self.at = NOON
        for name in names:
            consumers.add(self.lifecycle, rig.ADMIN, ConsumerPlan(name, identities=(f"token:{name}",)))
            self.parties[name] = Party(name)
        self.settle()
        if names:
            self.hold("old")
        self.check()

    # Time, and what others do in it.

    def settle(self) -> None:
        """Everything that runs on a beat, once; holders renew, consumers take what is new, and say so."""
        self.installation.authorities.forget()
        with clock.pinned(self.at):
            CrlPublisher(self.installation, CrlPolicy()).publish_due()  # a new one does not mind how long lists take
            self.installation.ledger.sequence()
            feed.catch_up(self.lifecycle)
            publishing.publish_due(self.lifecycle)
            self._renew()
            self._replace()
            for party in self.parties.values():
                if party.obeys:
                    self.take(party)

    def take(self, party: Party) -> None:
        """Fetch the newest versions, check them as anybody would, and acknowledge them."""
        for stream in STREAMS:
            with self.store.read() as connection:
                row = published.newest(connection, stream)
                which = select(col(Consumer.id)).where(col(Consumer.name) == party.name)
                consumer_id = connection.execute(which).scalar_one()
            if row is None or (stream in party.held and party.held[stream].version == row.version):
                continue
            anchors = party.anchors or tuple(root.certificate for root in self.installation.authorities.roots())
            manifest = open_signed(
                *(bytes(row.signed), anchors),
                trust_domain=rig.DOMAIN,
                stream=stream,
                now=clock.timestamp(),
                held=None,
            )
            party.held[stream] = Held(row.version, row.sha256)
            if manifest.anchors:
                party.anchors = tuple(entry.certificate for entry in manifest.anchors)
            taken = (consumer_id, stream, row.version, f"token:{party.name}")
            self.store.write(lambda tx, taken=taken: acknowledging.prove(tx, *taken))

    def hold(self, name: str, **choices: Any) -> Holder:
        """Somebody gets a leaf from whoever signs now."""
        with clock.pinned(self.at):
            issued = rig.issue(self.installation, f"spiffe://{rig.DOMAIN}/ns/payments/sa/{name}", **choices)
        return self._held(name, issued)

    def _held(self, name: str, issued: issuance.Issued) -> Holder:
        chain = tuple(map(x509.load_der_x509_certificate, issued.chain))
        self.holders[name] = Holder(name, issued.serial, rig.parsed(issued), chain)
        return self.holders[name]

    def _renew(self) -> None:
        """Holders whose issuer signs no more renew what they hold."""
        states = {row.certificate: row.state for row in self.installation.authorities.all()}
        for name, holder in list(self.holders.items()):
            if not self.renews or states[holder.chain[0].public_bytes(Encoding.DER)] == "active":
                continue
            stored = find(self.store, holder.serial)
            request = rig.make_request(str(stored.names()[0]))
            decision = enrolment.authorise_renewal(self.installation, rig.OPERATOR, stored, request, Wish())
            self._held(name, issuance.issue(decision, self.installation))

    def _replace(self) -> None:
        """Stands in for mass replacement: it ends at once."""
        done = {"state": "done", "ended_at": clock.timestamp()}
        for row in self.rows(Replacement, col(Replacement.state) == "open"):
            of = Replacement.__table__.update().where(col(Replacement.id) == row.id)  # type: ignore[attr-defined]
            self.store.write(lambda tx, of=of: tx.execute(of.values(**done)) and None)

    # The rotation.

    def start(self, line: str = "issuing", **choices: Any) -> int:
        """Start one."""
        with clock.pinned(self.at):
            return starting.start(self.lifecycle, rig.ADMIN, RotationPlan(line, **{"reason": WHY, **choices}))

    def step(self, seconds: int = 130) -> None:
        """Let time pass; do what is due of the rotation, then what others do."""
        self.at += timedelta(seconds=seconds)
        with clock.pinned(self.at):
            self.installation.authorities.forget()
            claims = work.claim(self.store, ("rotate",), limit=10, lease=120)
            try:
                with dying(self.store, self.dies_after, self.watch) as count:
                    for claim in claims:
                        self.work(claim)
                self.dies_after = None if self.dies_after is None else self.dies_after - count[0]
            except Killed:
                self.dies_after, self.deaths = None, self.deaths + 1
        self.settle()
        self.check()

    def work(self, claim: work.Claim) -> None:
        """As the runner does it."""
        try:
            story.rotate(self.lifecycle, claim)
        except StaleChange:
            return
        except Exception as error:
            failure = error
            self.errors.append(error)
            self.store.write(lambda tx: story.failed(self.lifecycle, tx, claim, failure))

    def until(self, rotation_id: int, *stages: str, most: int = 60) -> Any:
        """Steps until the rotation is at one of these stages; its row."""
        for _ in range(most):
            if self.row(rotation_id).stage in stages:
                return self.row(rotation_id)
            self.step()
        row = self.row(rotation_id)
        stuck = AssertionError(f"still at {row.stage}: {row.waits_for}; {self.alarms()}")
        raise stuck from (self.errors[-1] if self.errors else None)

    # What is looked at.

    def check(self) -> None:
        """Nobody holds nothing, and each leaf that is held verifies against what each consumer holds."""
        with self.store.read() as connection:
            revoked = set(connection.execute(select(col(Revocation.serial))).scalars())
        for party in self.parties.values():
            assert party.anchors, f"{party.name} holds no anchor"
            anchors = [x509.load_der_x509_certificate(der) for der in party.anchors]
            for holder in self.holders.values():
                assert verifies(holder, anchors, revoked), f"{holder.name} is refused by {party.name}"

    def rows(self, table: Any, *where: Any) -> Sequence[Any]:
        """Rows of a table, oldest first."""
        with self.store.read() as connection:
            return connection.execute(select(table).where(*where).order_by(*table.__table__.primary_key)).all()

    def row(self, rotation_id: int) -> Any:
        """The rotation."""
        return self.rows(Rotation, col(Rotation.id) == rotation_id)[0]

    def states(self) -> dict[str, str]:
        """Every authority and its state."""
        self.installation.authorities.forget()
        return {row.name: row.state for row in self.installation.authorities.all()}

    def alarms(self) -> dict[str, str]:
        """Alarms that stand: kind to message."""
        return {row.kind: row.message for row in self.rows(Alarm)}

    def ledger(self, action: str) -> list[dict[str, Any]]:
        """Entries of one kind."""
        said = [json.loads(row.body) for row in self.rows(LedgerEntry)]
        return [one for one in said if one["action"] == action]


def verifies(holder: Holder, anchors: Sequence[x509.Certificate], revoked: set[str]) -> bool:
    """Whether a path of signatures leads from the leaf, over what it came with, to an anchor; none of it revoked."""

    def is_good(certificate: x509.Certificate) -> bool:
        return serial_text(certificate.serial_number) not in revoked

    def reaches(certificate: x509.Certificate, left: Sequence[x509.Certificate]) -> bool:
        if any(_issued(certificate, anchor) for anchor in anchors):
            return True
        return any(
            is_good(above) and _issued(certificate, above) and reaches(above, [one for one in left if one is not above])
            for above in left
        )

    return is_good(holder.certificate) and reaches(holder.certificate, holder.chain)


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def make(store: Store, keys: MemoryKeyStore, ledger_key: Any) -> Installation:
    """An installation over a store that has its hierarchy already."""
    return Installation(
        store=store,
        keys=keys,
        profiles=Profiles(rig.CONFIG / "profiles", rig.VARIABLES),
        authorities=Authorities(store, keys, PublicUrls(rig.PUBLIC_URL)),
        ledger=Ledger(store, "example.internal/ledger", ledger_key),
    )


@dataclass
class Template:
    """A database with a hierarchy, from which worlds are copied: to make one takes half a second."""

    path: Path
    keys: MemoryKeyStore
    ledger_key: Any

    @contextmanager
    def world(self, directory: Path, **choices: Any) -> Iterator[Rotating]:
        """A world of one's own."""
        path = directory / "copy.db"
        shutil.copyfile(self.path, path)
        store = open_store(f"sqlite:///{path}")
        try:
            yield Rotating(make(store, self.keys, self.ledger_key), **choices)
        finally:
            store.close()
            path.unlink()


def template(directory: Path) -> Template:
    """Make the hierarchy once."""
    path, keys = directory / "template.db", MemoryKeyStore()
    store = open_store(f"sqlite:///{path}")
    ledger_key = keys.create("ledger-key", KeyType.ED25519)
    with clock.pinned(NOON - timedelta(hours=1)):
        rig.make_hierarchy(make(store, keys, ledger_key), shards=0)
    store.close()
    return Template(path, keys, ledger_key)


@contextmanager
def dying(store: Store, after: int | None, watch: Callable[[], None]) -> Iterator[list[int]]:
    """The process dies once so many writes were durable, if at all; yields a list that has their number in the end."""
    real, count = store.write, [0]

    def write(unit: Any) -> Any:
        if after is not None and count[0] >= after:
            raise Killed
        result = real(unit)
        count[0] += 1
        watch()
        return result

    store.write = write
    try:
        yield count
    finally:
        store.write = real
