"""Which versions of profiles are in force, in the ledger and on file: what was policy at a time can be looked up.

An entry is made when a version comes into force or a profile goes, and only then: whoever reads the files looks first
at what was said last. The text of a version is kept by its SHA-256, once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select
from sqlmodel import col

from ca import clock
from ca.installation import Installation
from ca.ledger import log
from ca.ledger.state import PROFILE
from ca.models import LedgerEntry, ProfileVersion
from ca.profiles.profile import Profile
from ca.store import Transaction

BY = "system:profiles"
LOADED, REMOVED = "profile-loaded", "profile-removed"


def record(installation: Installation) -> list[str]:
    """Say what is in force, where that is news; returns the names of profiles that changed or went."""
    profiles = {profile.name: profile for profile in installation.profiles}
    with installation.store.read(snapshot=True) as connection:
        if not _news(connection, profiles):
            return []

    def unit(tx: Transaction) -> list[str]:
        if not tx.try_lock("profiles"):  # another replica says it
            return []
        news = _news(tx.connection, profiles)
        for name in news:
            _say(tx, name, profiles.get(name))
        return news

    return installation.store.write(unit)


def _say(tx: Transaction, name: str, profile: Profile | None) -> None:
    if profile is None:
        log.append(tx, REMOVED, f"{PROFILE}{name}", BY)
        return
    of_it = col(ProfileVersion.name) == name, col(ProfileVersion.sha256) == profile.sha256
    if tx.execute(select(col(ProfileVersion.name)).where(*of_it)).first() is None:
        row = {"name": name, "sha256": profile.sha256, "content": profile.text, "loaded_at": clock.timestamp()}
        tx.execute(insert(ProfileVersion).values(**row))
    log.append(tx, LOADED, f"{PROFILE}{name}", BY, sha256=profile.sha256)


def _news(connection: Connection, profiles: Mapping[str, Profile]) -> list[str]:
    known = connection.execute(select(col(ProfileVersion.name)).distinct()).scalars().all()
    said = {name: _last(connection, name) for name in {*known, *profiles}}
    now = {name: (LOADED, profiles[name].sha256) if name in profiles else (REMOVED, None) for name in said}
    return sorted(name for name in said if said[name] != now[name] and (name in profiles or said[name] is not None))


def _last(connection: Connection, name: str) -> tuple[Any, Any] | None:
    """What was said last of a profile."""
    query = select(col(LedgerEntry.body)).where(col(LedgerEntry.subject) == f"{PROFILE}{name}")
    body = connection.execute(query.order_by(col(LedgerEntry.id).desc()).limit(1)).scalar()
    if body is None:
        return None
    found = json.loads(body)
    return found.get("action"), found.get("sha256")
