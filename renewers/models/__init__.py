"""The tables of this floor. Times are whole seconds since the epoch, lists and settings JSON text.

Rows that change often are small; bytes stand in `TrackedContent`. A private key that we made for somebody is sealed
(`Renewal.sealed_key`). Migrations for all floors are one history: `ca/store/migrations`.
"""

from renewers.models.distributing import Consumer, ForeignAnchor, Holding, Latency, ProbeLeaf, Publication
from renewers.models.inventory import (
    Endpoint,
    Lineage,
    Owner,
    OwnerClaim,
    Sighting,
    Tracked,
    TrackedContent,
    TrackedName,
)
from renewers.models.issuing import AcmeAccount, IssuerHealth, Spending
from renewers.models.renewing import Delivery, Destination, Renewal, Work
from renewers.models.rotating import Override, Replacement, ReplacementItem, Rotation, RotationStep
from renewers.models.saying import Alarm, Event

__all__ = [
    "AcmeAccount",
    "Alarm",
    "Consumer",
    "Delivery",
    "Destination",
    "Endpoint",
    "Event",
    "ForeignAnchor",
    "Holding",
    "IssuerHealth",
    "Latency",
    "Lineage",
    "Override",
    "Owner",
    "OwnerClaim",
    "ProbeLeaf",
    "Publication",
    "Renewal",
    "Replacement",
    "ReplacementItem",
    "Rotation",
    "RotationStep",
    "Sighting",
    "Spending",
    "Tracked",
    "TrackedContent",
    "TrackedName",
    "Work",
]
