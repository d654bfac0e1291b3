"""Whether the machine's clock can be believed: what a certificate says of time, it says until it ends.

What speaks against a clock is that it was set while we ran, that a certificate was made later than it says it is, or
that the database's is another one. Then nothing is issued and nothing is begun, sent or forgotten by dates; reading,
revoking, CRLs and OCSP go on, since who is to be refused must not wait for a time server. A clock that a time service
keeps is believed, whatever it was before. Nothing is remembered but in memory, and no restart is needed.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select, text
from sqlmodel import col

from ca import clock
from ca.errors import ClockUnavailable
from ca.models import Certificate
from ca.store import Store

TOLERANCE = timedelta(minutes=1)
SET_IT = "set the clock (chronyc makestep); certwright goes on by itself"
_NEWEST = select(col(Certificate.recorded_at)).order_by(col(Certificate.id).desc()).limit(1)


class Timekeeper:
    """Watches the clock for one installation. Safe to be asked by many threads at once, and costs two readings."""

    def __init__(self, tolerance: timedelta = TOLERANCE) -> None:
        self._tolerance = tolerance.total_seconds()
        self._against: str | None = None
        self._was_believed = False

    @property
    def objection(self) -> str | None:
        """What speaks against the clock now."""
        if self._against is None and (step := clock.step()):
            way = "forward" if step > 0 else "back"
            return f"the clock was set {way} by {_spoken(step)}, and no time service keeps it"
        return self._against

    def require(self) -> None:
        """`ClockUnavailable` while something speaks against the clock."""
        if (objection := self.objection) is not None:
            besides = "clock.tolerance says how far it may be off"
            if self._against is None:
                besides = "if it is right now, restart certwright"
            raise ClockUnavailable(f"no date is taken from this machine: {objection}", hint=f"{SET_IT}; {besides}")

    def timestamp(self) -> int:
        """The present, whole seconds since the epoch, to be written into a certificate; as `require`."""
        self.require()
        return clock.timestamp()

    @property
    def horizon(self) -> int:
        """What ended before this has ended: the present, and by a clock that cannot be believed nothing at all (0)."""
        return clock.timestamp() if self.objection is None else 0

    def compare(self, store: Store) -> None:
        """Hold the clock against what the store knows: to be called at the start, and every few seconds.

        The newest certificate counts until the clock was believed once. Later ones may be those of a replica whose
        clock runs ahead, and who was right at the beginning does not become wrong by that.
        """
        with store.read() as connection:
            newest = None if self._was_believed else connection.execute(_NEWEST).scalar()
            theirs = None
            if store.is_shared:
                theirs = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
        before, self._against = self._against, None if clock.is_disciplined() else self._objection_of(newest, theirs)
        if self._against is None:
            self._was_believed = True
            if before is not None:  # to be set right is no step
                clock.believe()

    def _objection_of(self, newest: int | None, theirs: float | None) -> str | None:
        if newest is not None and (behind := newest - clock.exactly() - clock.step()) > self._tolerance:
            return f"the clock is {_spoken(behind)} behind the newest certificate, and no time service keeps it"
        if theirs is not None and abs(away := theirs - clock.on_machine()[0]) > self._tolerance:
            return f"the database's clock is {_spoken(away)} away from this one's, and no time service keeps this one"
        return None


def _spoken(seconds: float) -> str:
    return str(timedelta(seconds=round(abs(seconds))))
