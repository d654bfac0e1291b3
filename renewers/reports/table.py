"""Every row of an owner as CSV (RFC 4180), UTF-8, for whoever works through a list.

Spreadsheets take a cell for a formula that begins with one of a few characters, also after spaces, and strangers chose
these names: such a cell gets an apostrophe in front, which spreadsheets show to nobody. No cell holds a line end.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from io import StringIO

from renewers.reports import words
from renewers.reports.content import Digest
from renewers.reports.rows import Need, Row

COLUMNS = (
    *("name", "also", "stage", "needs", "now", "ends", "seconds_left", "lead_time_seconds", "renewed_by", "state"),
    *("last_error", "seen_at", "last_seen", "issuer", "serial_ends_in", "key", "kind", "taken_care_of_until", "id"),
)
_FORMULA = ("=", "+", "-", "@", "|", "%", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are the first four, as wide as an ideograph: some spreadsheets take them for the same."""


def of_digest(digest: Digest) -> bytes:
    """The table, with a header line; what ends first stands first."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows(_safe(_cells(row)) for row in digest.everything)
    return text.getvalue().encode()


def safe(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.lstrip().startswith(_FORMULA) or cell[:1].isspace() else cell


def _safe(cells: Iterable[object]) -> Iterator[object]:
    return (safe(cell) if isinstance(cell, str) else cell for cell in cells)


def _cells(row: Row) -> tuple[object, ...]:
    seen = max((place.last_seen or 0 for place in row.places), default=0)
    return (
        row.name,
        words.listed([name for name in row.names if name != row.name], row.more_names),
        row.stage.value,
        "" if row.need is Need.NONE else row.need.value,
        "yes" if row.is_now else "",
        words.moment(row.ends),
        row.left,
        row.needed,
        row.mode,
        row.state,
        row.error,
        words.listed([place.name for place in row.places], row.more_places),
        words.moment(seen) if seen else "",
        row.issuer,
        row.serial,
        row.key_type,
        row.kind,
        "" if row.acknowledged_until is None else words.moment(row.acknowledged_until),
        f"#{row.tracked_id}",
    )
