"""Who is told: the `Notifier` port. One event at a time, at least once, in no promised order.

Adapters: `webhook` (signed POST), `memory` (tests).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Notice:
    """One event as it is told. The same `id` is the same event, however often it comes."""

    id: int
    kind: str
    subject: str
    severity: str
    at: int
    body: dict[str, Any]


class Notifier(Protocol):
    """Tells one recipient."""

    def tell(self, notice: Notice) -> None:
        """Returns when the recipient has it. `NotDelivered` if it does not take it now."""
