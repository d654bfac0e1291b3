"""One talk with a CA: its directory (RFC 8555 section 7.1.1) and, once signed in, requests in our account's name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from ca import clock
from ca.errors import IssuerUnavailable
from renewers.issuers.acme.config import AcmeConfig
from renewers.issuers.acme.network import Message, Network
from renewers.issuers.acme.problems import plain
from renewers.issuers.acme.replies import Document, Nonsense, Reply

T = TypeVar("T")
MOST_PROFILES = 50
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0


@dataclass(frozen=True, slots=True)
class Directory:
    """Where a CA takes what, every URL within its pin; and what it says about itself."""

    new_nonce: str
    new_account: str
    new_order: str
    key_change: str | None
    renewal_info: str | None
    terms: str | None
    wants_binding: bool
    profiles: tuple[str, ...]


@dataclass(slots=True)
class Conversation:
    """A talk that lasts until `deadline` on the monotonic clock, in one thread."""

    config: AcmeConfig
    network: Network
    directory: Directory
    deadline: float
    account: str = ""
    """The URL of our account, once signed in."""
    sign_in_again: Callable[[], None] | None = None
    """What to do, once, when the CA says that it knows no such account."""

    def read(self, url: str, what: str) -> Reply:
        """POST-as-GET: read something of ours."""
        return self.ask(url, None, what)

    def ask(self, url: str, payload: Message | None, what: str) -> Reply:
        """A request in our account's name. Where the CA has lost the account, it is made anew first."""
        reply = self.post(url, payload, what)
        problem, again = reply.problem, self.sign_in_again
        if problem is not None and problem.kind == "accountDoesNotExist" and again is not None:
            self.sign_in_again = None
            again()
            reply = self.post(url, payload, what)
        return reply

    def post(self, url: str, payload: Message | None, what: str) -> Reply:
        """A signed request, whoever we are so far."""
        return self.network.ask(url, payload, what, new_nonce=self.directory.new_nonce)

    def poll(self, url: str, what: str, read: Callable[[Reply], T], is_done: Callable[[T], bool]) -> T:
        """Read until it is done, as seldom as the CA asks. It may fail to answer in between, until the deadline."""
        rest = FIRST_PAUSE
        while True:
            try:
                reply = self.read(url, what)
                value = read(reply)
                if is_done(value):
                    return value
                asked, trouble = reply.retry_after, None
            except Nonsense:
                raise
            except IssuerUnavailable as error:
                asked, trouble = error.retry_after, error
            wait = max(float(asked or 0), rest)
            rest = min(rest * 2, LONGEST_PAUSE)
            if clock.monotonic() + wait >= self.deadline:
                raise trouble or IssuerUnavailable(
                    f"{self.config.name}: {what} is not done yet", code="not-ready", retry_after=asked
                )
            time.sleep(wait)


@contextmanager
def conversation(config: AcmeConfig, deadline: float) -> Iterator[Conversation]:
    """Begin one: read the directory. `IssuerUnavailable` if nobody answers there."""
    with Network(config, deadline) as network:
        yield Conversation(config, network, read_directory(network, config), deadline)


def read_directory(network: Network, config: AcmeConfig) -> Directory:
    """Fetch and read the directory."""
    found = network.fetch(config.directory, "the directory").document()
    meta = found.document("meta")
    return Directory(
        new_nonce=_place(network, found, "newNonce"),
        new_account=_place(network, found, "newAccount"),
        new_order=_place(network, found, "newOrder"),
        key_change=_optional_place(network, found, "keyChange"),
        renewal_info=_optional_place(network, found, "renewalInfo"),
        terms=plain(meta.fields.get("termsOfService")) or None,
        wants_binding=meta.fields.get("externalAccountRequired") is True,
        profiles=tuple(map(plain, list(meta.document("profiles").fields)[:MOST_PROFILES])),
    )


def _place(network: Network, found: Document, field: str) -> str:
    return network.place(found.text(field), field)


def _optional_place(network: Network, found: Document, field: str) -> str | None:
    url = found.optional(field)
    return None if url is None else network.place(url, field)
