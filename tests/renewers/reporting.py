"""An owner with certificates of every kind of need, and the letters that are made of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP
from typing import Any

from sqlalchemy import Update, insert, select, update
from sqlmodel import col

from ca.store import Store, Transaction
from renewers.lifecycle import Lifecycle, MailPolicy
from renewers.models import (
    Acknowledged,
    Consumer,
    Crossing,
    Destination,
    Holding,
    Letter,
    Lineage,
    Owner,
    Told,
    Tracked,
    TrackedName,
    Work,
)
from renewers.reports import compose, digest
from tests.renewers.tracking import (
    START,
    add,
    add_endpoint,
    add_lineage,
    add_tracked,
    change,
    find,
    lineage_columns,
    make_lifecycle,
    tracked_row,
)

DAY, HOUR = 86400, 3600
TLS = "tls:{}.pay.example:443"
NOW = START + 400 * DAY
MAIL = MailPolicy(
    sender="Certwright <certwright@ca.example>", reply_to="pki@ca.example", link_url="https://ca.example:8443"
)


def lifecycle(store: Store, **mail: Any) -> Lifecycle:
    """The parts, with mail and links."""
    return replace(make_lifecycle(store), mail=replace(MAIL, **mail))


def owner(store: Store, name: str = "payments-team", **values: Any) -> int:
    """Somebody who answers, with a path."""
    words = {"name": name, "email": f"{name.replace(' ', '')}@example.org", "time_zone": "Europe/Berlin"}
    path = {"escalation": json.dumps(["backup@example.org", "lead@example.org"]), "is_fallback": False}
    return add(store, Owner, **(words | path | {"created_at": START, "created_by": "test"} | values))


def certificate(
    store: Store,
    owner_id: int,
    name: str,
    *,
    mode: str = "renewed",
    left: int = 60 * DAY,
    lifetime: int = 90 * DAY,
    at: int = NOW,
    names: Iterable[str] = (),
    place: str | None = None,
    stage: str = "fine",
    lineage: dict[str, Any] | None = None,
    **values: Any,
) -> int:
    """One certificate that ends so many seconds after `at`, in a lineage of its own; what it is seen as and where."""
    lineage_id = add_lineage(store, mode, owner_id=owner_id, **(lineage or {}))
    row = {"shown_as": name, "not_before": at + left - lifetime, "not_after": at + left - 1, "lineage_id": lineage_id}
    row |= {"answering_id": owner_id, "stage": stage, "recorded_at": at + left - lifetime}
    id_ = add_tracked(store, **(row | values))
    change(store, Lineage, lineage_id, current_id=id_)
    for each in dict.fromkeys((f"dns:{name}", *names)):
        store.write(lambda tx, each=each: tx.add(TrackedName, {"name": each, "tracked_id": id_}))
    if place is not None:
        add_endpoint(store, id_, at - 12 * 60, place)
    return id_


def lineage_of(store: Store, tracked_id: int) -> int:
    """The lineage of one."""
    return int(find(store, tracked_id).lineage_id)


def fails(store: Store, tracked_id: int, since: int, error: str = "connection refused", **values: Any) -> None:
    """The renewal of its lineage fails."""
    row = {"kind": "renew", "subject": str(lineage_of(store, tracked_id)), "state": "waiting", "due_at": since}
    more = {"due_since": since, "fence": 1, "attempts": 4, "failing_since": since, "last_code": "issuer-unavailable"}
    add(store, Work, **(row | more | {"last_error": error} | values))


def replaced(store: Store, tracked_id: int, since: int) -> int:
    """A newer one has come; the old one stays where it is seen."""
    row = find(store, tracked_id)
    life = row.not_after - row.not_before
    values = {"lineage_id": row.lineage_id, "answering_id": row.answering_id, "not_before": since}
    new = add_tracked(store, shown_as=row.shown_as, not_after=since + life, recorded_at=since, **values)
    change(store, Tracked, tracked_id, replaced_by=new, stage="replaced", stage_since=since)
    change(store, Lineage, row.lineage_id, current_id=new)
    return new


def not_delivered(store: Store, tracked_id: int, since: int, error: str) -> None:
    """A destination of its lineage does not get it."""
    named = {"name": f"web-{tracked_id}", "lineage_id": lineage_of(store, tracked_id), "publisher": "files"}
    row = {"settings": "{}", "probe": "{}", "rank": 0, "state": "failing", "changed_at": since, "created_at": since}
    failing = {"failing_since": since, "last_error": error, "created_by": "test", "wanted_id": tracked_id}
    add(store, Destination, **(named | row | failing))


def acknowledged(store: Store, tracked_id: int, until: int, reason: str = "waiting for the vendor") -> None:
    """Somebody takes care of it."""
    row = {"about": f"lineage:{lineage_of(store, tracked_id)}", "until": until, "reason": reason}
    store.write(lambda tx: tx.add(Acknowledged, {**row, "by": "token:alice", "at": NOW - DAY}))


def store_until(store: Store, tracked_id: int, until: int) -> None:
    """It is taken care of for longer."""
    of = col(Acknowledged.about) == f"lineage:{lineage_of(store, tracked_id)}"
    store.write(lambda tx: tx.execute(update(Acknowledged).where(of).values(until=until)) and None)


def lineage_row(store: Store, tracked_id: int) -> Any:
    """The lineage of one, as it stands."""
    with store.read() as connection:
        return connection.execute(select(Lineage).where(col(Lineage.id) == lineage_of(store, tracked_id))).one()


def disown() -> Update:
    """Nobody owns any lineage."""
    return update(Lineage).values(owner_id=None)


def consumer(store: Store, owner_id: int, name: str) -> int:
    """Somebody who must hold a bundle, and holds one."""
    texts = {"kind": "host", "needs": "{}", "publisher": "pull", "settings": "{}", "probe": "{}", "identities": "[]"}
    row = {"name": name, "owner_id": owner_id, "fresh_within": 3600, "state": "active", "created_at": NOW}
    id_ = add(store, Consumer, **texts, **row, created_by="test", sealed_secret=b"sealed-secret")
    held = {"sent_version": 1, "held_version": 1, "proved_by": "probe", "reported_at": 0}
    store.write(lambda tx: tx.add(Holding, {"consumer_id": id_, "stream": "trust:x", **held}))
    return id_


def sent(store: Store, owner_id: int, crossing_ids: Iterable[int], *, at: int, recipient: str = "a@example.org") -> int:
    """A letter that has told of these."""
    row = {"key": f"sent-{at}-{recipient}", "kind": "urgent", "owner_id": owner_id, "recipient": recipient, "step": 0}
    more = {"message_id": f"sent-{at}-{recipient}", "reason": "", "opened_at": at, "sent_at": at, "state": "sent"}
    letter_id = add(store, Letter, **row, **more)
    for each in crossing_ids:
        told = {"crossing_id": each, "channel": "mail", "recipient": recipient, "letter_id": letter_id, "at": at}
        store.write(lambda tx, told=told: tx.add(Told, told))
    return letter_id


def crossing(store: Store, about: str, threshold: str = "urgent", **values: Any) -> Any:
    """A row of `Crossing`, as the engine hands it over."""
    row = {
        "about": about,
        "threshold": threshold,
        "urgency": "immediate",
        "subject": "s",
        "message": "m",
        "state": "open",
    }
    id_ = add(store, Crossing, **(row | {"crossed_at": NOW, "noted_at": NOW} | values))
    empty = {"tracked_id": None, "lineage_id": None, "hint": None, "crossed_at": NOW}
    return Crossing(id=id_, **(empty | row | values))


def letter(owner_id: int, kind: str = "digest", **values: Any) -> Letter:
    """A letter that was opened."""
    row = {"id": 7, "key": "k", "kind": kind, "owner_id": owner_id, "recipient": "payments-team@example.org", "step": 0}
    more = {"message_id": "<letter-7.0a1b@ca.example>", "reason": "you are the owner payments-team", "state": "open"}
    return Letter(**(row | more | {"opened_at": NOW} | values))


def written(
    life: Lifecycle, owner_id: int, kind: str = "digest", *, at: int = NOW, crossings: Any = None, **values: Any
) -> EmailMessage:
    """The letter as a mail program parses it from what is sent."""
    found = digest.gather(life, owner_id, kind=kind, at=at, crossings=crossings)
    return parsed(compose.compose(life, found, letter(owner_id, kind, **values)))


def parsed(message: EmailMessage) -> EmailMessage:
    """The same, out of its bytes."""
    made = BytesParser(policy=SMTP).parsebytes(message.as_bytes())
    assert isinstance(made, EmailMessage)
    return made


def text_of(message: EmailMessage, subtype: str) -> str:
    """The part of that kind."""
    part = next(part for part in message.walk() if part.get_content_type() == f"text/{subtype}")
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode() if subtype in ("csv", "calendar") else content.decode().replace("\r\n", "\n")


def team(store: Store) -> int:
    """An owner with a bit of everything."""
    of = owner(store)
    year = 365 * DAY
    broken = certificate(store, of, "api.pay.example", left=6 * DAY + 4 * HOUR, stage="urgent", place=TLS.format("api"))
    fails(store, broken, NOW - 30 * HOUR, "connection to acme.example:443 refused")
    ledger = {"mode": "holder", "left": 5 * HOUR, "lifetime": DAY, "stage": "critical"}
    certificate(store, of, "spiffe://prod/ns/pay/sa/ledger", **ledger)
    more = ["dns:vendor-eu.pay.example", "dns:vendor-us.pay.example"]
    vendor = {"names": more, "place": "tls:10.1.2.3:8443", "issuer": "CN=DigiCert TLS RSA 2024", "stage": "urgent"}
    certificate(store, of, "vendor.pay.example", mode="manual", left=9 * DAY, lifetime=year, **vendor)
    certificate(store, of, "xn--bcher-kva.example", mode="manual", left=41 * DAY, lifetime=year, stage="due")
    legacy = {"stage": "expired", "place": TLS.format("legacy")}
    certificate(store, of, "legacy.pay.example", mode="manual", left=-2 * DAY, lifetime=year, **legacy)
    old = certificate(store, of, "shop.pay.example", left=20 * DAY, place=TLS.format("shop"))
    reason = "the reload command ended with 1: nginx: [emerg] cannot load certificate"
    not_delivered(store, replaced(store, old, NOW - 2 * DAY), NOW - 2 * DAY, reason)
    signer = {"kind": "authority", "shown_as": "Payments Issuing CA 2", "subject": "CN=Payments Issuing CA 2"}
    ends = {"not_before": NOW - 900 * DAY, "not_after": NOW + 80 * DAY, "recorded_at": NOW - 900 * DAY}
    add_tracked(store, **signer, **ends, issuer="CN=Root", answering_id=of, owner_id=of, stage="late")
    resting = certificate(store, of, "mail.pay.example", mode="manual", left=25 * DAY, lifetime=year, stage="late")
    acknowledged(store, resting, NOW + 10 * DAY)
    healthy(store, of, {f"svc-{number}.pay.example": (35 + number * 7 % 50) * DAY for number in range(86)})
    return of


def healthy(store: Store, owner_id: int, left: Mapping[str, int], mode: str = "renewed", life: int = 90 * DAY) -> None:
    """Certificates by name, each with the seconds that it has left, written at once."""

    def unit(tx: Transaction) -> None:
        for name, seconds in left.items():
            ends = {"not_before": NOW + seconds - life, "not_after": NOW + seconds - 1}
            line = insert(Lineage).values(**lineage_columns(mode, owner_id=owner_id)).returning(col(Lineage.id))
            lineage_id = tx.execute(line).scalar_one()
            row = tracked_row(shown_as=name, answering_id=owner_id, lineage_id=lineage_id, **ends)
            id_ = tx.execute(insert(Tracked).values(**row).returning(col(Tracked.id))).scalar_one()
            tx.execute(update(Lineage).where(col(Lineage.id) == lineage_id).values(current_id=id_))
            tx.add(TrackedName, {"name": f"dns:{name}", "tracked_id": id_})

    store.write(unit)
