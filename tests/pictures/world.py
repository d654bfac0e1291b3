"""What there is to be seen: an installation in which something of everything is, well and badly, with hostile names.

It is written by the product's own functions, most of them some time ago (`clock.pinned`), so that what pages and
letters say of it is what they would say of a real one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from sqlalchemy import select, update
from sqlmodel import SQLModel, col

from ca import clock, revocation
from ca.access import Role
from ca.keys import sealed, software
from ca.keys.algorithms import KeyType, spki
from ca.tokens import Grant, create_token
from ca.x509.bundle import pem_certificate
from ca.x509.names import Kind, Name, parse
from pki import lifecycle_schedule as schedule
from pki.catching_up import look_around
from pki.initialise import InitPlan, initialise
from pki.product import Product
from renewers.delivering import destinations
from renewers.delivering.destinations import DestinationPlan
from renewers.discovery import record
from renewers.distribution import consumers
from renewers.distribution.consumers import ConsumerPlan
from renewers.inventory import lineages, owners
from renewers.inventory.facts import read_certificate
from renewers.inventory.imports import Target, import_pem
from renewers.inventory.owners import OwnerPlan
from renewers.inventory.plans import LineagePlan
from renewers.inventory.track import track
from renewers.models import Consumer, Destination, IssuerHealth, Lineage, Owner, Renewal, Rotation, Tracked, Work
from renewers.rotation import starting
from renewers.rotation.plans import RotationPlan
from tests import rig
from tests.renewers.foreign import certificate, dn, numbered

HOUR = 3600
DAY = 24 * HOUR
LINKS = "https://ca.example.internal:8443"
SCRIPT = "<script>alert(1)</script>"
RTL = "\u202egnp.lanretni\u2066"
LONG = "x" * 200
HUGE = "y" * 65536
HOSTILE = (
    SCRIPT,
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    f"evil{RTL}.example.internal",
    "\U0001f525\U0001f468\u200d\U0001f469\u200d\U0001f467 caf\u00e9 \u4f60\u597d",
    LONG,
    HUGE,
    "a\r\nBcc: everybody@example.org\r\n\r\nhello",
    "=HYPERLINK(\"https://evil.example\")",
    "zalgo" + "\u0301\u0316" * 60,
)
"""What strangers write into a subject."""
CHANGES = {
    "installation.domain": f'"{rig.DOMAIN}"',
    "installation.public_url": f'"{rig.PUBLIC_URL}"',
    "crl.shards": "4",
    "renewals.programs": '["/bin/true"]',
    "mail.directory": '"letters"',
    "mail.link_url": f'"{LINKS}"',
    "mail.sender": '"Certwright <certwright@example.internal>"',
    "limits.per_second": "1000000.0",
    "limits.burst": "1000000",
}


@dataclass
class Filled:
    """What pages have places for in their addresses: the ids and names of what is worth a look."""

    state: Path
    token: str = ""
    tracked: dict[str, int] = field(default_factory=dict)
    """By what it shows: `fine`, `failing`, `hostile`, `orphan`, `authority`..."""
    rotation: int = 0


def tracked_rows(product: Product) -> list[Any]:
    """Everything tracked, oldest first."""
    with product.installation.store.read() as connection:
        return list(connection.execute(select(Tracked).order_by(col(Tracked.id))).all())


@contextmanager
def cheaply() -> Iterator[None]:
    """Settings of whoever runs this do not count, and keys cost a cheap scrypt."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CERTWRIGHT_")}
    with (
        mock.patch.dict(os.environ, clean, clear=True),
        mock.patch.object(software, "SCRYPT_N", 1 << 4),
        mock.patch.object(sealed, "SCRYPT_N", 1 << 4),
    ):
        yield


def fill(state: Path) -> Filled:
    """Make the installation in a directory that is not there yet. Times are relative to now."""
    now = clock.now()
    with cheaply():
        with clock.pinned(clock.from_timestamp(clock.timestamp() - 85 * DAY)):
            made = initialise(state, InitPlan(name="Example", changes=CHANGES))
        filled = Filled(state, made.token.reveal())
        with Product.open(state) as product:
            story = Story(product, filled)
            with clock.pinned(clock.from_timestamp(clock.timestamp() - 80 * DAY)):
                story.people()
                story.long_ago()
            with clock.pinned(clock.from_timestamp(clock.timestamp() - 2 * HOUR)):
                story.lately()
            with clock.pinned(now):
                story.today()
    return filled


class Story:
    """What has happened."""

    def __init__(self, product: Product, filled: Filled) -> None:
        self.product, self.filled = product, filled
        self.lifecycle, self.installation = product.lifecycle, product.installation
        self._serial = 0

    def people(self) -> None:
        """Owners: a fallback, some with a path, one with nothing, one whose name is as odd as a name may be."""
        path = ("lead@example.internal", "head-of-platform@example.internal")
        for plan in (
            OwnerPlan("platform", "platform@example.internal", escalation=path[1:]),
            OwnerPlan("payments", "payments@example.internal", escalation=path, time_zone="Europe/Berlin"),
            OwnerPlan("fleet", "fleet@example.internal", time_zone="America/Los_Angeles"),
            OwnerPlan("nothing-to-do", "idle@example.internal"),
            OwnerPlan("O'Brien & Sons (@team/" + "w" * 38 + ")", "o.brien+certificates@" + "w" * 40 + ".example"),
        ):
            owners.add(self.lifecycle, rig.ADMIN, plan)
        owners.claim(self.lifecycle, rig.ADMIN, "fleet", "name", "dns:devices.example.internal")
        ci = {"profiles": ["mesh"], "attributes": {"namespace": "payments"}}
        create_token(self.installation, rig.ADMIN, Grant("ci", Role.REQUESTER, timedelta(days=90), **ci))

    def long_ago(self) -> None:
        """Certificates for months: renewed ones, a person's, servers', devices', and what others issued."""
        for name, mode, owner in (
            ("shop.example.internal", "renewed", "payments"),
            ("api.example.internal", "renewed", "payments"),
            ("legacy.example.internal", "manual", "payments"),
            ("mail.example.internal", "holder", None),
        ):
            plan = LineagePlan(name, (parse(name),), mode=mode, owner=owner)
            lineages.create(self.lifecycle, rig.ADMIN, plan)
        for name in ("shop", "api", "mail"):
            rig.issue(self.installation, f"{name}.example.internal", profile="server")
        for number in range(12):
            rig.issue(self.installation, f"sensor-{number:02}.devices.example.internal", profile="device")
        self._destinations()
        self._consumers()
        look_around(self.product)

    def lately(self) -> None:
        """What others issued, and what hostile ones did; workloads; a revoked one."""
        for days, lifetime, names, owner in (
            (89, 90, ("dns:almost.example.internal",), "payments"),
            (84, 90, ("dns:soon.example.internal", "dns:www.soon.example.internal"), "payments"),
            (70, 90, ("dns:late.example.internal",), "fleet"),
            (10, 90, ("dns:fine.example.internal",), "fleet"),
            (390, 397, ("dns:by-hand.example.internal",), "payments"),
            (380, 397, ("dns:orphan.example.org",), None),
            (95, 90, ("dns:over.example.internal",), "payments"),
        ):
            self._import(*names, begin=-days, days=lifetime, owner=owner)
        for text in HOSTILE:
            self._import(subject=text, begin=-60, days=90, owner="payments", key=KeyType.RSA2048)
        self._import(*(f"dns:{LONG[:60]}-{number}.example.internal" for number in range(40)), begin=-88, days=90, owner="payments")
        for number in range(60):
            self._import(f"dns:host-{number:03}.example.internal", begin=-number, days=90, owner="platform")
        for number in range(5):
            rig.issue(self.installation, f"spiffe://example.internal/ns/payments/sa/worker-{number}")
        revoked = rig.issue(self.installation, "gone.example.internal", profile="server")
        revocation.revoke(self.installation, rig.ADMIN, revoked.serial, revocation.parse_reason("key-compromise"))
        look_around(self.product)
        self._fail()
        self._seen()

    def today(self) -> None:
        """A rotation is begun, lists are published, the watch looks."""
        wanted = RotationPlan("issuing", reason="the yearly rotation of the issuing CA, as the calendar says")
        schedule.publish(self.product)
        self.filled.rotation = starting.start(self.lifecycle, rig.ADMIN, wanted)
        look_around(self.product)
        schedule.watch_freshness(self.product)
        self.installation.ledger.sequence()
        self._find()

    def _import(self, *names: str, begin: int, days: int, owner: str | None, subject: str = "", key: KeyType | None = None) -> None:
        self._serial += 1
        der = certificate(
            *names,
            serial=numbered(1 << 100 | self._serial),
            issuer=dn(b"A Public CA R3"),
            subject=dn(subject.encode()) if subject else dn(names[0].partition(":")[2][:64].encode()),
            begin=clock.timestamp() + begin * DAY,
            days=days,
            key=None if key is None else spki(rig.pooled_key(key).public_key()),
        )
        import_pem(self.lifecycle, rig.ADMIN, pem_certificate(der).encode(), Target(owner))

    def _destinations(self) -> None:
        for name, lineage in (("shop-edge", "shop.example.internal"), ("api-gateway", "api.example.internal")):
            settings = {"directory": f"/nonexistent/{name}"}
            destinations.add(self.lifecycle, rig.ADMIN, DestinationPlan(name, lineage, "files", settings))

    def _consumers(self) -> None:
        for name, kind, owner in (
            ("edge-proxy", "proxy", "payments"),
            ("plant-broker", "broker", "fleet"),
            ("build-host", "host", None),
            ("scooters." + "w" * 50, "devices", "fleet"),
        ):
            plan = ConsumerPlan(name, kind=kind, owner=owner, identities=(f"token:{name[:20]}",))
            consumers.add(self.lifecycle, rig.ADMIN, plan)

    def _fail(self) -> None:
        """Issuers and destinations that do not work, as the runner writes them down."""
        failing = f"the CA says {SCRIPT} and {RTL}: " + "no " * 60
        since = clock.timestamp() - 9 * DAY
        broken = {"state": "waiting", "failing_since": since, "attempts": 7, "last_code": "refused", "last_error": failing}
        self._set(Work, col(Work.kind) == "renew", **broken, due_at=clock.timestamp() + HOUR)
        self._set(Destination, col(Destination.name) == "shop-edge", state="failing", failing_since=since, last_error=failing)

    def _seen(self) -> None:
        places = ("tls:almost.example.internal:443", "tls:[2001:db8::1]:8443", "smtp:mail.example.internal:25")
        facts = read_certificate(certificate("dns:seen.example.internal", begin=clock.timestamp() - 50 * DAY))
        for place in places:
            self.installation.store.write(
                lambda tx, place=place: record.saw(tx, place, track(tx, facts, source="scanned"), found_by="a scan")
            )

    def _set(self, table: type[SQLModel], where: Any, **values: Any) -> None:
        self.installation.store.write(lambda tx: tx.execute(update(table).where(where).values(**values)) and None)

    def _find(self) -> None:
        """Which of them is worth a page of its own."""
        for row in tracked_rows(self.product):
            for word, text in (
                ("fine", "fine.example"),
                ("expired", "over.example"),
                ("orphan", "orphan.example"),
                ("manual", "by-hand"),
                ("renewed", "shop.example"),
                ("seen", "seen.example"),
                ("script", "script"),
                ("rtl", "evil"),
                ("huge", "yyyyyyyy"),
                ("many-names", f"{LONG[:60]}-0"),
                ("device", "sensor-00"),
                ("revoked", "gone.example"),
            ):
                if text in row.shown_as:
                    self.filled.tracked.setdefault(word, row.id)
            if row.kind != "certificate":
                self.filled.tracked.setdefault(row.kind, row.id)

