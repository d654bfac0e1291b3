"""The report as HTML and as PDF: both say what the chapters say, strangers' text literally, and the same every time."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pypdf
import pytest

from ca import clock
from ca.store import Store
from renewers.lifecycle import Lifecycle
from renewers.models import Owner
from renewers.reports.monthly import chapters, figures, html, paper, snapshots, typefaces
from renewers.reports.monthly.blocks import (
    Bars,
    Chapter,
    Column,
    Fact,
    Facts,
    Report,
    Series,
    Signing,
    Table,
    Verbatim,
    Words,
)
from renewers.reports.monthly.months import Month
from renewers.reports.monthly.snapshots import Kept
from renewers.reports.monthly.typefaces import Faces
from renewers.timing.lead_time import DAY
from tests import rig
from tests.renewers.monthly import AFTER, BEFORE, HOSTILE, MONTH, add_certificate, add_world, make_lifecycle
from tests.renewers.tracking import add_owner, change
from tests.source import ROOT

TEMPLATES = ROOT / "templates"
FACES = typefaces.find_faces()
EMBEDDED = pytest.mark.skipif(not FACES.are_embedded, reason="DejaVu is not on this machine (fonts-dejavu-core)")


def keep(store: Store, month: Month = MONTH, at: datetime = AFTER, lifecycle: Lifecycle | None = None) -> Kept:
    """What would be kept of a month."""
    if lifecycle is None:
        with clock.pinned(BEFORE):
            lifecycle = make_lifecycle(store)
            lifecycle.installation.ledger.sequence()
    with clock.pinned(at):
        body = snapshots._written(figures.gather(lifecycle, month))
    return Kept(month, int(at.timestamp()), hashlib.sha256(body.encode()).hexdigest(), json.loads(body))


def made_of(*blocks: Any, title: str = "Title") -> Report:
    """A report of one chapter."""
    chapter = Chapter("one", "One", "as of now", blocks, "by hand")
    taken = int(AFTER.timestamp())
    return Report(title, "subtitle", "2027-01", (("SHA-256", "ab" * 32),), taken, Facts(()), (), (chapter,))


def text_of(pdf: bytes) -> str:
    """The words of a PDF, as somebody copies them."""
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages)


class Read(HTMLParser):
    """What a browser makes of a page: its elements, attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def words_of(report: Report) -> Iterator[str]:
    """Everything that a report says."""
    for chapter in report.chapters:
        yield chapter.title
        yield chapter.counted
        for block in chapter.blocks:
            match block:
                case Words():
                    yield block.text
                case Facts():
                    yield from (word for fact in block.items for word in (fact.label, fact.value, fact.note))
                case Table() if not block.rows:
                    yield from (block.caption, block.empty)
                case Table():
                    yield from (column.head for column in block.columns)
                    yield from (cell for row in block.rows for cell in row)
                case Verbatim():
                    yield block.text


def squeezed(text: str) -> str:
    """Without spaces, soft hyphens and the hyphens that stand for them: lines break where paper ends."""
    return re.sub(r"[\s\u00ad-]+", "", text)


def test_both_forms_say_everything(store: Store) -> None:
    """Every heading, figure, cell and note of the chapters stands in the HTML and in the PDF."""
    add_world(store)
    report = chapters.compose(keep(store))
    assert len(report.chapters) == 11
    said = {
        "html": squeezed("".join(Read(html.render(report, TEMPLATES)).words)),
        "pdf": squeezed(text_of(paper.render(report))),
    }
    for word in words_of(report):
        for form, whole in said.items():
            assert all(squeezed(part) in whole for part in word.split()), (form, word)


def test_every_figure_says_how_it_was_counted_and_of_when(store: Store) -> None:
    """Each chapter has a sentence on its counting and a time, a month that nobody knows more of included."""
    with clock.pinned(BEFORE):
        lifecycle = make_lifecycle(store)
    for at in (AFTER, datetime(2027, 4, 1, tzinfo=UTC)):
        for chapter in chapters.compose(keep(store, at=at, lifecycle=lifecycle)).chapters:
            assert len(chapter.counted) > 10
            assert re.search(r"\d{4}-\d{2}-\d{2}|not known", chapter.as_of)


def test_what_is_not_known_is_said_to_be_so(store: Store) -> None:
    """A month later nothing is said of its end; of a month that is not over it is said that it is not."""
    add_world(store)
    with clock.pinned(BEFORE):
        lifecycle = make_lifecycle(store)
        lifecycle.installation.ledger.sequence()
    late = chapters.compose(keep(store, at=datetime(2027, 3, 5, tzinfo=UTC), lifecycle=lifecycle))
    assert "is not known" in late.remarks[0].text
    unknown = [
        one.title for one in late.chapters if any(isinstance(b, Words) and "Not known" in b.text for b in one.blocks)
    ]
    assert len(unknown) == 5
    early = chapters.compose(keep(store, at=datetime(2027, 1, 20, tzinfo=UTC), lifecycle=lifecycle))
    assert "is not over" in early.remarks[0].text


def test_owners_sign_once_a_quarter(store: Store) -> None:
    """In the quarter's last month the table has places to sign in, and the statement; in the others it says when."""
    add_world(store)
    with clock.pinned(BEFORE):
        lifecycle = make_lifecycle(store)
    for month, is_quarter in ((Month(2027, 2), False), (Month(2027, 3), True)):
        with clock.pinned(datetime.fromtimestamp(month.end + 600, UTC)):
            found = figures.gather(lifecycle, month)
        report = chapters.compose(Kept(month, month.end, "ab", found))
        [chapter] = [one for one in report.chapters if one.key == "ownership"]
        tables = [block for block in chapter.blocks if isinstance(block, Table) and block.to_sign]
        signed = [(row[0], *row[2:]) for table in tables for row in table.rows]
        assert signed == ([("payments", "", "")] if is_quarter else [])
        assert any(isinstance(block, Signing) for block in chapter.blocks) is is_quarter
        assert "I confirm that these are mine." in " ".join(words_of(report))


def test_html_fetches_and_runs_nothing(store: Store) -> None:
    """No script, no style attribute, nothing from elsewhere; its policy allows its one style by its hash alone."""
    add_world(store)
    page = Read(html.render(chapters.compose(keep(store)), TEMPLATES))
    assert {"script", "iframe", "object", "link", "img", "form"} & set(page.tags) == set()
    assert not [one for one in page.attributes if one[1].startswith("on") or one[1] in ("style", "src", "srcset")]
    assert all(value and value.startswith("#") for _, name, value in page.attributes if name == "href")
    style = re.search(r"<style>(.*?)</style>", html.render(made_of(), TEMPLATES), re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    digest = hashlib.sha256(style[1].encode()).digest()
    import base64

    assert f"style-src 'sha256-{base64.b64encode(digest).decode()}'" in html.policy(TEMPLATES)
    assert "script-src" not in html.policy(TEMPLATES)
    assert "default-src 'none'" in html.policy(TEMPLATES)


def test_html_can_be_read_by_who_does_not_see_it(store: Store) -> None:
    """Tables have captions and scopes, charts have words with their numbers, headings are in order."""
    add_world(store)
    report = chapters.compose(keep(store))
    text = html.render(report, TEMPLATES)
    page = Read(text)
    assert page.tags.count("table") == page.tags.count("caption") > 8
    assert all(value in ("row", "col") for tag, name, value in page.attributes if tag == "th" and name == "scope")
    assert page.tags.count("th") == sum(tag == "th" and name == "scope" for tag, name, _ in page.attributes)
    charts = [block for one in report.chapters for block in one.blocks if isinstance(block, Bars)]
    assert page.tags.count("figure") == len(charts) == text.count('role="img"')
    for chart in charts:
        assert chart.alt in "".join(page.words)
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert set(levels[1:]) == {2}
    assert ("html", "lang", "en") in page.attributes


@pytest.mark.parametrize("faces", [pytest.param(FACES, marks=EMBEDDED), Faces({})], ids=["embedded", "core"])
def test_hostile_text_is_shown_literally_or_cut(store: Store, faces: Faces) -> None:
    """Scripts, template syntax, overrides of direction, 64 KiB: neither form runs, obeys or overflows with it."""
    owner = add_owner(store, "x")
    change(store, Owner, owner, name=HOSTILE, email=HOSTILE)
    add_certificate(store, None, shown_as=HOSTILE, issuer=HOSTILE, life=398 * DAY, key_type="<b>RSA-1</b>")
    report = chapters.compose(keep(store))
    page = Read(html.render(report, TEMPLATES))
    whole = "".join(page.words)
    assert not {"script", "b"} & set(page.tags) - {"b"}
    assert page.tags.count("script") == 0
    assert "<script>alert(1)</script>{{ 8191*9973 }}{% x %}" in whole
    said = squeezed(text_of(paper.render(report, faces)))
    assert "<script>alert(1)</script>{{8191*9973}}{%x%}" in said
    for form in (whole, said):
        assert "\u202e" not in form
        assert "A" * 200 not in form


@pytest.mark.parametrize("faces", [pytest.param(FACES, marks=EMBEDDED), Faces({})], ids=["embedded", "core"])
def test_what_no_font_can_show_is_written_as_an_escape(faces: Faces) -> None:
    """Whatever a chapter says, nothing is lost, and there is no empty box: who signs sees what stands there."""
    text = "東京 \U0001f600 мир العربية na\u00efve \u2192 \u0000\u0007\u202e\u2028\ud800 \u2264"
    cells = Table("t", (Column("a"), Column("b", is_number=True)), ((text, text),))
    alt = Bars("c" + text, (text,), (Series(text, (1.0,)), Series("b", (0.0,))), text)
    blocks = (Words(text), Facts((Fact(text, text, text),)), cells, alt, Verbatim(text, text))
    said = text_of(paper.render(made_of(*blocks, title=text), faces))
    assert "\\u6771\\u4eac" in squeezed(said)
    assert "\\U0001f600" in squeezed(said)
    assert ("мир" in said) is faces.are_embedded
    assert "\\ud800" in squeezed(said)
    assert not any(letter in said for letter in "\u0000\u0007\u202e\u2028")


@EMBEDDED
def test_a_pdf_can_be_kept_and_cited(store: Store) -> None:
    """Title, language, outline, page numbers that are right, links, fonts that are embedded; PDF/A says that it is."""
    add_world(store)
    report = chapters.compose(keep(store))
    reader = pypdf.PdfReader(io.BytesIO(paper.render(report)))
    described = reader.xmp_metadata
    assert described is not None
    assert described.dc_title == {"x-default": f"{report.title}: {report.subtitle}"}
    assert described.xmp_create_date == AFTER.replace(tzinfo=None)
    root = reader.trailer["/Root"]
    assert root["/Lang"] == "en"
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert [one.title.split("  ")[1] for one in reader.outline] == [one.title for one in report.chapters]
    total = len(reader.pages)
    for number, page in enumerate(reader.pages, start=1):
        assert f"page {number} of {total}" in page.extract_text()
    contents = reader.pages[0].extract_text()
    for entry, chapter in zip(reader.outline, report.chapters, strict=True):
        where = reader.get_destination_page_number(entry)
        assert where is not None
        assert chapter.title in reader.pages[where].extract_text()
        assert re.search(rf"{re.escape(chapter.title)}\s+{where + 1}\b", contents)
    assert len(reader.pages[0]["/Annots"]) == len(report.chapters)
    for font in reader.pages[0]["/Resources"]["/Font"].values():
        descriptor = font.get_object()["/DescendantFonts"][0].get_object()["/FontDescriptor"].get_object()
        assert "/FontFile2" in descriptor
    metadata = root["/Metadata"].get_data().decode()
    assert 'pdfaid:part="2"' in metadata
    assert "2027-02-01T00:10:00" in metadata


def test_tables_break_over_pages_with_their_heads(store: Store) -> None:
    """Every page that a table goes on has its heads; no row is lost, torn or printed over the foot."""
    rows = tuple(
        (f"row-{place:04}", f"{place}", "long words that need a line or two " * (place % 4)) for place in range(400)
    )
    table = Table("Many", (Column("alpha"), Column("beta", 1, is_number=True), Column("gamma", 3)), rows)
    reader = pypdf.PdfReader(io.BytesIO(paper.render(made_of(table))))
    assert len(reader.pages) > 8
    for page in list(reader.pages)[1:]:
        text = page.extract_text()
        assert "alpha" in text
        assert "gamma" in text
        found: list[float] = []
        page.extract_text(
            visitor_text=lambda text, _c, matrix, _f, _s, found=found: (
                found.append(matrix[5]) if "row-" in text else None
            )
        )
        assert all(height > 50 for height in found)
    whole = text_of(paper.render(made_of(table)))
    assert all(whole.count(f"row-{place:04}") == 1 for place in range(400))


def test_a_word_longer_than_a_page_ends(store: Store) -> None:
    """Cells are cut after so many lines, paragraphs go on: nothing loops, nothing overflows."""
    word = "x" * 20_000
    report = made_of(Words(word), Table("t", (Column("a"), Column("b")), ((word, word),)), Verbatim("v", "y" * 3000))
    said = text_of(paper.render(report))
    assert said.count("x") >= 20_000
    assert "..." in said
    assert said.count("y") >= 3000


SAME = """
import hashlib, json, sys
from pathlib import Path
from renewers.reports.monthly import chapters, html, paper
from renewers.reports.monthly.months import parse
from renewers.reports.monthly.snapshots import Kept
found = json.loads(Path(sys.argv[1]).read_text())
report = chapters.compose(Kept(parse(found["month"]), found["taken_at"], "ab" * 32, found))
for made in (paper.render(report), html.render(report, Path(sys.argv[2])).encode()):
    print(hashlib.sha256(made).hexdigest())
"""


def test_the_same_figures_make_the_same_bytes(store: Store, tmp_path: Path) -> None:
    """In another process, with other hashes, at another time, in another time zone."""
    add_world(store)
    found, path = keep(store).figures, tmp_path / "figures.json"
    path.write_text(json.dumps(found))
    report = chapters.compose(Kept(MONTH, found["taken_at"], "ab" * 32, found))
    here = [paper.render(report), html.render(report, TEMPLATES).encode()]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    argv = [sys.executable, "-c", SAME, str(path), str(TEMPLATES)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment, check=True)
    assert done.stdout.split() == [hashlib.sha256(made).hexdigest() for made in here]


def test_a_font_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    """Without DejaVu the core fonts are used, and the report is made all the same."""
    assert not typefaces.find_faces((str(tmp_path),)).are_embedded
    assert "One" in text_of(paper.render(made_of(Words("words \u201cquoted\u201d")), Faces({})))


def test_what_somebody_signs_stands_on_one_page(store: Store) -> None:
    """The head of the ledger, the figures' hash and the place to sign are not torn apart."""
    add_world(store)
    kept = keep(store)
    reader = pypdf.PdfReader(io.BytesIO(paper.render(chapters.compose(kept))))
    [page] = [page.extract_text() for page in reader.pages if "I have read this report" in page.extract_text()]
    assert squeezed(kept.sha256) in squeezed(page)
    assert squeezed(kept.figures["head"]["checkpoint"]) in squeezed(page)
    assert "Signature" in page
    assert rig.DOMAIN in page
