"""An owner with certificates of every kind of need, and the letters that are made of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP
from typing import Any

from sqlalchemy import update
from sqlmodel import col

from ca.store import Store
from renewers.lifecycle import Lifecycle, MailPolicy
from renewers.models import Acknowledged, Destination, Endpoint, Letter, Owner, Tracked, TrackedName, Work
from renewers.reports import compose, digest
from tests.renewers.tracking import START, add, add_endpoint, add_lineage, add_tracked, change, make_lifecycle

DAY, HOUR = 86400, 3600
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
    change(store, _LINEAGE, lineage_id, current_id=id_)
    for each in dict.fromkeys((f"dns:{name}", *names)):
        store.write(lambda tx, each=each: tx.add(TrackedName, {"name": each, "tracked_id": id_}))
    if place is not None:
        add_endpoint(store, id_, at - 12 * 60, place)
    return id_


def lineage_of(store: Store, tracked_id: int) -> int:
    """The lineage of one."""
    from tests.renewers.tracking import find

    return int(find(store, tracked_id).lineage_id)


def fails(store: Store, tracked_id: int, since: int, error: str = "connection refused", **values: Any) -> None:
    """The renewal of its lineage fails."""
    row = {"kind": "renew", "subject": str(lineage_of(store, tracked_id)), "state": "waiting", "due_at": since}
    more = {"due_since": since, "fence": 1, "attempts": 4, "failing_since": since, "last_code": "issuer-unavailable"}
    add(store, Work, **(row | more | {"last_error": error} | values))


def replaced(store: Store, tracked_id: int, since: int) -> int:
    """A newer one has come; the old one stays where it is seen."""
    from tests.renewers.tracking import find

    row = find(store, tracked_id)
    life = row.not_after - row.not_before
    values = {"lineage_id": row.lineage_id, "answering_id": row.answering_id, "not_before": since}
    new = add_tracked(store, shown_as=row.shown_as, not_after=since + life, recorded_at=since, **values)
    change(store, Tracked, tracked_id, replaced_by=new, stage="replaced", stage_since=since)
    change(store, _LINEAGE, row.lineage_id, current_id=new)
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


def answers_for(store: Store, owner_id: int) -> None:
    """All that is tracked is this owner's, as the index has it."""
    store.write(lambda tx: tx.execute(update(Tracked).values(answering_id=owner_id)) and None)


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
    return content.decode()


def team(store: Store) -> int:
    """An owner with a bit of everything."""
    of = owner(store)
    broken = certificate(
        store, of, "api.pay.example", left=6 * DAY + 4 * HOUR, stage="urgent", place="tls:api.pay.example:443"
    )
    fails(store, broken, NOW - 30 * HOUR, "connection to acme.example:443 refused")
    certificate(store, of, "spiffe://prod/ns/pay/sa/ledger", mode="holder", left=5 * HOUR, lifetime=DAY, stage="critical")
    certificate(
        store, of, "vendor.pay.example", mode="manual", left=9 * DAY, lifetime=365 * DAY, stage="urgent",
        names=["dns:vendor-eu.pay.example", "dns:vendor-us.pay.example"], place="tls:10.1.2.3:8443", issuer="CN=DigiCert TLS RSA 2024",
    )
    certificate(store, of, "xn--bcher-kva.example", mode="manual", left=41 * DAY, lifetime=365 * DAY, stage="due")
    certificate(store, of, "legacy.pay.example", mode="manual", left=-2 * DAY, lifetime=365 * DAY, stage="expired", place="tls:legacy.pay.example:443")
    old = certificate(store, of, "shop.pay.example", left=20 * DAY, place="tls:shop.pay.example:443")
    not_delivered(store, replaced(store, old, NOW - 2 * DAY), NOW - 2 * DAY, "the reload command ended with 1: nginx: [emerg] cannot load certificate")
    add_tracked(
        store, kind="authority", source="imported", shown_as="Payments Issuing CA 2", subject="CN=Payments Issuing CA 2",
        issuer="CN=Root", not_before=NOW - 900 * DAY, not_after=NOW + 80 * DAY, answering_id=of, owner_id=of, stage="late", recorded_at=NOW - 900 * DAY,
    )
    resting = certificate(store, of, "mail.pay.example", mode="manual", left=25 * DAY, lifetime=365 * DAY, stage="late")
    acknowledged(store, resting, NOW + 10 * DAY)
    for number in range(86):
        certificate(store, of, f"svc-{number}.pay.example", left=(35 + number * 7 % 50) * DAY)
    return of


from renewers.models import Lineage as _LINEAGE  # noqa: E402
