"""A real `certwright serve` over the world that is to be looked at, and somebody who is signed in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from pki.product import Product
from tests.pictures import mails, visits
from tests.pictures.studio import Cookies, Studio
from tests.pictures.world import Filled, cheaply, fill
from tests.pki.conftest import API, Server, serving


@dataclass(frozen=True)
class Site:
    """Where the pages are, and what there is."""

    server: Server
    filled: Filled
    routes: frozenset[str]
    """Of every page that the application has."""
    cookies: Cookies
    """Of an administrator's session."""
    letters: Mapping[str, EmailMessage]
    """One of every kind for some owners: `digest-payments`."""

    def address(self, path: str) -> str:
        """The whole address of a page."""
        return self.server.url + path


@contextmanager
def site(studio: Studio, home: Path) -> Iterator[Site]:
    """Fill an installation and serve it; its schedule rests, so that every look finds the same."""
    filled = fill(home / "state")
    with cheaply(), Product.open(filled.state) as product:
        routes = frozenset(visits.page_routes(product))
        letters = dict(mails.letters(product.lifecycle))
    with serving(filled.state, filled.token, "--only", "api") as server:
        filled.links["sign-in"] = link_to_sign_in(server).removeprefix(server.url)
        yield Site(server, filled, routes, studio.sign_in(link_to_sign_in(server)), letters)


def link_to_sign_in(server: Server, role: str = "admin") -> str:
    """The address of a one-time link, as `certwright token sign-in` makes it."""
    with server.over_socket() as client:
        made = client.post(f"{API}/sign-in-links", json={"role": role, "name": f"a-{role}"}).raise_for_status().json()
    return server.url + str(made["path"])
