"""Typefaces for paper: DejaVu where the system has it, else the core fonts of PDF, and what neither can show.

A character that a face has no shape for is written as an escape, never as an empty box: who signs a page has to see
what stands there. Right-to-left letters stand in the order of their text. Fonts are looked for in the usual
places and never fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from fpdf import FPDF

PLACES = (
    "/usr/share/fonts/truetype/dejavu",
    "/usr/share/fonts/dejavu",
    "/usr/share/fonts/dejavu-sans-fonts",
    "/usr/share/fonts/dejavu-sans-mono-fonts",
    "/usr/share/fonts/TTF",
    "/usr/local/share/fonts/dejavu",
    "/usr/local/share/fonts",
    "/opt/homebrew/share/fonts",
    "/Library/Fonts",
)
FILES = {"text": "DejaVuSans.ttf", "bold": "DejaVuSans-Bold.ttf", "mono": "DejaVuSansMono.ttf"}
CORE = {"text": ("helvetica", ""), "bold": ("helvetica", "B"), "mono": ("courier", "")}
SOFT_HYPHEN = "\u00ad"
_PLAINER = {
    "\u201c": '"',
    "\u201d": '"',
    "\u2026": "...",
    "\u2264": "<=",
    "\u2192": "->",
}
"""What our own words have and the core fonts lack."""


@dataclass(frozen=True, slots=True)
class Faces:
    """What a document is set in: a file for each face, or none for the core fonts."""

    files: Mapping[str, Path]

    @property
    def are_embedded(self) -> bool:
        """Whether they travel with the document, as archives want it (ISO 19005)."""
        return bool(self.files)

    def load(self, pdf: FPDF) -> None:
        """Make them known to a document."""
        for name, path in self.files.items():
            pdf.add_font(name, "", path)

    def use(self, pdf: FPDF, face: str, size: float) -> None:
        """Set in a face, `text`, `bold` or `mono`, from now on; `size` in points."""
        family, style = (face, "") if self.files else CORE[face]
        pdf.set_font(family, style, size)

    def showable(self, face: str, text: str) -> str:
        """The text with an escape for each character that the face cannot show."""
        if text.isascii() and text.isprintable():
            return text
        known = _shapes(self.files[face]) if self.files else None
        return "".join(_shown(letter, known) for letter in text)


@lru_cache(maxsize=1)
def find_faces(places: tuple[str, ...] = PLACES) -> Faces:
    """The first of the places that has each; the core fonts unless all are there."""
    found = {}
    for face, name in FILES.items():
        path = next((Path(place) / name for place in places if (Path(place) / name).is_file()), None)
        if path is None:
            return Faces({})
        found[face] = path
    return Faces(found)


@lru_cache(maxsize=8)
def _shapes(path: Path) -> frozenset[int]:
    """The characters that a font has a shape for."""
    with TTFont(path, lazy=True) as font:
        return frozenset(font.getBestCmap() or {})


def _shown(letter: str, known: frozenset[int] | None) -> str:
    if letter == SOFT_HYPHEN:
        return letter
    if letter.isprintable():
        if known is not None and ord(letter) in known:
            return letter
        if known is None and letter.encode("latin-1", errors="ignore"):
            return letter
        if known is None and letter in _PLAINER:
            return _PLAINER[letter]
    return ascii(letter)[1:-1]
