"""The parts that every piece of work on this floor needs, wired once by `pki/product.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ca.errors import CertwrightError, Defect
from ca.installation import Installation
from ca.keys.algorithms import KeyType
from ca.keys.sealed import Sealer
from ca.store import Store
from renewers.issuers import Issuer
from renewers.mailers import Mailer
from renewers.notifiers import Notifier
from renewers.publishers import Publisher
from renewers.timing.measured import LeadTimes
from renewers.timing.windows import Window

MakePublisher = Callable[[Mapping[str, Any]], Publisher]
"""Makes the publisher of one destination from its settings. `BadRequest` says what is wrong with them."""


def _count(_what: str, *_labels: str) -> None:
    """Counts nothing."""


def _no_signer(_manifest: bytes) -> bytes:
    raise Defect("nobody signs publications here")


def _measure(_what: str, _seconds: float) -> None:
    """Measures nothing."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How renewals go about, from the settings."""

    fraction: float = 2 / 3
    """The part of a certificate's life after which it is renewed, where its issuer suggests no window."""
    key_type: KeyType = KeyType.P256
    issuers: tuple[str, ...] = ("internal",)
    """Who is asked, in this order, for a lineage that names nobody."""
    windows: Mapping[str, Window] = field(default_factory=dict)
    """Maintenance windows by name."""
    lease: int = 120
    """Seconds for which a piece of work is held; a living holder extends it."""
    workers: int = 8
    """How many pieces of work one process does at once."""
    patience: int = 600
    """Seconds that one attempt at an issuer may take."""
    probe_every: int = 600
    """Seconds between handshakes with a consumer that can be probed, though nothing has changed."""
    canary_every: int = 600
    """Seconds between leaves that are revoked on purpose, at least."""


@dataclass(frozen=True, slots=True)
class MailPolicy:
    """How owners are written to, from the settings."""

    sender: str = "Certwright <certwright@localhost>"
    """The From header: a name and an address."""
    bounces_to: str = ""
    """The envelope's sender, to which what cannot be delivered comes back; the sender's address if empty."""
    reply_to: str = ""
    link_url: str = ""
    """https://host:port of the TLS listener as owners reach it; without it, letters have no links."""
    digest_day: int = 0
    """The day of the weekly digest; 0 is Monday."""
    digest_hour: int = 9
    """The hour of regular letters, in the owner's time zone."""
    when_healthy: str = "monthly"
    """How often a digest says that nothing needs anybody: `always`, `monthly` or `never`."""
    keep: int = 400 * 86400
    """Seconds for which it is kept who was told what."""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Passed to every verb of this floor."""

    installation: Installation
    sealer: Sealer
    issuers: Mapping[str, Issuer] = field(default_factory=dict)
    publishers: Mapping[str, MakePublisher] = field(default_factory=dict)
    notifiers: Mapping[str, Notifier] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    mailer: Mailer | None = None
    """Sends mail; None where the settings name no mail server and no directory."""
    mail: MailPolicy = field(default_factory=MailPolicy)
    templates: Path = Path(__file__).parent.parent / "templates"
    """Where `email/` is, with what letters look like; beside the packages in a checkout, elsewhere in a wheel."""
    count: Callable[..., None] = _count
    """Called with a metric's name and its labels whenever something is to be counted."""
    measure: Callable[[str, float], None] = _measure
    """Called with a metric's name and seconds whenever something has taken a time that matters."""

    trust_domain: str = "certwright.internal"
    """Our own SPIFFE trust domain: the streams that we publish are named after it."""
    sign_manifest: Callable[[bytes], bytes] = _no_signer
    """Makes the signed publication (RFC 7515) of a manifest; `ca/publication/signer.py`."""

    signing_trouble: Callable[[], CertwrightError | None] = lambda: None
    """Why the signer's certificate could not be renewed the last time; None if all is well."""
    status_trouble: Callable[[], Mapping[str, CertwrightError]] = dict
    """By CA, why what signs its OCSP answers could not be made or followed the last time."""
    list_trouble: Callable[[], Mapping[str, Sequence[str]]] = dict
    """By CA, what its published lists do not say, or say of nobody, as of the last look at each."""

    links_era: str = ""
    """What every answer link is bound to besides the sealer's key; another one after each restore."""
    lead_times: LeadTimes = field(default_factory=LeadTimes)
    """How long renewals took so far."""

    @property
    def store(self) -> Store:
        """Where all of it is written down."""
        return self.installation.store
