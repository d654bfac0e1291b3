"""Wiring of the floor that reaches out: from the settings to a `Lifecycle`, once a process.

Adapters are made when the installation is opened, so that a setting that cannot work is said then and not at night.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import select
from sqlmodel import col

from ca import facts
from ca.errors import Conflict, Misconfigured
from ca.installation import Installation
from ca.keys.algorithms import KeyType
from ca.keys.passphrase import find_passphrase
from ca.keys.sealed import Sealer
from ca.models import Fact
from ca.ocsp.responder import Responder
from ca.publication.signer import Signer
from ca.rounds import Rounds
from ca.store import Store
from pki import catalog
from pki.data import data
from pki.lifecycle_metrics import LifecycleMetrics
from pki.lifecycle_settings import WindowSettings
from pki.mail_settings import MailSettings
from pki.settings import Settings
from renewers.issuers import Issuer
from renewers.lifecycle import Lifecycle, MailPolicy, Policy
from renewers.timing.windows import Window

SEALER_SALT = "sealer-salt"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def make_lifecycle(
    state: Path,
    settings: Settings,
    installation: Installation,
    metrics: LifecycleMetrics,
    responder: Responder,
    rounds: Rounds,
) -> Lifecycle:
    """Everything that the floor below needs. `Misconfigured` says which setting is wrong."""
    sealer = Sealer(find_passphrase(state / settings.keys.passphrase_file), sealer_salt(installation.store))
    issuers = _issuers(state, settings, installation, sealer)
    policy = _policy(settings)
    if unknown := set(policy.issuers) - set(issuers):
        raise Misconfigured(f"renewals.issuers names {min(unknown)}, which is not among [issuers]")
    signer = Signer(installation, settings.variables["trust_domain"])
    return Lifecycle(
        installation=installation,
        sealer=sealer,
        issuers=issuers,
        publishers={name: catalog.publisher(name, state, settings) for name in catalog.PUBLISHERS},
        notifiers={each.name: catalog.webhook(state, each) for each in settings.events.webhooks},
        policy=policy,
        mailer=catalog.mailer(state, settings.mail),
        mail=_mail(settings.mail),
        templates=data("templates"),
        count=metrics.count,
        measure=metrics.measured,
        trust_domain=settings.variables["trust_domain"],
        sign_manifest=signer.sign,
        signing_trouble=lambda: signer.trouble,
        status_trouble=lambda: responder.signers.trouble,
        list_trouble=lambda: rounds.troubles,
        links_era=facts.links_era(installation.store),
    )


def sealer_salt(store: Store) -> bytes:
    """The salt of this installation's sealed keys: decided once, by whoever needs it first."""
    with store.read() as connection:
        value = connection.execute(select(col(Fact.value)).where(col(Fact.name) == SEALER_SALT)).scalar()
    if value is None:
        with contextlib.suppress(Conflict):  # another replica decides at this very moment
            facts.decide(store, {SEALER_SALT: secrets.token_hex(16)})
        value = facts.fact(store, SEALER_SALT)
    return bytes.fromhex(value)


def _issuers(state: Path, settings: Settings, installation: Installation, sealer: Sealer) -> Mapping[str, Issuer]:
    solvers = catalog.solvers(state, settings.solvers) if settings.issuers.acme else []
    public = {each.name: catalog.acme(state, each, installation, sealer, solvers) for each in settings.issuers.acme}
    return {"internal": catalog.internal(installation), **public}


def _policy(settings: Settings) -> Policy:
    renewals = settings.renewals
    return Policy(
        fraction=renewals.fraction,
        key_type=KeyType(renewals.key_type),
        issuers=tuple(renewals.issuers),
        windows={each.name: _window(each) for each in renewals.windows},
        lease=int(renewals.lease.total_seconds()),
        workers=renewals.workers,
        patience=int(renewals.patience.total_seconds()),
        probe_every=int(settings.consumers.probe_every.total_seconds()),
        canary_every=int(settings.consumers.canary_every.total_seconds()),
    )


def _mail(settings: MailSettings) -> MailPolicy:
    return MailPolicy(
        sender=settings.sender,
        bounces_to=settings.bounces_to,
        reply_to=settings.reply_to,
        link_url=settings.link_url.rstrip("/"),
        digest_day=DAYS.index(settings.digest_day),
        digest_hour=settings.digest_hour,
        when_healthy=settings.when_healthy,
        keep=int(settings.keep.total_seconds()),
    )


def _window(settings: WindowSettings) -> Window:
    days = frozenset(DAYS.index(day) for day in settings.days)
    return Window(settings.name, days, settings.start, settings.end, settings.time_zone)
