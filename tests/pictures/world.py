"""What there is to be seen: an installation in which something of everything is, well and badly, with hostile names.

It is written by the product's own functions, most of them some time ago (`clock.pinned`), so that what pages and
letters say of it is what they would say of a real one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

from sqlalchemy import func, select
from sqlmodel import col

from ca import approval, clock, revocation
from ca.access import Caller, Role
from ca.errors import Forbidden
from ca.installation import ApprovalPolicy
from ca.keys import pkcs8
from ca.keys.algorithms import KeyType, spki
from ca.tokens import Grant, create_token
from ca.x509.bundle import pem_certificate
from ca.x509.names import parse
from pki import lifecycle_schedule as schedule
from pki.catching_up import catch_up, look_around
from pki.initialise import InitPlan, initialise
from pki.product import Product
from renewers.answering import acknowledged, links, mailboxes
from renewers.answering.links import Purpose
from renewers.delivering import destinations
from renewers.delivering.destinations import DestinationPlan
from renewers.discovery import record
from renewers.distribution import consumers
from renewers.distribution.consumers import ConsumerPlan
from renewers.inventory import lineages, owners
from renewers.inventory.facts import read_certificate
from renewers.inventory.finding import find_owner
from renewers.inventory.imports import Target, import_pem
from renewers.inventory.owners import OwnerPlan
from renewers.inventory.plans import LineagePlan
from renewers.inventory.track import track
from renewers.models import Consumer, Letter, Owner, Tracked
from renewers.overview import ahead, tallies
from renewers.reports.monthly import snapshots
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
LONG_ADDRESS = "o.brien+certificates@" + "w" * 40 + ".example"
HOSTILE = (
    SCRIPT,
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    f"evil{RTL}.example.internal",
    "\U0001f525\U0001f468\u200d\U0001f469\u200d\U0001f467 caf\u00e9 \u4f60\u597d",
    LONG,
    HUGE,
    "a\r\nBcc: everybody@example.org\r\n\r\nhello",
    '=HYPERLINK("https://evil.example")',
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
    owners: list[str] = field(default_factory=list)
    consumers: list[str] = field(default_factory=list)
    letters: list[int] = field(default_factory=list)
    """One of each kind and state."""
    approvals: list[int] = field(default_factory=list)
    """Acts that take two persons: one that waits, one of a stranger's words, one granted, one refused."""
    month: str = ""
    rotation: int = 0
    links: dict[str, str] = field(default_factory=dict)
    """The paths of links that letters carry, by what they are about or for."""


def tracked_rows(product: Product) -> list[Any]:
    """Everything tracked, oldest first."""
    with product.installation.store.read() as connection:
        return list(connection.execute(select(Tracked).order_by(col(Tracked.id))).all())


@contextmanager
def cheaply() -> Iterator[None]:
    """Settings of whoever runs this do not count, and key files cost a cheap scrypt."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CERTWRIGHT_")}
    with (
        mock.patch.dict(os.environ, clean, clear=True),
        mock.patch.object(pkcs8, "SCRYPT_N", 1 << 4),
    ):
        yield


def fill(state: Path) -> Filled:
    """Make the installation in a directory that is not there yet. Times are relative to now."""
    now = clock.timestamp()

    def days_ago(days: float) -> AbstractContextManager[None]:
        return clock.pinned(clock.from_timestamp(now - int(days * DAY)))

    with cheaply():
        with days_ago(85):
            made = initialise(state, InitPlan(name="Example", changes=CHANGES))
        filled = Filled(state, made.token.reveal())
        with Product.open(state) as product:
            story = Story(product, filled)
            with days_ago(80):
                story.people()
                story.long_ago()
            for days in (60, 40, 20):
                with days_ago(days):
                    story.as_time_goes_by()
            with days_ago(1 / 12):
                story.lately()
            for hours in (1.9, 1.8, 1.6, 1.4, 1):
                with days_ago(hours / 24):
                    story.as_time_goes_by()
            with days_ago(0):
                story.today()
    return filled


class Story:
    """What has happened."""

    def __init__(self, product: Product, filled: Filled) -> None:
        self.product, self.filled = product, filled
        self.lifecycle, self.installation = product.lifecycle, product.installation
        self._serials = count(1)
        self._keys = count(1)

    def people(self) -> None:
        """Owners: a fallback, some with a path, one with nothing, one whose name is as odd as a name may be."""
        path = ("lead@example.internal", "head-of-platform@example.internal")
        for plan in (
            OwnerPlan("platform", "platform@example.internal", escalation=path[1:]),
            OwnerPlan("payments", "payments@example.internal", escalation=path, time_zone="Europe/Berlin"),
            OwnerPlan("fleet", "fleet@example.internal", time_zone="America/Los_Angeles"),
            OwnerPlan("nothing-to-do", "idle@example.internal"),
            OwnerPlan("O'Brien & Sons (@team/" + "w" * 38 + ")", LONG_ADDRESS),
        ):
            owners.add(self.lifecycle, rig.ADMIN, plan)
        owners.claim(self.lifecycle, rig.ADMIN, "fleet", "name", "dns:devices.example.internal")
        ci = {"profiles": ["mesh"], "attributes": {"namespace": "payments"}}
        create_token(self.installation, rig.ADMIN, Grant("ci", Role.REQUESTER, timedelta(days=90), **ci))

    def long_ago(self) -> None:
        """Certificates for months: what we renew and bring somewhere, a person's, devices' and their holders'."""
        for name, mode, owner in (
            ("shop.example.internal", "renewed", "payments"),
            ("api.example.internal", "renewed", "payments"),
            ("legacy.example.internal", "manual", "payments"),
            ("mail.example.internal", "holder", None),
        ):
            lineages.create(self.lifecycle, rig.ADMIN, LineagePlan(name, (parse(name),), mode=mode, owner=owner))
        for name, lineage, directory in (
            ("shop-edge", "shop.example.internal", "/nonexistent/shop-edge"),
            ("api-gateway", "api.example.internal", str(self.filled.state.parent / "api-gateway")),
        ):
            plan = DestinationPlan(name, lineage, "files", {"directory": directory})
            destinations.add(self.lifecycle, rig.ADMIN, plan)
        for name, kind, owner in (
            ("edge-proxy", "proxy", "payments"),
            ("plant-broker", "broker", "fleet"),
            ("build-host", "host", None),
            ("scooters." + "w" * 50, "devices", "fleet"),
        ):
            consumers.add(self.lifecycle, rig.ADMIN, ConsumerPlan(name, kind, owner, identities=(f"token:{kind}",)))
        for number in range(12):
            self._issue(f"sensor-{number:02}.devices.example.internal", profile="device")
        self._import("dns:shop.partner.example.org", begin=0, days=85, owner="payments")
        partner = LineagePlan("shop.partner.example.org", (parse("shop.partner.example.org"),), owner="payments")
        lineages.create(self.lifecycle, rig.ADMIN, partner)
        catch_up(self.product)

    def as_time_goes_by(self) -> None:
        """All beats: what is due is done, or fails; letters are written about it, figures are kept."""
        for beat in schedule.LIFECYCLE_BEATS:
            beat.run(self.product)
        catch_up(self.product)

    def lately(self) -> None:
        """What others issued, and what hostile ones did; workloads; a revoked one."""
        for age, lifetime, names, owner in (
            (89, 90, ("dns:almost.example.internal",), "payments"),
            (84, 90, ("dns:soon.example.internal", "dns:www.soon.example.internal"), "payments"),
            (70, 90, ("dns:late.example.internal",), "fleet"),
            (10, 90, ("dns:fine.example.internal",), "fleet"),
            (390, 397, ("dns:by-hand.example.internal",), "payments"),
            (380, 397, ("dns:orphan.example.org",), None),
            (95, 90, ("dns:over.example.internal",), "payments"),
            (88, 90, tuple(f"dns:{LONG[:60]}-{number}.example.internal" for number in range(40)), "payments"),
        ):
            self._import(*names, begin=-age, days=lifetime, owner=owner)
        for text in HOSTILE:
            self._import(subject=text, begin=-60, days=90, owner="payments", key=KeyType.RSA2048)
        for number in range(60):
            self._import(f"dns:host-{number:03}.example.internal", begin=-number, days=90, owner="platform")
        for number in range(5):
            self._issue(f"spiffe://example.internal/ns/payments/sa/worker-{number}", profile="mesh")
        gone = self._issue("gone.example.internal", profile="server")
        revocation.revoke(self.installation, rig.ADMIN, gone, revocation.parse_reason("key-compromise"))
        facts = read_certificate(certificate("dns:seen.example.internal", begin=clock.timestamp() - 50 * DAY))
        for place in ("tls:127.0.0.1:1", "smtp:[::1]:1", f"file:/etc/ssl/{'deep/' * 30}shop.pem"):  # nobody is there
            self.installation.store.write(
                lambda tx, place=place: record.saw(tx, place, track(tx, facts, source="scanned"), found_by="a scan")
            )
        look_around(self.product)
        wanted = RotationPlan("issuing", reason="the yearly rotation of the issuing CA, as the calendar says")
        self.filled.rotation = starting.start(self.lifecycle, rig.ADMIN, wanted)

    def today(self) -> None:
        """Somebody takes care of something; a letter has come back."""
        self.as_time_goes_by()
        schedule.settle_answering(self.product)
        tallies.take(self.lifecycle)
        ahead.take(self.lifecycle)
        self._find()
        self._ask()
        why = f"the successor is ordered {SCRIPT}"
        what, until = f"#{self.filled.tracked['soon']}", clock.timestamp() + 3 * DAY
        acknowledged.acknowledge(self.lifecycle, rig.ADMIN, what, until, why)
        self.installation.store.write(lambda tx: mailboxes.bounced(tx, LONG_ADDRESS, f"550 5.1.1 {SCRIPT}"))
        self._names()
        self._link()

    def _ask(self) -> None:
        """What changes CAs takes two persons here."""
        two = replace(self.installation, approval=ApprovalPolicy(two_persons=True))
        ada, more = Caller("token:ada", Role.ADMIN), {"permit": ["dns:internal.example", "ip:10.0.0.0/8"], "days": 365}
        for act, subject, details in (
            ("make a CA", "issuing", more | {"key": "P-256", "subject": f"CN={SCRIPT}"}),
            ("make an admin's token", LONG, {"seconds": 7776000}),
            ("move a CA to another state", "issuing-1", {"to": "retired", "is_now": "active"}),
            ("take over a CA", RTL, {"certificate_sha256": "ab" * 32}),
        ):
            with suppress(Forbidden):
                approval.must(two, ada, act, subject, **details)
        self.filled.approvals = sorted(one.id for one in approval.listing(two, rig.ADMIN))
        approval.decide(two, rig.ADMIN, self.filled.approvals[2], is_granted=True)
        approval.decide(two, rig.ADMIN, self.filled.approvals[3], is_granted=False)

    def _names(self) -> None:
        """What else has a page of its own."""
        self.filled.month = str(snapshots.months(self.installation.store)[0])
        with self.installation.store.read() as connection:
            self.filled.owners = list(connection.execute(select(col(Owner.name))).scalars())
            self.filled.consumers = list(connection.execute(select(col(Consumer.name))).scalars())
            some = select(func.min(col(Letter.id))).group_by(col(Letter.kind), col(Letter.state))
            self.filled.letters = sorted(connection.execute(some).scalars())

    def _link(self) -> None:
        """Where letters lead to."""
        with self.installation.store.read() as connection:
            whose = (col(Letter.owner_id) == find_owner(connection, "payments").id, col(Letter.step) == 0)
            newest = select(Letter).where(*whose).order_by(col(Letter.id).desc()).limit(1)
            letter = connection.execute(newest).one()
        whole = Letter(**letter._mapping)
        about = {name: f"tracked:{id_}" for name, id_ in self.filled.tracked.items()}
        for name in ("by-hand", "failing", "renewed", "script", "soon"):
            link = links.of_letter(whole, Purpose.ACT, about[name])
            self.filled.links[name] = links.path(self.lifecycle, link)
        for purpose in (Purpose.UNSUBSCRIBE, Purpose.PREFERENCES):
            self.filled.links[purpose] = links.path(self.lifecycle, links.of_letter(whole, purpose))

    def _issue(self, name: str, *, profile: str) -> str:
        """Have one issued by our own CA, for a key of its own; its serial number."""
        key = rig.pooled_key(place=next(self._keys))
        return rig.issue(self.installation, name, profile=profile, key=key).serial

    def _import(
        self, *names: str, begin: int, days: int, owner: str | None, subject: str = "", key: KeyType | None = None
    ) -> None:
        """Track one that somebody else issued. What strangers may write, they write."""
        der = certificate(
            *names,
            serial=numbered(1 << 100 | next(self._serials)),
            issuer=dn(b"A Public CA R3"),
            subject=dn((subject or names[0].partition(":")[2][:64]).encode()),
            begin=clock.timestamp() + begin * DAY,
            days=days,
            key=None if key is None else spki(rig.pooled_key(key).public_key()),
        )
        import_pem(self.lifecycle, rig.ADMIN, pem_certificate(der).encode(), Target(owner))

    def _find(self) -> None:
        """Which of them is worth a page of its own."""
        for row in tracked_rows(self.product):
            for word, text in (
                ("fine", "fine.example"),
                ("expired", "over.example"),
                ("orphan", "orphan.example"),
                ("by-hand", "by-hand"),
                ("soon", "soon.example"),
                ("failing", "shop.partner"),
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
            if "api.example" in row.shown_as:  # of several generations, the one that is in use
                self.filled.tracked["renewed"] = row.id
            if row.kind != "certificate":
                self.filled.tracked.setdefault(row.kind, row.id)
