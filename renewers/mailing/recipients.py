"""Who is told: whose something truly is at this moment, and which mailbox of theirs takes mail.

Asked when a letter is opened and again when it is sent, since owners change. A dead mailbox is passed over: the next
one on the owner's escalation path is told, and when all are dead the fallback owner's, so that somebody is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from renewers.answering import mailboxes
from renewers.inventory.ownership import owners_of
from renewers.models import Crossing, Lineage, Owner, Tracked

PAGE = 500


@dataclass(frozen=True, slots=True)
class Recipient:
    """One mailbox that takes mail. `step` is its place on the owner's path, the owner's own mailbox being 0."""

    address: str
    step: int
    reason: str
    """Why this mailbox gets it, for people."""


def whose(connection: Connection, crossings: Sequence[Any]) -> dict[int, Owner | None]:
    """Whose each of these rows of `Crossing` is now, by their ids; None where there is not even a fallback owner."""
    lineages = _by_id(connection, Lineage, (row.lineage_id for row in crossings if row.tracked_id is None))
    about = {row.id: row.tracked_id or _current(lineages.get(row.lineage_id)) for row in crossings}
    tracked = _by_id(connection, Tracked, about.values())
    answers = owners_of(connection, list(tracked.values()))
    named = {row.owner_id for row in crossings} | {lineage.owner_id for lineage in lineages.values()}
    owners = owners_by_id(connection, (id_ for id_ in named if id_ is not None))
    found: dict[int, Owner | None] = {}
    for row in crossings:
        lineage, known = lineages.get(row.lineage_id), answers.get(about[row.id] or 0)
        if known is not None:
            found[row.id] = known.owner
        else:
            owner_id = row.owner_id if lineage is None else lineage.owner_id
            found[row.id] = owners.get(owner_id) or fallback_of(owners)
    return found


def owners_by_id(connection: Connection, ids: Iterable[int]) -> dict[int | None, Owner]:
    """These owners, and the fallback owner."""
    query = select(Owner).where(col(Owner.id).in_(list(set(ids))) | col(Owner.is_fallback))
    return {row.id: Owner(**row._mapping) for row in connection.execute(query)}


def fallback_of(owners: Mapping[int | None, Owner]) -> Owner | None:
    """The fallback owner among these."""
    return next((owner for owner in owners.values() if owner.is_fallback), None)


def reachable(connection: Connection, owner: Owner, *, step: int = 0) -> Recipient | None:
    """The first mailbox that takes mail, from that step of the owner's path on, then the fallback owner's path."""
    fallback = fallback_of(owners_by_id(connection, ()))
    candidates = list(_candidates(owner, fallback, step))
    known = mailboxes.states(connection, [address for address, *_ in candidates])
    passed: list[str] = []
    for address, place, reason in candidates:
        if not mailboxes.is_dead(known, address):
            return Recipient(address, place, f"{reason}; {_passed(passed)}" if passed else reason)
        passed.append(address)
    return None


def declines(connection: Connection, address: str) -> bool:
    """Whether this mailbox wants no digests. What cannot wait it gets all the same."""
    return not mailboxes.wants_digests(mailboxes.states(connection, [address]), address)


def _candidates(owner: Owner, fallback: Owner | None, step: int) -> Iterator[tuple[str, int, str]]:
    for place, address in enumerate(mailboxes.addresses_of(owner)):
        if place >= step:
            yield address, place, _why(owner, place)
    if fallback is not None and fallback.id != owner.id:
        for address in mailboxes.addresses_of(fallback):
            yield (
                address,
                len(mailboxes.addresses_of(owner)),
                f"{fallback.name} is the fallback owner, and answers for {owner.name}",
            )


def _why(owner: Owner, place: int) -> str:
    if place:
        return f"you come next on the escalation path of {owner.name}"
    if owner.is_fallback:
        return f"{owner.name} answers for these, and for what nobody else does"
    return f"{owner.name} answers for these"


def _passed(addresses: Sequence[str]) -> str:
    more = f" and {len(addresses) - 3} more" if len(addresses) > 3 else ""
    return f"mail to {', '.join(addresses[:3])}{more} comes back"


def _current(lineage: Any | None) -> int | None:
    return None if lineage is None else lineage.current_id


def _by_id(connection: Connection, table: Any, ids: Iterable[int | None]) -> dict[int | None, Any]:
    found: dict[int | None, Any] = {}
    wanted = sorted({id_ for id_ in ids if id_ is not None})
    for start in range(0, len(wanted), PAGE):
        query = select(table).where(col(table.id).in_(wanted[start : start + PAGE]))
        found |= {row.id: row for row in connection.execute(query)}
    return found


def crossings_of(connection: Connection, ids: Sequence[int]) -> list[Any]:
    """These rows of `Crossing`, oldest first."""
    found = _by_id(connection, Crossing, ids)
    return [found[id_] for id_ in sorted(ids) if id_ in found]
