"""Consumers to play with: publications without a signer, material without files, places in memory."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlmodel import SQLModel, col

from ca import clock
from ca.access import Caller, Role
from ca.errors import BadRequest
from ca.keys.sealed import Sealer
from ca.models import LedgerEntry
from ca.secret import Secret
from ca.store import Store, Transaction
from renewers import work
from renewers.distribution import acknowledging, consumers, needs, published, spreading, streams
from renewers.distribution.consumers import Added, ConsumerPlan
from renewers.distribution.material import Brought
from renewers.distribution.reporting import Report
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Consumer, Event, Holding, Publication, Rotation, Work
from renewers.notifiers import signature
from renewers.publishers import Material, Publisher
from renewers.publishers.files import make_files
from renewers.publishers.memory import PLACES, Place, make_memory
from tests import rig
from tests.renewers.world import NOON

DOMAIN = "certwright.internal"
TRUST, CRL = streams.trust_stream(DOMAIN), streams.crl_stream(DOMAIN)
LEASE = 120
SEALER = Sealer(Secret("only for tests"), bytes(16))


class Fetched:
    """The publisher of those who come and ask: it must never be handed anything."""

    keeps_secrets = False

    def stage(self, material: Material) -> None:
        """Nobody brings anything."""
        raise AssertionError(f"{material.version} was brought to somebody who fetches")

    swap = stage


def make_pull(settings: Mapping[str, Any]) -> Publisher:
    """As the catalog has it."""
    if settings:
        raise BadRequest("pull has no settings", code="bad-settings")
    return Fetched()


def make_lifecycle(store: Store, **choices: Any) -> Lifecycle:
    """A lifecycle with publishers in memory."""
    publishers = {"files": make_files, "memory": make_memory, "pull": make_pull}
    installation = rig.make_installation(store, with_hierarchy=False)
    return Lifecycle(installation=installation, sealer=SEALER, publishers=publishers, trust_domain=DOMAIN, **choices)


def moment(seconds: float = 0) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def publish(lifecycle: Lifecycle, *of: str, ago: float = 0, lives: int = 86400) -> int:
    """The next version of these streams (both by default), and the work that comes of it; returns the version."""

    def unit(tx: Transaction) -> int:
        version = 0
        for stream in of or (TRUST, CRL):
            last = published.head(tx.connection, stream)
            now = clock.timestamp()
            version = max(0 if last is None else last.version + 1, now, version)
            row = {"stream": stream, "version": version, "sha256": hash_of(stream, version), "cause": "test"}
            times = {"issued_at": now, "expires_at": now + lives, "published_at": clock.exactly() - ago}
            body = {"digest": str(version), "revoked_until": 0, "signed": b"{}"}
            tx.execute(insert(Publication).values(**row, **times, **body))
            spreading.wanted(tx, stream, version)
        return version

    return lifecycle.store.write(unit)


def hash_of(stream: str, version: int) -> str:
    """The hash of a manifest that nobody has written."""
    return sha256(f"{stream} {version}".encode()).hexdigest()


def fake_material(lifecycle: Lifecycle, name: str, needed: needs.Needs) -> Brought:
    """As `material.material_for`, with the versions for files."""
    with lifecycle.store.read() as connection:
        heads = published.heads(connection, needed.streams(lifecycle.trust_domain))
    versions = {stream: row.version for stream, row in heads.items()}
    version = "-".join([name, *map(str, versions.values())])
    files = {"bundle.pem": json.dumps(versions).encode()}
    return Brought(Material(name, version, version, files), versions, {s: r.sha256 for s, r in heads.items()})


@pytest.fixture(name="material")
def material_without_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """What consumers are brought says which versions it is."""
    monkeypatch.setattr("renewers.distribution.material.material_for", fake_material)


def add(lifecycle: Lifecycle, name: str = "edge-1", caller: Caller = rig.ADMIN, **plan: Any) -> Added:
    """A consumer; in memory, at a place of its own, unless something else is said."""
    chosen: dict[str, Any] = {"publisher": "memory", "settings": {"place": f"{name}-{uuid.uuid4().hex}"}} | plan
    return consumers.add(lifecycle, caller, ConsumerPlan(name, **chosen))


def place(lifecycle: Lifecycle, name: str = "edge-1") -> Place:
    """Where it is brought things, in memory."""
    return PLACES[json.loads(consumer(lifecycle, name).settings)["place"]]


def has(lifecycle: Lifecycle, name: str = "edge-1") -> dict[str, int]:
    """The versions that are in use there."""
    live = place(lifecycle, name).live
    return {} if live is None else json.loads(live.files["bundle.pem"])


def claim(lifecycle: Lifecycle, limit: int = 1000) -> list[work.Claim]:
    """What is due to be brought."""
    return work.claim(lifecycle.store, ["spread"], limit=limit, lease=LEASE)


def do(lifecycle: Lifecycle, one: work.Claim) -> Exception | None:
    """Do one piece of work as the runner does; returns how it failed."""
    try:
        spreading.spread(lifecycle, one)
    except Exception as error:
        failure = error
        lifecycle.store.write(lambda tx: spreading.failed(lifecycle, tx, one, failure))
        return error
    return None


def drain(lifecycle: Lifecycle) -> int:
    """Bring all that is due; returns how many pieces of work that were."""
    done = 0
    while claims := claim(lifecycle, limit=1):
        do(lifecycle, claims[0])
        done += 1
    return done


def report(
    lifecycle: Lifecycle, version: int, name: str = "edge-1", *, caller: Caller | None = None, **said: Any
) -> Holding:
    """A consumer says by itself what it holds."""
    chosen = {"stream": TRUST, "at": clock.timestamp(), **said}
    chosen.setdefault("sha256", hash_of(chosen["stream"], version))
    return acknowledging.acknowledge(lifecycle, caller or token(name), name, Report(version=version, **chosen))


def token(name: str = "edge-1", role: Role = Role.CONSUMER) -> Caller:
    """Somebody with a token."""
    return Caller(f"token:{name}", role)


def signed(secret: Secret, version: int, name: str = "edge-1", **said: Any) -> tuple[dict[str, str], bytes]:
    """A signed report: its headers and its body."""
    chosen = {"consumer": name, "stream": TRUST, "version": version, "at": clock.timestamp(), **said}
    chosen.setdefault("sha256", hash_of(chosen["stream"], version))
    body = json.dumps(chosen).encode()
    now = clock.timestamp()
    signs = signature.signature_of(secret.reveal(), "msg-1", now, body)
    return {"Webhook-Id": "msg-1", "Webhook-Timestamp": str(now), "Webhook-Signature": signs}, body


def consumer(lifecycle: Lifecycle, name: str = "edge-1") -> Any:
    """A consumer's row."""
    return rows(lifecycle, Consumer, col(Consumer.name) == name)[0]


def holding(lifecycle: Lifecycle, name: str = "edge-1", stream: str = TRUST) -> Any:
    """What it holds of one stream."""
    its = col(Holding.consumer_id) == consumer(lifecycle, name).id
    return rows(lifecycle, Holding, its, col(Holding.stream) == stream)[0]


def rows(lifecycle: Lifecycle, model: type[SQLModel], *where: Any) -> list[Any]:
    """Rows of a table."""
    with lifecycle.store.read() as connection:
        return list(connection.execute(select(model).where(*where).order_by(*model.__table__.primary_key)))  # type: ignore[attr-defined]


def alarms(lifecycle: Lifecycle) -> dict[tuple[str, str], Any]:
    """What is wrong, by kind and subject."""
    return {(row.kind, row.subject): row for row in rows(lifecycle, Alarm)}


def planned(lifecycle: Lifecycle, kind: str = "spread") -> dict[str, Any]:
    """Work that is planned, by its subject."""
    return {row.subject: row for row in rows(lifecycle, Work, col(Work.kind) == kind)}


def said(lifecycle: Lifecycle, *actions: str) -> list[dict[str, Any]]:
    """The ledger's entries of these kinds."""
    entries = [json.loads(row.body) for row in rows(lifecycle, LedgerEntry)]
    return [entry for entry in entries if entry["action"] in actions]


def told(lifecycle: Lifecycle) -> list[tuple[str, str]]:
    """Kind and subject of the events that happened."""
    return [(row.kind, row.subject) for row in rows(lifecycle, Event)]


def open_rotation(lifecycle: Lifecycle) -> int:
    """A rotation that waits for proof."""
    texts = dict.fromkeys(("stage", "outgoing", "incoming", "policy", "versions", "waits_for", "reason"), "")
    row = {"line": uuid.uuid4().hex, "state": "open", "stage_since": 0, "started_at": 0, "started_by": "test", **texts}
    statement = insert(Rotation).values(**row).returning(col(Rotation.id))
    return int(lifecycle.store.write(lambda tx: tx.execute(statement).scalar_one()))


def sabotage(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, before: Callable[[], Any]) -> None:
    """Have something happen once, just before a function is called."""
    real, waiting = getattr(target, name), [before]

    def instead(*given: Any, **named: Any) -> Any:
        if waiting:
            waiting.pop()()
        return real(*given, **named)

    monkeypatch.setattr(target, name, instead)
