"""Lineages with certificates as a renewal records them, and the work of bringing these to where they are used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import insert, select, update
from sqlmodel import SQLModel, col

from ca import clock
from ca.errors import NotDelivered
from ca.keys.algorithms import PrivateKey
from ca.keys.sealed import Sealer
from ca.models import LedgerEntry
from ca.secret import Secret
from ca.store import Store, Transaction
from ca.x509.bundle import pem_chain
from renewers import work
from renewers.delivering import delivery, destinations
from renewers.delivering.destinations import DestinationPlan
from renewers.delivering.material import chain_of
from renewers.handshake import Presented
from renewers.inventory import track
from renewers.inventory.facts import read_certificate
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Delivery, Destination, Event, Lineage, Renewal, Work
from renewers.publishers import Material
from renewers.publishers.files import make_files
from renewers.publishers.memory import PLACES, make_memory
from tests import rig

SEALER = Sealer(Secret("only for tests"), bytes(16))
NAMES = ("localhost", "127.0.0.1", "api.example.internal")
LEASE = 120


def make_lifecycle(store: Store) -> Lifecycle:
    """An installation with a hierarchy, and the publishers that there are."""
    publishers = {"files": make_files, "memory": make_memory}
    return Lifecycle(installation=rig.make_installation(store), sealer=SEALER, publishers=publishers)


def add_lineage(lifecycle: Lifecycle, name: str = "api") -> int:
    """A lineage that we renew, without a certificate yet."""
    names = json.dumps([f"dns:{one}" for one in NAMES])
    texts = {"names": names, "names_key": name, "issuers": "[]", "profile": "server", "key_type": "", "window": ""}
    row = {"name": name, "mode": "renewed", "key_age": 0, "created_at": clock.timestamp(), "created_by": "test"}
    return add(lifecycle.store, Lineage, **row, **texts)


def add(store: Store, model: type[SQLModel], **values: Any) -> int:
    """Insert a row and return its id."""
    statement = insert(model).values(**values).returning(model.id)  # type: ignore[attr-defined]
    return int(store.write(lambda tx: tx.execute(statement).scalar_one()))


@dataclass(frozen=True)
class Renewed:
    """A certificate of a lineage, as its renewal has recorded it."""

    tracked_id: int
    renewal_id: int
    der: bytes
    chain: tuple[bytes, ...]
    key: PrivateKey
    wanted: int
    """How many destinations want it."""

    @property
    def sha256(self) -> str:
        """Its fingerprint."""
        return sha256(self.der).hexdigest()


def renew(lifecycle: Lifecycle, lineage_id: int, **choices: Any) -> Renewed:
    """Issue a certificate with a new key, and record it as `renewers/renewing/renewal.py` does."""
    pair = rig.issue_pairs(lifecycle.installation, 1, *NAMES, profile="server", **choices)[0]
    now = clock.timestamp()

    def unit(tx: Transaction) -> Renewed:
        facts = read_certificate(pair.issued.certificate)
        chain = pem_chain(pair.issued.chain)
        tracked_id = track.track(tx, facts, source="renewed", lineage_id=lineage_id, chain=chain)
        tx.execute(update(Lineage).where(col(Lineage.id) == lineage_id).values(current_id=tracked_id))
        wanted = delivery.want(tx, lineage_id, tracked_id)
        row = {
            "lineage_id": lineage_id,
            "state": "issued" if wanted else "done",
            "reason": "due",
            "issuer": "internal",
            "csr": b"",
            "sealed_key": SEALER.wrap(pair.key, f"lineage:{lineage_id}"),
            "key_made_at": now,
            "tracked_id": tracked_id,
            "started_at": now - 5,
            "issued_at": now,
        }
        renewal_id = tx.execute(insert(Renewal).values(**row).returning(col(Renewal.id))).scalar_one()
        return Renewed(tracked_id, renewal_id, pair.issued.certificate, pair.issued.chain, pair.key, wanted)

    return lifecycle.store.write(unit)


def add_destination(lifecycle: Lifecycle, name: str, *, rank: int = 0, lineage: str = "api", **plan: Any) -> int:
    """A destination in memory, whose endpoint `Endpoints` plays; or another one."""
    chosen = {"publisher": "memory", "settings": {"place": name}, "probe": f"{name}.example.internal:443"} | plan
    return destinations.add(lifecycle, rig.ADMIN, DestinationPlan(name, lineage, rank=rank, **chosen))


def claim(lifecycle: Lifecycle, limit: int = 100) -> list[work.Claim]:
    """What is due to be delivered."""
    return work.claim(lifecycle.store, ["deliver"], limit=limit, lease=LEASE)


def do(lifecycle: Lifecycle, one: work.Claim) -> Exception | None:
    """Do one piece of work as the runner does; returns how it failed."""
    try:
        delivery.deliver(lifecycle, one)
    except Exception as error:
        failure = error
        lifecycle.store.write(lambda tx: delivery.failed(lifecycle, tx, one, failure))
        return error
    return None


def drain(lifecycle: Lifecycle) -> list[str]:
    """Deliver all that is due, one after the other; returns the names of the destinations, in their order."""
    names = []
    while claims := claim(lifecycle, limit=1):
        names.append(destination(lifecycle, int(claims[0].subject)).name)
        do(lifecycle, claims[0])
    return names


def destination(lifecycle: Lifecycle, which: int | str) -> Any:
    """A destination's row as it stands."""
    key = col(Destination.id) if isinstance(which, int) else col(Destination.name)
    return rows(lifecycle, Destination, key == which)[0]


def deliveries(lifecycle: Lifecycle, name: str) -> list[Any]:
    """What was tried there, in order."""
    return rows(lifecycle, Delivery, col(Delivery.destination_id) == destination(lifecycle, name).id)


def outcomes(lifecycle: Lifecycle, name: str) -> list[str]:
    """What became of each."""
    return [row.outcome for row in deliveries(lifecycle, name)]


def rows(lifecycle: Lifecycle, model: type[SQLModel], *where: Any) -> list[Any]:
    """Rows of a table, in the order of their ids."""
    query = select(model).where(*where)
    if hasattr(model, "id"):
        query = query.order_by(model.id)
    with lifecycle.store.read() as connection:
        return list(connection.execute(query))


def events(lifecycle: Lifecycle, *kinds: str) -> list[tuple[str, str]]:
    """Kind and subject of the events that happened, in order."""
    return [(row.kind, row.subject) for row in rows(lifecycle, Event) if not kinds or row.kind in kinds]


def alarms(lifecycle: Lifecycle) -> dict[str, Any]:
    """The alarms about deliveries that stand, by their subject."""
    return {row.subject: row for row in rows(lifecycle, Alarm, col(Alarm.kind) == "delivery-failing")}


def works(lifecycle: Lifecycle) -> dict[str, Any]:
    """Deliveries that are planned, by the name of the destination."""
    found = rows(lifecycle, Work, col(Work.kind) == "deliver")
    return {destination(lifecycle, int(row.subject)).name: row for row in found}


def said(lifecycle: Lifecycle, action: str) -> list[str]:
    """The subjects of the ledger's entries of one kind."""
    entries = [json.loads(row.body) for row in rows(lifecycle, LedgerEntry)]
    return [entry["subject"] for entry in entries if entry["action"] == action]


@dataclass
class Endpoints:
    """Plays the endpoints of places in memory: each shows what its user has read last."""

    down: set[str] = field(default_factory=set)
    stuck: dict[str, Material] = field(default_factory=dict)
    """Those that go on showing this, whatever they read."""
    chains: dict[str, Sequence[bytes]] = field(default_factory=dict)
    """Those that show this behind their certificate."""
    before_look: list[Any] = field(default_factory=list)
    """Called once, each at one look."""
    looks: list[str] = field(default_factory=list)

    def look(self, host: str, port: int, **_named: Any) -> Presented:
        """As `renewers.handshake.look`."""
        name = host.partition(".")[0]
        self.looks.append(name)
        if self.before_look:
            self.before_look.pop(0)()
        if name in self.down:
            raise NotDelivered(f"{host}:{port} refuses the connection", code="refused")
        place = PLACES[name]
        shown = self.stuck.get(name) or place.staged[place.reloads[-1]]
        chain = self.chains.get(name, chain_of(shown))
        return Presented((_der(shown), *chain), "TLSv1.3", "127.0.0.1")


def _der(material: Material) -> bytes:
    return x509.load_pem_x509_certificate(material.files["cert.pem"]).public_bytes(Encoding.DER)


def set_settings(lifecycle: Lifecycle, name: str, settings: Mapping[str, Any]) -> None:
    """Change a destination's settings behind everybody's back."""
    changed = update(Destination).where(col(Destination.name) == name).values(settings=json.dumps(settings))
    lifecycle.store.write(lambda tx: tx.execute(changed) and None)
