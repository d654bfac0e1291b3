"""How moments, lengths of time and numbers are written on a page, and what tone a word has. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ca import clock

Tone = Literal["good", "info", "warn", "bad", "worst", "plain"]

TONES: Mapping[str, Tone] = {
    **dict.fromkeys(
        ("fine", "valid", "active", "current", "done", "delivered", "seen", "answers", "sent", "granted"), "good"
    ),
    **dict.fromkeys(("due", "prepared", "open", "waiting", "held", "info", "planned", "acknowledged"), "info"),
    **dict.fromkeys(
        ("late", "warning", "tainted", "behind", "paused", "aborted", "orphan", "expiring", "waits"), "warn"
    ),
    **dict.fromkeys(("urgent", "failing", "error", "revoked", "distrusted", "never", "bounced", "refused"), "bad"),
    **dict.fromkeys(("critical", "expired", "stopped", "dead"), "worst"),
    **dict.fromkeys(("replaced", "ended", "retired", "abandoned", "overtaken", "collapsed", "told"), "plain"),
    "granted": "good",
    "waits": "warn",
}
"""Stages, severities and states as the tables write them; what is not here is plain."""
SIGNS: Mapping[Tone, str] = {"good": "✓", "info": "●", "warn": "▲", "bad": "■", "worst": "✖", "plain": "–"}
"""A shape for each tone, for who cannot tell the colours apart."""


def tone(word: str) -> Tone:
    """The tone of a stage, severity or state."""
    return TONES.get(word, "plain")


def iso(seconds: int) -> str:
    """A moment for programs: 2026-11-26T05:02:42Z."""
    return f"{clock.from_timestamp(seconds):%Y-%m-%dT%H:%M:%SZ}"


def utc(seconds: int) -> str:
    """A moment for people: 2026-11-26 05:02."""
    return f"{clock.from_timestamp(seconds):%Y-%m-%d %H:%M}"


def day(seconds: int) -> str:
    """A day: 2026-11-26."""
    return f"{clock.from_timestamp(seconds):%Y-%m-%d}"


def left(seconds: int) -> str:
    """A length of time in its two largest units: `6 d 4 h`; what is over begins with a minus sign."""
    rest = abs(int(seconds))
    parts: list[str] = []
    for unit, size in (("y", 365 * 86400), ("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if rest >= size or (unit == "s" and not parts):
            parts.append(f"{rest // size} {unit}")
        elif parts:
            break
        rest %= size
        if len(parts) == 2:
            break
    return ("−" if seconds < 0 else "") + " ".join(parts)


def number(value: float) -> str:
    """A number with its thousands apart: 1 000 000."""
    return f"{value:,}".replace(",", "\u202f")
