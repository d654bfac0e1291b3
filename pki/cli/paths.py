"""Files that a person names: text that is read, and files that are written without surprise."""

from __future__ import annotations

import sys
from pathlib import Path

from ca import files
from ca.errors import BadRequest

STANDARD_INPUT = Path("-")


def read_text(path: Path) -> str:
    """The text of a file, or of standard input for `-`; `BadRequest` names a file that is not UTF-8."""
    content = sys.stdin.buffer.read() if path == STANDARD_INPUT else path.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError:
        name = "standard input" if path == STANDARD_INPUT else path
        hint = "it has to be PEM, or other text in UTF-8; openssl writes PEM with -outform PEM"
        raise BadRequest(f"{name} is not text", code="not-text", hint=hint) from None


def write_or_print(text: str, out: Path | None) -> None:
    """Write text to a file, or print it where none is named."""
    if out is None:
        sys.stdout.write(text)
    else:
        files.replace(out, text.encode())
