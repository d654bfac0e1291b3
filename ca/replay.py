"""What a changed profile would have said to those who were issued certificates by the one in force.

The judge is the one of issuance (`ca/policy.py`), asked of both: only what they answer differently is told. Refusals
are not kept, so that what would be newly allowed shows among issuances alone; the examples beside a profile are for
the rest. A wish that left the lifetime to the profile is taken to leave it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509
from sqlalchemy import select
from sqlmodel import col

from ca import certificates, policy
from ca.access import Role
from ca.certificates import Query, Stored
from ca.errors import BadRequest, Reason
from ca.installation import Installation
from ca.keys.algorithms import key_type_of
from ca.models import ApiToken
from ca.policy import Subject
from ca.profiles.profile import Profile
from ca.profiles.rules import Attributes

MOST = 10_000
"""How many issuances one replay looks at: a second or two."""
SHOWN = 100
"""How many of each kind are told; the others are counted."""


@dataclass(frozen=True, slots=True)
class Change:
    """A certificate that the two profiles decide differently about, and why whichever refuses it does."""

    serial: str
    requested_by: str
    names: tuple[str, ...]
    reasons: tuple[Reason, ...]


@dataclass(slots=True)
class Replay:
    """What came of it."""

    looked: int = 0
    unknown: int = 0
    """Issued to somebody whose role is not known any more: not judged."""
    refused: int = 0
    allowed: int = 0
    newly_refused: list[Change] = field(default_factory=list)
    newly_allowed: list[Change] = field(default_factory=list)


def replay(
    installation: Installation, new: Profile, last: int, progress: Callable[[int], None] = lambda _: None
) -> Replay:
    """Ask the profile in force and `new` about the last issuances of that name, newest first."""
    if not 1 <= last <= MOST:
        raise BadRequest(f"between 1 and {MOST} issuances are looked at", code="bad-limit")
    old, found, cursor = installation.profiles[new.name], Replay(), None
    roles = _Roles(installation)
    while found.looked < last:
        limit = min(certificates.MAX_PAGE, last - found.looked)
        page, cursor = certificates.page(installation.store, Query(profile=old.name), cursor=cursor, limit=limit)
        for stored in page:
            _look(found, stored, old, new, roles)
        progress(found.looked)
        if cursor is None:
            break
    return found


def _look(found: Replay, stored: Stored, old: Profile, new: Profile, roles: _Roles) -> None:
    if stored.signature is None:
        return
    found.looked += 1
    who = roles.of(stored)
    if who is None:
        found.unknown += 1
        return
    before, after = (policy.judge(one, _subject(stored, who, old, one)) for one in (old, new))
    if bool(before) == bool(after):
        return
    change = Change(stored.serial, stored.requested_by, tuple(map(str, stored.names())), tuple(after or before))
    if after:
        found.refused += 1
        found.newly_refused += [change] if found.refused <= SHOWN else []
    else:
        found.allowed += 1
        found.newly_allowed += [change] if found.allowed <= SHOWN else []


def _subject(stored: Stored, who: tuple[Role, Attributes], old: Profile, asked: Profile) -> Subject:
    lifetime = stored.not_after - stored.not_before + 1
    lifetime = asked.lifetime if lifetime == old.lifetime else lifetime
    public_key = x509.load_der_x509_certificate(stored.der).public_key()
    return Subject(stored.names(), key_type_of(public_key), lifetime, *who)  # type: ignore[arg-type]


class _Roles:
    """As whom certificates were asked for, as far as that is known now; see `ca/enrolment.py`."""

    def __init__(self, installation: Installation) -> None:
        columns = (col(ApiToken.name), col(ApiToken.role), col(ApiToken.attributes))
        with installation.store.read() as connection:
            self._tokens = {
                f"token:{name}": (Role(role), json.loads(attributes))
                for name, role, attributes in connection.execute(select(*columns))
            }

    def of(self, stored: Stored) -> tuple[Role, Attributes] | None:
        """Role and attributes; None if nobody knows."""
        role, attributes = self._tokens.get(stored.requested_by, (None, None))
        if stored.renews is not None:
            return (role, attributes) if role is Role.REQUESTER else (Role.HOLDER, None)
        if role is not None:
            return role, attributes
        kind = stored.requested_by.partition(":")[0]
        known: dict[str, tuple[Role, Attributes]] = {"local": (Role.ADMIN, {}), "system": (Role.OPERATOR, {})}
        return known.get(kind)
