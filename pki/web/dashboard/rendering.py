"""From a template and values to HTML. Every value is escaped; a name that a template misspells is an error.

Templates are in `templates`: those of pages in `templates/dashboard`, which are found by their bare name, and those of
other rooms by their path (`answers/shown.html`). What strangers wrote is text here and stays text.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pki.data import data
from pki.web.dashboard import words
from renewers.inventory.shown import harmless

if TYPE_CHECKING:
    from jinja2 import Environment

STYLE = "certwright.css"
KEPT = "\n\t\u202f"


def render(template: str, values: dict[str, Any]) -> str:
    """The HTML of a page."""
    return _environment().get_template(template).render(values)


@cache
def style() -> tuple[bytes, str]:
    """The style sheet, and the version by which a browser may keep it for ever."""
    content = (data("templates") / "dashboard" / STYLE).read_bytes()
    return content, sha256(content).hexdigest()[:16]


def _plain(value: object) -> object:
    """Text of anybody: what would steer or reorder a screen is shown escaped, lines and our own thin spaces apart."""
    if type(value) is not str or value.isprintable():
        return value
    return "".join(c if c in KEPT else harmless(c) for c in value)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # 60 ms: most commands render nothing

    top = data("templates")
    found = Environment(
        loader=FileSystemLoader([top / "dashboard", top]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_plain,
        cache_size=-1,
    )
    found.filters |= {each.__name__: each for each in (words.iso, words.utc, words.day, words.left, words.number)}
    found.filters["tone"] = words.tone
    found.globals["SIGNS"] = dict(words.SIGNS)
    found.globals["style_version"] = style()[1]
    return found
