"""Secrets that settings name by the file that holds them: webhook keys, TSIG keys, tokens of providers."""

from __future__ import annotations

import stat
from pathlib import Path

from ca.errors import Misconfigured
from ca.secret import Secret

MAX_BYTES = 16 * 1024


def read_secret(path: Path) -> Secret:
    """What stands in a file that only its owner may read. `Misconfigured` names the file, never its content."""
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXO | stat.S_IWGRP):
            raise Misconfigured(f"others may read or write {path}", hint=f"chmod 0400 {path}")
        raw = path.read_bytes()[: MAX_BYTES + 1]
    except OSError as error:
        raise Misconfigured(f"cannot read {path}: {error.strerror}", hint="it is named in the settings") from None
    try:
        text = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise Misconfigured(f"{path} is not text") from None
    if not text or len(raw) > MAX_BYTES:
        raise Misconfigured(f"{path} is empty or too large to be a secret")
    return Secret(text)
