"""The secret that a consumer and we share, to sign its reports with: made here, shown once, sealed in its row.

Standard Webhooks (`renewers/notifiers/signature.py`) says what it looks like. Sealed is AES-256-GCM under the
installation's passphrase, with the consumer's name authenticated, so that no row's secret opens in another's.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from functools import lru_cache

from ca.errors import KeyUnavailable
from ca.keys.sealed import Sealer
from ca.secret import Secret
from renewers.notifiers.signature import PREFIX

BYTES = 32


def make_secret() -> Secret:
    """A new secret, as `whsec_...`."""
    return Secret(PREFIX + b64encode(secrets.token_bytes(BYTES)).decode())


def wrap(sealer: Sealer, secret: Secret, name: str) -> bytes:
    """The secret of the consumer `name`, as its row keeps it."""
    return sealer.wrap_text(secret, _purpose(name))


def reveal(sealer: Sealer, sealed: bytes, name: str) -> str:
    """The secret. `KeyUnavailable` if it was sealed for another, under another passphrase, or is damaged."""
    try:
        return sealer.unwrap_text(sealed, _purpose(name)).reveal()
    except KeyUnavailable as error:
        raise KeyUnavailable(error.message, hint="give it a new one: certwright consumer secret") from None


@lru_cache(maxsize=4)
def nobody(sealer: Sealer) -> bytes:
    """A sealed secret that nobody was ever shown, to check against where there is no other: it takes as long."""
    return wrap(sealer, make_secret(), "")


def _purpose(name: str) -> str:
    return f"consumer:{name}"
