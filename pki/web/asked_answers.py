"""What comes in about what people answered. As `asked.py`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from pki.web.asked import PLAIN, DurationText, _In

MAX_REPORT = 192 * 1024


class AcknowledgeRequest(_In):
    """That somebody takes care of something; exactly one of `until` and `within`."""

    until: Annotated[str, StringConstraints(max_length=40, pattern=PLAIN)] | None = Field(
        default=None, description="RFC 3339, or a day, whose last second in UTC is meant"
    )
    within: DurationText | None = Field(default=None, description="from now on, such as `14d`")
    reason: Annotated[str, StringConstraints(max_length=300, pattern=PLAIN)]


class BounceRequest(_In):
    """What came back: the whole message, as the mail server sent it (RFC 3464)."""

    message: Annotated[str, StringConstraints(max_length=MAX_REPORT)] = Field(description="base64")


class CalendarRequest(_In):
    """The calendar's address; with `renew` another one, and the older ones hold no more."""

    renew: bool = False
