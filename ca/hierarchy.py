"""How authorities come to be, and how they go from state to state.

A root signs itself; every other CA certificate goes through the one door, `ca.issuance.issue()`, like any leaf. An
authority that already exists is taken over with its certificate and key. The key is durable before its certificate
is made, and the row that makes an authority real comes last: a crash leaves at most a key that nothing names.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import insert, select, update
from sqlmodel import col

from ca import approval, clock, crossing
from ca.access import Caller, Operation
from ca.authority import KEYLESS, Issuer, State
from ca.crl import COMPLETE
from ca.enrolment import Wish, authorise_authority
from ca.errors import BadRequest, Conflict
from ca.founding import Plan, check_import, check_plan, self_signed
from ca.installation import Installation
from ca.issuance import issue
from ca.keys import KeyImport
from ca.keys.algorithms import PrivateKey, spki
from ca.ledger import log
from ca.models import Authority, BlockedKey, RevocationList
from ca.store import Transaction
from ca.x509 import certificate as encoding
from ca.x509.certificate import subject_of
from ca.x509.request import make_request, read_request

TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.PREPARED: frozenset({State.ACTIVE, State.RETIRED}),
    State.ACTIVE: frozenset({State.TAINTED}),
    State.TAINTED: frozenset({State.ACTIVE, State.DISTRUSTED, State.RETIRED}),
    State.DISTRUSTED: frozenset({State.TAINTED, State.RETIRED}),
    State.RETIRED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new authority will stand: its name, its key's label, its state, who is above it."""

    name: str
    generation: int
    state: State
    key_label: str
    parent_id: int | None


def create_root(installation: Installation, caller: Caller, plan: Plan, *, cross_by: str | None = None) -> Authority:
    """Make a self-signed root. `cross_by` names another root that certifies its key, too (`ca/crossing.py`)."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    by = None if cross_by is None else crossing.find_root(installation, cross_by)
    installation.timekeeper.require()
    crossing.revoke_orphans(installation)
    place = _place(installation, plan, None)
    approval.must(installation, caller, "make a root", plan.line, **plan.told(), cross_by=cross_by)
    key = installation.keys.create(place.key_label, plan.key_type)
    try:
        certificate = self_signed(key, plan)
        cross = None if by is None else (by, crossing.certify(installation, caller, by, key, plan).certificate)
    except Exception:
        installation.keys.destroy(place.key_label)
        raise
    return _record(installation, caller, plan, place, certificate, cross)


def create_subordinate(
    installation: Installation, caller: Caller, profile: str, plan: Plan, *, parent: str | None = None
) -> Authority:
    """Make a CA beneath the active authority that `profile` (of kind authority) names as its issuer, or `parent`.

    `parent` names a generation that is prepared or active, of whatever line: an admin's word goes before the profile's.
    The decision needs the public key, so the key is made first; when there will be no certificate it is destroyed.
    """
    caller.must(Operation.MANAGE_AUTHORITIES)
    line = installation.profiles[profile].config.issuer
    above = installation.authorities.issuer_for(line) if parent is None else installation.authorities.signer(parent)
    crossing.revoke_orphans(installation)
    place = _place(installation, plan, above.id)
    approval.must(installation, caller, "make a CA", plan.line, **plan.told(), profile=profile, beneath=above.name)
    wish = Wish(lifetime=plan.lifetime, subject=plan.subject, path_length=0, limits=plan.limits, authority=above.name)
    key = installation.keys.create(place.key_label, plan.key_type)
    try:
        request = read_request(make_request(key, plan.subject))  # of a key that is ours, and read like anybody's
        issued = issue(authorise_authority(installation, caller, profile, request, wish), installation)
    except Exception:
        installation.keys.destroy(place.key_label)
        raise
    return _record(installation, caller, plan, place, issued.certificate)


def import_authority(
    installation: Installation, caller: Caller, plan: Plan, certificate: x509.Certificate, key: PrivateKey
) -> Authority:
    """Take over a CA that exists. Its parent has to be known already, or it has to be a root."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    if not isinstance(installation.keys, KeyImport):
        raise BadRequest("this key store makes its own keys and takes none in", code="key-import-unsupported")
    check_import(certificate, key.public_key())
    held = sha256(spki(key.public_key())).digest()
    if twin := next((row for row in installation.authorities.all() if row.spki_sha256 == held), None):
        raise Conflict(f"the key of this CA is here already, as {twin.name}", code="authority-exists")
    parent = _parent_of(installation, certificate)
    place = _place(installation, plan, parent.id if parent else None)
    sha = encoding.fingerprint(certificate.public_bytes(Encoding.DER))
    approval.must(installation, caller, "take over a CA", plan.line, **plan.told(), certificate_sha256=sha)
    installation.keys.put(place.key_label, key)
    return _record(installation, caller, plan, place, certificate.public_bytes(Encoding.DER))


def place_of(installation: Installation, plan: Plan) -> Place:
    """Where a CA that is to be certified elsewhere will stand; everything that can be refused is refused here."""
    return _place(installation, plan, None)


def transition(
    installation: Installation, caller: Caller, name: str, to: State, *, before: Callable[[], None] | None = None
) -> Authority:
    """Move an authority to another state. Activating one generation taints the one that was active before it.

    `before` is what has to be done just before it, once it is allowed.
    """
    caller.must(Operation.MANAGE_AUTHORITIES)
    target = installation.authorities.get(name)
    check_transition(target, to)
    approval.must(installation, caller, "move a CA to another state", target.name, to=to.value, is_now=target.state)
    if before is not None:
        before()
    line = select(Authority).where(col(Authority.line) == target.line).with_for_update()

    def unit(tx: Transaction) -> None:
        rows = [Authority(**row._mapping) for row in tx.execute(line)]
        row = next(row for row in rows if row.id == target.id)
        check_transition(row, to)
        for other in rows:
            if to is State.ACTIVE and other.state == State.ACTIVE:
                _set_state(tx, other, State.TAINTED, caller)
        _set_state(tx, row, to, caller)

    installation.store.write(unit)
    installation.authorities.forget()
    return installation.authorities.get(target.name)


def _set_state(tx: Transaction, row: Authority, to: State, caller: Caller) -> None:
    tx.execute(update(Authority).where(col(Authority.id) == row.id).values(state=to.value))
    log.append(tx, f"authority-{_PAST[to]}", row.name, caller.identity, state=to.value, was=row.state)


_PAST = {
    State.PREPARED: "prepared",
    State.ACTIVE: "activated",
    State.TAINTED: "tainted",
    State.DISTRUSTED: "distrusted",
    State.RETIRED: "retired",
}


def check_transition(row: Authority, to: State) -> None:
    """`Conflict` unless an authority may go from its state to another."""
    if to not in TRANSITIONS[State(row.state)]:
        allowed = ", ".join(sorted(TRANSITIONS[State(row.state)])) or "nothing"
        raise Conflict(f"{row.name} is {row.state}, which can become {allowed}, not {to}", code="bad-transition")


def _place(installation: Installation, plan: Plan, parent_id: int | None) -> Place:
    """Judge the plan and find its place, before there is a key."""
    check_plan(plan)
    if any(subject_of(_tbs(row)) == plan.subject.public_bytes() for row in installation.authorities.standing()):
        raise Conflict(
            f"there is already an authority with the subject {plan.subject.rfc4514_string()}",
            code="authority-subject-taken",
            hint="give each generation a name of its own: GnuTLS and Java keep one CRL of a name",
        )
    line = [row for row in installation.authorities.all() if row.line == plan.line]
    generation = 1 + max((row.generation for row in line), default=0)
    name = f"{plan.line}-{generation}"
    has_active = any(row.state == State.ACTIVE for row in line)
    state = plan.state or (State.PREPARED if has_active else State.ACTIVE)
    if state is State.ACTIVE and has_active:
        raise _has_active(plan.line, name)
    # A label that is never taken: a key of an attempt that crashed must not stand in the way of the next.
    return Place(name, generation, state, f"{name}-{secrets.token_hex(4)}", parent_id)


def _has_active(line: str, name: str) -> Conflict:
    return Conflict(f"{line} has an active authority already", hint=f"certwright ca activate {name}, afterwards")


def _tbs(row: Authority) -> bytes:
    return x509.load_der_x509_certificate(row.certificate).tbs_certificate_bytes


def _parent_of(installation: Installation, certificate: x509.Certificate) -> Authority | None:
    """Who signed it, by its signature; None if it did so itself."""
    candidates = [(row, x509.load_der_x509_certificate(row.certificate)) for row in installation.authorities.all()]
    for row, candidate in ((None, certificate), *candidates):
        try:
            certificate.verify_directly_issued_by(candidate)
        except (InvalidSignature, ValueError, TypeError):
            continue
        return row
    raise BadRequest(
        f"the issuer of this CA, {certificate.issuer.rfc4514_string()}, is not known here",
        code="unknown-parent",
        hint="import the CA above it first",
    )


def _record(
    installation: Installation,
    caller: Caller,
    plan: Plan,
    place: Place,
    certificate: bytes,
    cross: tuple[Issuer, bytes] | None = None,
) -> Authority:
    def unit(tx: Transaction) -> None:
        authority_id = make_real(tx, caller, plan, place, certificate)
        if cross is not None:
            crossing.record(tx, authority_id, place.name, *cross, caller)

    installation.store.write(unit)
    installation.authorities.forget()
    return installation.authorities.get(place.name)


def make_real(tx: Transaction, caller: Caller, plan: Plan, place: Place, certificate: bytes) -> int:
    """Record an authority in a transaction; `Conflict` if its line has an active one already. Returns its id."""
    row = _row(plan, place, certificate)
    active = select(Authority).where(col(Authority.line) == plan.line, col(Authority.state) == State.ACTIVE)
    if place.state is State.ACTIVE and tx.execute(active).first() is not None:
        raise _has_active(plan.line, place.name)
    crossing.refuse_revoked(tx, row["serial"])
    authority_id = _insert(tx, row)
    details = {key: row[key] for key in _RECORDED}
    sha = encoding.fingerprint(certificate)
    log.append(tx, "authority-created", place.name, caller.identity, sha256=sha, **details)
    return authority_id


def _row(plan: Plan, place: Place, certificate: bytes) -> dict[str, Any]:
    parsed = x509.load_der_x509_certificate(certificate)
    return {
        "name": place.name,
        "line": plan.line,
        "generation": place.generation,
        "parent_id": place.parent_id,
        "state": place.state.value,
        "certificate": certificate,
        "serial": encoding.serial_text(parsed.serial_number),
        "key_label": place.key_label,
        "spki_sha256": sha256(spki(parsed.public_key())).digest(),  # type: ignore[arg-type]
        "not_before": int(parsed.not_valid_before_utc.timestamp()),
        "not_after": int(parsed.not_valid_after_utc.timestamp()),
        "crl_shards": plan.crl_shards,
        "created_at": clock.timestamp(),
    }


def _insert(tx: Transaction, row: Mapping[str, Any]) -> int:
    """The authority, the places of its CRLs if it signs any here, and its key as one that nobody is certified for."""
    authority_id: int = tx.execute(insert(Authority).returning(col(Authority.id)), row).scalar_one()
    lists = [
        {"authority_id": authority_id, "shard": shard, **_NO_LIST} for shard in (COMPLETE, *range(row["crl_shards"]))
    ]
    if row["key_label"] != KEYLESS:
        tx.execute(insert(RevocationList), lists)
    own_key = {"spki_sha256": row["spki_sha256"], "reason": "authority", "blocked_at": row["created_at"]}
    tx.execute(insert(BlockedKey), own_key)
    return authority_id


_RECORDED = ("line", "generation", "parent_id", "state", "serial", "key_label", "not_after", "crl_shards", "created_at")
_NO_LIST = {"number": 0, "changes": 0, "this_update": 0, "next_update": 0, "due_at": 0, "entries": 0, "sha256": b""}
