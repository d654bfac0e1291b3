"""dns-01: a TXT record at `_acme-challenge` of the name (RFC 8555 section 8.4), wildcards included.

The record may be an alias for one in another zone; it is written where the alias leads. A name and its wildcard have
their values side by side at one name, so a value is added and removed alone, never the whole set. The CA is called only
after every authoritative server has shown the value.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ca import clock
from ca.errors import CertwrightError, NotDelivered
from ca.x509.names import Kind, Name
from renewers.solvers import Challenge, DnsWriter
from renewers.solvers.shared import Shared
from renewers.solvers.tokens import dns_value
from renewers.solvers.waiting import wait_until_seen
from renewers.solvers.zoned import Zoned, checked_writers, is_answered, writer_for
from renewers.solvers.zones import Zones

LABEL = "_acme-challenge"
CLEAN_UP_SECONDS = 30.0
"""To remove a record, however late it is by then."""
log = logging.getLogger(__name__)


class Dns01:
    """Answers through the writer whose zone the record is in."""

    kind = "dns-01"

    def __init__(self, writers: Iterable[Zoned], zones: Zones | None = None) -> None:
        self._writers = checked_writers(writers)
        self._zones = zones or Zones()
        self._shared = Shared()

    def solves(self, name: Name, *, is_wildcard: bool) -> bool:
        """DNS names in a zone of ours or of a domain that is delegated to one."""
        return name.kind is Kind.DNS and is_answered(name.value.removeprefix("*."), LABEL, self._writers)

    @contextmanager
    def answer(self, challenge: Challenge, *, deadline: float) -> Iterator[None]:
        """Have the record at every authoritative server."""
        value = dns_value(challenge)
        target = self._zones.target_of(f"{LABEL}.{challenge.name.value}", deadline)
        writer = writer_for(target, self._writers)
        if writer is None:
            hint = f"make {LABEL}.{challenge.name.value} a CNAME into a zone that is in the settings"
            raise NotDelivered(f"no writer is set for the zone of {target}", code="no-writer", hint=hint)

        def add() -> None:
            try:
                writer.add(target, value, deadline=deadline)
            except BaseException:  # it may have arrived all the same
                _remove(writer, target, value)
                raise

        with self._shared.held((target, value), add, lambda: _remove(writer, target, value)):
            wait_until_seen(
                self._zones, target, lambda texts: None if value in texts else "the value is not there", deadline
            )
            yield


def _remove(writer: DnsWriter, target: str, value: str) -> None:
    """Best effort: what came of the challenge is more important than a record that proves nothing any more."""
    try:
        writer.remove(target, value, deadline=clock.monotonic() + CLEAN_UP_SECONDS)
    except CertwrightError as error:
        log.warning("challenge-record-left", extra={"fields": {"record": target, "reason": error.message}})
