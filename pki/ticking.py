"""APScheduler's clock, for machines whose own may be set: a beat comes in its time, whatever the date is.

As it is, a step forward by a month makes it count a month's seconds one after the other, and after a step back it waits
until that moment comes again, also when the clock was right again after a minute.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from ca import clock

LONGEST_WAIT = 1.0
"""Seconds after which it looks at the clock again, whatever it waits for."""
NOTICED = 0.5
"""Seconds by which a clock has to go back to be looked after: a beat is a second at least."""


class Beating(BaseTrigger):  # type: ignore[misc]
    """Every so many seconds; what was missed is not made up for."""

    def __init__(self, every: float) -> None:
        self._every = timedelta(seconds=every)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """A beat after the one before, or after now, if that is over."""
        following = (previous_fire_time or now) + self._every
        return following if following > now else now + self._every


class SteadyScheduler(BackgroundScheduler):  # type: ignore[misc]
    """Begins anew from wherever the machine's clock was set back to."""

    def __init__(self) -> None:
        super().__init__(timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1})
        self._seen = clock.on_machine()

    def _process_jobs(self) -> float:
        now, since_start = here = clock.on_machine()
        then, then_since_start = self._seen
        self._seen = here
        if (now - then) - (since_start - then_since_start) < -NOTICED:
            for job in self.get_jobs():
                job.modify(next_run_time=datetime.fromtimestamp(now, UTC))
        wait = super()._process_jobs()
        return LONGEST_WAIT if wait is None else min(wait, LONGEST_WAIT)
