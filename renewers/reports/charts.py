"""Pictures in a letter: small PNGs that travel with it, drawn with Pillow in a millisecond or two each.

The background is transparent and every colour stands out from white and from nearly black alike, so that a picture is
read in light and in dark mode; letters in it are large, since phones show it at half its size. There is no stranger's
text in a picture. The same numbers are in the text that stands for it (`alt`), and the legend is the letter's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

from renewers.reports import words
from renewers.reports.content import Week
from renewers.reports.rows import Row

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

AUTOMATIC, MANUAL, FAILING = "#2a9d8f", "#c9820e", "#d64545"
"""At least 3 to 1 against white and against #15181c (WCAG 2.2, 1.4.11)."""
GREY = "#858c96"
PALE = "#9aa1aa"
WIDTH = 600
HISTOGRAM, GAUGE = (WIDTH, 210), (WIDTH, 92)
LETTERS = 24
_CLEAR, _AUTOMATIC, _MANUAL, _FAILING, _LINE, _PALE = range(6)
_SHADES = 8
"""How many steps the edges of letters have."""
_INK = 8
"""Where the shades of letters begin in the palette."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG, its size in pixels, and the same in words."""

    png: bytes
    width: int
    height: int
    alt: str


def histogram(weeks: Sequence[Week], time_zone: str) -> Picture:
    """How many end in each of the coming weeks: automatic at the bottom, manual above, failing on top."""
    image, draw = _canvas(HISTOGRAM)
    width, height = HISTOGRAM
    most = max((week.total for week in weeks), default=0)
    step, floor, room = width / max(1, len(weeks)), height - 40, height - 40 - 36
    labels: list[tuple[float, float, str]] = []
    for place, week in enumerate(weeks):
        left, right, base = int(place * step) + 5, int((place + 1) * step) - 5, floor
        for count, colour in zip(week.counts, (_AUTOMATIC, _MANUAL, _FAILING), strict=True):
            if count:
                tall = max(3, round(count / most * room))
                draw.rectangle((left, base - tall + 1, right, base), fill=colour)
                base -= tall + 1
        if week.total:
            labels.append(((left + right) / 2, base - 14, _short(week.total)))
        if place % 3 == 0:
            labels.append(((left + right) / 2, floor + 22, words.short_day(week.begins, time_zone)))
    draw.line((0, floor + 2, width, floor + 2), fill=_LINE, width=2)
    _write(image, labels)
    return Picture(_png(image), width, height, _told(weeks, time_zone))


def gauge(row: Row) -> Picture:
    """From when it became due to its end: what has passed, what is left, and how much of that renewing needs."""
    image, draw = _canvas(GAUGE)
    width, top, bottom = GAUGE[0], 34, 58
    here, needed = _on_the_way(row.at, row), _on_the_way(row.marks.critical, row)
    draw.rectangle((0, top, width - 1, bottom), fill=_PALE)
    draw.rectangle((here, top, width - 1, bottom), fill=_AUTOMATIC)
    draw.rectangle((max(here, needed), top, width - 1, bottom), fill=_MANUAL if row.left > row.needed else _FAILING)
    if row.left <= 0:
        draw.rectangle((0, top, width - 1, bottom), fill=_FAILING)
    draw.polygon(((here - 9, top - 16), (here + 9, top - 16), (here, top - 2)), fill=_LINE)
    draw.rectangle((here - 1, top - 2, here + 1, bottom + 4), fill=_LINE)
    said = words.left(row.left)
    _write(image, [(min(max(here, 90), width - 90), bottom + 20, said)])
    alt = (
        f"{said}; renewing it and bringing it to where it is used may need {words.span(row.needed)}; "
        f"it ends {words.moment(row.ends)}"
    )
    return Picture(_png(image), *GAUGE, alt)


def _on_the_way(moment: int, row: Row) -> int:
    begins = min(row.marks.due, row.at)
    part = (moment - begins) / max(1, row.ends - begins)
    return round(min(max(part, 0.0), 1.0) * (GAUGE[0] - 20)) + 10


def _told(weeks: Sequence[Week], time_zone: str) -> str:
    """All the numbers. A week without any is left out."""
    said = []
    for week in weeks:
        parts = zip(week.counts, ("automatic", "manual", "failing"), strict=True)
        shown = ", ".join(f"{count} {what}" for count, what in parts if count)
        if shown:
            said.append(f"from {words.day(week.begins, time_zone)}: {shown}")
    ends = "; ".join(said) or "none"
    return f"Certificates that end in the coming {len(weeks)} weeks, by week. {ends}"


def _short(count: int) -> str:
    return str(count) if count < 10_000 else f"{count // 1000}k"


def _canvas(size: tuple[int, int]) -> tuple[Image, ImageDraw]:
    from PIL import Image, ImageDraw

    image = Image.new("P", size, _CLEAR)
    image.putpalette(_palette())
    return image, ImageDraw.Draw(image)


@lru_cache(maxsize=1)
def _palette() -> list[int]:
    colours = ["#ffffff", AUTOMATIC, MANUAL, FAILING, GREY, PALE, GREY, GREY, *[GREY] * _SHADES]
    return [int(colour[place : place + 2], 16) for colour in colours for place in (1, 3, 5)]


@lru_cache(maxsize=1)
def _opaque() -> bytes:
    """How solid each colour of the palette is: letters have soft edges."""
    solid = bytes([0, 255, 255, 255, 255, 90, 255, 255])
    return solid + bytes(round((step + 1) * 255 / _SHADES) for step in range(_SHADES))


def _write(image: Image, labels: Sequence[tuple[float, float, str]]) -> None:
    """Letters, each text centred at its place; what is beyond an edge moves inward."""
    from PIL import Image, ImageDraw

    ink = Image.new("L", image.size, 0)
    draw = ImageDraw.Draw(ink)
    for x, y, text in labels:
        half = draw.textlength(text, font=_font()) / 2
        draw.text((min(max(x, half), image.size[0] - half), y), text, fill=255, font=_font(), anchor="mm")
    shades = ink.point(_TO_SHADES)
    image.paste(shades, (0, 0), ink.point(_IS_INK, "1"))


@lru_cache(maxsize=1)
def _font() -> FreeTypeFont | ImageFont:
    from PIL.ImageFont import load_default

    return load_default(LETTERS)


_TO_SHADES = [_INK + max(0, (value * _SHADES + 254) // 255 - 1) for value in range(256)]
_IS_INK = [255 if value >= 16 else 0 for value in range(256)]


def _png(image: Image) -> bytes:
    content = BytesIO()
    image.save(content, "PNG", transparency=_opaque(), compress_level=6)
    return content.getvalue()
