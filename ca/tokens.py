"""API tokens: random, shown once, stored as a hash, scoped to a role and to profiles, always with an end.

    cw_<id>_<secret>

The id finds the row, the secret (256 random bits) is compared by its SHA-256 in constant time. A slow password hash
would add nothing: there is no dictionary of such secrets.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from types import MappingProxyType

from sqlalchemy import insert, select, update
from sqlmodel import col

from ca import approval, clock
from ca.access import GRANTABLE_ROLES, Caller, Operation, Role
from ca.errors import BadRequest, Conflict, NotFound, Unauthenticated
from ca.installation import Installation
from ca.ledger import log
from ca.models import ApiToken
from ca.secret import Secret
from ca.store import Transaction

LONGEST = timedelta(days=366)
FRESH_FOR = 1.0
"""Seconds for which a revocation by another replica may go unnoticed."""
_FORM = re.compile(r"cw_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_ANY = re.compile(r"(cw_[0-9a-f]{12}|cw[a-z](?=_[A-Za-z0-9_-]{16}))_[A-Za-z0-9_-]+")
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
_ATTRIBUTE = re.compile(r"[a-z][a-z_]{0,30}")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token shall be good for."""

    name: str
    role: Role
    lifetime: timedelta
    profiles: Sequence[str] | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


def create_token(installation: Installation, caller: Caller, grant: Grant) -> tuple[ApiToken, Secret]:
    """Make a token. The secret is returned here and nowhere else, ever."""
    caller.must(Operation.MANAGE_TOKENS)
    _check(installation, grant)
    if grant.role is Role.ADMIN:  # who could make one alone would be the second person, too
        seconds = int(grant.lifetime.total_seconds())
        approval.must(installation, caller, "make an admin's token", grant.name, seconds=seconds)
    identity, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    now = clock.timestamp()
    row = ApiToken(
        id=identity,
        name=grant.name,
        secret_sha256=sha256(secret.encode()).digest(),
        role=grant.role.value,
        profiles=json.dumps(None if grant.profiles is None else sorted(grant.profiles)),
        attributes=json.dumps(dict(grant.attributes), sort_keys=True),
        created_at=now,
        created_by=caller.identity,
        expires_at=now + int(grant.lifetime.total_seconds()),
    )

    def unit(tx: Transaction) -> None:
        tx.execute(insert(ApiToken), row.model_dump())
        log.append(tx, "token-created", row.id, caller.identity, **_recorded(row))

    try:
        installation.store.write(unit)
    except Conflict:
        raise Conflict(f"there is already a token named {grant.name!r}", code="token-exists") from None
    return row, Secret(f"cw_{identity}_{secret}")


def revoke_token(installation: Installation, caller: Caller, identity: str) -> ApiToken:
    """End a token, by its id or its name, or by the token itself: it may be all that a finder has."""
    caller.must(Operation.MANAGE_TOKENS)
    if match := _FORM.fullmatch(identity):
        identity = match[1]
    rows = _all(installation)
    # An id is nobody else's, whatever others call their tokens.
    row = next((row for row in rows if row.id == identity), None) or next(
        (row for row in rows if row.name == identity), None
    )
    if row is None:
        raise NotFound(f"there is no token {identity!r}", code="unknown-token", hint="certwright token list")
    if row.revoked_at is not None:
        raise Conflict(f"token {row.name} is revoked already", code="already-revoked")
    now = clock.timestamp()

    def unit(tx: Transaction) -> None:
        tx.execute(update(ApiToken).where(col(ApiToken.id) == row.id).values(revoked_at=now))
        log.append(tx, "token-revoked", row.id, caller.identity, name=row.name, revoked_at=now)

    installation.store.write(unit)
    row.revoked_at = now
    return row


def hide_tokens(text: str) -> str:
    """A text for others in which a token may stand: its id stays, its secret goes; so does that of a link (`cwl_`).

    Of a JSON Web Token nothing stays.
    """
    return _ANY.sub(r"\1_***", _JWT.sub("eyJ***", text))


def list_tokens(installation: Installation, caller: Caller) -> list[ApiToken]:
    """All tokens, newest first."""
    caller.must(Operation.READ_TOKENS)
    return _all(installation)


class TokenCheck:
    """Turns a presented token into a caller. Remembers rows for a second, since every request asks."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._known: dict[str, tuple[float, _Known | None]] = {}

    def caller(self, presented: str) -> Caller:
        """The caller that this token proves, or `Unauthenticated`, with one answer for all that is wrong with it."""
        match = _FORM.fullmatch(presented)
        known = self._find(match[1]) if match else None
        hashed = sha256(match[2].encode()).digest() if match else b""
        is_genuine = hmac.compare_digest(hashed, known.secret_sha256 if known is not None else b"\0" * 32)
        if known is None or not is_genuine or known.ends_at <= clock.timestamp():
            raise Unauthenticated("the token is unknown, expired or revoked", hint="certwright token create")
        return known.caller

    def standing(self, name: str) -> Caller:
        """What the token with a name proves of who once showed it: for a session that rests on it."""
        with self._installation.store.read() as connection:
            found = connection.execute(select(ApiToken).where(col(ApiToken.name) == name)).first()
        known = None if found is None else _known(ApiToken(**found._mapping))
        if known is None or known.ends_at <= clock.timestamp():
            raise Unauthenticated("the token is unknown, expired or revoked", hint="certwright token create")
        return known.caller

    def forget(self) -> None:
        """Ask the database again: a token was revoked here."""
        self._known.clear()

    def _find(self, identity: str) -> _Known | None:
        until, known = self._known.get(identity, (0.0, None))
        if clock.monotonic() >= until:
            with self._installation.store.read() as connection:
                found = connection.execute(select(ApiToken).where(col(ApiToken.id) == identity)).first()
            known = None if found is None else _known(ApiToken(**found._mapping))
            if len(self._known) > 10_000:  # somebody is trying ids
                self._known.clear()
            self._known[identity] = (clock.monotonic() + FRESH_FOR, known)
        return known


@dataclass(frozen=True, slots=True)
class _Known:
    """A token's row, made ready to compare with and to answer from."""

    secret_sha256: bytes
    ends_at: int
    caller: Caller


def _known(row: ApiToken) -> _Known:
    profiles = json.loads(row.profiles)
    caller = Caller(
        identity=f"token:{row.name}",
        role=Role(row.role),
        profiles=None if profiles is None else frozenset(profiles),
        attributes=MappingProxyType(json.loads(row.attributes)),
    )
    return _Known(row.secret_sha256, 0 if row.revoked_at is not None else row.expires_at, caller)


def _all(installation: Installation) -> list[ApiToken]:
    with installation.store.read() as connection:
        rows = connection.execute(select(ApiToken).order_by(col(ApiToken.created_at).desc(), col(ApiToken.id)))
        return [ApiToken(**row._mapping) for row in rows]


def _check(installation: Installation, grant: Grant) -> None:
    if not _NAME.fullmatch(grant.name):
        raise BadRequest(f"{grant.name[:63]!r} cannot name a token", code="bad-token-name")
    if grant.role not in GRANTABLE_ROLES:
        raise BadRequest(f"a token cannot have the role {grant.role}", code="bad-role")
    if not timedelta(0) < grant.lifetime <= LONGEST:
        raise BadRequest(f"a token lives at most {LONGEST.days} days", code="bad-token-lifetime")
    if grant.role is Role.REQUESTER and not grant.profiles:
        raise BadRequest("a requester's token names its profiles", code="token-without-profiles", hint="--profile mesh")
    for profile in grant.profiles or ():
        installation.profiles[profile]
    for name, value in grant.attributes.items():
        if not _ATTRIBUTE.fullmatch(name) or not value or len(value) > 63:
            raise BadRequest(f"{name[:31]!r} is not a usable attribute", code="bad-attribute")


def _recorded(row: ApiToken) -> dict[str, object]:
    return {
        "name": row.name,
        "role": row.role,
        "profiles": row.profiles,
        "attributes": row.attributes,
        "expires_at": row.expires_at,
        "created_at": row.created_at,
        "secret_sha256": row.secret_sha256.hex(),
    }
