"""Secrets that settings name by the file that holds them: webhook keys, TSIG keys, tokens of providers."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from ca.errors import Misconfigured
from ca.secret import Secret

MAX_BYTES = 16 * 1024
_TOKEN = re.compile(r"[!-~]+")


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


def read_token(path: Path) -> Secret:
    """The token in a file that somebody else keeps fresh, as a kubelet does: its mode is theirs."""
    try:
        with path.open("rb") as opened:
            text = opened.read(MAX_BYTES + 1).decode("ascii").strip()
    except OSError as error:
        raise Misconfigured(f"cannot read {path}: {error.strerror}", hint="it is named in the settings") from None
    except UnicodeDecodeError:
        text = ""
    if not _TOKEN.fullmatch(text) or len(text) > MAX_BYTES:
        raise Misconfigured(f"there is no token in {path}", hint="one line, nothing else")
    return Secret(text)
