"""What goes out about what people answered: acknowledgements, mailboxes, letters that came back. As `answered.py`."""

from __future__ import annotations

from pydantic import BaseModel, Field


class AcknowledgedView(BaseModel):
    """That somebody takes care of something until a moment; it ends by itself."""

    about: str = Field(description="a lineage's name, or what is tracked by its identity")
    is_lineage: bool
    until: str
    reason: str
    by: str
    at: str


class AcknowledgedPage(BaseModel):
    """A page of acknowledgements; ask again with `next` as cursor. It may be short, and still have a next one."""

    items: list[AcknowledgedView]
    next: str | None


class WithdrawnView(BaseModel):
    """Whether there was an acknowledgement."""

    was_there: bool


class MailboxView(BaseModel):
    """An address of which something is known."""

    address: str
    owners: list[str] = Field(description="whose it is, as their own or on their escalation path")
    dead_since: str | None = Field(description="since when mail to it comes back")
    dead_because: str | None
    digests_off_at: str | None = Field(description="since when it wants no regular letters")


class MailboxPage(BaseModel):
    """A page of mailboxes; ask again with `next` as cursor."""

    items: list[MailboxView]
    next: str | None


class RevivedView(BaseModel):
    """Whether the address was dead."""

    was_dead: bool


class BounceView(BaseModel):
    """What a report of a mail server came to."""

    outcome: str = Field(description="`dead`, `said-before`, `passing` (it may still arrive), or `not-ours`")
    letter: int | None
    address: str | None
    passed_on: int | None = Field(description="the letter that goes to somebody else instead")


class CalendarView(BaseModel):
    """Where an owner's calendar is. Whoever has the address can read it."""

    url: str = Field(description="empty where the settings name no `mail.link_url`")
