"""Which role somebody gets whom a provider has proved: the first entry of the settings that fits, or none.

What a session rests on is the entry by which it was given. When the settings no longer have it, the session is over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ca.access import Caller
from ca.errors import Forbidden, Unauthenticated
from pki.mail_settings import OidcSettings, RoleClaim


def granted(provider: OidcSettings, claims: Mapping[str, Any]) -> RoleClaim:
    """The entry that fits what a provider says of somebody. `Forbidden` if none does."""
    for entry in provider.roles:
        if entry.value in _values(claims.get(entry.claim)):
            return entry
    raise Forbidden(
        f"{provider.name} knows you, but nothing that it says of you is granted a role here",
        code="no-role",
        hint="dashboard.oidc in the settings says which claim gets which role",
    )


def credential(provider: OidcSettings, entry: RoleClaim) -> str:
    """How a session names what it rests on."""
    return "oidc:" + json.dumps([provider.name, provider.issuer, entry.claim, entry.value])


def standing(providers: Sequence[OidcSettings], rests_on: str) -> Caller:
    """What an entry still grants. `Unauthenticated` if the settings have it no more."""
    name, issuer, claim, value = json.loads(rests_on.removeprefix("oidc:"))
    for provider in providers:
        if (provider.name, provider.issuer) == (name, issuer):
            for entry in provider.roles:
                if (entry.claim, entry.value) == (claim, value):
                    return Caller(rests_on, entry.role)
    raise Unauthenticated("the settings grant nothing for this any more", code="bad-session")


def _values(said: Any) -> Sequence[str]:
    """A claim is one text or a list of them; anything else grants nothing."""
    if isinstance(said, str):
        return (said,)
    return [each for each in said if isinstance(each, str)] if isinstance(said, list) else ()
