"""Signed statements of an identity provider about somebody: JSON Web Tokens (RFC 7519), verified.

The algorithm is what the provider's key is for and never what a token asks for (RFC 8725 section 3.1): RS256, ES256 or
EdDSA. Issuer, audience, party, times and nonce have to be there and to fit; the clock is ours. Nothing here speaks to
anybody: `ProviderKeys` is given a function that fetches. `pki/web/dashboard/oidc.py` signs people in by it.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ca import clock
from ca.errors import Unauthenticated

if TYPE_CHECKING:
    from jwt import PyJWK

LEEWAY = 60
"""Seconds by which two clocks may differ."""
KEYS_KEPT = 3600
"""Seconds for which keys are used without asking again."""
ASK_AGAIN = 30
"""Seconds at least between two times that a provider is asked for its keys, however many tokens name unknown ones."""
MAX_TOKEN = 16 * 1024
MAX_KEYS = 50
MAX_SUBJECT = 255
RSA_BITS = 2048
ALGORITHMS: Mapping[tuple[str, str | None], str] = {
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "EdDSA",
}
"""What a kind of key signs with (RFC 7518 section 3.1, RFC 8037)."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token has to say to be meant for us."""

    issuer: str
    audience: str
    nonce: str | None = None
    """The value that this very sign-in was begun with, if there was one."""
    youngest: int | None = None
    """Seconds since it was made at most, if that matters."""


def verify(token: str, keys: ProviderKeys, expected: Expected) -> Mapping[str, Any]:
    """The claims of a token. `Unauthenticated` for anything that does not hold, with one sentence that says what."""
    import jwt  # 40 ms, for installations that use it

    if len(token) > MAX_TOKEN:
        raise _refused("is too large")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise _refused("is none") from None
    if "crit" in header or str(header.get("typ", "JWT")).upper() != "JWT":
        raise _refused("is of another kind")
    key = keys.find(header.get("kid"), header.get("alg"))
    # Times and names are looked at below, by our clock and in our words.
    names = ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")
    options: Any = {"verify_signature": True, **{f"verify_{name}": False for name in names}}
    try:
        claims: dict[str, Any] = jwt.decode(token, key, algorithms=[key.algorithm_name], options=options)
    except jwt.PyJWTError:
        raise _refused("is not signed by the provider") from None
    _check_party(claims, expected)
    _check_times(claims, expected)
    return claims


def _check_party(claims: Mapping[str, Any], expected: Expected) -> None:
    """OpenID Connect Core 1.0, section 3.1.3.7, steps 2 to 5 and 11."""
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    party = claims.get("azp")
    subject: Any = claims.get("sub")
    if claims.get("iss") != expected.issuer:
        raise _refused("comes from another issuer")
    if expected.audience not in audiences:
        raise _refused("is meant for somebody else")
    if (len(audiences) > 1 and party is None) or (party is not None and party != expected.audience):
        raise _refused("was given to somebody else")
    is_plain = isinstance(subject, str) and subject.isascii() and subject.isprintable()
    if not is_plain or not 0 < len(subject) <= MAX_SUBJECT:
        raise _refused("does not say whom it is about")
    if expected.nonce is not None:
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
            raise _refused("belongs to another attempt to sign in")


def _check_times(claims: Mapping[str, Any], expected: Expected) -> None:
    """Steps 9 and 10, and RFC 7519 sections 4.1.4 to 4.1.6."""
    now = clock.timestamp()
    if _moment(claims, "exp") <= now - LEEWAY:
        raise _refused("has expired")
    made = _moment(claims, "iat")
    if made > now + LEEWAY or ("nbf" in claims and _moment(claims, "nbf") > now + LEEWAY):
        raise _refused("is not valid yet; is one of the two clocks wrong?")
    if expected.youngest is not None and made < now - expected.youngest - LEEWAY:
        raise _refused("is too old; is one of the two clocks wrong?")


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 40:
        raise _refused(f"has no {name}")
    return value


class ProviderKeys:
    """The keys of one provider, fetched when needed and no more often than `ASK_AGAIN` allows."""

    def __init__(self, fetch: Callable[[], Mapping[str, Any]]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._keys: list[PyJWK] = []
        self._asked: float | None = None

    def find(self, identity: Any, algorithm: Any) -> PyJWK:
        """The one key of this `kid` for this algorithm; without a `kid`, the only one for it."""
        if algorithm not in ALGORITHMS.values():  # before anything is fetched: `none` and HS256 end here
            raise _refused("is signed in a way that is not taken")
        with self._lock:
            if self._is_older_than(KEYS_KEPT):
                self._refresh()
            found = self._matching(identity, algorithm)
            if not found and self._is_older_than(ASK_AGAIN):  # a new key: the provider has changed it
                self._refresh()
                found = self._matching(identity, algorithm)
        if len(found) != 1:
            raise _refused("is signed by a key that the provider does not name")
        return found[0]

    def _matching(self, identity: Any, algorithm: str) -> list[PyJWK]:
        fitting = [key for key in self._keys if key.algorithm_name == algorithm]
        return fitting if identity is None else [key for key in fitting if key.key_id == identity]

    def _is_older_than(self, seconds: int) -> bool:
        return self._asked is None or clock.monotonic() - self._asked >= seconds

    def _refresh(self) -> None:
        document = self._fetch()  # what fails here is said, and the next one to come asks again
        self._asked = clock.monotonic()
        listed = document.get("keys")
        candidates = listed[:MAX_KEYS] if isinstance(listed, list) else []
        self._keys = [key for key in map(_usable, candidates) if key is not None]


def _usable(described: Any) -> PyJWK | None:
    """A key that is for checking signatures in a way that we take; None for any other."""
    from jwt import PyJWK, PyJWTError

    if not isinstance(described, dict) or described.get("use", "sig") != "sig" or "d" in described:
        return None
    kind, curve = described.get("kty"), described.get("crv")
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        return None
    algorithm = ALGORITHMS.get((kind, None if kind == "RSA" else curve))
    if algorithm is None or described.get("alg", algorithm) != algorithm:
        return None
    try:
        key = PyJWK(described, algorithm=algorithm)
    except (PyJWTError, ValueError, TypeError):
        return None
    return None if getattr(key.key, "key_size", RSA_BITS) < RSA_BITS and algorithm == "RS256" else key


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(f"what the provider says {why}", code="bad-identity-token", hint="sign in again")
