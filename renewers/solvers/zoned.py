"""Which writer is for which name: by the longest domain that matches, whole labels only.

A challenge's name may be an alias for a name in another zone, so that a renewal needs no key to the zones of everything
it renews: `domains` lists whose challenges are delegated that way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ca.errors import Misconfigured
from renewers.solvers import DnsWriter

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
DNS_NAME = re.compile(rf"(?:{_LABEL}\.){{0,31}}{_LABEL}")
"""What we look up, write to and show: host names and the underscored labels beside them, no escapes."""


@dataclass(frozen=True, slots=True)
class Zoned:
    """A writer, the zone (or a domain in it) that it writes to, and the domains whose challenges lead there."""

    zone: str
    writer: DnsWriter
    domains: tuple[str, ...] = ()


def checked_writers(writers: Iterable[Zoned]) -> tuple[Zoned, ...]:
    """The same with names in canonical form. `Misconfigured` names the one that is no domain."""
    return tuple(Zoned(domain_of(z.zone), z.writer, tuple(map(domain_of, z.domains))) for z in writers)


def domain_of(text: str) -> str:
    """A domain of the settings in canonical form, `_acme-challenge.shop.example` among them."""
    name = text.lower().removesuffix(".")
    if len(name) > 253 or not DNS_NAME.fullmatch(name):
        raise Misconfigured(f"{text!r} is not a domain")
    return name


def is_below(name: str, domain: str) -> bool:
    """Whether a name is a domain or lies in it."""
    return name == domain or name.endswith(f".{domain}")


def closest(name: str, domains: Iterable[str]) -> str | None:
    """The longest of the domains that the name lies in."""
    return max((domain for domain in domains if is_below(name, domain)), key=len, default=None)


def writer_for(name: str, writers: Sequence[Zoned]) -> DnsWriter | None:
    """Who writes a record of this name."""
    zone = closest(name, [zoned.zone for zoned in writers])
    return next((zoned.writer for zoned in writers if zoned.zone == zone), None)


def is_answered(name: str, label: str, writers: Sequence[Zoned]) -> bool:
    """Whether the record `label.name` can be written: in a zone of ours, or where its domain is delegated to one."""
    record = f"{label}.{name}"
    return any(is_below(record, z.zone) or any(is_below(name, d) for d in z.domains) for z in writers)
