"""All lists are looked at again and again, and one that lets somebody in whom it should not is made anew.

Who is revoked and stands on no list is let in until somebody acts, so nobody is waited for: the tables are published
again. Only what takes nobody away is done like that. Where something stands on a list that no table knows, a row may
have been removed to have it forgotten, and what is published is the better witness: people look into that, with the
ledger. What is wrong again after it was made anew is wrong for a reason that another list does not mend.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import update
from sqlmodel import col

from ca import clock, completeness
from ca.authority import OFFLINE
from ca.completeness import Checked, Place
from ca.delta import DELTA
from ca.installation import Installation
from ca.models import DeltaList, RevocationList
from ca.store import Transaction

AGAIN = timedelta(hours=1)
"""How long a list that was made anew is not made anew again."""


class Rounds:
    """Goes through all lists, a few at a time; keeps what it found of each at its last look."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._waiting: deque[Place] = deque()
        self._found: dict[Place, Checked] = {}
        self._mended: dict[Place, float] = {}

    def step(self, seconds: float) -> list[Checked]:
        """Check the next lists for so long, one at least; returns those that are wrong."""
        ends, wrong = clock.monotonic() + seconds, dict[Place, Checked]()
        standing = completeness.places(self._installation)
        for place in self._found.keys() - set(standing):
            del self._found[place]
        for _ in standing:
            self._waiting = self._waiting or deque(standing)
            place = self._waiting.popleft()
            if place in standing:
                self._found[place] = found = completeness.check(self._installation, place)
                wrong |= {place: found} if found.wrong else {}
            if clock.monotonic() >= ends:
                break
        return list(wrong.values())

    def mend(self, found: Checked) -> bool:
        """Have a list that was found wrong made anew, and look at it first afterwards.

        False if that would take somebody away, if it was done within the hour, or if its key is not here.
        """
        authority = self._installation.authorities.get(found.authority)
        place = (authority.id or 0, found.shard)
        is_done = clock.monotonic() < self._mended.get(place, 0)
        if not found.wrong or found.unexplained or is_done or authority.key_label == OFFLINE:
            return False
        self._installation.store.write(lambda tx: _make_due(tx, place))
        self._mended[place] = clock.monotonic() + AGAIN.total_seconds()
        self._waiting.appendleft(place)
        return True

    @property
    def troubles(self) -> Mapping[str, list[str]]:
        """By CA, what is wrong with its lists as of the last look at each."""
        found: dict[str, list[str]] = {}
        for one in list(self._found.values()):
            if one.wrong:
                found.setdefault(one.authority, []).extend(one.findings)
        return found

    @property
    def counts(self) -> Mapping[str, tuple[int, int]]:
        """By CA, how much is wrong, and how long ago the list was looked at that was looked at longest ago."""
        now, counts = clock.timestamp(), dict[str, tuple[int, int]]()
        for one in list(self._found.values()):
            wrong, age = counts.get(one.authority, (0, 0))
            counts[one.authority] = (wrong + one.wrong, max(age, now - one.at))
        return counts


def _make_due(tx: Transaction, place: Place) -> None:
    id_, shard = place
    if shard == DELTA:
        tx.execute(update(DeltaList).where(col(DeltaList.authority_id) == id_).values(due_at=0))
    else:
        lists = col(RevocationList.authority_id) == id_, col(RevocationList.shard) == shard
        tx.execute(update(RevocationList).where(*lists).values(due_at=0))
