"""Everything that is due, done now: what the schedule does in its time, for a command and for tests.

Harmless beside a running schedule: due work is leased, and whoever comes second finds it done. Read
`lifecycle_schedule.py` for the pieces and `renewers/runner.py` for what becomes of failures.
"""

from __future__ import annotations

from collections.abc import Callable

from pki import lifecycle_schedule
from pki.product import Product


def catch_up(product: Product, say: Callable[[int], None] = lambda _done: None) -> int:
    """Look at what is new, do what is due, tell who wants to know. Returns how many pieces of work that were."""
    runner = lifecycle_schedule.make_runner(product)
    try:
        take_stock(product)
        done = runner.drain()
        say(done)
        take_stock(product)
        lifecycle_schedule.tell_events(product)
        done += runner.drain()
        say(done)
    finally:
        runner.stop()
    return done


def take_stock(product: Product) -> None:
    """Publish what is due, see who lacks it, and bring the inventory up to date."""
    lifecycle_schedule.publish(product)
    product.installation.ledger.sequence()
    lifecycle_schedule.watch_consumers(product)
    look_around(product)


def look_around(product: Product) -> None:
    """Bring the inventory up to date with what our own CA has done, and look at what has come closer to its end."""
    lifecycle_schedule.track_issued(product)
    lifecycle_schedule.track_own(product)
    lifecycle_schedule.watch_lead_time(product)
