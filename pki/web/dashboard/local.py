"""Where a page leads to afterwards: a path of ours and never an address that somebody else wrote into a link."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]{0,2000}")
"""Printable ASCII without a backslash, which browsers read as a slash."""
NOT_AGAIN = ("/sign-in", "/sign-out")


def local_path(text: str | None) -> str:
    """`text` if it is a path of ours, else the first page."""
    if text is None or not _PATH.fullmatch(text):
        return "/"
    parts = urlsplit(text)
    is_ours = not parts.scheme and not parts.netloc and not parts.path.startswith(NOT_AGAIN)
    return text if is_ours else "/"
