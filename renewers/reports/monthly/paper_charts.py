"""Charts and facts on paper, drawn as vectors. The figures of a chart stand in words beneath it, as on a screen."""

from __future__ import annotations

from collections.abc import Sequence

from renewers.reports.monthly.blocks import Bars, Fact, Facts
from renewers.reports.monthly.drawing import plot
from renewers.reports.monthly.setting import INK, LEFT, LINE, MUTED, POINT, ROOM, STRONG, TONES, Setter

SERIES = ((29, 79, 143), (111, 163, 220), (217, 144, 58))
TALL, SIZE = 46.0, 6.8
BETWEEN = 3.0
SAID = {"good": "in order", "watch": "look at it", "bad": "act on it"}
LONG = 22
"""A value of more letters is set as small text."""


def set_chart(setter: Setter, bars: Bars) -> None:
    """The caption, a legend where there are several series, and the drawing; all of it on one page."""
    has_legend = len(bars.series) > 1
    setter.need(TALL + (12 if has_legend else 8))
    setter.line(LEFT, setter.y + 3, setter.showable("bold", bars.caption), "bold", 8.5)
    setter.y += 5.5
    if has_legend:
        _legend(setter, bars)
    _draw(setter, bars)
    setter.y += TALL + 5


def _legend(setter: Setter, bars: Bars) -> None:
    x = LEFT
    for place, one in enumerate(bars.series):
        setter.pages.set_fill_color(*SERIES[place % len(SERIES)])
        setter.pages.rect(x, setter.y + 0.3, 2.4, 2.4, style="F")
        name = setter.showable("text", one.name)
        setter.line(x + 3.4, setter.y + 2.5, name, "text", 7.2, MUTED)
        x += 3.4 + setter.width(name, "text", 7.2) + 6
    setter.y += 4.5


def _draw(setter: Setter, bars: Bars) -> None:
    pages, top = setter.pages, setter.y
    drawn = plot(bars, ROOM, TALL, left=13, below=6, above=2)
    pages.set_line_width(0.15)
    for place, tick in enumerate(drawn.ticks):
        pages.set_draw_color(*(STRONG if place == 0 else LINE))
        pages.line(LEFT + drawn.left, top + tick.at, LEFT + ROOM, top + tick.at)
        setter.line_to(LEFT + drawn.left - 1.6, top + tick.at + 0.8, tick.text, "text", SIZE, MUTED)
    for bar in drawn.bars:
        pages.set_fill_color(*SERIES[bar.series % len(SERIES)])
        pages.rect(LEFT + bar.x, top + bar.y, bar.width, bar.height, style="F")
    for label in drawn.labels:
        text = setter.showable("text", label.text)
        width = setter.width(text, "text", SIZE)
        setter.line(LEFT + label.at - width / 2, top + drawn.bottom + 4, text, "text", SIZE, MUTED)


def set_facts(setter: Setter, facts: Facts) -> None:
    """Cards, three or four beside each other; those of one row are of one height."""
    across = 4 if len(facts.items) % 4 == 0 else 3
    wide = (ROOM - BETWEEN * (across - 1)) / across
    for start in range(0, len(facts.items), across):
        row = [_fitted(setter, fact, wide - 1) for fact in facts.items[start : start + across]]
        tall = max(sum(size * POINT * 1.4 for _, _, size, _ in lines) for lines in row) + 3.4
        setter.need(tall + 2)
        for place, lines in enumerate(row):
            _card(setter, LEFT + place * (wide + BETWEEN), wide, lines, facts.items[start + place])
        setter.y += tall + 2
    setter.y += 2


_Line = tuple[str, str, float, tuple[int, int, int]]


def _fitted(setter: Setter, fact: Fact, room: float) -> Sequence[_Line]:
    """The lines of one card: text, face, size, colour."""
    colour = TONES.get(fact.tone, INK)
    is_long = len(fact.value) > LONG
    face, size = ("text", 7.2) if is_long else ("bold", 12.0)
    lines: list[_Line] = [(text, "text", 7.2, MUTED) for text in setter.wrapped(fact.label, "text", 7.2, room)]
    lines += [(text, face, size, INK) for text in setter.wrapped(fact.value, face, size, room, 6)]
    if fact.tone in SAID:
        lines.append((SAID[fact.tone], "bold", 6.8, colour))
    if fact.note:
        lines += [(text, "text", 6.8, MUTED) for text in setter.wrapped(fact.note, "text", 6.8, room, 5)]
    return lines


def _card(setter: Setter, x: float, wide: float, lines: Sequence[_Line], fact: Fact) -> None:
    pages, y = setter.pages, setter.y
    pages.set_draw_color(*TONES.get(fact.tone, STRONG))
    pages.set_line_width(0.5)
    pages.line(x, y, x + wide, y)
    y += 1.4
    for text, face, size, colour in lines:
        setter.line(x, y + size * POINT, text, face, size, colour)
        y += size * POINT * 1.4
