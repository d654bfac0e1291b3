"""The first page: what needs a person now, and how lately all of it was looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from ca import approval, clock
from pki.web.context import product_of
from pki.web.dashboard import page, routes
from renewers.overview import needs
from renewers.overview.needs import Now
from renewers.reports.rows import Need

router = routes.pages()
TITLES = {
    Need.BROKEN: ("Automation that is broken", "These should renew themselves, and do not."),
    Need.MANUAL: ("Renewed by a person, and it is time", "Nobody but a person gets the next one."),
    Need.OLD: ("Replaced, and still served", "The new one is there; the old one is what clients see."),
    Need.SIGNER: ("CAs, CRLs and bundles", "What signs, and what is published, has to be followed by another."),
}
LISTS_OLD = 2 * 86400
"""How old the newest CRLs may be before the page says so in colour."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How lately something was done: its tone says whether that is as it should be."""

    what: str
    at: int | None
    tone: str
    never: str


@router.get("/")
def home(request: Request) -> Response:
    """What needs a person now."""
    product = product_of(request)
    found = needs.now(product.lifecycle, page.signed_in(request))
    return page.page(
        request,
        "home.html",
        title="What needs a person now",
        found=found,
        titles=TITLES,
        fresh=list(_fresh(found, has_mailer=product.lifecycle.mailer is not None)),
        healthy=_healthy(found),
        undecided=approval.undecided(product.installation),
        stages={} if found.tallies is None else found.tallies.body["stages"],
    )


def _fresh(found: Now, *, has_mailer: bool) -> Iterator[Freshness]:
    now = clock.timestamp()
    scan = None if found.tallies is None else found.tallies.body["last_scan"]
    yield Freshness("Last look at a place", scan, _tone(scan, now, 86400), "no place is known yet")
    never = "letters have not been looked for yet" if has_mailer else "no mail server is set up: nobody is told by mail"
    yield Freshness("Last run of mail", found.last_mail_run, _tone(found.last_mail_run, now, 900), never)
    is_over = found.lists_end is not None and found.lists_end < now
    tone = "worst" if is_over else _tone(found.last_list, now, LISTS_OLD)
    yield Freshness("Oldest CRL in force, signed", found.last_list, tone, "no CRL has been signed yet")
    counted = None if found.tallies is None else found.tallies.at
    yield Freshness("Figures counted", counted, _tone(counted, now, 3600), "counted within a few minutes of the start")


def _tone(at: int | None, now: int, patience: int) -> str:
    return "plain" if at is None else "good" if now - at <= patience else "warn"


def _healthy(found: Now) -> dict[str, int]:
    """How much renews itself and is in order, and what is tracked at all."""
    if found.tallies is None:
        return {}
    stages = found.tallies.body["stages"]
    automatic = [stages.get(mode, {}) for mode in ("renewed", "holder")]
    healthy = sum(counts.get(stage, 0) for counts in automatic for stage in ("fine", "due"))
    return {
        "automatic": healthy,
        "orphans": found.tallies.body["orphans"],
        "all": sum(found.tallies.body["kinds"].values()),
    }
