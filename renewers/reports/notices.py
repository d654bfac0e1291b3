"""What a letter says that is about none of the owner's certificates: alarms, consumers, and what was never issued."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from renewers.models import Alarm, Consumer, Holding
from renewers.reports import reading, words
from renewers.telling.events import rank

OF_CONSUMERS = (
    *("consumer-stale", "consumer-unreachable", "consumer-refuses", "consumer-fell-back"),
    *("consumer-holds-another", "consumer-not-probed", "consumer-lets-in", "consumer-keeps-out"),
)
"""Alarms about who must hold bundles and CRLs; `renewers/distribution` raises them."""
MOST = 100


@dataclass(frozen=True, slots=True)
class Notice:
    """Something in a sentence, since when, and what to do. All text is harmless."""

    subject: str
    message: str
    hint: str
    since: int
    is_now: bool
    explanation: str = ""


def of_crossing(crossing: Any) -> Notice:
    """What a row of `Crossing` says by itself."""
    return Notice(
        words.plain(crossing.subject, 120),
        words.plain(crossing.message, 600),
        words.plain(crossing.hint or ""),
        crossing.crossed_at,
        is_now=crossing.urgency == "immediate",
    )


def of_owner(connection: Connection, owner_id: int) -> Iterator[Notice]:
    """What stands about an owner's consumers, and about certificates that it waits for in vain."""
    subjects = _consumers(connection, owner_id)
    query = select(Alarm).where(col(Alarm.kind).in_(OF_CONSUMERS), col(Alarm.subject).in_(subjects))
    for row in connection.execute(query.order_by(col(Alarm.since)).limit(MOST)) if subjects else ():
        is_now = rank(row.severity) >= rank("error")
        message = words.plain(row.message, 600)
        yield Notice(words.plain(row.subject, 120), message, words.plain(row.hint or ""), row.since, is_now)
    for name, work in reading.wanted_in_vain(connection, owner_id)[:MOST]:
        message = f"its first certificate is not issued: {words.plain(work.last_error or 'no reason is known')}"
        hint = "Mend the cause, then renew it now."
        yield Notice(words.name(name), message, hint, work.failing_since, is_now=True)


def soonest_first(notices: Iterable[Notice]) -> tuple[Notice, ...]:
    """Those for now first, of these the longest standing."""
    return tuple(sorted(notices, key=lambda notice: (not notice.is_now, notice.since, notice.subject)))


def _consumers(connection: Connection, owner_id: int) -> list[str]:
    """What alarms about an owner's consumers are about: each by itself, and each with a stream."""
    mine = select(col(Consumer.id), col(Consumer.name)).where(col(Consumer.owner_id) == owner_id).limit(MOST)
    names = {row.id: row.name for row in connection.execute(mine)}
    if not names:
        return []
    streams = select(col(Holding.consumer_id), col(Holding.stream)).where(col(Holding.consumer_id).in_(names))
    held = [f"{names[row.consumer_id]}/{row.stream}" for row in connection.execute(streams)]
    return [*names.values(), *held]
