"""Owners by the thousand with certificates each, and whether what came out of it is theirs alone.

Every name and address carries the number of its owner, so that one that stands in another's letter is seen, in
whichever part, encoding or link. Used by `letters.py` and by `tests/bench/mail.py`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

from ca.store import Store
from renewers.models import Lineage, Owner, Tracked, TrackedName
from tests.bench.due import append
from tests.mailserver import Taken
from tests.renewers import tracking

DAY = 86400
NOW = 1_900_005_600
"""A Sunday, 18:00 UTC: everybody's digest is due by the Tuesday after."""
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo")
NEEDING = 10
"""One in so many certificates is renewed by hand, and needs somebody."""
_ADDRESS = re.compile(r"(?:team|backup|lead)-(\d{4})@o(\d{4})\.example")
_ANY = re.compile(r"\bo(\d{4})\.example|(?:team|backup|lead)-(\d{4})")
_LINK = re.compile(r"cwl_([A-Za-z0-9_-]+)")


@dataclass(frozen=True)
class Population:
    """So many owners, with so many certificates each."""

    owners: int
    each: int

    def address(self, owner: int, who: str = "team") -> str:
        """An owner's mailbox, or one of its path."""
        return f"{who}-{owner:04}@o{owner:04}.example"

    def names(self, owner: int) -> list[str]:
        """Its certificates, in the order of their ids."""
        return [f"c{place}.o{owner:04}.example" for place in range(self.each)]

    def needing(self, owner: int) -> list[str]:
        """Those of them that need somebody."""
        return [name for place, name in enumerate(self.names(owner)) if place % NEEDING == 0]

    def settle(self, store: Store) -> None:
        """Write them down."""
        total = self.owners * self.each
        append(store, Owner, range(self.owners), self._owner)
        append(store, Lineage, range(total), self._lineage)
        append(store, Tracked, range(total), self._tracked)
        append(
            store,
            TrackedName,
            range(total),
            lambda place: {"name": f"dns:{self._name(place)}", "tracked_id": place + 1},
        )

    def _name(self, place: int) -> str:
        return f"c{place % self.each}.o{place // self.each:04}.example"

    def _owner(self, owner: int) -> dict[str, Any]:
        path = json.dumps([self.address(owner, "backup"), self.address(owner, "lead")])
        who = {"id": owner + 1, "name": f"team-{owner:04}", "email": self.address(owner), "escalation": path}
        return {**who, "time_zone": ZONES[owner % 4], "is_fallback": False, "created_at": NOW, "created_by": "test"}

    def _is_manual(self, place: int) -> bool:
        return place % self.each % NEEDING == 0

    def _lineage(self, place: int) -> dict[str, Any]:
        texts = {"names": "[]", "names_key": f"{place}", "issuers": "[]", "profile": "", "key_type": "", "window": ""}
        who = {"id": place + 1, "name": self._name(place), "owner_id": place // self.each + 1, "current_id": place + 1}
        mode = "manual" if self._is_manual(place) else "renewed"
        return {
            **texts,
            **who,
            "mode": mode,
            "key_age": 0,
            "may_shrink": False,
            "created_at": NOW,
            "created_by": "test",
        }

    def _tracked(self, place: int) -> dict[str, Any]:
        life = 365 * DAY if self._is_manual(place) else 90 * DAY
        left = (31 + place % 27) * DAY if self._is_manual(place) else (40 + place % 49) * DAY
        name, end = self._name(place), NOW + left
        who = {"id": place + 1, "shown_as": name, "subject": f"CN={name}", "lineage_id": place + 1}
        whose = {"answering_id": place // self.each + 1, "stage": "due" if self._is_manual(place) else "fine"}
        times = {"not_before": end - life, "not_after": end - 1, "recorded_at": end - life, "next_look": end}
        return tracking.tracked_row(**who, **whose, **times)


def faults(population: Population, taken: Taken, *, is_digest: bool = True) -> list[str]:
    """Whatever is wrong with a message: whom it went to, whose things are in it, how it is put together."""
    (recipient, *others), message = taken.recipients, taken.message
    found = [f"{recipient}: {len(others) + 1} recipients"] if others else []
    address = _ADDRESS.fullmatch(recipient)
    if address is None or address[1] != address[2]:
        return [*found, f"{recipient} is nobody's mailbox"]
    if str(message["To"]) != recipient or message["Cc"] or message["Bcc"] or len(taken.rcpt) != 1:
        found.append(f"{recipient}: the header says {message['To']}")
    strangers = sorted(_owners_in(taken, message) - {address[1]})
    found += [f"{recipient}: things of {', '.join(strangers)}"] if strangers else []
    # Afterwards: what is wrong with base64 is known when it has been decoded.
    found += [f"{recipient}: {part.get_content_type()} has {part.defects}" for part in message.walk() if part.defects]
    missing = _missing(population, int(address[1]), message) if is_digest else []
    return found + [f"{recipient}: {fault}" for fault in missing]


def _owners_in(taken: Taken, message: EmailMessage) -> set[str]:
    """The numbers of all owners whose names or addresses stand anywhere in it."""
    texts = list(_texts(message))
    texts += [_opened(link) for text in texts for link in _LINK.findall(text)]
    return {
        one
        for text in (taken.sender, taken.mail, *taken.rcpt, *texts)
        for pair in _ANY.findall(text)
        for one in pair
        if one
    }


def _texts(message: EmailMessage) -> Iterator[str]:
    """Every header and every part, decoded; pictures, too, whose text chunks may say something."""
    for part in message.walk():
        yield "\n".join(f"{name}: {value}" for name, value in part.items())
        if not part.is_multipart():
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            yield content.decode("utf-8" if part.get_content_maintype() == "text" else "latin-1")


def _opened(link: str) -> str:
    """What stands in a signed link before its signature."""
    return urlsafe_b64decode(link + "=" * (-len(link) % 4)).decode("latin-1")


def _missing(population: Population, owner: int, message: EmailMessage) -> list[str]:
    """What the letter should have and has not: all certificates in its table, and what needs somebody in each text."""
    parts = {part.get_content_type(): part for part in message.walk()}
    wanted = {"text/plain", "text/html", "text/csv", "text/calendar", "image/png", "multipart/alternative"}
    if lacking := wanted - set(parts):
        return [f"no {', '.join(sorted(lacking))}"]
    order = [part.get_content_type() for part in parts["multipart/alternative"].iter_parts()]
    found = [] if order[0] == "text/plain" else [f"alternatives are {order}"]
    plain, html, table = (str(parts[f"text/{kind}"].get_content()) for kind in ("plain", "html", "csv"))
    for kind, text in (("text", plain), ("HTML", html)):
        lost = [name for name in population.needing(owner) if name not in text]
        found += [f"{len(lost)} that need somebody are not in the {kind}"] if lost else []
    rows = list(csv.reader(io.StringIO(table)))[1:]
    listed = {cell for row in rows for cell in row}
    if len(rows) != population.each or (lost := [name for name in population.names(owner) if name not in listed]):
        found.append(f"the table has {len(rows)} rows, of {population.each}")
    if re.search(r"<[a-z]+[ >]|view (this|it) in|HTML", plain):
        found.append("the text does not stand alone")
    return found
