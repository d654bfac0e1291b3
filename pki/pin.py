"""Where the PIN of a token comes from: a systemd credential, the file in `keys.pin_file`, or the URI's pin-source."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ca.errors import Misconfigured
from ca.secret import Secret
from pki.secret_files import read_secret

CREDENTIAL = "certwright-pkcs11-pin"


def find_pin(file: Path | None, source: Path | None, environment: Mapping[str, str] = os.environ) -> Secret:
    """The PIN, from the first source that is there. `Misconfigured` says what was looked at, and never the PIN."""
    if directory := environment.get("CREDENTIALS_DIRECTORY"):
        credential = Path(directory) / CREDENTIAL
        if credential.is_file():
            return read_secret(credential)
    if (named := file or source) is not None:
        return read_secret(named)
    hint = f"pass the systemd credential {CREDENTIAL}, or name a file with the PIN in keys.pin_file"
    raise Misconfigured("the PIN of the token was not found", hint=hint)
