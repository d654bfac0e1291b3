"""What an offline CA is asked to sign: drawn up and durable before the file is given out; listed; withdrawn."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlmodel import col

from ca import clock, crossing, hierarchy, issuance, listdraft, recording
from ca.access import Caller, Operation
from ca.authority import OFFLINE, Issuer
from ca.ceremony.documents import CERTIFICATE, LIST, Asked, Task, digest
from ca.enrolment import Decision, Wish, authorise_authority
from ca.errors import BadRequest, Conflict, NotFound
from ca.founding import Plan
from ca.installation import Installation
from ca.keys.algorithms import PrivateKey
from ca.ledger import log
from ca.listdraft import DraftList
from ca.listing import COMPLETE
from ca.models import Ceremony
from ca.recording import Draft
from ca.store import Transaction
from ca.x509.request import make_request, read_request

LIST_LIFETIME = timedelta(days=400)
"""How long the list of an offline CA is good, if nobody says otherwise: a ceremony a year, and a month to be late."""
LIST_BACKDATE = timedelta(minutes=1)
COMPLETED, WITHDRAWN = "completed", "withdrawn"
_LIST_FIELDS = tuple(name for name in DraftList.__dataclass_fields__ if name not in ("tbs", "authority"))


@dataclass(frozen=True, slots=True)
class Shown:
    """A ceremony; times in seconds since the epoch, `document` is the file that is carried to the offline machine."""

    name: str
    authority: str
    asks_for: str
    state: str
    sha256: str
    document: bytes
    created_at: int
    created_by: str
    ended_at: int | None
    ended_by: str | None
    transcript: Any


@dataclass(frozen=True, slots=True)
class Successor:
    """A CA that is wanted beneath the offline one, by a profile of kind authority."""

    plan: Plan
    profile: str = "sub-ca"


def request(
    installation: Installation,
    caller: Caller,
    name: str,
    successor: Successor | None = None,
    *,
    crosses: str | None = None,
    list_lifetime: timedelta | None = LIST_LIFETIME,
) -> Shown:
    """Ask an offline CA for a CA beneath it or, a root, for the certificate of another root; for its next CRL; or both.

    One certificate a walk: what waits for its signature is one row.
    """
    caller.must(Operation.MANAGE_AUTHORITIES)
    installation.timekeeper.require()  # whoever carries dates to the key sees no clock there
    issuer = installation.authorities.issuer(name)
    if issuer.key_label != OFFLINE:
        hint = "certwright ca create makes CAs beneath it; certwright ca take-offline has its key leave"
        raise Conflict(f"the key of {issuer.name} is here and needs no ceremony", code="key-online", hint=hint)
    if successor is None and crosses is None and list_lifetime is None:
        raise BadRequest("a ceremony without a CA and without a list is none", code="nothing-asked")
    if successor is not None and crosses is not None:
        raise BadRequest("a ceremony has one certificate: a new CA, or one of another root", code="asked-for-two")
    _refuse_second(installation, issuer)
    listed = None if list_lifetime is None else draw_up_list(installation, issuer, list_lifetime)
    if crosses is not None:
        return _record(installation, caller, issuer, listed, *_cross(installation, caller, issuer, crosses))
    if successor is None:
        return _record(installation, caller, issuer, listed)
    return _request_ca(installation, caller, issuer, listed, successor)


def _request_ca(
    installation: Installation, caller: Caller, issuer: Issuer, listed: DraftList | None, successor: Successor
) -> Shown:
    place = hierarchy.place_of(installation, successor.plan)
    key = installation.keys.create(place.key_label, successor.plan.key_type)
    try:
        draft = issuance.draw_up(_decide(installation, caller, issuer, successor, key), issuer, installation)
        beneath = {
            "serial": draft.row["serial"],
            "line": successor.plan.line,
            "key_label": place.key_label,
            "crl_shards": successor.plan.crl_shards,
            "profile_sha256": draft.profile_sha256,
        }
        return _record(installation, caller, issuer, listed, draft, beneath)
    except Exception:
        installation.keys.destroy(place.key_label)
        raise


def listing(installation: Installation) -> list[Shown]:
    """Every ceremony, the newest first."""
    query = select(Ceremony).order_by(col(Ceremony.created_at).desc(), col(Ceremony.name).desc())
    with installation.store.read() as connection:
        return [_shown(installation, row) for row in connection.execute(query)]


def find(installation: Installation, name: str) -> Shown:
    """One of them; `NotFound` if there is none of that name."""
    return _shown(installation, row_of(installation, name))


def withdraw(installation: Installation, caller: Caller, name: str) -> Shown:
    """Give one up that waits. The key of the CA that it asked for is destroyed.

    What was signed meanwhile cannot be told: the certificate stays as an abandoned one, which can be revoked.
    """
    caller.must(Operation.MANAGE_AUTHORITIES)
    row = row_of(installation, name)

    def unit(tx: Transaction) -> None:
        settle(tx, row.name, WITHDRAWN, caller)
        if row.serial is not None:
            recording.give_up(tx, row.serial)
        log.append(tx, "ceremony-withdrawn", row.name, caller.identity)

    installation.store.write(unit)
    if row.key_label is not None:
        installation.keys.destroy(row.key_label)
    return find(installation, row.name)


def settle(tx: Transaction, name: str, outcome: str, caller: Caller, transcript: str | None = None) -> None:
    """Let a ceremony end; `Conflict` if it has ended."""
    values = {
        "outcome": outcome,
        "ended_at": clock.timestamp(),
        "ended_by": caller.identity,
        "transcript": transcript,
    }
    waiting = col(Ceremony.name) == name, col(Ceremony.outcome).is_(None)
    if tx.execute(update(Ceremony).where(*waiting).values(**values)).rowcount != 1:
        raise Conflict(f"{name} has ended already", code="ceremony-ended", hint=f"certwright ceremony show {name}")


def row_of(installation: Installation, name: str) -> Any:
    """A ceremony's row; `NotFound` without one."""
    with installation.store.read() as connection:
        row = connection.execute(select(Ceremony).where(col(Ceremony.name) == name)).first()
    if row is None:
        raise NotFound(f"there is no ceremony {name!r}", code="unknown-ceremony", hint="certwright ceremony list")
    return row


def list_of(row: Any, issuer: Issuer, tbs: bytes) -> DraftList:
    """The list that a ceremony asked for, as it was drawn up."""
    return DraftList(**json.loads(row.listing), authority=issuer.name, tbs=tbs)


def _refuse_second(installation: Installation, issuer: Issuer) -> None:
    """One at a time for each CA: two walks would race for the number of the list, and for the place of the CA."""
    waiting = select(col(Ceremony.name)).where(col(Ceremony.authority_id) == issuer.id, col(Ceremony.outcome).is_(None))
    with installation.store.read() as connection:
        found = connection.execute(waiting).first()
    if found is not None:
        hint = f"certwright ceremony accept its answer, or certwright ceremony withdraw {found.name}"
        raise Conflict(f"{found.name} waits for its answer", code="ceremony-waits", hint=hint)


def draw_up_list(installation: Installation, issuer: Issuer, lifetime: timedelta) -> DraftList:
    """The complete list of a CA that will be offline, or is: of long life, and without a delta, which nobody signs."""
    found = listdraft.draw_up(
        installation,
        issuer,
        COMPLETE,
        lifetime=lifetime,
        refresh=lifetime,
        backdate=LIST_BACKDATE,
        has_delta=False,
    )
    assert found is not None  # only shards have to come first, and an offline CA has none
    return found


def _cross(installation: Installation, caller: Caller, issuer: Issuer, name: str) -> tuple[Draft, dict[str, Any]]:
    by = crossing.find_root(installation, issuer.name)
    own = installation.authorities.issuer(crossing.must_want(installation, name, by).name)
    draft = issuance.draw_up(crossing.decide(installation, caller, own, by), by, installation)
    return draft, {"serial": draft.row["serial"], "crosses": own.name, "profile_sha256": draft.profile_sha256}


def _decide(
    installation: Installation, caller: Caller, issuer: Issuer, successor: Successor, key: PrivateKey
) -> Decision:
    plan = successor.plan
    wish = Wish(lifetime=plan.lifetime, subject=plan.subject, path_length=0, limits=plan.limits, authority=issuer.name)
    request = read_request(make_request(key, plan.subject))
    request.prove_possession()
    return authorise_authority(installation, caller, successor.profile, request, wish)


def _record(
    installation: Installation,
    caller: Caller,
    issuer: Issuer,
    listed: DraftList | None,
    draft: Draft | None = None,
    beneath: Any = None,
) -> Shown:
    tasks = []
    if draft is not None:
        tasks.append(Task(CERTIFICATE, draft.tbs))
    if listed is not None:
        tasks.append(Task(LIST, listed.tbs))
    kept = None if listed is None else json.dumps({name: getattr(listed, name) for name in _LIST_FIELDS})
    now = clock.timestamp()

    def unit(tx: Transaction) -> str:
        count = select(func.count()).select_from(Ceremony).where(col(Ceremony.authority_id) == issuer.id)
        name = f"{issuer.name}-ceremony-{1 + tx.execute(count).scalar_one()}"
        document = Asked(name, issuer.der, now, caller.identity, tuple(tasks)).encode()
        row = {
            "name": name,
            "authority_id": issuer.id,
            "document": document,
            "created_at": now,
            "created_by": caller.identity,
            "listing": kept,
        }
        tx.execute(insert(Ceremony).values(**row, **(beneath or {})))
        details = {"authority": issuer.name, "document_sha256": digest(document)}
        log.append(tx, "ceremony-requested", name, caller.identity, **details)
        if draft is not None:
            draft.intend()(tx)
        return name

    return find(installation, installation.store.write(unit))


def _shown(installation: Installation, row: Any) -> Shown:
    authority = next((each for each in installation.authorities.all() if each.id == row.authority_id), None)
    return Shown(
        name=row.name,
        authority=str(row.authority_id) if authority is None else authority.name,
        asks_for=", ".join(_asked_for(row)),
        state=row.outcome or "waits",
        sha256=digest(row.document),
        document=row.document,
        created_at=row.created_at,
        created_by=row.created_by,
        ended_at=row.ended_at,
        ended_by=row.ended_by,
        transcript=None if row.transcript is None else json.loads(row.transcript),
    )


def _asked_for(row: Any) -> list[str]:
    found = []
    if row.crosses is not None:
        found.append(f"a certificate of {row.crosses}")
    elif row.serial is not None:
        found.append(f"a CA of the line {row.line}")
    if row.listing is not None:
        found.append("a CRL")
    return found
