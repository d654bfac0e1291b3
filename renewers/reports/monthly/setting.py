"""Setting text on paper: pages with running heads, a place to write at that only goes down, lines that fit their width.

Lengths are millimetres, sizes points. A page is begun where what must stay together has no room; nothing is ever
printed over the foot. What is set, and in which order, is `paper.py`'s affair.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from xml.sax.saxutils import escape

from fpdf import FPDF
from fpdf.enums import DocumentCompliance
from fpdf.fonts import TTFFont
from fpdf.prefs import ViewerPreferences

from renewers.inventory.shown import harmless
from renewers.reports.monthly.blocks import BAD, GOOD, WATCH
from renewers.reports.monthly.typefaces import SOFT_HYPHEN, Faces

WIDTH, HEIGHT = 210.0, 297.0
LEFT, RIGHT, TOP, BOTTOM = 20.0, 18.0, 24.0, 20.0
ROOM = WIDTH - LEFT - RIGHT
POINT = 25.4 / 72
Colour = tuple[int, int, int]
_XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/" xmp:CreatorTool="Certwright" xmp:CreateDate="{at}"
 xmp:ModifyDate="{at}" xmp:MetadataDate="{at}" pdfaid:part="2" pdfaid:conformance="U">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{subject}</rdf:li></rdf:Alt></dc:description>
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>"""
"""What a PDF/A says of itself beside the information that any PDF has (ISO 19005-2 section 6.6)."""
INK, MUTED, LINE, STRONG = (25, 33, 43), (81, 92, 105), (211, 217, 224), (135, 146, 160)
TONES = {GOOD: (23, 97, 47), WATCH: (116, 68, 0), BAD: (154, 27, 27)}


class Pages(FPDF):
    """The document, with its running head and foot."""

    def __init__(self, faces: Faces, head: tuple[str, str], foot: str, total: int) -> None:
        compliance = DocumentCompliance.PDFA_2U if faces.are_embedded else None
        super().__init__(unit="mm", format="A4", enforce_compliance=compliance)
        self._faces, self._head, self._foot, self._total = faces, head, foot, total
        self.set_auto_page_break(auto=False)
        self.set_margins(LEFT, TOP, RIGHT)
        faces.load(self)

    def describe(self, title: str, subject: str, made_at: datetime) -> None:
        """What the document says of itself, twice over; its only time is the report's own."""
        title, subject = harmless(title), harmless(subject)
        self.set_title(title)
        self.set_subject(subject)
        self.set_creator("Certwright")
        self.set_lang("en")
        self.set_creation_date(made_at)
        self.viewer_preferences = ViewerPreferences(display_doc_title=True)
        if self._faces.are_embedded:  # fpdf2's own would tell when the file was written
            words = {"title": title, "subject": subject, "at": made_at.isoformat(timespec="seconds")}
            self.set_xmp_metadata(_XMP.format_map({name: escape(word) for name, word in words.items()}))

    def let_go(self) -> None:
        """Close the font files, which fpdf2 keeps open until somebody collects them."""
        for font in self.fonts.values():
            if isinstance(font, TTFFont):
                font.ttfont.close()

    def header(self) -> None:
        """Fpdf2 calls it at each page's beginning; the first page has its own title."""
        if self.page_no() == 1:
            return
        self._faces.use(self, "text", 7.5)
        self.set_text_color(*MUTED)
        self.text(LEFT, 13.5, self._faces.showable("text", self._head[0]))
        right = self._faces.showable("text", self._head[1])
        self.text(WIDTH - RIGHT - self.get_string_width(right), 13.5, right)
        self._rule(16)

    def footer(self) -> None:
        """The same at its end."""
        self._faces.use(self, "text", 7.5)
        self.set_text_color(*MUTED)
        self._rule(HEIGHT - 14.5)
        self.text(LEFT, HEIGHT - 10.5, self._faces.showable("text", self._foot))
        number = f"page {self.page_no()} of {self._total}" if self._total else f"page {self.page_no()}"
        self.text(WIDTH - RIGHT - self.get_string_width(number), HEIGHT - 10.5, number)

    def _rule(self, y: float) -> None:
        self.set_draw_color(*LINE)
        self.set_line_width(0.2)
        self.line(LEFT, y, WIDTH - RIGHT, y)


WHOLE = 8
"""Paragraphs of so many lines are kept on one page."""
_PARTS = re.compile(r"[^-@./,;:=_+]*[-@./,;:=_+]?")
"""Where a word that is too long for its line is broken: behind a sign, as addresses and names have them."""


class Setter:
    """Writes down a document from above."""

    def __init__(self, pages: Pages, faces: Faces) -> None:
        self.pages, self._faces = pages, faces
        self._widths: dict[tuple[str, float, str], float] = {}
        self._set = ("", 0.0)
        self.y = TOP

    def begin_page(self) -> None:
        """Go on at the top of the next page."""
        self.pages.add_page()
        self._set = ("", 0.0)
        self.y = TOP

    def need(self, height: float) -> bool:
        """Make sure that there is so much room; True if a page was begun for it."""
        if self.y + height <= HEIGHT - BOTTOM:
            return False
        self.begin_page()
        return True

    def face(self, face: str, size: float) -> None:
        """Set in that face from now on."""
        if self._set != (face, size):
            self._faces.use(self.pages, face, size)
            self._set = (face, size)

    def line(self, x: float, y: float, text: str, face: str, size: float, colour: Colour = INK) -> None:
        """One line with its base at `y`; it is as wide as it is."""
        self.face(face, size)
        self.pages.set_text_color(*colour)
        self.pages.text(x, y, text.replace(SOFT_HYPHEN, ""))

    def line_to(self, right: float, y: float, text: str, face: str, size: float, colour: Colour = INK) -> None:
        """One line that ends at `right`."""
        self.line(right - self.width(text.replace(SOFT_HYPHEN, ""), face, size), y, text, face, size, colour)

    def showable(self, face: str, text: str) -> str:
        """What of a text can be set."""
        return self._faces.showable(face, text)

    def width(self, text: str, face: str, size: float) -> float:
        """How wide a text is."""
        key = (face, size, text)
        found = self._widths.get(key)
        if found is None:
            self.face(face, size)
            found = self._widths[key] = float(self.pages.get_string_width(text))
            if len(self._widths) > 50_000:
                self._widths.clear()
        return found

    def wrapped(self, text: str, face: str, size: float, width: float, most: int = 1000) -> list[str]:
        """A text in lines that fit, broken between words, at soft hyphens and signs, else anywhere; so many at most."""
        lines = [""]
        for word in self.showable(face, text).split():
            for place, piece in enumerate(self._pieces(word, face, size, width)):
                joined = f"{lines[-1]}{'' if place or not lines[-1] else ' '}{piece}"
                if self.width(joined, face, size) <= width:
                    lines[-1] = joined
                elif lines[-1]:
                    lines.append(piece)
                else:
                    lines[-1] = piece
        return _cut(lines, most)

    def folded(self, text: str, face: str, size: float, width: float) -> list[str]:
        """Lines as they are, each cut where the paper ends: for what is to be compared letter by letter."""
        found = []
        for line in text.split("\n"):
            found += list(self._anywhere(self.showable(face, line), face, size, width)) or [""]
        return found

    def _pieces(self, word: str, face: str, size: float, width: float) -> Sequence[str]:
        """A word in the pieces that it may be broken into: itself, if it fits."""
        whole = word.replace(SOFT_HYPHEN, "")
        if self.width(whole, face, size) <= width:
            return (whole,)
        if SOFT_HYPHEN in word:
            *parts, last = word.split(SOFT_HYPHEN)
            return (*(f"{part}-" for part in parts), last)
        pieces = []
        for part in _PARTS.findall(whole):
            pieces += list(self._anywhere(part, face, size, width))
        return pieces

    def _anywhere(self, text: str, face: str, size: float, width: float) -> Iterator[str]:
        """A text in pieces that fit."""
        piece = ""
        for letter in text:
            if piece and self.width(piece + letter, face, size) > width:
                yield piece
                piece = ""
            piece += letter
        if piece:
            yield piece

    def paragraph(
        self,
        text: str,
        *,
        face: str = "text",
        size: float = 9,
        colour: Colour = INK,
        width: float = ROOM,
        x: float = LEFT,
    ) -> None:
        """A paragraph; a short one is not torn, and a long one leaves no single line behind."""
        height, lines = size * POINT * 1.45, self.wrapped(text, face, size, width)
        for place, line in enumerate(lines):
            whole = len(lines) if place == 0 and len(lines) <= WHOLE else 1
            self.need(height * (2 if place == len(lines) - 2 else whole))
            self.line(x, self.y + size * POINT, line, face, size, colour)
            self.y += height


def _cut(lines: list[str], most: int) -> list[str]:
    return lines if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1][:-3]}..."]
