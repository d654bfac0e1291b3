"""Text as it may be shown and kept: one line, of bounded length, nothing in it that steers a terminal or a database.

Names from scanned certificates, problem texts of CAs and answers of webhooks are written by strangers. What goes into
a message, an event or an alarm goes through here.
"""

from __future__ import annotations


def one_line(text: str, most: int = 500) -> str:
    """At most `most` characters of `text`; what is not printable has become a space, and no space stands twice."""
    shown = "".join(c if c.isprintable() else " " for c in text[: 4 * most])
    return " ".join(shown.split())[:most]
