"""What the link of a letter asks about, and what may be answered: read from the world as it is, not from the letter.

A link fits while its recipient still hears for the owner, the owner still answers for the certificate, and there is
still something to do. Nothing here changes anything; `answers.py` asks again in the very transaction that acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from ca import clock
from ca.errors import Conflict
from renewers.answering import acknowledged, links, mailboxes
from renewers.answering.acknowledged import LONGEST
from renewers.answering.links import Link
from renewers.inventory.facts import CERTIFICATE
from renewers.inventory.joining import OWN, RENEWED
from renewers.inventory.ownership import owner_of
from renewers.inventory.succession import ENDED
from renewers.models import Acknowledged, Endpoint, Lineage, Owner, Tracked
from renewers.plain import one_line

HOUR, DAY = 3600, 86400
LATELY = 30 * DAY
"""What was replaced and was seen in use within that time still needs somebody."""


class Answer(StrEnum):
    """What somebody may say."""

    RENEW = "renew"
    ACKNOWLEDGE = "acknowledge"
    REFUSE = "refuse"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class Question:
    """What a link asks about, and what may be answered."""

    link: Link
    owner: Owner
    tracked: Tracked | None
    lineage: Lineage | None
    choices: tuple[Answer, ...]
    until: int | None
    """The last moment until which somebody may say that it is taken care of."""
    standing: Acknowledged | None

    @property
    def name(self) -> str:
        """What people call it, safe to show."""
        return _name(self.tracked, self.lineage)

    @property
    def is_renewed_here(self) -> bool:
        """Whether this installation renews it: then it is not retired but planned no more."""
        return self.lineage is not None and self.lineage.mode == RENEWED


def ask(connection: Connection, link: Link) -> Question:
    """What may be answered as things stand. `NotFound` or `Conflict` where nothing may."""
    owner = connection.execute(select(Owner).where(col(Owner.id) == link.owner_id)).first()
    if owner is None or not is_recipient(connection, owner, link.recipient):
        raise links.does_not_hold()
    row, lineage = _thing(connection, link.about)
    if not _answers_for(connection, owner, row, lineage):
        raise Conflict("another owner answers for it by now", code="not-yours-any-more", hint="there is nothing to do")
    served = row is not None and _is_served(connection, row)
    if row is not None and (row.replaced_by is not None or row.stage == ENDED) and not served:
        raise Conflict(
            f"{_name(row, lineage)} was renewed or is out of use: nothing is left to do", code="nothing-left"
        )
    until = _latest(row)
    about = f"lineage:{lineage.id}" if lineage is not None else f"tracked:{row.id}"
    return Question(
        link=link,
        owner=Owner(**owner._mapping),
        tracked=None if row is None else Tracked(**row._mapping),
        lineage=None if lineage is None else Lineage(**lineage._mapping),
        choices=_choices(row, lineage, until),
        until=until,
        standing=acknowledged.standing(connection, [about], clock.timestamp()).get(about),
    )


def is_recipient(connection: Connection, owner: Any, address: str) -> bool:
    """Whether letters for an owner go to an address: its own, one of its path, or the fallback owner's."""
    fallback = connection.execute(select(Owner).where(col(Owner.is_fallback))).first()
    held = {*mailboxes.addresses_of(owner), *(() if fallback is None else mailboxes.addresses_of(fallback))}
    return mailboxes.key_of(address) in map(mailboxes.key_of, held)


def identity(owner: Any, address: str) -> str:
    """How the ledger names whoever answered."""
    return f"owner:{owner.name} <{address}>"


def _thing(connection: Connection, about: str) -> tuple[Any, Any]:
    """The rows of what a link is about: something tracked and its lineage, of which there is at least one."""
    kind, _, number = about.partition(":")
    row = lineage = None
    if kind == "tracked":
        row = connection.execute(select(Tracked).where(col(Tracked.id) == int(number))).first()
        lineage_id = None if row is None else row.lineage_id
        lineage = connection.execute(select(Lineage).where(col(Lineage.id) == lineage_id)).first()
    elif kind == "lineage":
        lineage = connection.execute(select(Lineage).where(col(Lineage.id) == int(number))).first()
        current_id = None if lineage is None else lineage.current_id
        row = connection.execute(select(Tracked).where(col(Tracked.id) == current_id)).first()
    if row is None and lineage is None:
        raise Conflict("nobody keeps track of it any more", code="nothing-left", hint="there is nothing to do")
    return row, lineage


def _answers_for(connection: Connection, owner: Any, row: Any, lineage: Any) -> bool:
    if row is not None:
        found = owner_of(connection, row).owner
        return found is not None and found.id == owner.id
    return bool(owner.is_fallback if lineage.owner_id is None else lineage.owner_id == owner.id)


def _is_served(connection: Connection, row: Any) -> bool:
    since = clock.timestamp() - LATELY
    query = select(col(Endpoint.id)).where(col(Endpoint.tracked_id) == row.id, col(Endpoint.last_seen) >= since)
    return connection.execute(query.limit(1)).first() is not None


def _latest(row: Any) -> int | None:
    """The last moment until which it can be acknowledged; None where nothing is left of it."""
    now = clock.timestamp()
    end = now + LONGEST if row is None else min(int(row.not_after), now + LONGEST)
    return end if end > now + HOUR else None


def _choices(row: Any, lineage: Any, until: int | None) -> tuple[Answer, ...]:
    is_open = row is None or (row.replaced_by is None and row.stage != ENDED)
    is_ours = row is not None and row.source == OWN
    is_renewed = lineage is not None and lineage.mode == RENEWED
    is_leaf = row is not None and row.kind == CERTIFICATE and not is_ours
    allowed = {
        Answer.RENEW: is_renewed and is_open,
        Answer.ACKNOWLEDGE: until is not None,
        Answer.REFUSE: row is not None and not is_ours,
        Answer.RETIRE: is_leaf and is_open and not (is_renewed and lineage.current_id == row.id),
    }
    return tuple(answer for answer in Answer if allowed[answer])


def _name(row: Any, lineage: Any) -> str:
    if row is not None:
        return one_line(row.shown_as, 120) or str(row.identity[:23])
    return one_line(lineage.name, 120)
