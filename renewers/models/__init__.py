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
from renewers.models.mailing import (
    Acknowledged,
    Crossing,
    Letter,
    Mailbox,
    OwnerMail,
    Refused,
    Snapshot,
    SpentLink,
    Told,
)
from renewers.models.renewing import Delivery, Destination, Renewal, Work
from renewers.models.rotating import Override, Replacement, ReplacementItem, Rotation, RotationStep
from renewers.models.saying import Alarm, Event

__all__ = [
    "Acknowledged",
    "AcmeAccount",
    "Alarm",
    "Consumer",
    "Crossing",
    "Delivery",
    "Destination",
    "Endpoint",
    "Event",
    "ForeignAnchor",
    "Holding",
    "IssuerHealth",
    "Latency",
    "Letter",
    "Lineage",
    "Mailbox",
    "Override",
    "Owner",
    "OwnerClaim",
    "OwnerMail",
    "ProbeLeaf",
    "Publication",
    "Refused",
    "Renewal",
    "Replacement",
    "ReplacementItem",
    "Rotation",
    "RotationStep",
    "Sighting",
    "Snapshot",
    "Spending",
    "SpentLink",
    "Told",
    "Tracked",
    "TrackedContent",
    "TrackedName",
    "Work",
]
