"""Everything that is due, done now: what the schedule does in its time, for a command and for tests.

Harmless beside a running schedule: due work is leased, and whoever comes second finds it done. Read
`lifecycle_schedule.py` for the pieces and `renewers/runner.py` for what becomes of failures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pki import lifecycle_schedule
from pki.product import Product
from renewers.duties import DUTIES
from renewers.mailing import letters, listing, opening
from renewers.runner import Runner


@dataclass(frozen=True, slots=True)
class Sent:
    """How many letters were opened and have left just now, and how many wait for a mail server."""

    opened: int
    sent: int
    waiting: int


def catch_up(product: Product, say: Callable[[int], None] = lambda _done: None) -> int:
    """Look at what is new, do what is due, tell who wants to know. Returns how many pieces of work that were."""
    product.installation.timekeeper.require()
    runner = lifecycle_schedule.make_runner(product)
    try:
        take_stock(product)
        done = runner.drain()
        say(done)
        take_stock(product)
        lifecycle_schedule.tell_events(product)
        lifecycle_schedule.write_letters(product)
        done += runner.drain()
        say(done)
    finally:
        runner.stop()
    return done


def send_letters(product: Product, say: Callable[[int], None] = lambda _done: None) -> Sent:
    """See what has come closer to its end, open the letters that are due, and send all that wait, back-off or not."""
    product.installation.timekeeper.require()
    look_around(product)
    opened = opening.open_due(product.lifecycle)
    opening.hurry(product.lifecycle)
    ids = listing.waiting(product.lifecycle)
    runner = Runner(product.lifecycle, {letters.KIND: DUTIES[letters.KIND]})
    try:
        say(runner.drain())
    finally:
        runner.stop()
    return Sent(opened, listing.count_sent(product.lifecycle, ids), len(listing.waiting(product.lifecycle)))


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
