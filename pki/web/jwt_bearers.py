"""Callers who show a JSON Web Token: whose it is by the settings `identity.jwt`, and what is granted to them.

Its `iss` says whose keys it is verified with, and proves nothing itself. `caller` looks at what is known and speaks to
nobody, since it is asked on the event loop; `prepare` has fetched before what was missing. Deny is what no grant says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ca.access import Caller
from ca.errors import Forbidden, Unauthenticated
from pki.claims import Pattern, compile_pattern, is_label, look_up
from pki.identity_settings import JwtGrant, JwtSettings
from pki.jwks import source
from pki.jwt_keys import Doubt, ProviderKeys
from pki.logs import logger
from pki.product import Product
from pki.web.jwt_identity import MAX_SUBJECT, Expected, check, read_header, read_unverified

FILE_KEPT = 2
"""Seconds for which a file of keys is not read again at most."""
PAUSE = 5
"""Seconds for which an issuer that could not be asked is left alone."""
AT_ONCE = 2
"""Threads of its own that an issuer's keys are fetched in: nobody else waits for a slow one."""
CODE = "bad-jwt"
HINT = "certwright identity explain says what a token is taken for"
KINDS = frozenset({"JWT", "at+jwt"})
log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Condition:
    """One claim that a grant asks for, beside what a token says."""

    grant: int
    claim: str
    pattern: str
    said: Any
    fits: bool


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that holds, and what comes of it: nobody, if no grant fits."""

    issuer: str
    identity: str
    ends_at: int
    conditions: Sequence[Condition]
    grant: int | None = None
    caller: Caller | None = None
    unset: Mapping[str, str] = field(default_factory=dict)
    """Variables that stand for nothing, and the claim that says nothing a rule could take."""


class _Issuer:
    """One entry of the settings, with its keys and its grants made ready."""

    def __init__(self, settings: JwtSettings, state: Path) -> None:
        self.settings = settings
        is_file = bool(settings.jwks_file)
        kept = FILE_KEPT if is_file else settings.refresh.total_seconds()
        again = {"again": FILE_KEPT, "pause": 0.0} if is_file else {"pause": PAUSE}
        self.keys = ProviderKeys(source(settings, state), settings.algorithms, kept=kept, **again)
        self.threads = ThreadPoolExecutor(AT_ONCE, "jwks")
        longest = int(settings.longest.total_seconds())
        self.expected = Expected(settings.issuer, settings.audience, longest=longest, kinds=KINDS, is_bearers=True)
        self.grants = [
            (grant, {claim: compile_pattern(text) for claim, text in grant.where.items()}) for grant in settings.grants
        ]


class JwtBearers:
    """Every issuer that the settings name."""

    def __init__(self, product: Product) -> None:
        self._issuers = {each.issuer: _Issuer(each, product.state) for each in product.settings.identity.jwt}

    async def prepare(self, token: str) -> None:
        """Fetch the keys that are missing for a token: `Unavailable` if they are not to be had."""
        try:
            issuer, header = self._issuer(token)
        except (Doubt, Unauthenticated):
            return  # `caller` says so
        loop, identity, algorithm = asyncio.get_running_loop(), header.get("kid"), header.get("alg")
        if issuer.keys.lacks(identity, algorithm):
            await loop.run_in_executor(issuer.threads, issuer.keys.ask, identity, algorithm)
        elif issuer.keys.is_due():
            error = await loop.run_in_executor(issuer.threads, issuer.keys.freshen)
            if error is not None:
                log.warning("identity-keys", issuer=issuer.settings.name, reason=error.message, hint=error.hint)

    def caller(self, token: str) -> Caller:
        """Who it is. `Unauthenticated` if it does not hold, `Forbidden` if it does and nothing is granted for it."""
        found = self._said(token, may_ask=False)
        if found.caller is None:
            raise no_grant(found)
        return found.caller

    def explain(self, token: str) -> Verified:
        """The same with all that led to it, whether something is granted or not. It may fetch keys."""
        return self._said(token, may_ask=True)

    def issuers(self) -> Sequence[tuple[JwtSettings, int, str | None]]:
        """Every issuer, how many of its keys are known now, and why they could not be had when last asked for."""
        return [(each.settings, each.keys.count, each.keys.failure) for each in self._issuers.values()]

    def name(self, token: str) -> str | None:
        """The name of the issuer that a token says it is from, if the settings have one."""
        try:
            return self._issuer(token)[0].settings.name
        except (Doubt, Unauthenticated):
            return None

    def _said(self, token: str, *, may_ask: bool) -> Verified:
        try:
            issuer, header = self._issuer(token)
            key = (issuer.keys.find if may_ask else issuer.keys.known)(header.get("kid"), header.get("alg"))
            return _verified(issuer, check(token, header, key, issuer.expected))
        except Doubt as doubt:
            raise Unauthenticated(f"the JWT {doubt.why}", code=CODE, hint=f"{doubt.advice}; {HINT}") from None

    def _issuer(self, token: str) -> tuple[_Issuer, Mapping[str, Any]]:
        header = read_header(token)
        said = read_unverified(token).get("iss")
        found = self._issuers.get(said) if isinstance(said, str) else None
        if found is None:
            hint = "identity.jwt in the settings names who is believed, letter by letter as iss has it"
            raise Unauthenticated("the JWT comes from an issuer that is not believed here", code=CODE, hint=hint)
        return found, header


def _verified(issuer: _Issuer, claims: Mapping[str, Any]) -> Verified:
    name, conditions = issuer.settings.name, list[Condition]()
    identity = f"jwt:{name}:{_identity(issuer.settings, claims)}"
    ends_at = int(claims["exp"])
    for number, (grant, patterns) in enumerate(issuer.grants, 1):
        variables = _variables(number, patterns, claims, conditions)
        if variables is not None:
            attributes, unset = _attributes(grant, claims, variables)
            profiles = None if grant.profiles is None else frozenset(grant.profiles)
            caller = Caller(identity, grant.role, profiles, MappingProxyType(attributes))
            return Verified(name, identity, ends_at, conditions, number, caller, unset)
    return Verified(name, identity, ends_at, conditions)


def _identity(settings: JwtSettings, claims: Mapping[str, Any]) -> str:
    said = look_up(claims, settings.identity)
    if not isinstance(said, str) or not (said.isascii() and said.isprintable() and 0 < len(said) <= MAX_SUBJECT):
        advice = f"identity.jwt says that {settings.identity} does, as plain text of {MAX_SUBJECT} characters at most"
        raise Doubt("does not say whom it is about", advice)
    return said


def _variables(
    number: int, patterns: Mapping[str, Pattern], claims: Mapping[str, Any], conditions: list[Condition]
) -> dict[str, str] | None:
    """What a grant's patterns stand for if all of them fit, else None; how each fared is noted."""
    found: dict[str, str] | None = {}
    for claim, pattern in patterns.items():
        said = look_up(claims, claim)
        match = pattern.match(said)
        conditions.append(Condition(number, claim, pattern.text, said, match is not None))
        found = None if found is None or match is None else found | dict(match)
    return found


def _attributes(
    grant: JwtGrant, claims: Mapping[str, Any], variables: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    found, unset = dict(variables), dict[str, str]()
    for name, claim in grant.attributes.items():
        said = look_up(claims, claim)
        if is_label(said):
            found[name] = said
        else:
            unset[name] = claim
    return found, unset


def no_grant(found: Verified) -> Forbidden:
    """The refusal of somebody who is vouched for, and to whom the settings grant nothing."""
    message = f"{found.issuer} vouches for {found.identity}, and identity.jwt in the settings has no grant that fits"
    return Forbidden(message, code="no-role", hint=HINT)


def is_jwt(presented: str) -> bool:
    """Whether a bearer token is one of these and none of ours, which have no dots."""
    return "." in presented
