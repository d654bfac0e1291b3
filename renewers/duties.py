"""The list of all due work: what each kind means, and what becomes of its failures. The runner knows no other."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from renewers.delivering import delivery
from renewers.discovery import looks
from renewers.distribution import probing, spreading
from renewers.mailing import escalating, sending
from renewers.renewing import renewal, setback, suggestions
from renewers.replacing import replacement
from renewers.reports.monthly import letter
from renewers.rotation import story
from renewers.runner import Duty
from renewers.telling import notices

DUTIES: Mapping[str, Duty] = MappingProxyType(
    {
        "renew": Duty(renewal.renew, setback.failed),
        "ask-window": Duty(suggestions.ask_window),
        "deliver": Duty(delivery.deliver, delivery.failed),
        "look": Duty(looks.look_again),
        "spread": Duty(spreading.spread, spreading.failed, goes_by_date=False),
        "probe": Duty(probing.probe, probing.failed),
        "rotate": Duty(story.rotate, story.failed),
        "replace": Duty(replacement.replace, replacement.failed),
        "notify": Duty(notices.tell, notices.failed, goes_by_date=False),
        "escalate": Duty(escalating.escalate),
        "mail": Duty(sending.send, sending.failed),
        "monthly": Duty(letter.send, letter.failed),
    }
)
