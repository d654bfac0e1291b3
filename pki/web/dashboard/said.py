"""What a page says has just been done. A link carries a word from this list and never the sentence itself."""

from __future__ import annotations

from collections.abc import Mapping

SENTENCES: Mapping[str, str] = {
    "signed-out": "You are signed out.",
}


def said(word: str | None) -> str | None:
    """The sentence for a word; None for a word that somebody made up."""
    return None if word is None else SENTENCES.get(word)
