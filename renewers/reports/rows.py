"""One row of a letter, and what there is to know about it: made by `weighing.py` of what `reading.py` has read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from renewers.timing.lead_time import Milestones, Stage


class Need(StrEnum):
    """What a person must do about it, in the order in which a letter says it."""

    BROKEN = "broken"
    """It should renew itself, and does not."""
    MANUAL = "manual"
    """Only a person renews it, and it is time."""
    OLD = "old"
    """It was renewed, and the old one is still served."""
    SIGNER = "signer"
    """A CA, a CRL or a bundle that has to be followed by another."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Place:
    """Where it was seen: `tls:host:port`, and when last."""

    name: str
    last_seen: int | None


@dataclass(frozen=True, slots=True)
class Around:
    """What there is to know about a row of `Tracked` besides itself."""

    lineage: Any | None = None
    names: tuple[str, ...] = ()
    """The first of its names, without their kinds."""
    more_names: int = 0
    places: tuple[Place, ...] = ()
    more_places: int = 0
    renewal: Any | None = None
    """The row of the work that renews its lineage, if that fails."""
    destination: Any | None = None
    """The row of a destination that does not get it; of several, the one that has failed longest."""
    measured_p99: int | None = None
    acknowledged: Any | None = None
    is_orphan: bool = False
    is_over: bool = False
    """Whether it was replaced or given up, and is of interest only since it is still served."""
    seen_since: int = 0
    """What was seen before this is not taken for still being served."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a letter says of one tracked thing. All text is harmless: escaped, cut, on one line."""

    tracked_id: int
    lineage_id: int | None
    need: Need
    urgency: str
    """How urgently it is told of by now: `silent`, `digest`, `daily` or `immediate` (`mailing/thresholds.py`)."""
    is_now: bool
    kind: str
    mode: str
    stage: Stage
    marks: Milestones
    begins: int
    recorded_at: int
    at: int
    name: str
    header_name: str
    """The same in ASCII."""
    names: tuple[str, ...]
    more_names: int
    places: tuple[Place, ...]
    more_places: int
    issuer: str
    serial: str
    key_type: str
    state: str
    advice: str
    since: int | None = None
    error: str = ""
    explanation: str = ""
    """Where its issuer says why it wants it renewed (RFC 9773 section 4.1): an address that the issuer wrote."""
    measured: int | None = None
    acknowledged_until: int | None = None
    acknowledged_by: str = ""
    reason: str = ""

    @property
    def ends(self) -> int:
        """Its last second."""
        return self.marks.end

    @property
    def left(self) -> int:
        """Seconds that are left; not more than 0 when it has expired."""
        return self.marks.end + 1 - self.at

    @property
    def needed(self) -> int:
        """Seconds that renewing it and bringing it to where it is used may take: at the latest then it must begin."""
        return self.marks.end - self.marks.critical

    @property
    def is_resting(self) -> bool:
        """Whether somebody takes care of it. That it has expired is said all the same."""
        return self.acknowledged_until is not None and self.stage is not Stage.EXPIRED
