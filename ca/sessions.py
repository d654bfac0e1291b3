"""Signed in with a browser: sessions, of which only hashes are stored.

A session is 256 random bits in a cookie, and ends at its time, when it was idle for too long, when somebody signs out,
and when what it rests on (a token, a certificate, what a provider's groups are granted) no longer holds. It is no
credential of the API: `pki/web/dashboard` alone reads it. `sign_in_links.py` has the links by which one begins.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from types import MappingProxyType

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation, Role
from ca.errors import Forbidden, NotFound, Unauthenticated
from ca.installation import Installation
from ca.ledger import log
from ca.models import BrowserSession, SignInLink
from ca.secret import Secret
from ca.store import Transaction

FRESH_FOR = 1.0
"""Seconds for which an end that another replica has set may go unnoticed."""
SEEN_EVERY = 60
"""Seconds between two notes that a session is in use."""
MAX_REMEMBERED = 10_000
_FORM = re.compile(r"[A-Za-z0-9_-]{43}")

Prove = Callable[[str], Caller]
"""Who a credential proves now, by its name (`token:ci`, `certificate:<serial>`, ...), or `Unauthenticated`."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a session lasts, and how long while nothing happens."""

    session: timedelta
    idle: timedelta


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in."""

    caller: Caller
    secret_sha256: bytes
    how: str
    credential: str | None
    seen_at: int
    expires_at: int


def sign_in(
    installation: Installation,
    caller: Caller,
    terms: Terms,
    *,
    how: str,
    credential: str,
    before: Callable[[Transaction], None] | None = None,
) -> Secret:
    """Begin a session for somebody whom something else has proved. `before` is done with it or not at all."""
    made, cookie = prepare(caller, how, credential, terms)

    def unit(tx: Transaction) -> None:
        if before is not None:
            before(tx)
        record(tx, made)

    installation.store.write(unit)
    return cookie


def sign_out(installation: Installation, secret: str) -> bool:
    """End a session by its secret. Whether there was one."""
    return _end(installation, col(BrowserSession.secret_sha256) == hash_of(secret), None) > 0


def end_sessions(installation: Installation, caller: Caller, identity: str) -> int:
    """End every session of an identity: somebody has lost a machine."""
    caller.must(Operation.MANAGE_TOKENS)
    ended = _end(installation, col(BrowserSession.identity) == identity, caller.identity)
    if ended == 0:
        raise NotFound(f"nobody is signed in as {identity!r}", code="unknown-session", hint="certwright token sessions")
    return ended


def list_sessions(installation: Installation, caller: Caller, *, most: int = 200) -> list[BrowserSession]:
    """Who is signed in, newest first."""
    caller.must(Operation.READ_TOKENS)
    newest = select(BrowserSession).order_by(col(BrowserSession.created_at).desc()).limit(most)
    with installation.store.read() as connection:
        alive = newest.where(col(BrowserSession.expires_at) > clock.timestamp())
        return [BrowserSession(**row._mapping) for row in connection.execute(alive)]


def forget_ended(installation: Installation) -> int:
    """Forget links and sessions that have ended; used links stay until their end, to be known as used."""
    now = clock.timestamp()

    def unit(tx: Transaction) -> int:
        return sum(
            int(tx.execute(delete(table).where(col(table.expires_at) <= now)).rowcount)
            for table in (SignInLink, BrowserSession)
        )

    return installation.store.write(unit)


class SessionCheck:
    """Turns the secret of a cookie into a session. Remembers each for a second, since every page asks."""

    def __init__(self, installation: Installation, terms: Terms, prove: Prove) -> None:
        self._installation = installation
        self._idle = int(terms.idle.total_seconds())
        self._prove = prove
        self._known: dict[bytes, tuple[float, Session]] = {}

    def find(self, secret: str) -> Session | None:
        """The session, if it goes on. One that has ended is nobody: the page to sign in is the answer."""
        if not _FORM.fullmatch(secret):
            return None
        hashed, now = hash_of(secret), clock.timestamp()
        until, found = self._known.get(hashed, (0.0, None))
        if found is None or clock.monotonic() >= until:
            found = self._look_up(hashed)
            self._known.pop(hashed, None)
            if found is None:
                return None
            self._remember(hashed, found)
        if found.expires_at <= now or found.seen_at + self._idle <= now:
            return None
        if now - found.seen_at >= min(SEEN_EVERY, self._idle // 2):
            self._see(found, now)
        return found

    def forget(self) -> None:
        """Ask the database again: something ended here."""
        self._known.clear()

    def _look_up(self, hashed: bytes) -> Session | None:
        with self._installation.store.read() as connection:
            query = select(BrowserSession).where(col(BrowserSession.secret_sha256) == hashed)
            found = connection.execute(query).first()
        if found is None:
            return None
        row = BrowserSession(**found._mapping)
        caller = caller_of(row)
        try:
            still_holds(self._prove, row.credential, caller)
        except (Unauthenticated, Forbidden):
            return None
        return Session(caller, hashed, row.how, row.credential, row.seen_at, row.expires_at)

    def _remember(self, hashed: bytes, found: Session) -> None:
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[hashed] = (clock.monotonic() + FRESH_FOR, found)

    def _see(self, found: Session, now: int) -> None:
        ours = col(BrowserSession.secret_sha256) == found.secret_sha256
        self._installation.store.write(
            lambda tx: tx.execute(update(BrowserSession).where(ours).values(seen_at=now)).rowcount
        )
        self._known.pop(found.secret_sha256, None)


def prepare(caller: Caller, how: str, credential: str | None, terms: Terms) -> tuple[BrowserSession, Secret]:
    """A new session, not yet recorded, and the secret of its cookie."""
    secret, now = secrets.token_urlsafe(32), clock.timestamp()
    row = BrowserSession(
        secret_sha256=hash_of(secret),
        identity=caller.identity,
        role=caller.role.value,
        profiles=json.dumps(None if caller.profiles is None else sorted(caller.profiles)),
        attributes=json.dumps(dict(caller.attributes), sort_keys=True),
        how=how,
        credential=credential,
        created_at=now,
        seen_at=now,
        expires_at=now + int(terms.session.total_seconds()),
    )
    return row, Secret(secret)


def record(tx: Transaction, row: BrowserSession, **details: str) -> None:
    """Begin a session: its row and its entry in the ledger."""
    tx.execute(insert(BrowserSession), row.model_dump())
    said = {"how": row.how, "role": row.role, "expires_at": row.expires_at, "rests_on": row.credential, **details}
    log.append(tx, "signed-in", row.identity, row.identity, session=_shown(row), **said)


def _end(installation: Installation, which: ColumnElement[bool], by: str | None) -> int:
    def unit(tx: Transaction) -> int:
        rows = [BrowserSession(**row._mapping) for row in tx.execute(select(BrowserSession).where(which))]
        for row in rows:
            if tx.execute(
                delete(BrowserSession).where(col(BrowserSession.secret_sha256) == row.secret_sha256)
            ).rowcount:
                log.append(tx, "signed-out", row.identity, by or row.identity, session=_shown(row))
        return len(rows)

    return installation.store.write(unit)


def still_holds(prove: Prove, credential: str | None, caller: Caller) -> None:
    """`Unauthenticated` unless what a session rests on still grants what the session has."""
    if credential is None:
        return
    granted = prove(credential)
    if granted.may(Operation.MANAGE_TOKENS):
        return
    is_wider = granted.profiles is not None and not (
        caller.profiles is not None and caller.profiles <= granted.profiles
    )
    if granted.role != caller.role or is_wider:
        raise Unauthenticated(f"{credential} grants something else now", code="bad-sign-in-link")


def caller_of(row: SignInLink | BrowserSession) -> Caller:
    """Who somebody is by a link or in a session."""
    profiles = json.loads(row.profiles)
    return Caller(
        identity=row.identity,
        role=Role(row.role),
        profiles=None if profiles is None else frozenset(profiles),
        attributes=MappingProxyType(json.loads(row.attributes)),
    )


def _shown(row: BrowserSession) -> str:
    return row.secret_sha256.hex()[:12]


def hash_of(secret: str) -> bytes:
    """What is stored of a secret: it is random, and so a slow hash would add nothing."""
    return sha256(secret.encode(errors="surrogatepass")).digest()
