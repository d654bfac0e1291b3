"""The last CRLs of a CA: good until the CA itself ends, so that nobody who still checks against them is left without.

A CA that is retired signs nothing any more, its lists included. What it has issued may live on in strangers' hands, and
a list that has run out makes them refuse everybody, or nobody. So before it goes it signs every shard and the complete
list once more, with nextUpdate = its own notAfter: no list can come after that (RFC 5280 section 5.1.2.5). While it is
not retired, `CrlPublisher` keeps such a list; it replaces it for a new revocation only, and then by another last one.
"""

from __future__ import annotations

from ca import clock
from ca.authority import State
from ca.crl import COMPLETE, CrlPolicy, CrlPublisher, Published, statuses
from ca.errors import Conflict, Unavailable
from ca.installation import Installation
from ca.profiles.config import LONGEST

TRIES = 5
_LAST = CrlPolicy(lifetime=LONGEST, refresh=LONGEST)
"""Longer than any CA lives: a list ends with its CA, and is never due again."""


def publish_last(installation: Installation, name: str) -> Published:
    """Sign the last lists of an authority, the shards first; returns the complete one. May be done again.

    The numbers are larger than all before. `Conflict` if the authority is retired and so signs no list any more.
    """
    row = installation.authorities.get(name)
    if row.state == State.RETIRED:
        raise Conflict(f"{row.name} is retired and signs no CRL any more", code="authority-retired")
    if row.not_after <= clock.timestamp():
        raise Unavailable(f"the CA certificate of {row.name} has expired", code="authority-expired")
    issuer = installation.authorities.issuer(row.name)
    publisher = CrlPublisher(installation, _LAST)
    for _ in range(TRIES):  # a revocation may come between a shard and the complete list, which then has to wait
        for shard in range(row.crl_shards):
            publisher.rebuild(issuer, shard)
        published = publisher.rebuild(issuer, COMPLETE)
        if published is not None and has_last(installation, row.name):
            return published
    raise Conflict(f"the lists of {row.name} keep changing; ask again", code="changed-meanwhile")


def has_last(installation: Installation, name: str) -> bool:
    """Whether every list of an authority that is not retired is good until its end, and none waits to be made anew."""
    row = installation.authorities.get(name)
    own = [status for status in statuses(installation) if status.authority == row.name]
    now = clock.timestamp()
    return own != [] and all(status.next_update == row.not_after and status.due_at > now for status in own)
