"""The report as PDF, A4, for whoever signs it: the same chapters as on a screen, with pages that can be cited.

It is set twice: the first time to learn on which page what stands. The same figures make the same bytes, wherever the
same fonts are; the only time in it is the report's own. With embedded fonts it is PDF/A-2u (ISO 19005-2), for archives.
"""

from __future__ import annotations

from collections.abc import Mapping

from ca import clock
from renewers.inventory.shown import harmless
from renewers.reports.monthly import wording
from renewers.reports.monthly.blocks import Bars, Block, Chapter, Facts, Report, Signing, Table, Verbatim, Words
from renewers.reports.monthly.paper_charts import set_chart, set_facts
from renewers.reports.monthly.paper_tables import set_table
from renewers.reports.monthly.setting import (
    BOTTOM,
    HEIGHT,
    INK,
    LEFT,
    LINE,
    MUTED,
    POINT,
    ROOM,
    STRONG,
    TONES,
    Pages,
    Setter,
)
from renewers.reports.monthly.typefaces import Faces, find_faces

CHAPTER = 58.0
"""Less room than this is not worth beginning a chapter in."""
MONO = 7.0


def render(report: Report, faces: Faces | None = None) -> bytes:
    """The document's bytes."""
    faces = find_faces() if faces is None else faces
    first = _Paper(report, faces, {}, 0)
    try:
        first.set()
    finally:
        first.pages.let_go()
    return _Paper(report, faces, first.found, first.pages.pages_count).finished()


class _Paper:
    def __init__(self, report: Report, faces: Faces, known: Mapping[str, int], total: int) -> None:
        self._report, self._known = report, known
        head = (report.title, report.subtitle)
        sha256 = next((value for name, value in report.about if name.startswith("SHA-256")), "")
        foot = f"Figures gathered {wording.moment(report.taken_at)}; SHA-256 {sha256[:16]}\u2026"
        self.pages = Pages(faces, head, foot, total)
        self.pages.describe(f"{report.title}: {report.subtitle}", report.month, clock.from_timestamp(report.taken_at))
        self._setter = Setter(self.pages, faces)
        self.found: dict[str, int] = {}

    def set(self) -> None:
        """Everything, in order."""
        self._setter.begin_page()
        self._cover()
        for number, chapter in enumerate(self._report.chapters, start=1):
            self._chapter(number, chapter)

    def finished(self) -> bytes:
        """All of it, as bytes."""
        try:
            self.set()
            return bytes(self.pages.output())
        finally:
            self.pages.let_go()

    def _cover(self) -> None:
        setter, report = self._setter, self._report
        setter.y = 30
        setter.paragraph(report.title, face="bold", size=22)
        setter.y += 1
        setter.paragraph(report.subtitle, size=12, colour=MUTED)
        setter.y += 6
        for name, value in report.about:
            setter.line(LEFT, setter.y + 3, setter.showable("text", name), "text", 8, MUTED)
            setter.paragraph(value, size=8, width=ROOM - 44, x=LEFT + 44)
            setter.y += 0.6
        setter.y += 4
        for remark in report.remarks:
            self._block(remark)
        set_facts(setter, report.summary)
        self._contents()

    def _contents(self) -> None:
        setter = self._setter
        setter.need(16 + 5.6 * len(self._report.chapters))
        setter.y += 4
        setter.line(LEFT, setter.y + 4, "Contents", "bold", 11)
        setter.y += 8
        for number, chapter in enumerate(self._report.chapters, start=1):
            page = self._known.get(chapter.key)
            setter.line(LEFT, setter.y + 3, str(number), "text", 9, MUTED)
            setter.line(LEFT + 8, setter.y + 3, setter.showable("text", chapter.title), "text", 9)
            if page is not None:
                setter.line_to(LEFT + ROOM, setter.y + 3, str(page), "text", 9)
                link = self.pages.add_link(page=page)
                self.pages.link(LEFT, setter.y - 0.8, ROOM, 5.4, link)
            self._rule(setter.y + 4.6, LINE)
            setter.y += 5.6

    def _chapter(self, number: int, chapter: Chapter) -> None:
        setter = self._setter
        if number == 1 or chapter.starts_page or HEIGHT - BOTTOM - setter.y < CHAPTER:
            setter.begin_page()
        else:
            setter.y += 6
        self.found[chapter.key] = self.pages.page_no()
        self.pages.set_y(setter.y)
        self.pages.start_section(harmless(f"{number}  {chapter.title}"))
        self._rule(setter.y, INK, 0.5)
        setter.y += 3
        setter.paragraph(f"{number}  {chapter.title}", face="bold", size=14)
        setter.paragraph(chapter.as_of, size=8, colour=MUTED)
        setter.y += 3
        for block in chapter.blocks:
            self._block(block)
        setter.paragraph(f"How this was counted. {chapter.counted}", size=7.5, colour=MUTED)
        setter.y += 4

    def _block(self, block: Block) -> None:
        setter = self._setter
        match block:
            case Words():
                setter.paragraph(block.text, size=9, colour=TONES.get(block.tone, INK))
                setter.y += 3
            case Facts():
                set_facts(setter, block)
            case Table():
                set_table(setter, block)
            case Bars():
                set_chart(setter, block)
            case Verbatim():
                self._verbatim(block)
            case Signing():
                self._signing(block)

    def _verbatim(self, block: Verbatim) -> None:
        """Letter by letter: a line is folded only where the paper ends."""
        setter = self._setter
        lines = setter.folded(block.text, "mono", MONO, ROOM - 6)
        step = MONO * POINT * 1.5
        setter.need(5 + len(lines) * step + 5)
        setter.line(LEFT, setter.y + 3, setter.showable("bold", block.caption), "bold", 8.5)
        setter.y += 5
        self.pages.set_fill_color(244, 246, 248)
        self.pages.rect(LEFT, setter.y, ROOM, len(lines) * step + 3.4, style="F")
        setter.y += 1.6
        for line in lines:
            setter.line(LEFT + 3, setter.y + MONO * POINT, line, "mono", MONO)
            setter.y += step
        setter.y += 6

    def _signing(self, block: Signing) -> None:
        setter = self._setter
        statement = setter.wrapped(block.statement, "bold", 9, ROOM)
        setter.need(len(statement) * 5 + 34)
        setter.y += 3
        setter.paragraph(block.statement, face="bold", size=9)
        setter.y += 18
        each = (ROOM - 6 * (len(block.lines) - 1)) / len(block.lines)
        for place, line in enumerate(block.lines):
            x = LEFT + place * (each + 6)
            self.pages.set_draw_color(*INK)
            self.pages.set_line_width(0.25)
            self.pages.line(x, setter.y, x + each, setter.y)
            setter.line(x, setter.y + 3.6, setter.showable("text", line), "text", 7.5, MUTED)
        setter.y += 10

    def _rule(self, y: float, colour: tuple[int, int, int] = STRONG, width: float = 0.15) -> None:
        self.pages.set_draw_color(*colour)
        self.pages.set_line_width(width)
        self.pages.line(LEFT, y, LEFT + ROOM, y)
