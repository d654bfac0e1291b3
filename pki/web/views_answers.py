"""From what people answered to what goes out."""

from __future__ import annotations

from pki.web.answered_answers import AcknowledgedView, BounceView, MailboxView
from pki.web.views import moment
from pki.web.views_inventory import maybe
from renewers.answering.bounces import Bounce
from renewers.answering.mailboxes import Held
from renewers.models import Acknowledged


def acknowledged_view(row: Acknowledged, name: str) -> AcknowledgedView:
    """An acknowledgement, with what people call that which it is about."""
    return AcknowledgedView(
        about=name,
        is_lineage=row.about.startswith("lineage:"),
        until=moment(row.until),
        reason=row.reason,
        by=row.by,
        at=moment(row.at),
    )


def mailbox_view(held: Held) -> MailboxView:
    """An address, and whose it is."""
    row = held.mailbox
    return MailboxView(
        address=row.address,
        owners=list(held.owners),
        dead_since=maybe(row.dead_since),
        dead_because=row.dead_because,
        digests_off_at=maybe(row.digests_off_at),
    )


def bounce_view(found: Bounce) -> BounceView:
    """What a report came to."""
    return BounceView(outcome=found.outcome, letter=found.letter_id, address=found.address, passed_on=found.passed_on)
