"""For which offline CAs somebody has to walk: their list ends, or was overtaken, and nobody here can sign the next."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlmodel import col

from ca import clock, crl
from ca.authority import OFFLINE, State
from ca.installation import Installation
from ca.models import Ceremony


@dataclass(frozen=True, slots=True)
class Due:
    """An offline CA that has to sign its next list; `left` is the life of the present one, seconds."""

    authority: str
    why: str
    left: int


def lists(installation: Installation) -> list[Due]:
    """Those whose list has a quarter of its life left, or says less than the tables; a last one ends with its CA."""
    now = clock.timestamp()
    offline = {
        row.name: row.not_after
        for row in installation.authorities.all()
        if row.key_label == OFFLINE and row.state != State.RETIRED and row.not_after > now
    }
    found = []
    for status in crl.statuses(installation):
        if status.authority not in offline:
            continue
        left, life = status.next_update - now, status.next_update - status.this_update
        is_last = status.next_update == offline[status.authority]
        if status.due_at == 0:
            found.append(Due(status.authority, "something was revoked, or a backup restored", left))
        elif not is_last and (left < life / 4 or status.due_at <= now):
            found.append(Due(status.authority, "its CRL ends", left))
    return found


def carried(installation: Installation) -> int:
    """How many ceremonies wait for their answer."""
    waiting = select(func.count()).select_from(Ceremony).where(col(Ceremony.outcome).is_(None))
    with installation.store.read() as connection:
        return connection.execute(waiting).scalar_one()
