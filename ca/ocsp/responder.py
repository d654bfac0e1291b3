"""Answers OCSP requests, from memory where it can; what it says is what the tables say, a moment ago at most.

Answers are kept by the request that asks for them and nothing else, which is the one that clients of RFC 5019 send.
The counts of changes that revocations carry (`RevocationList.changes`, `Revocation.change`) tell which have to go: one
query for all of them, twice a second while anybody asks, whoever has revoked, here or in another replica. An answer
with a nonce, about several certificates, or about one that we do not know is signed anew each time and kept by nobody.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from sqlalchemy import Connection, select
from sqlmodel import col

from ca import clock
from ca.errors import BadRequest, CertwrightError, Unavailable
from ca.installation import Installation
from ca.listing import CHANGES, COMPLETE, TABLES
from ca.models import Authority, Certificate, RevocationList
from ca.ocsp import encoding
from ca.ocsp.asked import Asked, CertId, plain_request, read_request
from ca.ocsp.issuers import Issuers
from ca.ocsp.signer import Signers, Signing
from ca.x509.certificate import serial_text

FRESH_FOR = 0.5
"""Seconds for which a revocation may go unnoticed."""
MOST_HELD = 20_000
"""Answers that are kept, of about a kilobyte each."""
MOST_CHANGES = 10_000
"""Revocations that are looked through one by one; when there are more, everything is forgotten."""

_COUNTS = select(col(RevocationList.authority_id), col(RevocationList.changes)).where(
    col(RevocationList.shard) == COMPLETE
)


@dataclass(frozen=True, slots=True)
class OcspPolicy:
    """How long an answer is good for, and for how long it is given before another is signed."""

    lifetime: timedelta = timedelta(hours=4)
    refresh: timedelta = timedelta(hours=2)
    backdate: timedelta = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Answer:
    """A DER OCSPResponse, and what a cache has to know of it."""

    body: bytes
    status: str
    """good, revoked, unknown, several; malformed, unauthorized, try-later, internal-error."""
    tag: str = ""
    """Of what may be kept by caches; empty where nobody may."""
    this_update: int = 0
    next_update: int = 0
    due_at: int = 0
    authority_id: int = 0
    serial: str = ""


_MALFORMED = Answer(encoding.MALFORMED, "malformed")
_UNAUTHORIZED = Answer(encoding.UNAUTHORIZED, "unauthorized")
_TRY_LATER = Answer(encoding.TRY_LATER, "try-later")
_INTERNAL_ERROR = Answer(encoding.INTERNAL_ERROR, "internal-error")


class Responder:
    """One for each process. Safe to call from several threads."""

    def __init__(self, installation: Installation, policy: OcspPolicy) -> None:
        self._installation = installation
        self._policy = policy
        self.signers = Signers(installation)
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._held: OrderedDict[bytes, Answer] = OrderedDict()
        self._seen: dict[int, int] = {}
        self._states: list[tuple[int | None, str, int]] = []
        self._issuers = Issuers(())
        self._fresh_until = float("-inf")

    def held(self, request: bytes) -> Answer | None:
        """The answer, if it can be given at once, without a look at the tables; else `answer` has it."""
        found = self._held.get(request)
        if found is None or clock.monotonic() >= self._fresh_until:
            return None
        return found if found.this_update <= clock.timestamp() < found.due_at else None

    def answer(self, request: bytes) -> Answer:
        """The answer to whatever a stranger sent. It is never an error of ours that is raised."""
        try:
            self._look()
            return self.held(request) or self._made(request)
        except Unavailable:
            return self._still_good(request) or _TRY_LATER
        except CertwrightError:
            return self._still_good(request) or _INTERNAL_ERROR

    def kept(self, serials: Collection[str]) -> int:
        """How many answers that are kept here are about these, and have to be signed anew once they are revoked."""
        known = set(serials)
        return sum(answer.serial in known for answer in list(self._held.values()))

    def _still_good(self, request: bytes) -> Answer | None:
        """What was kept and nobody has revoked since, while another cannot be signed."""
        found = self._held.get(request)
        is_good = found is not None and found.this_update <= clock.timestamp() < found.next_update
        return found if is_good and clock.monotonic() < self._fresh_until else None

    def _look(self) -> None:
        """Forget what is no longer so."""
        if clock.monotonic() < self._fresh_until:
            return
        with self._looking:
            started = clock.monotonic()
            if started < self._fresh_until:
                return
            rows = self._installation.authorities.all()
            states = [(row.id, row.state, row.not_after) for row in rows]
            if states != self._states:
                issuers = Issuers(rows)
                self.signers.retain({row.id for row in self._installation.authorities.standing()})
                with self._lock:
                    self._issuers, self._states = issuers, states
                    self._held.clear()
            with self._installation.store.read(snapshot=True) as connection:
                counts = {row.authority_id: row.changes for row in connection.execute(_COUNTS)}
                changed = {id_: self._seen.get(id_, -1) for id_ in counts if counts[id_] != self._seen.get(id_)}
                fresh = {id_: _changed_after(connection, id_, seen) for id_, seen in changed.items() if seen >= 0}
            with self._lock:
                for id_, serials in fresh.items():
                    self._forget(id_, serials, is_back=counts[id_] < self._seen[id_])
                self._seen = counts
            self._fresh_until = started + FRESH_FOR

    def _forget(self, authority_id: int, serials: set[str], *, is_back: bool) -> None:
        """Drop what is said about these, or all that the CA's signer has said."""
        if self.signers.forget(serials) or is_back or len(serials) > MOST_CHANGES:
            gone = [key for key, answer in self._held.items() if answer.authority_id == authority_id]
        else:
            gone = [key for key, answer in self._held.items() if answer.serial in serials]
        for key in gone:
            del self._held[key]

    def _made(self, request: bytes) -> Answer:
        try:
            asked = read_request(request)
        except BadRequest:
            return _MALFORMED
        row = self._issuers.of(asked.certificates)
        if row is None or row.id is None:
            return _UNAUTHORIZED
        signing = self.signers.of(row)
        with self._installation.store.read(snapshot=True) as connection:
            counted = connection.execute(_COUNTS.where(col(RevocationList.authority_id) == row.id)).first()
            states = {one.serial: _state(connection, row.id, one.serial) for one in asked.certificates}
        answer = self._signed(asked, row, signing, states)
        is_known = answer.status in ("good", "revoked")
        if not is_known or asked.nonce is not None or counted is None:
            return answer
        return self._kept(asked.certificates[0], answer, counted.changes)

    def _signed(
        self, asked: Asked, row: Authority, signing: Signing, states: dict[int, tuple[int, int] | bool]
    ) -> Answer:
        now, policy = clock.timestamp(), self._policy
        begins = max(now - int(policy.backdate.total_seconds()), row.not_before)
        ends = min(now + int(policy.lifetime.total_seconds()), signing.not_after, row.not_after)
        singles = [_single(one, states[one.serial], begins, ends) for one in asked.certificates]
        body = signing.sealed(encoding.response_data(signing.key_hash, now, singles, asked.nonce))
        if len(singles) > 1:
            return Answer(body, "several")
        serial = asked.certificates[0].serial
        state = states[serial]
        status = ("good" if state else "unknown") if isinstance(state, bool) else "revoked"
        due = now + min(
            int(policy.refresh.total_seconds()), (ends - now) // 2
        )  # the half near the end of a CA or signer
        tag = sha256(body).hexdigest() if asked.nonce is None and state else ""
        return Answer(body, status, tag, begins, ends, due, row.id or 0, serial_text(serial) if state else "")

    def _kept(self, certificate: CertId, answer: Answer, counted: int) -> Answer:
        with self._lock:
            if self._seen.get(answer.authority_id) == counted:  # else a revocation may have come between
                key = plain_request(certificate)
                self._held[key] = answer
                self._held.move_to_end(key)
                if len(self._held) > MOST_HELD:
                    self._held.popitem(last=False)
        return answer


def _changed_after(connection: Connection, authority_id: int, change: int) -> set[str]:
    """What was revoked, held or released since."""
    found: set[str] = set()
    for table in CHANGES:
        since = col(table.authority_id) == authority_id, col(table.change) > change
        found.update(connection.execute(select(col(table.serial)).where(*since).limit(MOST_CHANGES + 1)).scalars())
    return found


def _state(connection: Connection, authority_id: int, serial: int) -> tuple[int, int] | bool:
    """When and why it was revoked; else whether we have issued it. What was begun and never released, we have not."""
    if serial <= 0:
        return False
    text = serial_text(serial)
    for table in TABLES:
        revoked = select(col(table.revoked_at), col(table.reason)).where(
            col(table.serial) == text, col(table.authority_id) == authority_id
        )
        if (row := connection.execute(revoked).first()) is not None:
            return row.revoked_at, row.reason
    issued = select(col(Certificate.id)).where(
        col(Certificate.serial) == text,
        col(Certificate.authority_id) == authority_id,
        col(Certificate.signature).is_not(None),
    )
    return connection.execute(issued).first() is not None


def _single(certificate: CertId, state: tuple[int, int] | bool, begins: int, ends: int) -> bytes:
    if isinstance(state, bool):
        return encoding.single(certificate.encoded, encoding.GOOD if state else encoding.UNKNOWN, begins, ends)
    return encoding.single(certificate.encoded, encoding.revoked(*state), begins, ends)
