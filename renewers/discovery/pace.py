"""How soon a known endpoint is looked at again: sooner towards the end of what it shows. Pure."""

from __future__ import annotations

from collections.abc import Collection

from renewers.discovery.findings import NOT_THE_ISSUED
from renewers.timing.lead_time import draw

SOONEST, LATEST = 15 * 60, 6 * 3600
TIMES = 24
"""How many looks what is left of a certificate's life is divided into."""
SPREAD = 0.1
"""How much longer a wait may be, as a part of it: what was found together is not looked at together."""


def next_look(place: str, not_after: int, findings: Collection[str], now: int) -> int:
    """When to look again at a place that shows a certificate with that end."""
    wait = min(max((not_after - now) // TIMES, SOONEST), LATEST)
    if now > not_after:
        wait = SOONEST
    if NOT_THE_ISSUED in findings:
        wait = min(wait, 2 * SOONEST)
    return now + wait + int(wait * SPREAD * draw(place))
