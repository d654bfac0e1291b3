"""To how many consumers a change of our revocation lists is carried, by which kind of lists they hold. Reads alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

from sqlalchemy import select
from sqlmodel import col

from renewers.distribution.holdings import ACTIVE
from renewers.lifecycle import Lifecycle
from renewers.models import Consumer


def carried_to(lifecycle: Lifecycle) -> Mapping[str, int]:
    """Active consumers that hold our lists: `complete`, `shards` or `delta`, and how many of each."""
    found: Counter[str] = Counter()
    with lifecycle.store.read() as connection:
        for needs in connection.execute(select(col(Consumer.needs)).where(col(Consumer.state) == ACTIVE)).scalars():
            found[json.loads(needs).get("crl", "none")] += 1
    del found["none"]
    return dict(found)
