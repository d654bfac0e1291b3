"""dns-persist-01: a TXT record that stands at `_validation-persist` of the name (draft-ietf-acme-dns-persist).

It names the CA and our account there, and proves control for as long as it stands: whoever renews needs no key to the
zone. So the rule is to look and not to write: the record is checked at every authoritative server, and where it is not
as it should be, the error says which record to make. Only with a writer is it made, and then it stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ca import clock
from ca.errors import BadRequest, NotDelivered
from ca.x509.names import Kind, Name
from renewers.solvers import Challenge
from renewers.solvers.waiting import UNSEEN, Judge, wait_until_seen
from renewers.solvers.zoned import DNS_NAME, Zoned, checked_writers, writer_for
from renewers.solvers.zones import Zones

LABEL = "_validation-persist"
WILDCARD = "wildcard"
MOST_PARAMETERS = 16
DAY = 86400
_TAG = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
_VALUE = re.compile(r"[!-:<-~]*")
_UNTIL = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Standing:
    """What one record says. `until` is what to warn of: the second from which on it proves nothing; None: never."""

    issuer: str
    account: str
    is_for_wildcards: bool
    until: int | None


def record_name(name: str) -> str:
    """Where the record of a DNS name, or of its wildcard, stands."""
    return f"{LABEL}.{name.removeprefix('*.')}"


def record_for(issuer: str, account: str, *, is_wildcard: bool, until: int | None = None) -> str:
    """The text of the record that is wanted."""
    parts = [issuer, f"accounturi={account}"]
    parts += [f"policy={WILDCARD}"] if is_wildcard else []
    parts += [] if until is None else [f"persistUntil={until}"]
    return "; ".join(parts)


def parse(text: str) -> Standing:
    """Read a record as a CA does (RFC 8659 section 4.2). `BadRequest` says why it is none."""
    issuer, *parameters = (part.strip(" \t") for part in text.split(";"))
    if len(issuer) > 253 or not DNS_NAME.fullmatch(issuer.lower()):
        raise _unreadable("it does not begin with the name of an issuer")
    if len(parameters) > MOST_PARAMETERS:
        raise _unreadable(f"it has more than {MOST_PARAMETERS} parameters")
    said: dict[str, str] = {}
    for parameter in parameters:
        tag, sign, value = (part.strip(" \t") for part in parameter.partition("="))
        if not sign or not _TAG.fullmatch(tag) or not _VALUE.fullmatch(value):
            raise _unreadable("a parameter is not of the form tag=value, or it ends with a semicolon")
        if tag.lower() in said:
            raise _unreadable(f"{tag} stands there twice")
        said[tag.lower()] = value
    until = said.get("persistuntil")
    if until is not None and not _UNTIL.fullmatch(until):
        raise _unreadable("persistUntil is not a number of seconds")
    if not said.get("accounturi"):
        raise _unreadable("it names no account")
    is_for_wildcards = said.get("policy", "").lower() == WILDCARD
    return Standing(issuer.lower(), said["accounturi"], is_for_wildcards, None if until is None else int(until))


def find(texts: Iterable[str], issuers: Iterable[str], account: str, *, is_wildcard: bool, now: int) -> Standing | str:
    """The record that proves it, the one that stands longest; or why none of them does."""
    mine, problem = [], "there is no record for this CA"
    allowed = {issuer.lower() for issuer in issuers}
    for text in texts:
        try:
            standing = parse(text)
        except BadRequest as error:
            if text.partition(";")[0].strip().lower() in allowed:
                problem = error.message
            continue
        if standing.issuer in allowed:
            why = _why_not(standing, account, is_wildcard, now)
            mine += [standing] if why is None else []
            problem = why or problem
    return max(mine, key=_end) if mine else problem


class DnsPersist01:
    """Answers with a record that stands already; with `writers`, it makes the ones that are missing."""

    kind = "dns-persist-01"

    def __init__(
        self, zones: Zones | None = None, writers: Iterable[Zoned] = (), *, lifetime: int | None = None
    ) -> None:
        """`lifetime`: seconds for which a record that is made here stands."""
        self._zones, self._writers, self._lifetime = zones or Zones(), checked_writers(writers), lifetime

    def solves(self, name: Name, *, is_wildcard: bool) -> bool:
        """DNS names; whether a record stands is seen when it is needed."""
        return name.kind is Kind.DNS

    @contextmanager
    def answer(self, challenge: Challenge, *, deadline: float) -> Iterator[None]:
        """See the record at every authoritative server. `NotDelivered` has in its hint the record to make."""
        if not challenge.issuers or not challenge.account:
            raise BadRequest(f"the challenge for {challenge.name} names no issuer", code="bad-challenge")
        owner = record_name(challenge.name.value)
        wanted = self._wanted(challenge)
        try:
            self._see(challenge, self._zones.target_of(owner, deadline), wanted, deadline)
        except NotDelivered as error:
            hint = f'make this record: {owner} TXT "{wanted}"'
            raise NotDelivered(error.message, code=error.code, hint=hint) from None
        yield

    def look(self, name: Name, issuers: Iterable[str], account: str, *, deadline: float) -> Standing | None:
        """What stands for a name at every server, the one that ends first, so that its end can be warned of."""
        found: list[Standing | str] = []
        allowed, now = tuple(issuers), clock.timestamp()

        def note(texts: tuple[str, ...]) -> None:
            found.append(find(texts, allowed, account, is_wildcard=name.is_wildcard, now=now))

        target = self._zones.target_of(record_name(name.value), deadline)
        wait_until_seen(self._zones, target, note, deadline, is_patient=False)
        standing = [one for one in found if isinstance(one, Standing)]
        return min(standing, key=_end) if len(standing) == len(found) else None

    def _see(self, challenge: Challenge, target: str, wanted: str, deadline: float) -> None:
        judge = _judge(challenge)
        writer = writer_for(target, self._writers)
        try:
            wait_until_seen(self._zones, target, judge, deadline, is_patient=False)
        except NotDelivered as error:
            if writer is None or error.code != UNSEEN:
                raise
            writer.add(target, wanted, deadline=deadline)
            wait_until_seen(self._zones, target, judge, deadline)

    def _wanted(self, challenge: Challenge) -> str:
        """The record; its end is the end of a day, so that another attempt of the same day makes the same one."""
        until = None if self._lifetime is None else (clock.timestamp() + self._lifetime) // DAY * DAY + DAY
        return record_for(challenge.issuers[0], challenge.account, is_wildcard=challenge.is_wildcard, until=until)


def _judge(challenge: Challenge) -> Judge:
    def judge(texts: tuple[str, ...]) -> str | None:
        now = clock.timestamp()
        found = find(texts, challenge.issuers, challenge.account, is_wildcard=challenge.is_wildcard, now=now)
        return found if isinstance(found, str) else None

    return judge


def _why_not(standing: Standing, account: str, is_wildcard: bool, now: int) -> str | None:
    if standing.account != account:
        return "the record for this CA names another account"
    if is_wildcard and not standing.is_for_wildcards:
        return f"the record does not say policy={WILDCARD}"
    if standing.until is not None and standing.until <= now:
        return "the record has ended (persistUntil)"
    return None


def _end(standing: Standing) -> tuple[bool, int]:
    return standing.until is None, standing.until or 0


def _unreadable(why: str) -> BadRequest:
    return BadRequest(f"the record cannot be read: {why}", code="bad-record")
