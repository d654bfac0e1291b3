"""Where consumers are: the place that they are probed at, and the place that they are brought things to.

Two that are brought to one place would chase each other out of it, so a place has one owner, be it a consumer or a
destination. What names a place is a few settings of each publisher; a publisher that is not listed is taken by all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from ca.errors import BadRequest, Conflict
from ca.store import Transaction
from renewers.discovery import targets
from renewers.models import Consumer, Destination
from renewers.plain import one_line

PULL = "pull"
"""The publisher that brings nothing: whoever has it comes and asks, and several may ask at one address."""
PROTOCOLS = ("https", "tls", "mqtts")
LONGEST_PROBE = 600
HIDDEN = "(hidden)"
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]{0,400}")
_SECRET = re.compile(r"secret|passw|passphrase|token|credential|private|access_key", re.IGNORECASE)
_NAMED_BY: Mapping[str, tuple[str, ...]] = MappingProxyType({"files": ("directory",), "memory": ("place",)})
"""The settings that name a place, for publishers with others beside them that say only how it is brought there."""
_HINT = "https:host:port[/path], tls:host:port or mqtts:host:port, each with ?name=SERVER-NAME if it has another one"


@dataclass(frozen=True, slots=True)
class ProbedPlace:
    """Where a consumer is shown certificates, and how it is spoken to."""

    protocol: str
    host: str
    port: int
    server_name: str | None = None
    """The name under which it is asked, where that is not the host's."""
    path: str = "/"
    """What is asked for, over HTTPS."""


def read_probe(text: str) -> ProbedPlace:
    """Read `https:host:port[/path]`, `tls:host:port`, `mqtts:[::1]:8883?name=broker`. `BadRequest` (`bad-probe`)."""
    protocol, _, rest = text.partition(":")
    if protocol not in PROTOCOLS or len(text) > LONGEST_PROBE:
        raise _bad_probe(text, f"does not begin with one of {', '.join(PROTOCOLS)}")
    rest, asks, query = rest.partition("?")
    where, slash, path = rest.partition("/")
    name = query.removeprefix("name=") if asks else ""
    if asks and (not name or name == query or "#" in name):
        raise _bad_probe(text, "says something else than a name after its question mark")
    if slash and (protocol != "https" or not _PATH.fullmatch(slash + path)):
        raise _bad_probe(text, "has a path that nobody can be asked for")
    try:
        found = targets.parse_place(f"tls:{where}#{name}".lower() if name else f"tls:{where}".lower())
    except BadRequest as error:
        raise _bad_probe(text, f"names no endpoint: {error.message}") from None
    return ProbedPlace(protocol, found.host, found.port, found.server_name, slash + path or "/")


def place_of(publisher: str, settings: Mapping[str, Any]) -> str | None:
    """What tells the place from every other; None where there is none to be taken."""
    if publisher == PULL:
        return None
    named_by = _NAMED_BY.get(publisher, tuple(settings))
    return json.dumps([publisher, {name: settings.get(name) for name in named_by}], sort_keys=True)


def refuse_taken(
    tx: Transaction,
    publisher: str,
    settings: Mapping[str, Any],
    *,
    consumer: str | None = None,
    destination: str | None = None,
) -> None:
    """`Conflict` if the place belongs to anybody else than the one that is named."""
    place = place_of(publisher, settings)
    if place is None:
        return
    for table, own in ((Consumer, consumer), (Destination, destination)):
        others = select(col(table.name), col(table.settings)).where(col(table.publisher) == publisher)
        for row in tx.execute(others.where(col(table.name) != (own or ""))):
            if place_of(publisher, json.loads(row.settings)) == place:
                what = table.__name__.lower()
                raise Conflict(f"the {what} {row.name} is brought to that place already", code="place-taken")


def shown_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they may be shown and recorded: what is called a secret is not in them."""
    return {name: HIDDEN if _SECRET.search(name) else value for name, value in settings.items()}


def with_hidden(settings: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The same with what was hidden in its place again, where somebody gives back what he was shown."""
    return {name: before.get(name, value) if value == HIDDEN else value for name, value in settings.items()}


def _bad_probe(text: str, what: str) -> BadRequest:
    return BadRequest(f"{one_line(text, 100)!r} {what}", code="bad-probe", hint=_HINT)
