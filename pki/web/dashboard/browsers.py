"""Sessions of browsers: the cookie, and what each session rests on.

The cookie is 256 random bits under a name with the prefix `__Host-`: browsers take it over TLS from this very host
alone, for no other path and no subdomain, and show it to no script. It is sent when somebody follows a link of a
letter (SameSite=Lax; Strict would ask them to sign in again), and never with a form of another site. It authorises
pages and nothing of the API.
"""

from __future__ import annotations

import hmac
from functools import cached_property
from hashlib import sha256
from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from ca import sessions, sign_in_links
from ca.access import Caller
from ca.errors import Unauthenticated
from ca.models import SignInLink
from ca.secret import Secret
from ca.sessions import Session, SessionCheck, Terms
from pki.product import Product
from pki.web.dashboard import grants
from pki.web.identity import Identity

COOKIE = "__Host-certwright"


class Browsers:
    """Who is signed in with a browser, for one application."""

    def __init__(self, product: Product, identity: Identity) -> None:
        self._product = product
        self._identity = identity
        identity.forgetful.append(self._forget)

    def session(self, request: Request) -> Session | None:
        """The session of the cookie that came with a request."""
        secret = request.cookies.get(COOKIE)
        return None if secret is None else self._check.find(secret)

    def proof(self, request: Request) -> str:
        """What forms carry in a session, hex: only who has the cookie could work it out."""
        return hmac.new(request.cookies[COOKIE].encode(), b"certwright forms", sha256).hexdigest()

    def look(self, link: str) -> SignInLink:
        """Who a link signs in, as what and until when."""
        return sign_in_links.look(self._product.installation, link)

    def sign_in_by(self, link: str) -> Secret:
        """Spend a link. Returns the secret of the new session."""
        return sign_in_links.spend(self._product.installation, link, self.terms, self.prove)

    def sign_out(self, request: Request) -> None:
        """End the session of the cookie that came with a request, if there is one."""
        if (secret := request.cookies.get(COOKIE)) is not None:
            sessions.sign_out(self._product.installation, secret)
            self._forget()

    def begin(self, request: Request, response: Response, secret: Secret) -> Response:
        """Give a browser its new cookie; the session that it had before, whoever planted it, ends."""
        self.sign_out(request)
        seconds = int(self.terms.session.total_seconds())
        response.set_cookie(COOKIE, secret.reveal(), seconds, path="/", secure=True, httponly=True, samesite="lax")
        return response

    @property
    def terms(self) -> Terms:
        """How long sessions last, from the settings."""
        settings = self._product.settings.dashboard
        return Terms(settings.session, settings.idle)

    def prove(self, credential: str) -> Caller:
        """Who the credential proves that a session rests on, as things are now."""
        kind, _, name = credential.partition(":")
        match kind:
            case "token":
                return self._product.tokens.standing(name)
            case "certificate":
                return self._identity.certified(name)
            case "oidc":
                return grants.standing(self._product.settings.dashboard.oidc, credential)
        raise Unauthenticated("nobody knows what this session rests on", code="bad-session")

    @cached_property
    def _check(self) -> SessionCheck:
        return SessionCheck(self._product.installation, self.terms, self.prove)

    def _forget(self) -> None:
        self._check.forget()


def browsers_of(request: Request) -> Browsers:
    """Those of the application that a request came to."""
    return cast(Browsers, request.app.state.browsers)


def without_cookie(response: Response) -> Response:
    """The same response, which takes the cookie away."""
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return response
