"""Where the passphrase of the key files comes from. Exactly one source, named in the settings or the environment.

Order: the environment variable, a systemd credential, a file. A file that others may read is refused: a passphrase
that everybody on the host can read protects nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ca.errors import KeyUnavailable
from ca.secret import Secret

VARIABLE = "CERTWRIGHT_KEY_PASSPHRASE"
CREDENTIAL = "certwright-key-passphrase"
MINIMUM_LENGTH = 12


def find_passphrase(file: Path | None, environment: Mapping[str, str] = os.environ) -> Secret:
    """The passphrase, from the first source that has one. `KeyUnavailable` says what was looked at."""
    if value := environment.get(VARIABLE):
        return _checked(value, f"the variable {VARIABLE}")
    if directory := environment.get("CREDENTIALS_DIRECTORY"):
        credential = Path(directory) / CREDENTIAL
        if credential.is_file():
            return _checked(_text(credential), f"the systemd credential {CREDENTIAL}")
    if file is not None and file.exists():
        return read_passphrase_file(file)
    raise KeyUnavailable(
        "the passphrase of the key files was not found",
        hint=f"set {VARIABLE}, pass the systemd credential {CREDENTIAL}, or name a file in keys.passphrase_file",
    )


def read_passphrase_file(file: Path) -> Secret:
    """The passphrase in a file that only its owner (and, for systemd and Docker secrets, root's group) may read."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise KeyUnavailable(f"cannot read the passphrase file {file}: {error.strerror}") from error
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise KeyUnavailable(f"others may read or write the passphrase file {file}", hint=f"chmod 0400 {file}")
    return _checked(_text(file), str(file))


def _text(file: Path) -> str:
    try:
        return file.read_text().rstrip("\n")
    except OSError as error:
        raise KeyUnavailable(f"cannot read the passphrase file {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise KeyUnavailable(f"the passphrase file {file} is not text") from None


def _checked(value: str, source: str) -> Secret:
    if len(value) < MINIMUM_LENGTH:
        raise KeyUnavailable(f"the passphrase in {source} is shorter than {MINIMUM_LENGTH} characters")
    return Secret(value)
