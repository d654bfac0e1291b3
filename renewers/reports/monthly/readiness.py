"""Short lives: what a program renews and what a person does, and what breaks first where lives are 100 or 47 days.

These are the steps that the CA/Browser Forum's ballot SC-081v3 sets for public certificates (100 days from 15 March
2027, 47 from 15 March 2029); an internal CA is free, and its owners may want to know all the same. Whether a holder
renews with a program or by hand is not told to us, and counted apart.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from ca.store import Store
from renewers.inventory import shown
from renewers.issuers import SuggestsWindow
from renewers.issuers.standing import limits_of
from renewers.lifecycle import Lifecycle
from renewers.models import IssuerHealth, Owner, Work
from renewers.reports.monthly.tallying import First, Tally
from renewers.reports.monthly.walking import PERSON, PROGRAM, Owned, is_leaf, lifetime, who_renews
from renewers.timing.lead_time import DAY

LIMITS = (100, 47)
"""Longest lives to be ready for, in days."""
YEAR = 365 * DAY
FIRST = 15
TEXT = 120
MOST_FAILING = 100_000
BY_HAND, FAILS, STOPS = "by-hand", "failing", "stopped"
"""Why something would break: a person renews it; its renewal fails now; it has stopped, and only a person goes on."""


class Readiness:
    """Counts who renews what by how long it lives, and keeps what would break first."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._lives: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._yearly: Counter[str] = Counter()
        self._by_hand, self._asked = Tally(), Tally()
        self._breaking = First(FIRST)
        self._why: Counter[str] = Counter()
        self._failing = _failing(lifecycle.store)
        self._usual = next(iter(lifecycle.policy.issuers), "")

    def add(self, row: Any, owned: Owned) -> None:
        """One more; only leaves count."""
        if not is_leaf(row):
            return
        who, life = who_renews(row), lifetime(row)
        self._lives[who][_bracket(life)] += 1
        if who == PERSON:
            self._add_by_hand(row, owned, life)
        elif who == PROGRAM:
            self._asked.add(self._usual if row.issuers == "[]" else str(json.loads(row.issuers)[0]))
            why = self._failing.get(row.lineage_id)
            if why is not None:
                self._break(row, owned, life, why)

    def figures(self) -> dict[str, Any]:
        """As the report keeps it. Names of owners are looked up for the few that are listed."""
        hands, others = self._by_hand.top(10)
        owners = _owner_names(self._lifecycle.store)
        first = [{**row, "owner": owners.get(row["owner"])} for row in self._breaking.rows()]
        return {
            "lives": {who: dict(sorted(counts.items())) for who, counts in sorted(self._lives.items())},
            "by_hand_yearly": {word: round(count) for word, count in self._yearly.items()},
            "by_hand_issuers": [{"issuer": shown.line(word, TEXT), "count": count} for word, count in hands],
            "by_hand_others": others,
            "why": dict(sorted(self._why.items())),
            "first": first,
            "issuers": _issuers(self._lifecycle, dict(self._asked.top(1000)[0])),
        }

    def _add_by_hand(self, row: Any, owned: Owned, life: int) -> None:
        self._by_hand.add(row.issuer)
        yearly: Any = self._yearly  # counts of renewals, in fractions until they are told
        yearly["now"] += YEAR / max(life, DAY)
        for days in LIMITS:
            yearly[str(days)] += YEAR / max(min(life, days * DAY), DAY)
        if life > min(LIMITS) * DAY:
            self._break(row, owned, life, BY_HAND)

    def _break(self, row: Any, owned: Owned, life: int, why: str) -> None:
        self._why[why] += 1

        def make() -> dict[str, Any]:
            named = {"name": shown.line(row.shown_as, TEXT), "issuer": shown.line(row.issuer, TEXT)}
            owner = None if owned.is_orphan else owned.owner_id
            return {**named, "owner": owner, "not_after": row.not_after, "life": life, "why": why}

        self._breaking.add(row.not_after, row.id, make)


def _bracket(life: int) -> str:
    return next((str(days) for days in sorted(LIMITS) if life <= days * DAY), "longer")


def _failing(store: Store) -> Mapping[int, str]:
    """The lineages whose renewal fails now, or has stopped."""
    query = select(col(Work.subject), col(Work.state)).where(
        col(Work.kind) == "renew", col(Work.failing_since).is_not(None)
    )
    with store.read() as connection:
        rows = connection.execute(query.limit(MOST_FAILING)).all()
    return {int(row.subject): STOPS if row.state == "stopped" else FAILS for row in rows if row.subject.isdigit()}


def _owner_names(store: Store) -> Mapping[int, str]:
    with store.read() as connection:
        rows = connection.execute(select(col(Owner.id), col(Owner.name)).limit(MOST_FAILING)).all()
    return {int(row[0]): shown.line(row[1], TEXT) for row in rows if row[0] is not None}


def _issuers(lifecycle: Lifecycle, asked: Mapping[str, int]) -> list[dict[str, Any]]:
    """What each issuer of the settings can do, and whether it answers."""
    with lifecycle.store.read() as connection:
        health = {row.issuer: row for row in connection.execute(select(IssuerHealth))}
    found = []
    for name, issuer in lifecycle.issuers.items():
        row = health.get(name)
        limits = [f"{one.count} {one.name} in {one.period_seconds // 3600} h" for one in limits_of(issuer)]
        found.append(
            {
                "name": name,
                "certificates": asked.get(name, 0),
                "suggests_windows": isinstance(issuer, SuggestsWindow),
                "limits": limits,
                "failing_since": None if row is None else row.failing_since,
                "last_success": None if row is None else row.last_success,
            }
        )
    return found
