"""Signed statements of an issuer about somebody: JSON Web Tokens (RFC 7519), verified.

The algorithm is what the issuer's key is for and never what a token asks for (RFC 8725 section 3.1). Issuer, audience,
party, times and nonce have to be there and to fit; the clock is ours. Nothing here speaks to anybody; its keys are
those of `pki/jwt_keys.py`. `dashboard/oidc.py` signs people in by it, `jwt_bearers.py` knows callers of the API by it.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ca import clock
from ca.errors import Unauthenticated
from pki.jwt_keys import Doubt, ProviderKeys

if TYPE_CHECKING:
    from jwt import PyJWK

LEEWAY = 60
"""Seconds by which two clocks may differ."""
MAX_TOKEN = 16 * 1024
MAX_SUBJECT = 255
SIGN_IN_AGAIN = "sign in again"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token has to say to be meant for us."""

    issuer: str
    audience: str
    nonce: str | None = None
    """The value that this very sign-in was begun with, if there was one."""
    youngest: int | None = None
    """Seconds since it was made at most, if that matters."""
    longest: int | None = None
    """Seconds that it may be good for at most, if that matters."""
    kinds: frozenset[str] = frozenset({"JWT"})
    """What it may call itself, if it does."""
    is_bearers: bool = False
    """Whether it stands for whoever sends it: nobody else may be meant, and it does not matter whom it was given to."""


def verify(token: str, keys: ProviderKeys, expected: Expected) -> Mapping[str, Any]:
    """The claims of a provider's token. `Unauthenticated` for what does not hold, with one sentence that says what."""
    try:
        header = read_header(token)
        return check(token, header, keys.find(header.get("kid"), header.get("alg")), expected)
    except Doubt as doubt:
        message = f"what the provider says {doubt.why}"
        raise Unauthenticated(message, code="bad-identity-token", hint=SIGN_IN_AGAIN) from None


def read_header(token: str) -> Mapping[str, Any]:
    """What a token says of itself, which nobody has signed yet."""
    if len(token) > MAX_TOKEN:
        raise Doubt("is too large", f"it has {MAX_TOKEN} characters at most")
    return _part(token, 0)


def read_unverified(token: str) -> Mapping[str, Any]:
    """What a token says of somebody and nobody has verified: good for finding out whose keys to verify it with."""
    return _part(token, 1)


def _part(token: str, place: int) -> Mapping[str, Any]:
    parts = token.split(".")
    try:
        if len(parts) != 3 or not token.isascii():
            raise ValueError
        raw = urlsafe_b64decode(parts[place] + "=" * (-len(parts[place]) % 4))
        found = json.loads(raw, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Doubt("is none", "it has three parts with dots between them; copy it again, whole")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Nothing is said twice (RFC 8725 section 2.4): readers would differ on what counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def check(token: str, header: Mapping[str, Any], key: PyJWK, expected: Expected) -> Mapping[str, Any]:
    """The claims of a token that this key has signed, for us, now; `Doubt` if it has not."""
    import jwt  # 40 ms, for installations that use it

    if "crit" in header or str(header.get("typ", "JWT")).upper() not in {kind.upper() for kind in expected.kinds}:
        raise Doubt("is of another kind", "send an ID token or an access token, without extensions")
    # Times and names are looked at below, by our clock and in our words.
    names = ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")
    options: Any = {"verify_signature": True, **{f"verify_{name}": False for name in names}}
    try:
        jwt.decode(token, key, algorithms=[key.algorithm_name], options=options)
    except (jwt.PyJWTError, RecursionError):
        raise Doubt("is not signed by the provider", "get a new one; was it cut or changed on its way?") from None
    claims = read_unverified(token)  # the very bytes, read more strictly
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
        raise Doubt("comes from another issuer", f"this one has to say iss = {expected.issuer}")
    ask = f"have it made for the audience {expected.audience}, which is in the settings, and for no other"
    if expected.audience not in audiences:
        raise Doubt("is meant for somebody else", ask)
    if expected.is_bearers and len(audiences) > 1:  # whoever else it was shown to could send it to us
        raise Doubt("is meant for others, too", ask)
    is_ours = party == expected.audience or (party is None and len(audiences) == 1)
    if not expected.is_bearers and not is_ours:
        raise Doubt("was given to somebody else", ask)
    is_plain = isinstance(subject, str) and subject.isascii() and subject.isprintable()
    if not is_plain or not 0 < len(subject) <= MAX_SUBJECT:
        raise Doubt("does not say whom it is about", f"sub is plain text of {MAX_SUBJECT} characters at most")
    if expected.nonce is not None:
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
            raise Doubt("belongs to another attempt to sign in", SIGN_IN_AGAIN)


def _check_times(claims: Mapping[str, Any], expected: Expected) -> None:
    """Steps 9 and 10, and RFC 7519 sections 4.1.4 to 4.1.6."""
    now = clock.timestamp()
    ends = _moment(claims, "exp")
    if ends <= now - LEEWAY:
        raise Doubt("has expired", "get a new one; is one of the two clocks wrong?")
    made = _moment(claims, "iat")
    if made > now + LEEWAY or ("nbf" in claims and _moment(claims, "nbf") > now + LEEWAY):
        raise Doubt("is not valid yet; is one of the two clocks wrong?", "set the clocks by NTP, and get a new one")
    if expected.youngest is not None and made < now - expected.youngest - LEEWAY:
        raise Doubt("is too old; is one of the two clocks wrong?", "get a new one")
    if expected.longest is not None and ends - made > expected.longest:
        raise Doubt("is good for too long", f"have it made for {expected.longest} s at most")


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 40:
        raise Doubt(f"has no {name}", f"{name} is a time in seconds since 1970 [RFC 7519 4.1]")
    return value
