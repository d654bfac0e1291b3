"""Who looks at a page: from a request to a `Visitor`, or to nobody.

A browser proves who it is with each request: by the cookie of a session, or by a client certificate of this very TLS
connection, which needs no session and no cookie, ends with the certificate and cannot be stolen from the browser. A
page of somebody else can have a browser send a request with either, and so every form carries a proof besides (`csrf`)
that only a page of ours knows.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import cast

from starlette.requests import Request

from ca.access import Caller, required
from ca.sessions import Session
from pki.web.context import identity_of, product_of
from pki.web.dashboard.browsers import browsers_of

VISITOR = "certwright.visitor"
"""In the ASGI scope, once it is known: the `Visitor`."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is signed in."""

    caller: Caller
    csrf: str
    """What a form of ours carries, hex: nobody else's page can know it."""
    has_session: bool = False
    """Whether there is a session to sign out of."""


def recognise(request: Request) -> Visitor | None:
    """Who asks, or None. `Unauthenticated` if a credential was presented that does not hold."""
    if (known := request.scope.get(VISITOR)) is not None:
        return cast(Visitor, known)
    sessions: list[Session] = []

    def by_cookie() -> Caller | None:
        sessions.extend(found for found in [browsers_of(request).session(request)] if found is not None)
        return sessions[0].caller if sessions else None

    caller = identity_of(request).maybe(request, by_cookie)
    if caller is None:
        return None
    proof = browsers_of(request).proof(request) if sessions else _proof(request, caller)
    found = Visitor(caller, proof, has_session=bool(sessions))
    request.scope[VISITOR] = found
    return found


def known(request: Request) -> Visitor | None:
    """Who was recognised already; asks nothing."""
    return cast(Visitor | None, request.scope.get(VISITOR))


def signed_in(request: Request) -> Visitor:
    """Who asks. `Unauthenticated` if there is nobody; the answer to a browser is the way to sign in."""
    found = recognise(request)
    if found is None:
        required(None)
    return cast(Visitor, found)


def _proof(request: Request, caller: Caller) -> str:
    """For who has no session: the same in every replica, another for every caller."""
    key = product_of(request).lifecycle.sealer.mac_key("forms")
    return hmac.new(key, caller.identity.encode(), sha256).hexdigest()
