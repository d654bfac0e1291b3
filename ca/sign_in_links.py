"""Links that sign their holder in with a browser, once. Only hashes are stored.

A link is made by somebody who has an identity already, carries that identity's rights or fewer, and ends within the
hour. Looking at it changes nothing (scanners of mail and chats follow links); spending it begins a session, once,
whoever comes first. `sessions.py` says how that ends.
"""

from __future__ import annotations

import json
import re
import secrets
from datetime import timedelta

from sqlalchemy import insert, select, update
from sqlmodel import col

from ca import approval, clock
from ca.access import GRANTABLE_ROLES, Caller, Operation, Role
from ca.errors import BadRequest, Forbidden, Unauthenticated
from ca.installation import Installation
from ca.ledger import log
from ca.models import SignInLink
from ca.secret import Secret
from ca.sessions import Prove, Terms, caller_of, hash_of, prepare, record, still_holds
from ca.store import Transaction

LONGEST_LINK = timedelta(hours=1)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")


def make_link(
    installation: Installation, caller: Caller, *, role: Role | None, lifetime: timedelta, name: str | None = None
) -> tuple[SignInLink, Secret]:
    """Make a link for oneself; who may manage tokens makes one for another `role` or `name`, too. Shown once."""
    row, secret = _link(caller, role or caller.role, lifetime, name), secrets.token_urlsafe(32)
    if row.role == Role.ADMIN and row.identity != caller.identity:
        approval.must(installation, caller, "make a link that signs an admin in", row.identity)
    row.secret_sha256 = hash_of(secret)

    def unit(tx: Transaction) -> None:
        tx.execute(insert(SignInLink), row.model_dump())
        details = {"role": row.role, "expires_at": row.expires_at, "link": row.secret_sha256.hex()[:12]}
        log.append(tx, "sign-in-link-made", row.identity, caller.identity, **details)

    installation.store.write(unit)
    return row, Secret(secret)


def look(installation: Installation, secret: str) -> SignInLink:
    """What a link would do, without doing it. `Unauthenticated` if it does nothing any more."""
    with installation.store.read() as connection:
        found = connection.execute(select(SignInLink).where(col(SignInLink.secret_sha256) == hash_of(secret))).first()
    row = None if found is None else SignInLink(**found._mapping)
    if row is None or row.used_at is not None or row.expires_at <= clock.timestamp():
        raise _spent()
    return row


def spend(installation: Installation, secret: str, terms: Terms, prove: Prove) -> Secret:
    """Sign in by a link, once. Returns the secret of the new session."""
    row = look(installation, secret)
    credential = row.made_by if row.made_by.startswith(("token:", "certificate:")) else None
    still_holds(prove, credential, caller_of(row))
    made, cookie = prepare(caller_of(row), "link", credential, terms)
    hashed, now = hash_of(secret), clock.timestamp()

    def unit(tx: Transaction) -> None:
        ours = (col(SignInLink.secret_sha256) == hashed, col(SignInLink.used_at).is_(None))
        done = tx.execute(update(SignInLink).where(*ours, col(SignInLink.expires_at) > now).values(used_at=now))
        if done.rowcount != 1:  # somebody else was first, whose commit this one waited for
            raise _spent()
        record(tx, made, link=hashed.hex()[:12])

    installation.store.write(unit)
    return cookie


def _link(caller: Caller, role: Role, lifetime: timedelta, name: str | None) -> SignInLink:
    if not timedelta(0) < lifetime <= LONGEST_LINK:
        raise BadRequest("a link to sign in with lasts at most an hour", code="bad-link-lifetime")
    if name is not None and not _NAME.fullmatch(name):
        raise BadRequest(f"{name[:63]!r} cannot name somebody", code="bad-link-name")
    if caller.role not in GRANTABLE_ROLES:
        raise Forbidden(f"{caller.identity} holds a certificate, which carries no role to sign in with")
    if caller.identity.startswith("jwt:"):  # nothing would tell a session that its issuer has changed its mind
        hint = "sign in with the provider itself (dashboard.oidc), or by a token: certwright token create"
        raise Forbidden("a JWT is good for minutes, and signs nobody in for hours", code="no-link-by-jwt", hint=hint)
    if role not in GRANTABLE_ROLES:
        raise BadRequest(f"nobody can sign in with the role {role}", code="bad-role")
    is_own = role == caller.role and name is None
    if not is_own:
        caller.must(Operation.MANAGE_TOKENS)
    profiles = caller.profiles if is_own else frozenset()
    now = clock.timestamp()
    return SignInLink(
        secret_sha256=b"",
        identity=caller.identity if name is None else f"link:{name}",
        role=role.value,
        profiles=json.dumps(None if profiles is None else sorted(profiles)),
        attributes=json.dumps(dict(caller.attributes) if is_own else {}, sort_keys=True),
        made_at=now,
        made_by=caller.identity,
        expires_at=now + int(lifetime.total_seconds()),
    )


def _spent() -> Unauthenticated:
    hint = "make another: certwright token sign-in"
    return Unauthenticated(
        "this link has been used, or has ended, or never was one", code="bad-sign-in-link", hint=hint
    )
