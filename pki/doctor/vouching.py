"""Issuers of JSON Web Tokens: whether their keys are to be had now, and whether anything is granted for their word."""

from __future__ import annotations

from collections.abc import Iterator

from pki.doctor.finding import Finding, Level
from pki.jwks import source
from pki.jwt_keys import ProviderKeys
from pki.product import Product

IDENTITY = "identity"


def vouching(product: Product) -> Iterator[Finding]:
    """Each issuer that the settings name is asked, as it would be for a caller."""
    issuers = product.settings.identity.jwt
    if not issuers:
        yield Finding(IDENTITY, Level.OK, "nobody's tokens are believed but ours")
    for settings in issuers:
        known = ProviderKeys(source(settings, product.state), settings.algorithms)
        error = known.freshen()
        if error is not None:
            yield Finding(IDENTITY, Level.PROBLEM, error.message, error.hint)
        elif not known.count:
            said = f"{settings.name} serves no key that is for {' or '.join(settings.algorithms)}"
            yield Finding(IDENTITY, Level.PROBLEM, said, "identity.jwt.algorithms says what its keys sign with")
        elif not settings.grants:
            said = f"tokens of {settings.name} are verified, and nothing is granted for them"
            yield Finding(IDENTITY, Level.WARNING, said, "identity.jwt.grants says what for")
        else:
            yield Finding(IDENTITY, Level.OK, f"{settings.name} serves {known.count} keys that can be used")
