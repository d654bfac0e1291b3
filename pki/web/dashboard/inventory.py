"""The inventory: whatever ends, found by what somebody typed and by filters that are links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from ca import clock
from ca.access import Operation
from ca.errors import BadRequest
from pki.web.context import product_of
from pki.web.dashboard import page, routes
from pki.web.dashboard.hrefs import href
from renewers.overview import browsing, owned, tallies
from renewers.overview.browsing import Wish
from renewers.overview.kept import Kept

router = routes.pages()
PATH, DAY = "/inventory", 86400
Text = Annotated[str, Query(max_length=2048)]
STAGES = ("fine", "due", "late", "urgent", "critical", "expired")
MODES = {"renewed": "by us", "manual": "by a person", "holder": "by its holder"}
SOURCES = {"issued": "our CA", "renewed": "renewed", "imported": "imported", "scanned": "found", "authority": "our own"}
WITHIN = (1, 7, 30, 90)
MANY = 8
"""How many owners and issuers have a link of their own."""
LONGEST = 40


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address says."""

    name: str = ""
    stage: str = ""
    mode: str = ""
    owner: str = ""
    orphan: str = ""
    issuer: str = ""
    kind: str = ""
    source: str = ""
    within: str = ""
    on: str = ""
    order: str = ""

    def values(self) -> Mapping[str, object]:
        """Its parameters."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def wish(self) -> Wish:
        """What is to be listed."""
        begin, end = _span(self.within, self.on)
        return Wish(
            text=self.name.strip(),
            stage=self.stage or "alive",
            mode=self.mode or None,
            owner=self.owner or None,
            orphan=bool(self.orphan),
            issuer=self.issuer or None,
            kind=self.kind or None,
            source=self.source or None,
            ends_from=begin,
            ends_before=end,
            backwards=self.order == "last",
        )


@router.get(PATH)
def inventory(
    request: Request,
    name: Text = "",
    stage: Text = "",
    mode: Text = "",
    owner: Text = "",
    orphan: Text = "",
    issuer: Text = "",
    kind: Text = "",
    source: Text = "",
    within: Text = "",
    on: Text = "",
    order: Text = "",
    cursor: Text = "",
) -> Response:
    """One page of what ends, soonest first."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    asked = Asked(name, stage, mode, owner, orphan, issuer, kind, source, within, on, order)
    lifecycle = product_of(request).lifecycle
    listed = browsing.page(lifecycle.store, asked.wish(), cursor=cursor or None)
    with lifecycle.store.read() as connection:
        counted = tallies.find(connection)
    return page.page(
        request,
        "inventory.html",
        title="Inventory",
        asked=asked,
        listed=listed,
        groups=list(_groups(asked, counted, owned.names(lifecycle, caller, limit=MANY))),
        chosen=list(_chosen(asked)),
        counted=counted,
        first=href(PATH, asked.values()) if cursor else None,
        following=None if listed.next is None else href(PATH, asked.values(), cursor=listed.next),
        modes=MODES,
        orders=[
            ("Ends first", href(PATH, asked.values(), order=""), asked.order != "last"),
            ("Ends last", href(PATH, asked.values(), order="last"), asked.order == "last"),
        ],
    )


Choice = tuple[Any, ...]


def _groups(asked: Asked, counted: Kept | None, owners: list[str]) -> Iterator[tuple[str, list[Choice]]]:
    """The filters, each with its links; with counts where nothing else narrows."""
    yield "Stage", list(_stages(asked, counted))
    yield "Renewed", [_choice(asked, "mode", value, text) for value, text in MODES.items()]
    yield "Ends within", [_choice(asked, "within", str(days), f"{days} d") for days in WITHIN]
    orphans = _choice(asked, "orphan", "1", "nobody’s")
    yield "Owner", [orphans, *(_choice(asked, "owner", name, name[:LONGEST]) for name in owners)]
    yield "Kind", [_choice(asked, "kind", kind, kind) for kind in ("certificate", "authority", "crl", "bundle")]
    yield "Known by", [_choice(asked, "source", value, text) for value, text in SOURCES.items()]
    issuers = [] if counted is None else [name for name, _ in counted.body["issuers"][:MANY] if name]
    if issuers:
        yield "Issuer", [_choice(asked, "issuer", name, name[:LONGEST]) for name in issuers]


def _stages(asked: Asked, counted: Kept | None) -> Iterator[Choice]:
    is_narrowed = any(value for name, value in asked.values().items() if name not in ("stage", "order"))
    counts = None if counted is None or is_narrowed else tallies.by_stage(counted)
    for word, text, stages in (
        ("", "all that is alive", tallies.ALIVE),
        ("attention", "late or worse", tallies.TROUBLED),
        *((stage, stage, (stage,)) for stage in STAGES),
        ("over", "over", browsing.OVER),
    ):
        link = href(PATH, asked.values(), stage=word)
        found: Choice = (text, link, asked.stage == word)
        yield found if counts is None else (*found, sum(counts.get(stage, 0) for stage in stages))


def _choice(asked: Asked, name: str, value: str, text: str) -> Choice:
    """A link that narrows, and takes it back where it is chosen already."""
    is_chosen = getattr(asked, name) == value
    more: dict[str, object] = {"on": ""} if name == "within" else {}
    return text, href(PATH, asked.values(), **{name: "" if is_chosen else value}, **more), is_chosen


def _chosen(asked: Asked) -> Iterator[tuple[str, str, str]]:
    """What narrows the list: the filter, its value, and the address without it."""
    words = {"name": "name", "on": "ends on", "orphan": "owner", "within": "ends within", "order": ""}
    for name, value in asked.values().items():
        if value and name != "order":
            shown = "nobody" if name == "orphan" else f"{value} d" if name == "within" else str(value)
            yield words.get(name, name), shown, href(PATH, asked.values(), **{name: ""})


def _span(within: str, on: str) -> tuple[int | None, int | None]:
    """From when to when something ends: on one day, or within so many days of now."""
    if on:
        try:
            begin = int(datetime.strptime(on, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
        except ValueError:
            raise BadRequest("that is not a day", code="bad-day", hint="such as 2026-11-26") from None
        return begin, begin + DAY
    if within:
        if not (within.isascii() and within.isdigit() and len(within) <= 5):
            raise BadRequest("that is not a number of days", code="bad-days")
        return None, clock.timestamp() + int(within) * DAY
    return None, None
