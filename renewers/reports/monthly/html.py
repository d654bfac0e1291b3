"""The report as one HTML file: style and drawings inside, no script, nothing fetched.

What strangers wrote reaches it through Jinja2's escaping alone. `policy` is the Content-Security-Policy
that allows its style by its hash and nothing else, so that even a hole in that escaping would run nothing.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from renewers.reports.monthly.blocks import BAD, GOOD, WATCH, Bars, Report
from renewers.reports.monthly.drawing import Plot, plot

SIGNS = {GOOD: "in order", WATCH: "look at it", BAD: "act on it"}
"""What a tone says in words."""
WIDTH, HEIGHT = 760, 240


def render(report: Report, templates: Path) -> str:
    """The file's text. `templates` is the directory that `report/` is in."""
    values = {"report": report, "style": _style(templates), "SIGNS": SIGNS}
    return _environment(templates).get_template("monthly.html").render(values)


def policy(templates: Path) -> str:
    """The Content-Security-Policy of a page that is this file and nothing else."""
    digest = base64.b64encode(sha256(_style(templates).encode()).digest()).decode()
    closed = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; {closed}"


@lru_cache(maxsize=4)
def _style(templates: Path) -> str:
    return (templates / "report" / "monthly.css").read_text()


@lru_cache(maxsize=4)
def _environment(templates: Path) -> Environment:
    made = Environment(
        loader=FileSystemLoader(templates / "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["kind"] = lambda block: type(block).__name__.lower()
    made.filters["coordinate"] = lambda value: f"{value:.1f}"
    made.filters["plot"] = _drawn
    return made


def _drawn(bars: Bars) -> Plot:
    return plot(bars, WIDTH, HEIGHT, left=64, below=30, above=10)
