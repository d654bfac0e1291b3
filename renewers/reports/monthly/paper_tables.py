"""Tables on paper: heads that come again on each page, cells in as many lines as they need, rows that are not torn."""

from __future__ import annotations

from collections.abc import Sequence

from renewers.reports.monthly.blocks import Column, Table
from renewers.reports.monthly.setting import BOTTOM, HEIGHT, INK, LEFT, LINE, MUTED, POINT, ROOM, STRONG, TOP, Setter
from renewers.reports.monthly.typefaces import SOFT_HYPHEN

SIZE, HEAD = 7.2, 6.8
GAP = 2.6
"""Between two columns."""
PAD = 1.1
LEADING = 1.36
MOST_LINES = 12
PEN = 9.0
"""The least height of a row that somebody signs in."""
NARROW = 8.0
SHORT, LOOKED_AT = 12, 40
"""Words of so many letters are not broken, as far as the first rows tell."""


def set_table(setter: Setter, table: Table) -> None:
    """The caption, then the table; or what it means that there is nothing in it."""
    if not table.rows:
        setter.need(8)
        setter.paragraph(f"{table.caption}: {table.empty}.", size=8.5)
        setter.y += 3
        return
    _Grid(setter, table).set()


class _Grid:
    def __init__(self, setter: Setter, table: Table) -> None:
        self._setter, self._table = setter, table
        self._places = list(_places(setter, table))
        self._height = SIZE * POINT * LEADING
        self._heads = [
            setter.wrapped(column.head, "bold", HEAD, width)
            for column, (_, width) in zip(table.columns, self._places, strict=True)
        ]

    def set(self) -> None:
        setter, table = self._setter, self._table
        head = max(map(len, self._heads)) * HEAD * POINT * LEADING + 2 * PAD
        first = [self._fitted(row) for row in table.rows[:2]]
        setter.need(6 + head + sum(map(self._tall, first)))
        setter.line(LEFT, setter.y + 3, setter.showable("bold", table.caption), "bold", 8.5)
        setter.y += 5.2
        self._set_head()
        for row in table.rows:
            cells = self._fitted(row)
            if setter.y + self._tall(cells) > HEIGHT - BOTTOM:
                setter.begin_page()
                setter.line(
                    LEFT, TOP + 2.4, f"{setter.showable('text', table.caption)}, continued", "text", HEAD, MUTED
                )
                setter.y = TOP + 4
                self._set_head()
            self._set_row(cells)
        if table.note:
            setter.y += 1
            setter.paragraph(table.note, size=7.5, colour=MUTED)
        setter.y += 5

    def _fitted(self, row: Sequence[str]) -> list[list[str]]:
        fit = self._setter.wrapped
        return [fit(cell, "text", SIZE, width, MOST_LINES) for cell, (_, width) in zip(row, self._places, strict=True)]

    def _tall(self, cells: Sequence[Sequence[str]]) -> float:
        tall = max(map(len, cells)) * self._height + 2 * PAD
        return max(tall, PEN) if self._table.to_sign else tall

    def _set_head(self) -> None:
        lines = max(map(len, self._heads))
        step = HEAD * POINT * LEADING
        for (x, width), texts, column in zip(self._places, self._heads, self._table.columns, strict=True):
            for place, text in enumerate(texts):  # heads stand on the line, whatever their number of lines
                base = self._setter.y + PAD + (lines - len(texts) + place) * step + HEAD * POINT
                self._put(x, width, base, text, column, "bold", HEAD)
        self._setter.y += lines * step + 2 * PAD
        self._rule(STRONG)

    def _set_row(self, cells: Sequence[Sequence[str]]) -> None:
        for (x, width), texts, column in zip(self._places, cells, self._table.columns, strict=True):
            for place, text in enumerate(texts):
                base = self._setter.y + PAD + place * self._height + SIZE * POINT
                self._put(x, width, base, text, column, "text", SIZE)
        self._setter.y += self._tall(cells)
        self._rule(LINE)

    def _put(self, x: float, width: float, base: float, text: str, column: Column, face: str, size: float) -> None:
        colour = MUTED if face == "bold" else INK
        if column.is_number:
            self._setter.line_to(x + width, base, text, face, size, colour)
        elif text:
            self._setter.line(x, base, text, face, size, colour)

    def _rule(self, colour: tuple[int, int, int]) -> None:
        pages = self._setter.pages
        pages.set_draw_color(*colour)
        pages.set_line_width(0.15)
        pages.line(LEFT, self._setter.y, LEFT + ROOM, self._setter.y)


def _places(setter: Setter, table: Table) -> Sequence[tuple[float, float]]:
    """Where each column begins and how wide it is: by its share, but wide enough for short words such as dates."""
    columns = table.columns
    room = ROOM - GAP * (len(columns) - 1)
    least = [min(_least(setter, table, place), 2 * room / len(columns)) for place in range(len(columns))]
    least = [low * min(1, room / sum(least)) for low in least]
    shares = sum(column.width for column in columns)
    widths = [max(low, room * column.width / shares) for low, column in zip(least, columns, strict=True)]
    spare = room - sum(least)
    over = sum(width - low for width, low in zip(widths, least, strict=True))
    if over > 0:  # what is above the least shares what is left
        widths = [low + (width - low) * spare / over for width, low in zip(widths, least, strict=True)]
    found, x = [], LEFT
    for width in widths:
        found.append((x, width))
        x += width + GAP
    return found


def _least(setter: Setter, table: Table, place: int) -> float:
    """The widest word of a column that is not to be broken: those of its head, and short ones of its first rows."""
    head = table.columns[place].head.replace(SOFT_HYPHEN, "- ").split()
    cells = (setter.showable("text", row[place]) for row in table.rows[:LOOKED_AT])
    words = {word for cell in cells for word in cell.split() if len(word) <= SHORT}
    widths = [setter.width(word, "bold", HEAD) for word in head] + [setter.width(word, "text", SIZE) for word in words]
    return max([NARROW, *widths]) + 0.1
