"""Where to look: every page that the application has, by its route, with addresses that show it at its most telling.

A route that is neither here nor among those that are no pages fails `test_pages.py`: nobody forgets to look at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pki.product import Product
from pki.web.app import create_app
from tests.pictures.world import Filled

NOT_PAGES = frozenset(
    {"pki.web.public", "pki.web.publications", "pki.web.tiles", "pki.web.app", "pki.web.dashboard.assets"}
)
"""Modules whose routes answer programs."""
FILES = frozenset({"/feeds/{token}.ics", "/reports/monthly/{month}/{form}"})
"""Routes of pages' modules that answer with something to keep: a calendar, a table, a PDF."""
ELSEWHERE = frozenset({"/sign-in/with/{name}", "/sign-in/with/{name}/back"})
"""Routes that lead to somebody else's pages and back: `tests/pki/test_oidc.py` goes there."""


@dataclass(frozen=True)
class Visit:
    """One look at a page: where, as whom, and with which status it answers."""

    path: str
    is_signed_in: bool = True
    status: int = 200


MOST = 3
"""How many pages of one route the tests look at."""
TELLING = ("failing", "many-names", "script", "expired", "authority", "renewed", "seen", "rtl")
"""Which of the tracked things say most, in this order."""
Visits = Callable[[Filled], list[Visit]]


def _at(*paths: str) -> Visits:
    return lambda _: [Visit(path) for path in paths]


ASKED_ABOUT = ("by-hand", "failing", "script", "soon", "renewed")
"""What there are links for that letters carry."""


def _is_telling(item: tuple[str, int]) -> int:
    return TELLING.index(item[0]) if item[0] in TELLING else len(TELLING)


VISITS: Mapping[str, Visits] = {
    "/": _at("/"),
    "/sign-in": lambda _: [Visit("/sign-in", is_signed_in=False)],
    "/sign-in/{link}": lambda filled: [
        Visit(filled.links["sign-in"], is_signed_in=False),
        Visit("/sign-in/" + "x" * 43, is_signed_in=False, status=401),
    ],
    "/reports/monthly": _at("/reports/monthly"),
    "/reports/monthly/{month}": lambda filled: [
        Visit(f"/reports/monthly/{filled.month}"),
        Visit("/reports/monthly/1999-13", status=400),
        Visit("/reports/monthly/2020-12", status=404),
    ],
    "/calendar": _at("/calendar"),
    "/inventory": _at(
        *("/inventory", "/inventory?stage=critical", "/inventory?name=host-001.example.internal"),
        f"/inventory?name={'x' * 400}",
    ),
    "/inventory/{tracked}": lambda filled: [
        *(Visit(f"/inventory/{id_}") for _, id_ in sorted(filled.tracked.items(), key=_is_telling)),
        Visit("/inventory/999999", status=404),
        Visit("/inventory/%F0%9F%94%A5", status=400),
    ],
    "/inventory/{tracked}/{word}": lambda filled: [
        Visit(f"/inventory/{filled.tracked['by-hand']}/acknowledge"),
        Visit(f"/inventory/{filled.tracked['renewed']}/revoke"),
        Visit(f"/inventory/{filled.tracked['failing']}/renew"),
        Visit(f"/inventory/{filled.tracked['renewed']}/deliver"),
        Visit(f"/inventory/{filled.tracked['soon']}/unacknowledge"),
        Visit(f"/inventory/{filled.tracked['script']}/owner"),
        Visit(f"/inventory/{filled.tracked['orphan']}/retire"),
        Visit(f"/inventory/{filled.tracked['fine']}/revoke", status=404),
    ],
    "/owners": _at("/owners"),
    "/owners/{name:path}": lambda filled: [
        *(Visit(f"/owners/{quote(name, safe='')}") for name in filled.owners),
        Visit("/owners/nobody", status=404),
    ],
    "/authorities": _at("/authorities"),
    "/authorities/{name:path}": _at("/authorities/issuing-1", "/authorities/root-1", "/authorities/issuing-2"),
    "/rotations/{rotation}": lambda filled: [
        Visit(f"/rotations/{filled.rotation}"),
        Visit("/rotations/99", status=404),
    ],
    "/approvals": _at("/approvals"),
    "/approvals/{number}": lambda filled: [
        *(Visit(f"/approvals/{number}") for number in filled.approvals),
        Visit("/approvals/99", status=404),
    ],
    "/consumers": _at("/consumers"),
    "/consumers/{name:path}": lambda filled: [
        *(Visit(f"/consumers/{quote(name, safe='')}") for name in filled.consumers),
        Visit("/consumers/nobody", status=404),
    ],
    "/devices": _at("/devices", "/devices?profile=device"),
    "/work": _at("/work"),
    "/alarms": _at("/alarms", "/alarms?severity=critical"),
    "/events": _at("/events"),
    "/letters": _at("/letters"),
    "/letters/{letter}": lambda filled: [Visit(f"/letters/{id_}") for id_ in filled.letters],
    "/ledger": _at("/ledger"),
    "/act/{token}": lambda filled: [
        *(
            Visit(filled.links[name], is_signed_in=False)
            for name in ("by-hand", "failing", "script", "soon", "renewed")
        ),
        Visit("/act/cwl_" + "x" * 80, is_signed_in=False, status=404),
    ],
    "/unsubscribe/{token}": lambda filled: [Visit(filled.links["unsubscribe"], is_signed_in=False)],
    "/preferences/{token}": lambda filled: [Visit(filled.links["preferences"], is_signed_in=False)],
}
"""By route: what to look at there."""
ASTRAY = (Visit("/no-such-page", status=404),)
"""What belongs to no route: refusals."""


def some(of_a_route: Sequence[Visit]) -> list[Visit]:
    """The most telling ones, and how refusals look; `make pictures` takes all."""
    well = [visit for visit in of_a_route if visit.status == 200]
    return [*well[:MOST], *[visit for visit in of_a_route if visit.status != 200][:1]]


def page_routes(product: Product) -> set[str]:
    """The routes of all pages that are there to be read, as the application has them."""
    inner: Any = create_app(product)
    while not hasattr(inner, "routes"):
        inner = inner._app
    found = {route.path for route in _flat(inner.routes) if "GET" in route.methods and _is_page(route)}
    return found - FILES - ELSEWHERE


def _is_page(route: Any) -> bool:
    return not route.path.startswith("/api/") and route.endpoint.__module__ not in NOT_PAGES


def _flat(routes: Any) -> Iterator[Any]:
    for route in routes:
        if hasattr(route, "effective_candidates"):
            yield from _flat(route.effective_candidates())
        else:
            yield route
