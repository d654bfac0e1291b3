"""One attempt to sign in with a provider, bound to the browser that began it.

All of it is in one short-lived cookie of that browser, authenticated by us: 256 random bits, from which `state`,
`nonce` and the PKCE verifier are derived, the provider, the end, and where the browser wanted to go. An answer of the
provider counts only in the browser that has the cookie, and once.
"""

from __future__ import annotations

import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import insert
from starlette.responses import Response

from ca import clock
from ca.errors import Conflict, Unauthenticated
from ca.keys.sealed import Sealer
from ca.store import Store, Transaction
from pki.web.dashboard.local import local_path
from renewers.models import SpentLink

COOKIE = "__Host-certwright-oidc"
SECONDS = 600
MAX_COOKIE = 4000


@dataclass(frozen=True, slots=True)
class Flow:
    """One attempt."""

    secret: str
    provider: str
    ends: int
    onward: str

    @property
    def state(self) -> str:
        """What the provider hands back, by which it is known to be an answer to this attempt."""
        return self._derived("state")

    @property
    def nonce(self) -> str:
        """What the provider's statement has to repeat."""
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """Whoever exchanges the code has to know it (RFC 7636 section 4.1)."""
        return self._derived("verifier")

    @property
    def challenge(self) -> str:
        """The S256 challenge of it (section 4.2)."""
        return _text(sha256(self.verifier.encode()).digest())

    def _derived(self, purpose: str) -> str:
        return _text(hmac.new(self.secret.encode(), purpose.encode(), sha256).digest())


def begin(provider: str, onward: str) -> Flow:
    """A new attempt."""
    return Flow(secrets.token_urlsafe(32), provider, clock.timestamp() + SECONDS, onward)


def keep(response: Response, flow: Flow, sealer: Sealer) -> Response:
    """Give the browser its cookie. It has to come along when the provider sends the browser back (SameSite=Lax)."""
    content = _text(json.dumps([flow.secret, flow.provider, flow.ends, flow.onward]).encode())
    value = f"{content}.{_mac(sealer, content)}"
    response.set_cookie(COOKIE, value, SECONDS, path="/", secure=True, httponly=True, samesite="lax")
    return response


def drop(response: Response) -> Response:
    """Take the cookie away."""
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return response


def read(value: str | None, sealer: Sealer, *, provider: str, state: str | None) -> Flow:
    """The attempt that an answer belongs to. `Unauthenticated` unless this browser began it here, and lately."""
    content, _, mac = (value or "")[:MAX_COOKIE].partition(".")
    if not content or not hmac.compare_digest(mac.encode(), _mac(sealer, content).encode()):
        raise _unknown()
    secret, name, ends, onward = json.loads(urlsafe_b64decode(content + "=" * (-len(content) % 4)))
    flow = Flow(secret, name, ends, local_path(onward))
    is_ours = hmac.compare_digest((state or "").encode(), flow.state.encode())
    if not is_ours or flow.provider != provider or flow.ends <= clock.timestamp():
        raise _unknown()
    return flow


def spend(store: Store, flow: Flow) -> None:
    """An attempt ends with its first answer, in every replica."""
    row = {"nonce": f"oidc:{flow.state}", "spent_at": clock.timestamp(), "expires_at": flow.ends}

    def unit(tx: Transaction) -> None:
        tx.execute(insert(SpentLink), row)

    try:
        store.write(unit)
    except Conflict:
        raise _unknown() from None


def _mac(sealer: Sealer, content: str) -> str:
    return hmac.new(sealer.mac_key("sign-in"), content.encode(), sha256).hexdigest()


def _text(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _unknown() -> Unauthenticated:
    return Unauthenticated(
        "this answer belongs to no attempt to sign in that this browser has begun, or the attempt is over",
        code="bad-sign-in",
        hint="begin again, and let the browser keep cookies of this site",
    )
