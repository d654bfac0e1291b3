"""Where the keys of an issuer of JSON Web Tokens come from: a file, or the one URL that the settings name.

Nothing that a token says leads anywhere: no `jku`, no discovery. What is fetched comes through `renewers/egress`, over
verified TLS, from that host alone, within a time and a size.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ca import clock
from ca.errors import CertwrightError, Misconfigured, NotDelivered, Unavailable
from pki.identity_settings import JwtSettings
from pki.secret_files import read_token

SECONDS = 10.0
MAX_ANSWER = 1 << 18
ACCEPT = "application/jwk-set+json, application/json"
"""RFC 7517 section 8.5.2. A Kubernetes API answers 406 to who takes but the second."""
UNAVAILABLE = "identity-keys-unavailable"


def source(settings: JwtSettings, state: Path) -> Callable[[], Mapping[str, Any]]:
    """What gets the keys of an issuer; it raises `Unavailable` with what is wrong."""
    if settings.jwks_file:
        return lambda: _read(settings, state / settings.jwks_file)
    return lambda: _fetch(settings, state)


def _read(settings: JwtSettings, path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as opened:
            content = opened.read(MAX_ANSWER + 1)
    except OSError as error:
        raise _unavailable(settings, f"cannot read {path}: {error.strerror}") from None
    return _document(settings, content)


def _fetch(settings: JwtSettings, state: Path) -> Mapping[str, Any]:
    from renewers import egress

    headers = {"Accept": ACCEPT}
    deadline = clock.monotonic() + SECONDS
    try:
        if settings.token_file:
            headers["Authorization"] = f"Bearer {read_token(state / settings.token_file).reveal()}"
        ca_file = state / settings.ca_file if settings.ca_file else None
        places = egress.pin(settings.jwks_url)
        with egress.PinnedSession(places, ca_file=ca_file, deadline=deadline, most=MAX_ANSWER) as session:
            answer = session.get(settings.jwks_url, headers=headers)
    except (NotDelivered, Misconfigured) as error:
        raise _unavailable(settings, error.message, error.hint) from None
    if answer.status_code in (401, 403):
        hint = "identity.jwt.token_file names a token for it; or have it readable for anybody, keys are public"
        raise _unavailable(settings, f"{settings.jwks_url} answered {answer.status_code}", hint)
    if answer.status_code != 200:
        raise _unavailable(settings, f"{settings.jwks_url} answered {answer.status_code}")
    return _document(settings, answer.content)


def _document(settings: JwtSettings, content: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(content) if len(content) <= MAX_ANSWER else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("keys"), list):
        raise _unavailable(settings, f"{settings.jwks_url or settings.jwks_file} is no JSON Web Key Set")
    return found


def _unavailable(settings: JwtSettings, what: str, hint: str | None = None) -> CertwrightError:
    usual = "nobody is let in by its tokens until the keys are there: see identity.jwt in the settings"
    return Unavailable(f"the keys of {settings.name} are not to be had: {what}", code=UNAVAILABLE, hint=hint or usual)
