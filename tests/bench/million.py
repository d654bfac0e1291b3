"""An installation with a million tracked things and all that hangs on them, written in bulk past every function.

Its proportions are those of a large fleet: half of it workloads that renew themselves, most of the rest renewed by us,
one in twenty by a person; one in fifty is in trouble; a fifth are the predecessors of others. Rows are written with the
fastest way that each database has. Nothing here is a measurement.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import insert
from sqlmodel import SQLModel

from ca.models import Certificate, CertificateName, LedgerEntry
from ca.store import Store, Transaction
from renewers.models import (
    Alarm,
    Consumer,
    Crossing,
    Delivery,
    Destination,
    Endpoint,
    Event,
    Holding,
    Letter,
    Lineage,
    Mailbox,
    Owner,
    OwnerClaim,
    OwnerMail,
    Publication,
    Renewal,
    Sighting,
    Told,
    Tracked,
    TrackedName,
    Work,
)

DAY = 86400
OWNERS, CONSUMERS, ISSUERS = 1000, 500, 40
STEP = 20_000
GOLDEN = 0x9E3779B97F4A7C15
PROFILES = ("mesh", "device", "server", "client")
Row = Callable[[int], dict[str, Any]]


def digest(place: int) -> str:
    """Something that looks like a SHA-256, another one for each place."""
    return f"{(place + 1) * GOLDEN % (1 << 64):016x}" * 4


def pick(place: int, of: int, salt: int = 0) -> int:
    """A number below `of` that looks like chance."""
    return ((place + 1) * GOLDEN + salt * 0xD1B54A32D192ED03 >> 17) % of


class Fleet:
    """Its rows, by their places from 0 on."""

    def __init__(self, size: int, now: int, authority_id: int) -> None:
        self.size, self.now, self.authority_id = size, now, authority_id
        self.alive = size * 4 // 5
        """Lineages, each with one current certificate; the other rows are predecessors."""

    def name(self, lineage: int) -> str:
        """A third are workloads; every one is beneath the domain of a team."""
        team = pick(lineage, OWNERS, 1)
        if lineage % 3 == 0:
            return f"uri:spiffe://example.internal/ns/team-{team}/sa/worker-{lineage}"
        return f"dns:host-{lineage}.team-{team}.example.internal"

    def mode(self, lineage: int) -> str:
        """Who renews it."""
        chance = pick(lineage, 100, 2)
        return "manual" if chance < 5 else "renewed" if chance < 50 else "holder"

    def tracked(self, place: int) -> dict[str, Any]:
        """The current certificates first, then the predecessors."""
        is_over = place >= self.alive
        lineage = place if not is_over else pick(place, self.alive, 3)
        life = (90, 47, 398, 6)[lineage % 4] * DAY
        stage, share = self._stage(place, is_over)
        begin = self.now - int(life * share) - pick(place, DAY, 4)
        name = self.name(lineage)
        return {
            "identity": f"sha256:{digest(place)}",
            "kind": "certificate",
            "source": {"manual": "scanned", "renewed": "renewed", "holder": "issued"}[self.mode(lineage)],
            "shown_as": name.partition(":")[2],
            "subject": f"CN=host-{lineage}",
            "issuer": f"CN=Issuing CA {pick(lineage, ISSUERS, 5)},O=Example",
            "serial": f"{(place + 1) * GOLDEN % (1 << 64):032x}",
            "spki_sha256": bytes.fromhex(digest(place)),
            "key_type": ("P-256", "RSA-2048", "Ed25519")[lineage % 3],
            "not_before": begin,
            "not_after": begin + life - 1,
            "lineage_id": lineage + 1,
            "owner_id": None,
            "replaced_by": lineage + 1 if is_over else None,
            "stage": stage,
            "stage_since": begin,
            "next_look": self.now + DAY,
            "recorded_at": begin,
            "answering_id": None,
            "is_orphan": False,
        }

    def _stage(self, place: int, is_over: bool) -> tuple[str, float]:
        """And the part of its life that is over."""
        if is_over:
            return "replaced", 0.7 + pick(place, 60, 6) / 100
        chance = pick(place, 1000, 7)
        for below, stage, share in (
            (2, "expired", 1.01),
            (5, "critical", 0.97),
            (10, "urgent", 0.88),
            (20, "late", 0.8),
        ):
            if chance < below:
                return stage, share
        return ("due", 0.7) if chance < 100 else ("fine", pick(place, 64, 8) / 100)

    def tracked_name(self, place: int) -> dict[str, Any]:
        """One name for each."""
        lineage = place if place < self.alive else pick(place, self.alive, 3)
        return {"name": self.name(lineage), "tracked_id": place + 1}

    def lineage(self, place: int) -> dict[str, Any]:
        """Two of three belong to an owner by their own word, the others by a claim or to nobody."""
        texts = {"names": json.dumps([self.name(place)]), "names_key": digest(place), "issuers": "[]", "window": ""}
        owner = pick(place, OWNERS, 9) + 1 if place % 3 else None
        made = {"created_at": self.now - 400 * DAY, "created_by": "bench", "key_age": 0, "may_shrink": False}
        of_it = {"profile": "", "key_type": "", "owner_id": owner, "current_id": place + 1, "mode": self.mode(place)}
        return {"name": f"lineage-{place}", **texts, **made, **of_it}

    def certificate(self, place: int) -> dict[str, Any]:
        """What our own CA has signed: what holders renew, and more of it that is over."""
        row = self.tracked(place)
        return {
            "serial": row["serial"],
            "authority_id": self.authority_id,
            "profile": PROFILES[pick(place, 10, 10) % 4],
            "subject": row["subject"],
            "shard": 0,
            "spki_sha256": row["spki_sha256"],
            "not_before": row["not_before"],
            "not_after": row["not_after"],
            "requested_by": f"token:team-{pick(place, OWNERS, 1)}",
            "renews": digest(place)[:32] if place % 2 else None,
            "tbs": bytes(400),
            "signature": bytes(70),
            "recorded_at": row["recorded_at"],
        }

    def certificate_name(self, place: int) -> dict[str, Any]:
        """One name for each."""
        return {"name": self.tracked_name(place)["name"], "serial": self.tracked(place)["serial"]}

    def ledger(self, place: int) -> dict[str, Any]:
        """An entry for each issuance, beyond those that there are."""
        serial = self.tracked(place)["serial"]
        body = {
            "action": "certificate-issued",
            "at": self.now,
            "by": "token:bench",
            "subject": serial,
            "profile": "mesh",
        }
        text = json.dumps(body).encode()
        return {"position": 1_000_000 + place, "subject": serial, "leaf_hash": bytes(32), "body": text}

    def endpoint(self, place: int) -> dict[str, Any]:
        """A place where one of every five is seen."""
        lineage = place * 5 % self.alive
        seen = {"last_seen": self.now - pick(place, DAY, 11), "last_asked": self.now - pick(place, DAY, 11)}
        named = {"place": f"tls:host-{lineage}-{place}.example.internal:443", "found_by": "a scan", "findings": "[]"}
        return {
            **named,
            "lineage_id": lineage + 1,
            "tracked_id": lineage + 1,
            **seen,
            "failing_since": None,
            "last_error": None,
        }

    def sighting(self, place: int) -> dict[str, Any]:
        """Since when."""
        lineage = place * 5 % self.alive
        times = {"first_seen": self.now - 30 * DAY, "last_seen": self.now - 3600}
        return {"endpoint_id": place + 1, "tracked_id": lineage + 1, **times}

    def alarm(self, place: int) -> dict[str, Any]:
        """About what is in trouble, and some about others."""
        kind, severity = (
            *(("expiring", "critical"), ("expiring", "error"), ("expiring", "warning"), ("expiring", "info")),
            *(("renewal-failing", "error"), ("endpoint-unreachable", "warning"), ("replaced-still-served", "critical")),
        )[place % 7]
        subject = f"sha256:{digest(place)}" if kind.startswith(("expiring", "replaced")) else f"thing-{place}"
        words = {"message": f"host-{place} ends soon, and was to be renewed", "hint": "renew it now"}
        since = self.now - pick(place, 30 * DAY, 12)
        return {
            "kind": kind,
            "subject": subject,
            "severity": severity,
            "since": since,
            "owner_id": place % OWNERS + 1,
            **words,
        }

    def crossing(self, place: int) -> dict[str, Any]:
        """Every fifth thing has crossed something."""
        tracked = place * 5 % self.alive
        times = {"crossed_at": self.now - DAY, "noted_at": self.now - DAY, "settled_at": self.now}
        words = {"subject": f"host-{tracked}", "message": "it is late", "hint": None, "why": "told"}
        about = {"about": f"tracked:{tracked + 1}", "threshold": f"late-{place}", "urgency": "daily"}
        ids = {"tracked_id": tracked + 1, "lineage_id": tracked + 1, "owner_id": place % OWNERS + 1}
        return {**about, **ids, **words, **times, "state": "told"}

    def letter(self, place: int) -> dict[str, Any]:
        """Years of digests."""
        at = self.now - place * 60
        to = {"owner_id": place % OWNERS + 1, "recipient": f"team-{place % OWNERS}@example.org", "step": 0}
        said = {
            "reason": "it answers for these",
            "subject": f"[3 act now] certificates {place}",
            "rows": 12,
            "error": None,
        }
        named = {
            "key": f"digest/{place}",
            "kind": ("digest", "daily", "urgent")[place % 3],
            "message_id": f"<{place}@example>",
        }
        return {**named, **to, **said, "opened_at": at, "sent_at": at, "state": "sent"}

    def told(self, place: int) -> dict[str, Any]:
        """Each crossing in one letter."""
        recipient = {"channel": "mail", "recipient": f"team-{place % OWNERS}@example.org"}
        return {"crossing_id": place + 1, **recipient, "letter_id": place % 1000 + 1, "at": self.now}

    def event(self, place: int) -> dict[str, Any]:
        """What happened lately."""
        body = json.dumps({"message": f"host-{place} has a new certificate", "tracked": place})
        named = {"kind": "certificate-renewed", "subject": f"lineage-{place}", "severity": "info"}
        return {**named, "at": self.now - self.size + place, "body": body, "is_pending": False}

    def work(self, place: int) -> dict[str, Any]:
        """What is planned, and a thousand pieces of work that fail."""
        fails = place < 1000
        trouble = {
            "failing_since": self.now - DAY,
            "attempts": 9,
            "last_code": "issuer-unavailable",
            "last_error": "no answer",
        }
        well = {"failing_since": None, "attempts": 0, "last_code": None, "last_error": None}
        due = self.now - 60 if place < 500 else self.now + DAY + place
        times = {"due_at": due, "due_since": due, "holder": None, "fence": 0, "state": "waiting"}
        return {"kind": "renew", "subject": str(place + 1), **times, **(trouble if fails else well)}

    def renewal(self, place: int) -> dict[str, Any]:
        """One that has gone well for each of some lineages."""
        lineage = pick(place, self.alive, 13)
        of_it = {"lineage_id": lineage + 1, "tracked_id": lineage + 1, "replaces_id": None, "issuer": "internal"}
        times = {
            "key_made_at": self.now - DAY,
            "started_at": self.now - DAY,
            "issued_at": self.now,
            "finished_at": self.now,
        }
        none = {"sealed_key": None, "order_url": None, "finalized_at": None, "error": None}
        return {**of_it, **times, **none, "state": "done", "reason": "due", "left_out": "[]", "csr": b""}

    def destination(self, place: int) -> dict[str, Any]:
        """Where some lineages are brought."""
        texts = {"name": f"edge-{place}", "publisher": "files", "settings": "{}", "probe": "", "bundle": None}
        ids = {
            "lineage_id": place + 1,
            "wanted_id": place + 1,
            "delivered_id": place + 1,
            "rank": 0,
            "state": "current",
        }
        made = {"changed_at": self.now, "created_at": self.now, "created_by": "bench"}
        return {**texts, **ids, **made, "failing_since": None, "last_error": None}

    def delivery(self, place: int) -> dict[str, Any]:
        """That they were."""
        ids = {"destination_id": place + 1, "tracked_id": place + 1, "outcome": "delivered", "error": None}
        return {**ids, "started_at": self.now, "swapped_at": self.now, "seen_at": self.now, "ended_at": self.now}

    def owner(self, place: int) -> dict[str, Any]:
        """A team with a mailbox and a path; the first is the fallback."""
        path = json.dumps([f"lead-{place}@example.org", "head@example.org"])
        named = {"name": f"team-{place}", "email": f"team-{place}@example.org", "escalation": path, "time_zone": "UTC"}
        return {**named, "is_fallback": place == 0, "created_at": self.now, "created_by": "bench"}

    def claim(self, place: int) -> dict[str, Any]:
        """Most teams claim what is beneath their domain."""
        return {"kind": "name", "pattern": f"dns:*.team-{place}.example.internal", "owner_id": place + 1}

    def owner_mail(self, place: int) -> dict[str, Any]:
        """Their next letters."""
        due = {"digest_due": self.now + DAY, "daily_due": self.now + 3600}
        return {"owner_id": place + 1, **due, "last_healthy": None, "last_urgent": None}

    def mailbox(self, place: int) -> dict[str, Any]:
        """Some are dead."""
        dead = {"dead_since": self.now - DAY, "dead_because": "no such user"}
        return {"address": f"team-{place * 50}@example.org", **dead, "digests_off_at": None}

    def consumer(self, place: int) -> dict[str, Any]:
        """Who has to hold what is published."""
        texts = {
            "name": f"proxy-{place:04}",
            "kind": "proxy",
            "needs": '{"bundle":"pem"}',
            "publisher": "pull",
            "settings": "{}",
        }
        proof = {"probe": "", "identities": '["token:x"]', "sealed_secret": None, "gates": True, "fresh_within": 3600}
        made = {"state": "active", "created_at": self.now, "created_by": "bench", "owner_id": place % OWNERS + 1}
        return {**texts, **proof, **made, "failing_since": None, "last_error": None}

    def holding(self, place: int) -> dict[str, Any]:
        """What they hold."""
        times = {"sent_at": self.now, "held_since": self.now, "proved_at": self.now, "reported_at": self.now}
        held = {"sent_version": 50, "held_version": 50 - place % 3, "proved_by": "report"}
        return {"consumer_id": place + 1, "stream": "trust:bench", **held, **times}

    def publication(self, place: int) -> dict[str, Any]:
        """Fifty versions."""
        at = {"issued_at": self.now - DAY, "expires_at": self.now + DAY, "published_at": float(self.now - place)}
        named = {"stream": "trust:bench", "version": place + 1, "sha256": digest(place), "cause": "bench", "digest": ""}
        return {**named, **at, "revoked_until": 0, "signed": b""}


def fill(store: Store, size: int, now: int, authority_id: int) -> None:
    """Write all of it."""
    fleet = Fleet(size, now, authority_id)
    for table, count, row in _tables(fleet):
        for start in range(0, count, STEP):
            _write(store, table, [row(place) for place in range(start, min(start + STEP, count))])


def _tables(fleet: Fleet) -> Iterator[tuple[type[SQLModel], int, Row]]:
    size = fleet.size
    yield from ((Owner, OWNERS, fleet.owner), (OwnerMail, OWNERS, fleet.owner_mail), (Mailbox, 20, fleet.mailbox))
    yield from ((OwnerClaim, OWNERS * 9 // 10, fleet.claim), (Lineage, fleet.alive, fleet.lineage))
    yield from ((Tracked, size, fleet.tracked), (TrackedName, size, fleet.tracked_name))
    yield from ((Certificate, size // 2, fleet.certificate), (CertificateName, size // 2, fleet.certificate_name))
    yield from ((LedgerEntry, size // 4, fleet.ledger), (Event, size // 4, fleet.event), (Work, size // 2, fleet.work))
    yield from ((Endpoint, size // 5, fleet.endpoint), (Sighting, size // 5, fleet.sighting))
    yield from ((Alarm, size // 100, fleet.alarm), (Crossing, size // 20, fleet.crossing))
    yield from ((Letter, size // 20, fleet.letter), (Told, size // 20, fleet.told), (Renewal, size // 5, fleet.renewal))
    yield from ((Destination, size // 50, fleet.destination), (Delivery, size // 50, fleet.delivery))
    yield from ((Consumer, CONSUMERS, fleet.consumer), (Holding, CONSUMERS, fleet.holding))
    yield from ((Publication, 50, fleet.publication),)


def _write(store: Store, table: type[SQLModel], rows: list[dict[str, Any]]) -> None:
    if store.dialect == "postgresql":
        _copy(store, table, rows)
        return

    def unit(tx: Transaction) -> None:
        tx.execute(insert(table), rows)

    store.write(unit)


def _copy(store: Store, table: type[SQLModel], rows: list[dict[str, Any]]) -> None:
    columns = list(rows[0])

    def unit(tx: Transaction) -> None:
        cursor = tx.connection.connection.cursor()
        with cursor.copy(f"COPY {table.__tablename__} ({', '.join(map(_quoted, columns))}) FROM STDIN") as copying:
            for row in rows:
                copying.write_row([row[name] for name in columns])

    store.write(unit)


def _quoted(name: str) -> str:
    return f'"{name}"'
