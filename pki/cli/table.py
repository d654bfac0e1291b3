"""Tables that stay readable on any screen: columns first, words wrapped next, and what still does not fit beneath.

A column that cannot have its width moves under the row, with its name before it. If it is a few long names for which
it cannot, they alone move. Nothing is ever cut off or broken inside a word, since serial numbers and URIs are there to
be copied. Into a pipe, a row is one line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

GAP = 2
READABLE = 24
"""The width below which a column of words is no pleasure."""
FEW = 8
"""One row in so many may be too long for its column, or twice as many."""
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

    def holds(self, text: str) -> bool:
        """Whether no word of it is too long."""
        return _word(text) <= self.width


def lay_out(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[Line]:
    """The lines of a table of at most `width` characters, where its words let it; the first names the columns."""
    some = -(-len(rows) // FEW) if len(rows) > 2 else 0
    found = [_lines(_plan(columns, rows, width, spared), columns, rows, width) for spared in (0, some, 2 * some)]
    return min(found, key=len)


def _lines(plan: Sequence[_Column], columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[Line]:
    lines = _side_by_side(plan, columns)
    for row in rows:
        is_long = [not column.holds(text) for column, text in zip(plan, row, strict=True)]
        if is_long[0]:
            lines.append(((plan[0].name, row[0]),))
        beside = ["" if moves else text for moves, text in zip(is_long, row, strict=True)]
        if any(text and column.width for column, text in zip(plan, beside, strict=True)):
            lines += _side_by_side(plan, beside)
        lines += _beneath([(plan[place].name, row[place]) for place in range(1, len(row)) if is_long[place]], width)
    return lines


def _plan(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, spared: int) -> list[_Column]:
    """Each column its least from the left on, as long as there is room; `spared` rows may need more. Then the rest."""
    plan = []
    for place, name in enumerate(columns):
        texts = [row[place] for row in rows]
        words, lengths = (sorted(map(measure, texts)) or [0] for measure in (_word, len))
        usual = -1 - spared if words[-1] > READABLE else -1  # to spare a few for less is no gain
        least = max(_word(name), words[usual], min(lengths[usual], READABLE))
        plan.append(_Column(name, max(map(len, (name, *texts))), least))
    left = width + GAP
    for column in plan:
        if column.least + GAP <= left or column is plan[0]:
            column.width = column.least
            left -= column.least + GAP
    _widen(plan, rows, width)
    return plan


def _widen(plan: Sequence[_Column], rows: Sequence[Sequence[str]], width: int) -> None:
    """Share out what is left: the more of its text a column would have to wrap, the more it gets."""
    shown = [(place, column) for place, column in enumerate(plan) if column.width]
    left = max(0, width + GAP - sum(column.width + GAP for _, column in shown))
    over = {place: sum(max(0, len(row[place]) - column.width) for row in rows) for place, column in shown}
    total = sum(over.values())
    shares = {place: left * over[place] // total if total else 0 for place, _ in shown}
    for by_share in (True, False):
        for place, column in shown:
            more = max(0, min(column.natural - column.width, left, shares[place] if by_share else left))
            column.width += more
            left -= more


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


def _beneath(cells: Sequence[tuple[str, str]], width: int) -> list[Line]:
    """Names and texts under a row: as many a line as fit whole, what is longer on lines of its own."""
    lines: list[Line] = []
    left = 0
    for name, text in cells:
        if text == NOTHING:
            continue
        said = f"{name}: {text}"
        if len(said) + GAP <= left:
            lines[-1] += ((name, " " * GAP + said),)
            left -= len(said) + GAP
            continue
        found = _wrap(said, width - len(INDENT))
        lines += [((name, INDENT + each),) for each in found]
        left = width - len(INDENT) - len(said) if len(found) == 1 else 0
    return lines


def _word(text: str) -> int:
    """Characters of the longest word."""
    return max(map(len, text.split(" ")))


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
