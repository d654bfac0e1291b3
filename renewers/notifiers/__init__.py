"""Who is told: the `Notifier` port. One event at a time, at least once, in no promised order.

Adapters: `webhook` (signed POST), `memory` (tests). A recipient keeps the ids that it has seen: what it took without
our noticing comes again. What is to be told to whom, and what becomes of a failure, is `renewers/telling/notices.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol

from ca.errors import Misconfigured
from renewers.telling.events import SEVERITIES, rank


@dataclass(frozen=True, slots=True)
class Notice:
    """One event as it is told. The same `id` is the same event, however often it comes."""

    id: int
    kind: str
    subject: str
    severity: str
    at: int
    body: dict[str, Any]


class Selection:
    """What a recipient wants to hear: from a severity upwards, of kinds in which `*` stands for anything."""

    def __init__(self, severity: str = "info", kinds: Sequence[str] = ("*",)) -> None:
        if severity not in SEVERITIES:
            raise Misconfigured(f"there is no severity {severity!r}", hint=f"one of {', '.join(SEVERITIES)}")
        if wrong := [kind for kind in kinds if not re.fullmatch(r"[a-z0-9*-]+", kind)]:
            raise Misconfigured(f"{wrong[0]!r} is no kind of event", hint="such as certificate-renewed, or renewal-*")
        self._rank = rank(severity)
        self._kinds = tuple(kinds)

    def takes(self, notice: Notice) -> bool:
        """Whether this one is among them."""
        return rank(notice.severity) >= self._rank and any(fnmatchcase(notice.kind, kind) for kind in self._kinds)


class Notifier(Protocol):
    """Tells one recipient."""

    def wants(self, notice: Notice) -> bool:
        """Whether this is to be told here. Asks nobody, and answers the same every time."""

    def tell(self, notice: Notice) -> None:
        """Returns when the recipient has it. `NotDelivered` if it does not take it now."""
