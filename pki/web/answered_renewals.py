"""What goes out about renewing and bringing: work, forecasts, destinations, issuers, alarms. As `answered.py`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from pki.web.answered_inventory import LineageView


class WorkView(BaseModel):
    """A piece of due work, and how it stands."""

    kind: str
    about: str
    standing: str = Field(description="planned, due, held (somebody is at it), failing or stopped")
    due_at: str = Field(description="the next attempt; of work that is held, when its holder counts as dead")
    due_since: str
    attempts: int
    failing_since: str | None
    code: str | None = Field(description="of the last failure")
    error: str | None


class WorkPage(BaseModel):
    """A page of work; ask again with `next` as cursor."""

    items: list[WorkView]
    next: str | None


class RenewalView(BaseModel):
    """One renewal of a lineage."""

    id: int
    state: str
    reason: str
    issuer: str
    started_at: str
    issued_at: str | None
    finished_at: str | None
    certificate: str | None = Field(description="what it came to, as `#12`")
    error: str | None


class DeliveryView(BaseModel):
    """One attempt to bring a certificate to a destination."""

    certificate: str
    outcome: str
    started_at: str
    swapped_at: str | None
    seen_at: str | None
    ended_at: str | None
    error: str | None


class DestinationView(BaseModel):
    """A place where a lineage's certificate is used."""

    name: str
    publisher: str
    settings: dict[str, Any]
    probe: str
    rank: int
    bundle: str | None
    state: str
    wanted: str | None = Field(description="what it shall have, as `#12`")
    delivered: str | None
    failing_since: str | None
    last_error: str | None
    changed_at: str
    created_at: str
    created_by: str


class DestinationShown(DestinationView):
    """The same with its lineage, and what was brought there lately."""

    lineage: str
    deliveries: list[DeliveryView]


class DestinationPage(BaseModel):
    """A page of destinations; ask again with `next` as cursor."""

    items: list[DestinationView]
    next: str | None


class LineageShown(LineageView):
    """A lineage with everything that hangs on it."""

    owner: str | None
    subject: str | None = Field(description="its current certificate, for people")
    not_after: str | None
    stage: str | None
    due_at: str | None
    due_because: str | None
    late_at: str | None
    urgent_at: str | None
    critical_at: str | None
    work: WorkView | None
    destinations: list[DestinationView]
    places: list[str]
    renewals: list[RenewalView]


class AskedView(BaseModel):
    """Whether it begins now; else somebody is at it this very moment, or it has to wait for others."""

    begins: bool


class BudgetView(BaseModel):
    """A rate limit of an issuer, and what is left of it where most was used."""

    limit: str
    allowed: int
    period: str
    counted_by: str
    subject: str | None
    used: int
    left: int


class AccountView(BaseModel):
    """Our account at an issuer."""

    url: str | None
    key_made_at: str
    created_at: str


class IssuerView(BaseModel):
    """Who signs: our own CA, or one that we ask."""

    name: str
    kind: str
    directory: str | None
    state: str = Field(description="`answers`, `failing`, or `unknown` while nobody has asked it")
    failures: int
    failing_since: str | None
    rests_until: str | None
    last_error: str | None
    last_success: str | None
    account: AccountView | None
    budget: list[BudgetView]


class CheckView(BaseModel):
    """Whether an issuer could be asked now."""

    name: str
    is_ok: bool
    code: str | None
    message: str | None
    hint: str | None


class BreakView(BaseModel):
    """A day on which a limit would be broken."""

    day: str
    limit: str
    expected: float
    allowed: float


class ForecastView(BaseModel):
    """Expected renewals of each coming day, under one longest lifetime."""

    lifetime_days: int | None = Field(description="null: as it is today")
    start: str
    renewals: list[float]
    smoothed: list[float] = Field(description="the same with as low a peak as renewing earlier can bring")
    peak: float
    pile_ups: list[str] = Field(description="days with several times the average")
    breaks: list[BreakView]
    unjudged: list[str] = Field(description="limits that count apart for something in which these certificates differ")


class AlarmView(BaseModel):
    """Something that is wrong, since when, and whose it is."""

    kind: str
    subject: str
    severity: str
    since: str
    message: str
    hint: str | None
    owner: str | None


class AlarmPage(BaseModel):
    """A page of alarms; ask again with `next` as cursor."""

    items: list[AlarmView]
    next: str | None


class EventView(BaseModel):
    """Something that happened."""

    id: int
    at: str
    kind: str
    subject: str
    severity: str
    message: str
    details: dict[str, Any]
    is_told: bool = Field(description="whether those who are told of events have been, or will be by due work")


class EventPage(BaseModel):
    """A page of events, newest first; ask again with `next` as cursor."""

    items: list[EventView]
    next: str | None
