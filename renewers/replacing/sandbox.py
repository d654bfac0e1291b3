"""A throwaway installation: made in a directory that goes, with keys in memory and a hierarchy like the real one.

It runs the product's own code on the real profiles, which it only reads. What is brought somewhere is brought into
memory of its own. Nothing here reaches anybody, and nothing is left when it is over.
"""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cryptography import x509
from sqlalchemy import insert
from sqlmodel import col

from ca import clock, hierarchy
from ca.access import Caller, Role
from ca.authority import Authorities, PublicUrls, State
from ca.crl import CrlPolicy, CrlPublisher
from ca.errors import NotFound
from ca.founding import Plan
from ca.installation import Installation
from ca.keys.algorithms import KeyType, key_type_of
from ca.keys.memory import MemoryKeyStore
from ca.keys.sealed import Sealer
from ca.ledger.log import Ledger
from ca.models import Authority
from ca.profiles.collection import Profiles
from ca.secret import Secret
from ca.store import Store, Transaction, open_store
from renewers import work
from renewers.duties import DUTIES
from renewers.inventory import issued
from renewers.inventory.facts import names_key
from renewers.issuers.internal import InternalIssuer
from renewers.lifecycle import Lifecycle, Policy
from renewers.models import Destination, Lineage
from renewers.publishers import Publisher
from renewers.publishers.memory import MemoryPublisher, Place
from renewers.rotation import successors
from renewers.runner import Duty, Runner

BY = Caller("system:drill", Role.ADMIN)
PAGE = 500
BEAT = 1.0
"""Seconds between two rounds of what the schedule does elsewhere: numbering the ledger, tracking, CRLs."""
IDLE = 0.01


@dataclass(frozen=True, slots=True)
class Model:
    """What a lineage in the sandbox is like."""

    names: tuple[str, ...]
    profile: str = ""
    key_type: str = ""
    key_age: int = 0
    lifetime: int | None = None


class Places:
    """Makes publishers into memory that goes with the sandbox."""

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}

    def __call__(self, settings: Mapping[str, Any]) -> Publisher:
        """The publisher of one destination."""
        return MemoryPublisher(self.places.setdefault(settings["place"], Place()), {})


class Sandbox:
    """An installation with its lifecycle, and a runner of its own."""

    def __init__(self, lifecycle: Lifecycle, duties: Mapping[str, Duty]) -> None:
        self.lifecycle = lifecycle
        self.runner = Runner(lifecycle, duties)
        self._lists = CrlPublisher(lifecycle.installation, CrlPolicy())
        self._beaten = 0.0

    def add(self, models: Sequence[Model]) -> None:
        """Lineages that we renew, each with a destination; their first certificates are due at once."""
        for start in range(0, len(models), PAGE):
            some = list(enumerate(models[start : start + PAGE], start))
            self.lifecycle.store.write(lambda tx, some=some: _add(tx, some))

    def run(self, is_over: Callable[[], bool]) -> None:
        """Do what is due, until it is over."""
        while not is_over():
            if not self.runner.tick():
                time.sleep(IDLE)
            self.beat()

    def beat(self) -> None:
        """What the schedule does in a real one, once a second."""
        if clock.monotonic() - self._beaten >= BEAT:
            self._beaten = clock.monotonic()
            self.lifecycle.installation.ledger.sequence()
            issued.catch_up(self.lifecycle)
            self._lists.publish_due()


@contextmanager
def sandbox(profiles: Profiles, like: Callable[[Installation], None], real: Lifecycle) -> Iterator[Sandbox]:
    """A sandbox that ends with the block; `like` makes its hierarchy."""
    with tempfile.TemporaryDirectory(prefix="certwright-drill-") as home:
        store = open_store(f"sqlite:///{Path(home) / 'drill.db'}")
        made = None
        try:
            made = Sandbox(_lifecycle(store, profiles, real), DUTIES)
            like(made.lifecycle.installation)
            made.beat()
            yield made
        finally:
            if made is not None:
                made.runner.stop()
            store.close()


def hierarchy_like(real: Lifecycle) -> Callable[[Installation], None]:
    """Makes the CAs that sign in the real installation: lines, types of keys, shards, profiles.

    One that no profile of ours makes is beneath somebody else's CA, and signs itself there.
    """
    active = [row for row in real.installation.authorities.all() if row.state == State.ACTIVE]
    beneath = {row.name: profile for row in active if row.parent_id and (profile := _made_by(real, row))}

    def make(installation: Installation) -> None:
        for row in active:
            if row.name not in beneath:
                hierarchy.create_root(installation, BY, _plan(row))
        for row in active:
            if row.name in beneath:
                hierarchy.create_subordinate(installation, BY, beneath[row.name], _plan(row))

    return make


def _made_by(real: Lifecycle, row: Authority) -> str | None:
    try:
        return successors.profile_for(real, row).name
    except NotFound:
        return None


def follow(lifecycle: Lifecycle, line: str) -> None:
    """Let the next generation of a line of issuing CAs sign, as it would after a compromise."""
    installation = lifecycle.installation
    old = next(row for row in installation.authorities.all() if row.line == line and row.state == State.ACTIVE)
    taken = [successors.parsed(row).subject for row in installation.authorities.all()]
    subject = successors.next_subject(successors.parsed(old).subject, taken, old.generation)
    profile = successors.profile_for(lifecycle, old).name
    plan = _plan(old, subject, State.PREPARED)
    made = hierarchy.create_subordinate(installation, BY, profile, plan)
    hierarchy.transition(installation, BY, made.name, State.ACTIVE)


def _plan(row: Authority, subject: x509.Name | None = None, state: State | None = None) -> Plan:
    certificate = successors.parsed(row)
    key_type = key_type_of(certificate.public_key()) or KeyType.P256  # type: ignore[arg-type]
    return Plan(row.line, subject or certificate.subject, key_type, crl_shards=row.crl_shards, state=state)


def _lifecycle(store: Store, profiles: Profiles, real: Lifecycle) -> Lifecycle:
    keys = MemoryKeyStore()
    installation = Installation(
        store=store,
        keys=keys,
        profiles=profiles,
        authorities=Authorities(store, keys, PublicUrls("http://drill.invalid")),
        ledger=Ledger(store, "drill.invalid/ledger", keys.create("ledger", KeyType.ED25519)),  # type: ignore[arg-type]
    )
    return Lifecycle(
        installation=installation,
        sealer=Sealer(Secret(secrets.token_hex(16)), secrets.token_bytes(16)),
        issuers={"internal": InternalIssuer(installation)},
        publishers={"memory": Places()},
        policy=_policy(real),
        trust_domain=real.trust_domain,
    )


def _policy(real: Lifecycle) -> Policy:
    """The real one, without windows that would be waited for and issuers that would be asked."""
    kept = {each.name: getattr(real.policy, each.name) for each in fields(Policy)}
    return Policy(**{**kept, "issuers": ("internal",), "windows": {}})


def _add(tx: Transaction, models: Sequence[tuple[int, Model]]) -> None:
    now = clock.timestamp()
    made = {"created_at": now, "created_by": BY.identity}
    subjects = []
    for number, model in models:
        texts = sorted(model.names)
        plain = {"name": f"drill-{number:07}", "names": json.dumps(texts), "names_key": names_key(texts)}
        asked = {"profile": model.profile, "key_type": model.key_type, "key_age": model.key_age}
        chosen = {"mode": "renewed", "issuers": "[]", "window": "", "may_shrink": False, "lifetime": model.lifetime}
        row = insert(Lineage).values(**plain, **asked, **chosen, **made).returning(col(Lineage.id))
        lineage_id = tx.execute(row).scalar_one()
        settings = {"publisher": "memory", "settings": json.dumps({"place": plain["name"]}), "probe": "", "rank": 0}
        where = {"name": plain["name"], "lineage_id": lineage_id, "state": "empty", "changed_at": now}
        tx.execute(insert(Destination).values(**where, **settings, **made))
        subjects.append(str(lineage_id))
    work.schedule_all(tx, "renew", subjects, now)
