"""What a campaign finds in place of the world outside: directories that are none, endpoints that show nothing, a CA.

A flipped bit in an address or a path must not reach anybody: settings of destinations are read as strictly as ever,
but what is brought there stays in memory, no endpoint is ever connected to, and no file is read but the campaign's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

from ca.errors import BadRequest, NotDelivered
from ca.keys.algorithms import PrivateKey
from pki import catalog
from pki.product import Product
from renewers import handshake
from renewers.discovery import directories, files, run
from renewers.discovery.directories import Found, Unreadable
from renewers.discovery.scan import Unseen
from renewers.discovery.targets import Target
from renewers.distribution import probing
from renewers.issuers.memory import MemoryIssuer
from renewers.publishers import Publisher
from renewers.publishers.filesettings import read_settings
from renewers.publishers.memory import PLACES, MemoryPublisher, Place

MOST_LOOKED_AT = 20


class Rolling(MemoryIssuer):
    """A throwaway CA at which we have an account."""

    def roll_key(self, key: PrivateKey | None = None) -> None:
        """It has none to exchange, and says nothing of it."""


def make_checked(settings: Mapping[str, Any]) -> Publisher:
    """A directory as far as its settings go; what is brought there stays in memory."""
    config = read_settings(settings)
    return MemoryPublisher(PLACES.setdefault(config.directory, Place()), {})


def scan_nothing(targets: Iterable[Target], **_pace: Any) -> Iterator[Unseen]:
    """The first of the targets, none of which answers."""
    yield from (Unseen(target, "unreachable", "nobody is there") for target in islice(targets, MOST_LOOKED_AT))


def beneath(top: Path) -> Callable[[Path], Iterator[Found | Unreadable]]:
    """A walk for which nothing exists but what is beneath one directory."""

    def walk_there(root: Path) -> Iterator[Found | Unreadable]:
        if ".." in root.parts or not root.is_relative_to(top):
            raise BadRequest("there is nothing to walk")
        return directories.walk(root)

    return walk_there


def look_at_nothing(*_where: Any, **_how: Any) -> Any:
    """Nobody is there."""
    raise NotDelivered("nobody is there")


@contextmanager
def shut_off(readable: Path) -> Iterator[None]:
    """Nothing goes out while the block lasts, and of the machine's files those in one directory are there."""
    with ExitStack() as stack:
        publishers = {**catalog.PUBLISHERS, "files": lambda _state, _settings: make_checked}
        stack.enter_context(mock.patch.object(catalog, "PUBLISHERS", publishers))
        stack.enter_context(mock.patch.object(run, "scan", scan_nothing))
        stack.enter_context(mock.patch.object(files, "walk", beneath(readable)))
        stack.enter_context(mock.patch.object(handshake, "look", look_at_nothing))
        stack.enter_context(mock.patch.object(probing, "meet", look_at_nothing))
        try:
            yield
        finally:
            PLACES.clear()


def with_another_issuer(product: Product) -> None:
    """Let there be a second CA, called `rolling`."""
    lifecycle = product.lifecycle
    product.lifecycle = replace(lifecycle, issuers={**lifecycle.issuers, "rolling": Rolling()})
