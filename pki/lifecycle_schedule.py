"""What of the floor that reaches out runs when: pieces of work for `pki/schedule.py`, and the runner of due work.

None of them has state of its own; what is due stands in the tables, so that a beat that was missed is caught up and
any replica may do any of it.
"""

from __future__ import annotations

from ca.errors import CertwrightError
from ca.store.lease import leased
from pki.beats import Beat
from pki.logs import logger
from pki.product import Product
from renewers.answering import acknowledged, links
from renewers.distribution import canaries, freshness, latency, leaves, probing, publishing
from renewers.duties import DUTIES
from renewers.inventory import answering, ending, holds, issued, own
from renewers.mailing import forgetting, opening
from renewers.overview import ahead, tallies
from renewers.renewing import health
from renewers.reports.monthly import letter, snapshots
from renewers.rotation import automatic
from renewers.rotation.automatic import Automatic
from renewers.runner import Runner
from renewers.telling import heads, notices
from renewers.telling.heads import HeadPolicy
from renewers.timing import watch
from renewers.work import Claim

log = logger(__name__)
PAGE = 1000
MOST_SAID = 20
"""How many findings of an audit the log has; the alarm says how many there are."""
MOST_PAGES = 20
"""How many pages one beat takes at most: others want the writer, too, and the next beat goes on."""


def make_runner(product: Product) -> Runner:
    """The runner of one process. What is not of our error tree reaches the log with its traceback."""
    runner = Runner(product.lifecycle, DUTIES)
    runner.on_error = _log_error
    return runner


def _log_error(claim: Claim, error: Exception) -> None:
    if isinstance(error, CertwrightError):
        log.warning("work-refused", kind=claim.kind, subject=claim.subject, code=error.code, reason=error.message)
    else:
        log.error("work-broke", kind=claim.kind, subject=claim.subject, exc_info=error)


def track_issued(product: Product) -> None:
    """Track what our own CA has issued and revoked."""
    for _ in range(MOST_PAGES):
        if issued.catch_up(product.lifecycle, limit=PAGE) < PAGE:
            return


def track_own(product: Product) -> None:
    """Track our own authorities, their CRLs and the trust bundle."""
    own.catch_up(product.lifecycle)


def watch_holds(product: Product) -> None:
    """Say what our CA has on hold, for as long as it lasts."""
    holds.watch(product.lifecycle)


def watch_lead_time(product: Product) -> None:
    """See what has become due, late, urgent, critical or expired."""
    for _ in range(MOST_PAGES):
        if watch.watch_due(product.lifecycle, limit=PAGE) < PAGE:
            return


def settle_answering(product: Product) -> None:
    """Go on writing down who answers for what, where a rule has changed: part of it, since others write, too."""
    answering.walk(product.lifecycle)


class KeepFigures:
    """Keeps figures of pages that take long to work out; the first beat, which a start waits for, only short ones."""

    def __init__(self) -> None:
        self._has_started = False

    def __call__(self, product: Product) -> None:
        """Count everything, and look ahead, where that is due."""
        is_start, self._has_started = not self._has_started, True
        tallies.take_due(product.lifecycle, is_start=is_start)
        ahead.take_due(product.lifecycle, is_start=is_start)


def tell_events(product: Product) -> None:
    """Make one piece of work of each event for each webhook that wants it."""
    for _ in range(MOST_PAGES):
        if notices.fan_out(product.lifecycle, limit=PAGE) < PAGE:
            return


def write_letters(product: Product) -> None:
    """Open the letters to owners that are due: what has crossed a threshold, whose regular letter's hour has come."""
    opening.open_due(product.lifecycle)


def publish(product: Product) -> bool:
    """Rebuild the lists that are due or were touched by a revocation, and publish every stream that has changed.

    One after the other, since a revocation is on its way until consumers are told of it. True if one has changed.
    """
    try:
        product.publish_lists()
    finally:  # a CA whose key does not work keeps nothing else from being published
        made = publishing.publish_due(product.lifecycle)
        for one in made:
            log.info("published", stream=one.stream, version=one.version, cause=one.cause)
    return bool(made)


def watch_consumers(product: Product) -> None:
    """Bring forward the handshakes that may show that somebody holds what it was sent; send a canary if one is due."""
    canaries.send_due(product.lifecycle)
    probing.plan_due(product.lifecycle)


def watch_freshness(product: Product) -> None:
    """See who has not proved in time what it was given, and plan what was missed."""
    freshness.watch(product.lifecycle)


def rotate_due(product: Product) -> None:
    """Start the rotations whose time has come, and see which wait for too long."""
    automatic.start_due(product.lifecycle, Automatic(product.settings.rotation.automatic))


def publish_head(product: Product) -> None:
    """Tell the newest signed head of the ledger to files and webhooks, if it is time; one replica does it for all."""
    settings = product.settings.ledger
    directory = product.state / settings.publish_to if settings.publish_to else None
    policy = HeadPolicy(directory, int(settings.publish_every.total_seconds()))
    with leased(product.installation.store, "publish-head", 60) as held:
        if held is not None:
            heads.publish_due(product.lifecycle, policy)


def audit_ledger(product: Product) -> None:
    """Hold the whole store against its ledger, if it is time; one replica does it for all."""
    report = product.audits.run_due()
    for finding in () if report is None else report.findings[:MOST_SAID]:
        hint = "certwright ledger verify names all; keep the database as it is"
        log.error("ledger-unsound", finding=finding.message, position=finding.position, hint=hint)


def check_issuers(product: Product) -> None:
    """Ask public CAs whether they answer, before a renewal needs them; one replica does it for all."""
    with leased(product.installation.store, "check-issuers", 300) as held:
        if held is not None:
            health.check_all(product.lifecycle)


def report_month(product: Product) -> None:
    """Keep the figures of a month that is over, and write to those who sign for them."""
    for month in snapshots.take_due(product.lifecycle):
        log.info("report-made", month=str(month))
    letter.open_due(product.lifecycle, product.settings.mail.monthly_to)


def prune_inventory(product: Product) -> None:
    """Forget what ended long ago, and events that everybody has heard of."""
    settings = product.settings
    while ending.prune(product.lifecycle, settings.inventory.keep_ended):
        continue
    while notices.prune(product.lifecycle, settings.events.keep):
        continue
    while forgetting.prune(product.lifecycle):
        continue
    while links.prune(product.lifecycle) or acknowledged.prune(product.lifecycle):
        continue
    snapshots.prune(product.lifecycle)
    publishing.prune(product.lifecycle)
    latency.prune(product.lifecycle)
    leaves.prune(product.lifecycle)


LIFECYCLE_BEATS = (
    Beat("watch-consumers", 2, watch_consumers, goes_by_date=True),
    Beat("watch-freshness", 15, watch_freshness, goes_by_date=True),
    Beat("track-issued", 2, track_issued),
    Beat("tell-events", 2, tell_events),
    Beat("watch-lead-time", 5, watch_lead_time, goes_by_date=True),
    Beat("write-letters", 10, write_letters, goes_by_date=True),
    Beat("settle-answering", 5, settle_answering),
    Beat("keep-figures", tallies.EVERY, KeepFigures()),
    Beat("track-own", 60, track_own),
    Beat("watch-holds", 15, watch_holds),
    Beat("rotate-due", 60, rotate_due, goes_by_date=True),
    Beat("check-issuers", 600, check_issuers),
    Beat("report-month", 600, report_month, goes_by_date=True),
    Beat("publish-head", 30, publish_head),
    Beat("audit-ledger", 60, audit_ledger, goes_by_date=True),
    Beat("prune-inventory", 3600, prune_inventory, goes_by_date=True),
)
