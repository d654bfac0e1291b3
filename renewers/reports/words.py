"""Words for people: names that strangers chose, moments, spans of time, and the subject of a letter.

All of it is plain text without a control character; the templates escape it where it goes into HTML. What a stranger
wrote is cut before it is looked at, so that a name of 64 KiB costs no more than a short one.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from renewers.inventory import shown
from renewers.timing.lead_time import DAY, HOUR

LONGEST_NAME = 100
LONGEST_TEXT = 300
MINUTE = 60
_KEY_MARK = "PRIVATE KEY"
_KEY = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|$)", re.DOTALL)
_KEPT_BACK = "(a private key is not shown)"
NEVER = "a day beyond all calendars"
_ALABEL = "xn--"
_WRITTEN_LEFTWARD = ("R", "AL", "AN")


def plain(text: str, longest: int = LONGEST_TEXT) -> str:
    """One line of a stranger's text: what does not simply print is shown as an escape, the rest is cut.

    A private key is not shown, wherever it comes from: programs print the strangest things when they fail.
    """
    if len(text) <= longest and text.isprintable() and _KEY_MARK not in text:
        return text
    return shown.line(shown.capped(_KEY.sub(_KEPT_BACK, text), 4 * longest), longest)


def name(text: str, longest: int = LONGEST_NAME) -> str:
    """A name with its other spelling beside it, where it has one: `xn--bcher-kva.example (bücher.example)`."""
    said = plain(text, longest)
    other = _other_spelling(said)
    return said if other is None or len(said) + len(other) > 2 * longest else f"{said} ({other})"


def ascii_name(text: str, longest: int = LONGEST_NAME) -> str:
    """A name for a header: nothing but ASCII that prints, so that it can neither hide nor reorder what is beside it."""
    said = plain(text, longest)
    ascii_form = said if said.isascii() else _encoded(said) or said.encode("ascii", "backslashreplace").decode()
    return shown.capped(ascii_form, longest)


def header(text: str, longest: int = LONGEST_NAME) -> str:
    """A team's name for a header: letters of any script, but none that is written leftward."""
    said = plain(text, longest)
    return ascii_name(said, longest) if _runs_leftward(said) else said


def span(seconds: int) -> str:
    """`6 d 4 h`, `4 h 10 min`, `12 min`: the two largest units, rounded down."""
    left = max(0, seconds)
    days, hours, minutes = left // DAY, left % DAY // HOUR, left % HOUR // MINUTE
    if days:
        return f"{days} d {hours} h" if hours and days < 100 else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else "less than a minute"


def left(seconds: int) -> str:
    """What is left, or for how long it has been over."""
    return f"{span(seconds)} left" if seconds > 0 else f"over for {span(-seconds)}"


def moment(seconds: int) -> str:
    """`2026-11-27 08:12 UTC`."""
    return _written(seconds, "UTC", "%Y-%m-%d %H:%M UTC")


def local_moment(seconds: int, time_zone: str) -> str:
    """The same in somebody's zone, with the weekday: `Fri 27 Nov 09:12 CET`; empty for UTC."""
    return "" if time_zone in ("", "UTC") else _written(seconds, time_zone, "%a %-d %b %H:%M %Z")


def day(seconds: int, time_zone: str = "UTC") -> str:
    """`2026-11-27`, as the calendar on somebody's wall has it."""
    return _written(seconds, time_zone, "%Y-%m-%d")


def short_day(seconds: int, time_zone: str = "UTC") -> str:
    """`27 Nov`."""
    return _written(seconds, time_zone, "%-d %b")


def counted(number: int, noun: str) -> str:
    """`1 certificate`, `1,204 certificates`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(shown_ones: list[str], beyond: int) -> str:
    """`a, b +3 more`."""
    return ", ".join(shown_ones) + (f" +{beyond:,} more" if beyond > 0 else "")


def _written(seconds: int, time_zone: str, form: str) -> str:
    try:
        return datetime.fromtimestamp(seconds, _zone(time_zone)).strftime(form)
    except (ValueError, OverflowError, OSError):  # a stranger's certificate may say anything
        return NEVER


@lru_cache(maxsize=1000)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")


@lru_cache(maxsize=4096)
def _other_spelling(text: str) -> str | None:
    """The Unicode form of a name in ASCII, the ASCII form of one in Unicode; None where there is but one."""
    if not text.isascii():
        return _encoded(text)
    if _ALABEL not in text.lower():
        return None
    decoded = ".".join(_decoded(label) for label in text.split("."))
    return None if decoded == text or not decoded.isprintable() else decoded


def _decoded(label: str) -> str:
    """One label (RFC 3492); as it was, unless encoding it again gives the same."""
    if not label.lower().startswith(_ALABEL):
        return label
    try:
        found = label[len(_ALABEL) :].encode().decode("punycode")
        again = found.encode("punycode").decode()
    except (UnicodeError, ValueError, OverflowError):
        return label
    return found if again.lower() == label[len(_ALABEL) :].lower() and "." not in found else label


def _encoded(text: str) -> str | None:
    """The ASCII form of a domain name; None for what is none."""
    if not all(part and all(c.isalnum() or c in "-_*" or ord(c) > 127 for c in part) for part in text.split(".")):
        return None
    try:
        labels = [_label(part) for part in text.split(".")]
    except UnicodeError:
        return None
    return ".".join(labels)


def _label(part: str) -> str:
    folded = unicodedata.normalize("NFKC", part).lower()
    return folded if folded.isascii() else _ALABEL + folded.encode("punycode").decode()


def _runs_leftward(text: str) -> bool:
    return not text.isascii() and any(unicodedata.bidirectional(c) in _WRITTEN_LEFTWARD for c in text)


def age(then: int | None, now: int) -> str:
    """How long ago something was: `14 min ago`, or `never`."""
    if then is None:
        return "never"
    return "just now" if now - then < MINUTE else f"{span(now - then)} ago"
