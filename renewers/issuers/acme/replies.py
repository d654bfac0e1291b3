"""One answer of a CA, read with distrust: every field is checked for its kind and length before it is used.

Whatever is not as the RFC has it becomes an `IssuerUnavailable` that says where: a CA that answers nonsense today may
answer sense tomorrow, and the renewal that asked has lost nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import ceil
from typing import Any

from ca import clock
from ca.errors import BadRequest, IssuerUnavailable
from ca.x509 import names
from ca.x509.names import Kind, Name
from renewers.issuers.acme.problems import Problem, as_error, plain, read_problem

LONGEST_WAIT = 31 * 86400
LONGEST_URL = 2000
MOST_LINKS = 10
_LINK = re.compile(r"<([^<>]{1,2000})>([^<>]{0,200})")
_ALTERNATE = re.compile(r';\s*rel="?alternate"?(?:[;,\s]|$)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `what` names the CA and what it was asked, for messages."""

    what: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_good(self) -> bool:
        """Whether it is a 2xx."""
        return 200 <= self.status < 300

    @property
    def problem(self) -> Problem | None:
        """What it says is wrong; None if it is good."""
        if self.is_good:
            return None
        if 300 <= self.status < 400:
            return Problem("", "it answered with a redirect, which is not followed")
        try:
            return read_problem(json.loads(self.body))
        except (ValueError, RecursionError):
            return Problem("", f"it answered with status {self.status} and no reason")

    @property
    def retry_after(self) -> int | None:
        """Seconds until it wants to be asked again."""
        return read_retry_after(self.headers.get("Retry-After"), clock.timestamp())

    @property
    def location(self) -> str:
        """Where what was made is; unchecked."""
        if not (url := self.headers.get("Location", "")):
            raise nonsense(self.what, "no Location")
        return url

    @property
    def alternates(self) -> list[str]:
        """URLs of the `alternate` links (RFC 8555 section 7.4.2), unchecked."""
        links = _LINK.findall(self.headers.get("Link", ""))
        return [url for url, parameters in links if _ALTERNATE.search(parameters)][:MOST_LINKS]

    def check(self) -> Reply:
        """Itself if it is good; else raises what its problem means."""
        if (problem := self.problem) is not None:
            raise as_error(problem, self.what, self.status, self.retry_after)
        return self

    def document(self) -> Document:
        """Its body as a JSON object; raises if it is not good, or none."""
        self.check()
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            raise nonsense(self.what, "something that is not JSON") from None
        if not isinstance(found, dict):
            raise nonsense(self.what, "JSON that is not an object")
        return Document(self.what, found)


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON object that somebody sent; `what` says who and why."""

    what: str
    fields: Mapping[str, Any]

    def text(self, field: str, longest: int = LONGEST_URL) -> str:
        """A field that must be there, printable, and not longer than that."""
        if (found := self.optional(field, longest)) is None:
            raise nonsense(self.what, f"no {field}")
        return found

    def optional(self, field: str, longest: int = LONGEST_URL) -> str | None:
        """A field that may be missing, but is a printable text where it is there."""
        found = self.fields.get(field)
        if found is None:
            return None
        if not isinstance(found, str) or not 0 < len(found) <= longest or not found.isprintable():
            raise nonsense(self.what, f"an odd {field}")
        return found

    def texts(self, field: str, most: int) -> list[str]:
        """A list of printable texts, of at most that many; a missing one is empty."""
        found = self._list(field, most)
        if not all(isinstance(each, str) and 0 < len(each) <= LONGEST_URL and each.isprintable() for each in found):
            raise nonsense(self.what, f"odd {field}")
        return found

    def documents(self, field: str, most: int) -> list[Document]:
        """A list of objects, of at most that many; a missing one is empty."""
        found = self._list(field, most)
        if not all(isinstance(each, dict) for each in found):
            raise nonsense(self.what, f"odd {field}")
        return [Document(self.what, each) for each in found]

    def document(self, field: str) -> Document:
        """An object within; a missing one is empty."""
        found = self.fields.get(field)
        if found is not None and not isinstance(found, dict):
            raise nonsense(self.what, f"an odd {field}")
        return Document(self.what, found or {})

    def time(self, field: str) -> int | None:
        """An RFC 3339 time as seconds since the epoch; None if it is missing or odd."""
        return read_time(self.fields.get(field))

    def name(self) -> Name:
        """An identifier (RFC 8555 section 9.7.7) as a name of ours."""
        typ, value = self.text("type", 40), self.text("value", 300)
        try:
            if typ in (Kind.DNS, Kind.IP):
                return names.make(Kind(typ), value)
        except BadRequest:
            pass
        raise nonsense(self.what, f"an odd name: {plain(value, 80)}")

    def problem(self, field: str) -> Problem | None:
        """A problem document within."""
        found = self.fields.get(field)
        return None if found is None else read_problem(found)

    def _list(self, field: str, most: int) -> list[Any]:
        found = self.fields.get(field)
        if found is None:
            return []
        if not isinstance(found, list) or len(found) > most:
            raise nonsense(self.what, f"odd {field}")
        return found


class Nonsense(IssuerUnavailable):
    """An answer that makes no sense. To ask again at once would not help."""


def nonsense(what: str, instead: str) -> Nonsense:
    """The error for an answer that makes no sense."""
    return Nonsense(f"{what}: it answered with {instead}")


def read_retry_after(value: str | None, now: int) -> int | None:
    """A `Retry-After` as seconds from now (RFC 9110 section 10.2.3): a number, or a date in whatever zone it says."""
    if value is None:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", value, re.ASCII):
        return min(int(value), LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(value[:100])
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return min(max(ceil(aware.timestamp() - now), 0), LONGEST_WAIT)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def read_time(value: object) -> int | None:
    """An RFC 3339 time as seconds since the epoch; None if it is none, or says no zone."""
    if not isinstance(value, str) or len(value) > 40 or "T" not in value.upper():
        return None
    try:
        moment = datetime.fromisoformat(value.upper())
        return None if moment.tzinfo is None else int(moment.timestamp())
    except (ValueError, OverflowError):
        return None
