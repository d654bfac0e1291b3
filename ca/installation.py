"""One installation: the parts that every verb of this floor works with, wired once by `pki/product.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from ca.authority import Authorities
from ca.keys import KeyStore
from ca.ledger.log import Ledger
from ca.profiles.collection import Profiles
from ca.store import Store
from ca.timekeeping import Timekeeper


@dataclass(frozen=True, slots=True)
class ApprovalPolicy:
    """Whether what changes the CAs takes two persons (`ca/approval.py`), and how long what one asked for waits."""

    two_persons: bool = False
    lifetime: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Installation:
    """Passed to every verb: where state is, which keys there are, what may be issued, by whom it is signed."""

    store: Store
    keys: KeyStore
    profiles: Profiles
    authorities: Authorities
    ledger: Ledger
    approval: ApprovalPolicy = ApprovalPolicy()
    timekeeper: Timekeeper = field(default_factory=Timekeeper)
