"""Everything that is due, done now: what the schedule does in its time, for a command and for tests.

Harmless beside a running schedule: due work is leased, and whoever comes second finds it done. Read `schedule.py` for
the beats and `renewers/runner.py` for what becomes of failures.
"""

from __future__ import annotations

from collections.abc import Callable

from pki.logs import logger
from pki.product import Product
from renewers import notices, watch
from renewers.duties import DUTIES
from renewers.inventory import issued, own
from renewers.runner import Runner
from renewers.work import Claim

log = logger(__name__)
MOST = 100_000
"""How much one pass looks at."""


def catch_up(product: Product, say: Callable[[int], None] = lambda _done: None) -> int:
    """Look at what is new, do what is due, tell who wants to know. Returns how many pieces of work that were."""
    lifecycle, runner = product.lifecycle, Runner(product.lifecycle, DUTIES)
    runner.on_error = _log
    try:
        take_stock(product)
        done = runner.drain()
        say(done)
        take_stock(product)
        if notices.fan_out(lifecycle, limit=MOST):
            done += runner.drain()
            say(done)
    finally:
        runner.stop()
    return done


def take_stock(product: Product) -> None:
    """Bring the inventory up to date with what our own CA has done, and look at what has come closer to its end."""
    product.settle()
    issued.catch_up(product.lifecycle, limit=MOST)
    own.catch_up(product.lifecycle)
    watch.watch_due(product.lifecycle, limit=MOST)


def _log(claim: Claim, error: Exception) -> None:
    log.info("due-work-failed", work=claim.kind, subject=claim.subject, reason=f"{type(error).__name__}: {error}"[:500])
