"""Keys and algorithms: which there are, how old keys are, which serve several certificates, what could be ML-DSA.

The age of a key is counted from the first certificate that is known for it; when it was really made is known of our own
alone, and not here. What a stranger's program could do with ML-DSA is not known, and said so.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, case, func, select
from sqlmodel import col

from ca.installation import Installation
from ca.keys.algorithms import KeyType
from ca.store import Store
from renewers.inventory.succession import ENDED
from renewers.lifecycle import Lifecycle
from renewers.models import Tracked
from renewers.reports.monthly.tallying import Tally
from renewers.reports.monthly.walking import PROGRAM, Owned, is_leaf, who_renews
from renewers.timing.deadlines import CERTIFICATE
from renewers.timing.lead_time import DAY, Stage

PAGE = 5000
YEAR = 365 * DAY
INTERNAL, DEFAULT_PROFILE = "internal", "server"
"""Our own CA as an issuer, and the profile of lineages that name none."""
ALREADY, BY_SETTING, BY_PROFILE, ISSUER_UNKNOWN, HOLDER_UNKNOWN = (
    *("already", "by-setting", "by-profile"),
    *("issuer-unknown", "holder-unknown"),
)
"""Of a leaf and ML-DSA: it has such a key; its lineage's key type would be enough; its profile would have to allow it,
too; whether its issuer signs it is not known; whether whoever makes its key can is not known."""
AGES = (("up to 90 days", 90 * DAY), ("up to a year", YEAR), ("up to two years", 2 * YEAR))


class Keys:
    """Counts key types, and which leaves could have ML-DSA keys."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._leaves, self._authorities = Tally(), Tally()
        self._ready: Counter[str] = Counter()
        self._allowing = _allowing(lifecycle.installation)
        self._usual = json.dumps(list(lifecycle.policy.issuers))
        self._first: dict[str, str] = {}

    def add(self, row: Any, owned: Owned) -> None:
        """One more: CAs apart from leaves; what has no key does not count."""
        del owned
        if is_leaf(row):
            self._leaves.add(row.key_type or "unknown")
            self._ready[self._readiness(row)] += 1
        elif row.key_type:
            self._authorities.add(row.key_type)

    def figures(self) -> dict[str, Any]:
        """As the report keeps it."""
        leaves, others = self._leaves.top(40)
        authorities, _ = self._authorities.top(40)
        return {
            "leaves": [{"type": type_, "count": count} for type_, count in leaves],
            "leaves_other": others,
            "authorities": [{"type": type_, "count": count} for type_, count in authorities],
            "mldsa_leaves": dict(sorted(self._ready.items())),
        }

    def _readiness(self, row: Any) -> str:
        if row.key_type.startswith("ML-DSA"):
            return ALREADY
        if who_renews(row) != PROGRAM:
            return HOLDER_UNKNOWN
        issuers = row.issuers if row.issuers != "[]" else self._usual
        first = self._first.get(issuers)
        if first is None:
            first = self._first[issuers] = str(next(iter(json.loads(issuers)), ""))
            if len(self._first) > 1000:
                self._first.clear()
        if first != INTERNAL:
            return ISSUER_UNKNOWN
        return BY_SETTING if self._allowing.get(row.profile or DEFAULT_PROFILE) else BY_PROFILE


def _allowing(installation: Installation) -> Mapping[str, bool]:
    """Which profiles let a leaf have an ML-DSA key."""
    return {profile.name: any(is_mldsa(key) for key in profile.keys) for profile in installation.profiles}


def is_mldsa(key_type: KeyType | str | None) -> bool:
    """Whether it is one of FIPS 204's."""
    return str(key_type).startswith("ML-DSA")


def reuse(store: Store, now: int) -> dict[str, Any]:
    """How old the keys of standing leaves are, and how many serve several of them: a walk along the keys' own index."""
    is_standing = and_(col(Tracked.replaced_by).is_(None), col(Tracked.stage).not_in((ENDED, Stage.REPLACED.value)))
    key, standing = col(Tracked.spki_sha256), func.sum(case((is_standing, 1), else_=0))
    query = (
        select(key, func.min(col(Tracked.not_before)), standing)
        .where(col(Tracked.kind) == CERTIFICATE)
        .group_by(key)
        .order_by(key)
        .limit(PAGE)
    )
    cursor, ages, found = b"", [0] * (len(AGES) + 1), Counter[str]()
    while True:
        with store.read() as connection:
            rows = connection.execute(query.where(key > cursor)).all()
        for _, first, count in rows:
            if count:
                age = now - first
                ages[next((place for place, (_, most) in enumerate(AGES) if age <= most), len(AGES))] += 1
                found["keys"] += 1
                found["older_than_a_year"] += age > YEAR
                if count > 1:
                    found["shared"] += 1
                    found["sharing"] += count
        if len(rows) < PAGE:
            break
        cursor = bytes(rows[-1][0])
    words = ("keys", "older_than_a_year", "shared", "sharing")
    labels = [*(word for word, _ in AGES), "older"]
    bars = [{"age": label, "count": count} for label, count in zip(labels, ages, strict=True)]
    return {**{word: found[word] for word in words}, "ages": bars}
