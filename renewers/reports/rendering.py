"""From a page to HTML and to text: the templates in `templates/email`, compiled once a process.

HTML is escaped by the environment; nothing here marks text as safe. Text is folded at 74 columns, so that what quotes
it does not fold it again; an address of the web is never folded.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from renewers.reports import words
from renewers.reports.charts import Picture
from renewers.reports.content import Week
from renewers.reports.page import Page
from renewers.reports.rows import Need, Row
from renewers.timing.lead_time import DAY

COLUMNS = 74
INDENT = 5
LABEL = 12


def html(templates: Path, page: Page, pictures: dict[str, tuple[str, Picture]]) -> str:
    """The HTML part; `pictures` are content ids and pictures by what they show."""
    return _environment(templates).get_template("letter.html").render(page=page, pictures=pictures)


def text(templates: Path, page: Page) -> str:
    """The text part, which stands alone."""
    said = _environment(templates).get_template("letter.txt").render(page=page)
    return said.strip("\n") + "\n"


@lru_cache(maxsize=8)
def _environment(templates: Path) -> Environment:
    made = Environment(
        loader=FileSystemLoader(templates / "email"),
        autoescape=select_autoescape(disabled_extensions=("txt",), default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    made.filters |= FILTERS
    return made


def expires(row: Row, zone: str) -> str:
    """When it ends, in UTC and in the reader's zone."""
    local = words.local_moment(row.ends, zone)
    return words.moment(row.ends) + (f" · {local}" if local else "")


def lead_time(row: Row) -> str:
    """How much time there is, and how much is needed."""
    measured = f"; renewals here have taken {words.span(row.measured)}" if row.measured else ""
    has = words.span(row.left) if row.left > 0 else "none"
    return f"needs {words.span(row.needed)}, has {has}{measured}"


def places(row: Row) -> str:
    """Where it was seen, and when last."""
    shown = [f"{place.name} ({words.age(place.last_seen, row.at)})" for place in row.places]
    return words.listed(shown, row.more_places)


def also(row: Row) -> str:
    """Its other names."""
    shown = [name for name in row.names if name != row.name]
    return words.listed(shown, row.more_names)


def verb(row: Row) -> str:
    """What the one link is called: it opens a page that asks first."""
    if row.need is Need.BROKEN and row.mode == "renewed":
        return "Renew now"
    return "Answer"


def badge(row: Row) -> str:
    """What stands beside a name: colours alone would not tell everybody which ones are for now."""
    return f"now · {words.left(row.left)}" if row.is_now else words.left(row.left)


def since(row: Row) -> str:
    """Since when it has been so."""
    if row.since is None or row.since > row.at:
        return ""
    lasts = row.at - row.since
    when = words.moment(row.since) if lasts < 3 * DAY else words.day(row.since)
    return f", since {when} ({words.span(lasts)})"


def fold(said: str, indent: int = 0) -> str:
    """Lines of at most 74 columns."""
    return "\n".join(textwrap.wrap(said, COLUMNS, initial_indent=" " * indent, subsequent_indent=" " * indent))


def item(said: str) -> str:
    """One point of a list."""
    return "\n".join(textwrap.wrap(said, COLUMNS, initial_indent="  ", subsequent_indent="     "))


def field(said: str, label: str) -> str:
    """A label and what it labels, aligned."""
    first = " " * INDENT + label.ljust(LABEL)
    return "\n".join(textwrap.wrap(said, COLUMNS, initial_indent=first, subsequent_indent=" " * len(first)))


def entry(row: Row, number: int) -> str:
    """A row's first line: its number and its name, and what is left of it at the right."""
    first, right = f"{number:>3}  {row.name}", badge(row)
    if len(first) + len(right) + 2 <= COLUMNS:
        return first + right.rjust(COLUMNS - len(first))
    name = textwrap.wrap(row.name, COLUMNS - INDENT)
    lines = [f"{number:>3}  {name[0]}", *(" " * INDENT + more for more in name[1:]), right.rjust(COLUMNS)]
    return "\n".join(lines)


def link(address: str, label: str) -> str:
    """An address on a line of its own; nothing where there is none."""
    return f"{' ' * INDENT}{label}: {address}\n" if address else ""


def bars(weeks: Sequence[Week], zone: str) -> Iterator[str]:
    """The picture of the coming weeks, in letters: `=` automatic, `#` manual, `!` failing."""
    most = max((week.total for week in weeks), default=0)
    scale = min(1.0, 40 / max(1, most))
    for week in weeks:
        parts = zip(week.counts, "=#!", strict=True)
        drawn = "".join(sign * (max(1, round(count * scale)) if count else 0) for count, sign in parts)
        yield f"  {words.day(week.begins, zone)}  {week.total or '-':>5}  {drawn}".rstrip()


FILTERS: dict[str, Callable[..., object]] = {
    "also": also,
    "badge": badge,
    "bars": bars,
    "entry": entry,
    "expires": expires,
    "field": field,
    "fold": fold,
    "item": item,
    "lead_time": lead_time,
    "link": link,
    "places": places,
    "since": since,
    "verb": verb,
    "left": words.left,
    "moment": words.moment,
    "span": words.span,
    "rule": lambda _said, sign="-": sign * COLUMNS,
    "underline": lambda said, sign="-": sign * min(len(said), COLUMNS),
}
