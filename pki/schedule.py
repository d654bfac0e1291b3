"""What runs when: small pieces of due work, each on its own beat. APScheduler is the clock, nothing more.

Every piece looks for what is due in the tables, does it, and may be run again at any time by any replica. A piece that
fails is logged once until it works again, counted, and tried on its next beat; a beat that was missed is caught up.
"""

from __future__ import annotations

from functools import partial

from ca import certificates, clock, crl, in_force, retention, sessions, unrecorded
from ca.authority import State
from ca.ceremony import due
from ca.errors import CertwrightError
from ca.specimen import lint_profile
from ca.timekeeping import SET_IT
from ca.x509.deeplint import deep_lint, is_available
from pki import backup, brokers
from pki.beats import Beat
from pki.lifecycle_schedule import LIFECYCLE_BEATS, make_runner, publish
from pki.logs import logger
from pki.product import Product
from pki.pulse import Pulse
from pki.ticking import Beating, SteadyScheduler

log = logger(__name__)
LIST_SECONDS = 0.5
"""How long a beat checks lists."""
SAMPLE = 20
"""How many certificates a beat of the sample lint looks at: about 60 ms."""


def sequence_ledger(product: Product) -> None:
    """Give ledger entries their place and sign a head over them."""
    product.installation.ledger.sequence()


def recover(product: Product) -> None:
    """Give up the intents of replicas that died."""
    if product.installation.store.is_shared and (found := product.recover()):
        log.warning("issuance-abandoned", intents=found, hint="certwright cert list --state abandoned")


def prune(product: Product) -> None:
    """Forget what expired long ago."""
    while retention.prune_certificates(product.installation, product.settings.store.keep_expired):
        continue
    horizon = clock.timestamp() - int(product.settings.store.keep_expired.total_seconds())
    while unrecorded.prune(product.installation, horizon):
        continue
    while retention.prune_answers(product.installation):
        continue
    sessions.forget_ended(product.installation)


def reload_profiles(product: Product) -> None:
    """Take changed profile files into service; a wrong one leaves all as they were, and says so."""
    profiles = product.installation.profiles
    if not profiles.has_changed():
        return
    for profile in profiles.reload():
        log.info("profile-changed", profile=profile.name, sha256=profile.sha256)
        for reason in lint_profile(profile):
            log.error("profile-lint", profile=profile.name, finding=str(reason))
    record_profiles(product)


def watch_clock(product: Product) -> None:
    """Hold the clock against what the store knows; fails while something speaks against it."""
    timekeeper = product.installation.timekeeper
    timekeeper.compare(product.installation.store)
    timekeeper.require()


def record_profiles(product: Product) -> None:
    """Say in the ledger which versions of profiles are in force, where that is news."""
    in_force.record(product.installation)


class SampleLint:
    """Looks at the newest certificates of profiles that ask for it with pkilint, off the issuing path."""

    def __init__(self) -> None:
        self._seen = 0

    def __call__(self, product: Product) -> None:
        """Lint a few of those that were issued since the last time."""
        profiles = [p.name for p in product.installation.profiles if p.config.lint.pkilint == "sample"]
        if not profiles or not is_available():
            return
        newest = certificates.newest(product.installation.store, profiles, after=self._seen, limit=SAMPLE)
        for stored in newest:
            for reason in deep_lint(stored.der):
                log.error("certificate-lint", serial=stored.serial, profile=stored.profile, finding=str(reason))
        self._seen = max((stored.id for stored in newest), default=self._seen)


def watch_authorities(product: Product) -> None:
    """Announce the end of a CA certificate long before it comes."""
    now = clock.timestamp()
    for row in product.installation.authorities.trusted():
        left = row.not_after - now
        if row.state in (State.ACTIVE, State.TAINTED) and left < product.settings.warn.authority.total_seconds():
            level = log.error if left < product.settings.warn.authority.total_seconds() / 4 else log.warning
            days = round(left / 86400, 1)
            level("authority-ends", authority=row.name, days_left=days, hint="certwright ca create, then ca activate")


def watch_crls(product: Product) -> None:
    """Alarm when consumers refuse everybody, or soon will, because a list was not renewed.

    That of an offline CA is renewed by people: they hear of it when a quarter of its life is left, and when it waits.
    """
    now = clock.timestamp()
    margin = product.settings.crl.lifetime.total_seconds() / 4
    walks = due.lists(product.installation)
    for one in walks:
        hint = f"certwright ceremony request {one.authority}"
        log.error("ceremony-due", authority=one.authority, reason=one.why, seconds_left=one.left, hint=hint)
    said = {one.authority for one in walks}
    for status in crl.statuses(product.installation):
        if status.authority not in said and status.next_update - now < margin:
            word = "crl-overdue" if crl.overdue(status, now) else "crl-late"
            log.error(word, authority=status.authority, shard=status.shard, seconds_left=status.next_update - now)


def check_lists(product: Product) -> None:
    """Hold some lists against the tables, as they are served; all of them in their turn."""
    for found in product.list_rounds.step(LIST_SECONDS):
        for message in found.findings:
            log.error("crl-incomplete", authority=found.authority, finding=message, hint="certwright ca crl --check")
        if product.list_rounds.mend(found):
            log.warning("crl-made-anew", authority=found.authority, shard=found.shard)


def keep_responders(product: Product) -> None:
    """Follow what signs OCSP answers in time, and say so while that fails."""
    signers = product.responder.signers
    signers.keep(product.installation.authorities.standing())
    for name, error in signers.trouble.items():
        log.error("ocsp-signer", authority=name, reason=error.message, hint=error.hint)


def make_backups(product: Product) -> None:
    """Make a backup where one is due, and say so while the newest is late."""
    try:
        backup.create_due(product)
    finally:
        if backup.is_late(product):
            log.error("backup-late", hint="certwright backup create says why")


OWN_BEATS = (
    Beat("watch-clock", 5, watch_clock),
    Beat("reload-profiles", 5, reload_profiles),
    Beat("keep-responders", 300, keep_responders, goes_by_date=True),
)
"""What every process that answers requests does for itself: no other one can."""
BEATS = (
    Beat("sequence-ledger", 1, sequence_ledger),
    *OWN_BEATS,
    Beat("record-profiles", 60, record_profiles),
    Beat("recover", 60, recover, goes_by_date=True),
    Beat("lint-sample", 60, SampleLint()),
    Beat("watch-crls", 300, watch_crls),
    Beat("check-lists", 60, check_lists),
    Beat("make-backups", 60, make_backups, goes_by_date=True),
    Beat("prune", 3600, prune, goes_by_date=True),
    Beat("watch-authorities", 86400, watch_authorities, goes_by_date=True),
)


def log_broken(error: Exception) -> None:
    """What is not of our tree, from those who listen for reports."""
    log.error("reports-broke", exc_info=error)


class Schedule:
    """The running schedule of one process. Where it is not whole, others do the work that all replicas share."""

    def __init__(self, product: Product, extra: tuple[Beat, ...] = (), *, is_whole: bool = True) -> None:
        self._product = product
        self._runner = make_runner(product)
        self._reports = brokers.reports(product.state, product.settings, product.lifecycle) if is_whole else []
        publishing = Beat("publish", 1, self._publish)
        renewing = Beat("renew", 1, lambda _product: self._tick())
        shared = (publishing, *BEATS, *LIFECYCLE_BEATS, renewing)
        self._work = (*(shared if is_whole else OWN_BEATS), *extra)
        self._pulses = product.pulses
        self._scheduler = SteadyScheduler()
        for work in self._work:
            pulse = self._pulses.begin(work.name, work.every)
            product.metrics.tick_age_seconds.labels(work.name).set_function(partial(_age, pulse))

    def start(self) -> None:
        """Run every piece once now, then on its beat."""
        for work in self._work:
            self._beat(work)
            self._scheduler.add_job(self._beat, Beating(work.every), args=(work,), id=work.name)
        self._scheduler.start()
        for listening in self._reports:
            listening.on_error = log_broken
            listening.start()

    def stop(self) -> None:
        """Finish what is running and stop."""
        for listening in self._reports:
            listening.stop()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
        self._runner.stop()

    def _publish(self, product: Product) -> None:
        """Publish, and bring it to consumers at once: what was revoked is to be refused within seconds."""
        if publish(product):
            self._runner.tick()

    def _tick(self) -> None:
        """Begin what is due; it goes on beside the schedule."""
        self._runner.tick()

    def _beat(self, work: Beat) -> None:
        if work.goes_by_date and (objection := self._product.installation.timekeeper.objection) is not None:
            self._pulses.failed(work.name, f"it waits: {objection}", SET_IT)  # the log has it from `watch_clock`
            return
        try:
            work.run(self._product)
        except Exception as error:  # noqa: BLE001 - one piece of work must not end the schedule
            self._product.metrics.tick_failures.labels(work.name).inc()
            reason = f"{type(error).__name__}: {error}"
            hint = error.hint if isinstance(error, CertwrightError) else None
            if self._pulses.failed(work.name, reason, hint):
                log.error("work-failed", work=work.name, reason=reason, hint=hint)
        else:
            if self._pulses.succeeded(work.name):
                log.info("work-recovered", work=work.name)


def _age(pulse: Pulse) -> float:
    return pulse.age
