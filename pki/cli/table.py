"""Tables that stay readable on any screen: columns first, words wrapped next, and what still does not fit beneath.

A column that cannot have its width moves under the row, with its name before it; nothing is ever cut off or broken
inside a word, since serial numbers and URIs are there to be copied. Into a pipe, a row is one line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

GAP = 2
READABLE = 24
"""The width below which a column of words is no pleasure."""
INDENT = "    "
NOTHING = "-"

Line = tuple[tuple[str, str], ...]
"""One line of the screen: the name of a column and its text, padded, from left to right."""


@dataclass(slots=True)
class _Column:
    name: str
    natural: int
    """Characters of its longest cell."""
    least: int
    """Characters that it needs: its longest word, or what is readable."""
    width: int = 0
    """Characters that it gets; none if it stands beneath."""


def lay_out(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[Line]:
    """The lines of a table of at most `width` characters, where its words let it; the first names the columns."""
    plan = _plan(columns, rows, width)
    beneath = [place for place, column in enumerate(plan) if not column.width]
    lines = _side_by_side(plan, columns)
    for row in rows:
        lines += _side_by_side(plan, row)
        for place in beneath:
            if row[place] != NOTHING:
                text = f"{plan[place].name}: {row[place]}"
                lines += [((plan[place].name, INDENT + each),) for each in _wrap(text, width - len(INDENT))]
    return lines


def _plan(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[_Column]:
    """Who gets how much: each its least from the left on, as long as there is room; then more, in the same order."""
    plan = []
    for place, name in enumerate(columns):
        texts = [name, *(row[place] for row in rows)]
        natural = max(map(len, texts))
        word = max(len(word) for text in texts for word in text.split(" "))
        plan.append(_Column(name, natural, max(word, min(natural, READABLE))))
    left = width + GAP
    for column in plan:
        if column.least + GAP <= left or column is plan[0]:
            column.width = column.least
            left -= column.least + GAP
    for column in plan:
        if column.width:
            more = max(0, min(column.natural - column.width, left))
            column.width += more
            left -= more
    return plan


def _side_by_side(plan: Sequence[_Column], row: Sequence[str]) -> list[Line]:
    shown = [(column, _wrap(text, column.width)) for column, text in zip(plan, row, strict=True) if column.width]
    lines = []
    for number in range(max(len(texts) for _, texts in shown)):
        cells = [(c.name, (texts[number] if number < len(texts) else "").ljust(c.width + GAP)) for c, texts in shown]
        while not cells[-1][1].strip() and len(cells) > 1:
            cells.pop()
        name, last = cells.pop()
        lines.append((*cells, (name, last.rstrip())))
    return lines


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
