"""What a report is made of, before it is set: chapters of paragraphs, facts, tables and charts. No markup, no layout.

`chapters.py` makes them, `html.py` and `paper.py` set them, so that both say the same. Texts are plain text; those of
strangers were made harmless when the figures were gathered, and are shown literally by whoever sets them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PLAIN, GOOD, WATCH, BAD = "plain", "good", "watch", "bad"
"""Tones: what they say is always said in words, too."""


@dataclass(frozen=True, slots=True)
class Words:
    """A paragraph."""

    text: str
    tone: str = PLAIN


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure with what it is, and what is to be known of it."""

    label: str
    value: str
    note: str = ""
    tone: str = PLAIN


@dataclass(frozen=True, slots=True)
class Facts:
    """Several of them, beside each other."""

    items: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its head, how wide it is beside the others, whether it holds numbers."""

    head: str
    width: float = 1.0
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts under heads. `empty` is said where there are none; `to_sign` makes rows high enough for a pen."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str = "none"
    note: str = ""
    to_sign: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """Values that belong together in a chart."""

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Bars:
    """Upright bars over labels, one colour a series. `alt` says in words what there is to see."""

    caption: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]
    alt: str
    every: int = 1
    """Each how-manieth label is written."""


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Text that is shown letter by letter."""

    caption: str
    text: str


@dataclass(frozen=True, slots=True)
class Signing:
    """A statement, and places to sign it."""

    statement: str
    lines: tuple[str, ...] = ("Name", "Signature", "Date")


Block = Words | Facts | Table | Bars | Verbatim | Signing


@dataclass(frozen=True, slots=True)
class Chapter:
    """One matter: `counted` says how its figures came about, `as_of` of when they are."""

    key: str
    title: str
    as_of: str
    blocks: tuple[Block, ...]
    counted: str
    starts_page: bool = False
    """Whether it begins on a page of its own, on paper: what is signed stands together."""


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    title: str
    subtitle: str
    month: str
    about: tuple[tuple[str, str], ...]
    """What is said of the report itself: name and value."""
    taken_at: int
    summary: Facts
    remarks: tuple[Words, ...] = ()
    chapters: tuple[Chapter, ...] = field(default=())
