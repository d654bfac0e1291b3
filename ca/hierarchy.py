"""How authorities come to be, and how they go from state to state.

A root signs itself; every other CA certificate goes through the one door, `ca.issuance.issue()`, like any leaf. An
authority that already exists is taken over with its certificate and key. The key is durable before its certificate
is made, and the row that makes an authority real comes last: a crash leaves at most a key that nothing names.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import insert, select, update
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.authority import State, check_transition
from ca.crl import COMPLETE
from ca.enrolment import Wish, authorise_authority
from ca.errors import BadRequest, Conflict, Defect
from ca.installation import Installation
from ca.issuance import issue, new_serial
from ca.keys import KeyImport
from ca.keys.algorithms import AUTHORITY_KEY_TYPES, KeyType, PrivateKey, key_type_of, scheme_of, spki
from ca.keys.weak import weaknesses
from ca.ledger import log
from ca.models import Authority, BlockedKey, RevocationList
from ca.store import Transaction
from ca.x509 import certificate as encoding
from ca.x509.certificate import subject_of
from ca.x509.lint import lint
from ca.x509.request import make_request, read_request

ROOT_LIFETIME = timedelta(days=3650)
ROOT_BACKDATE = timedelta(minutes=1)
LINE = re.compile(r"[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*")


@dataclass(frozen=True, slots=True)
class Plan:
    """A CA that somebody wants: its line, its subject, its key, its life."""

    line: str
    subject: x509.Name
    key_type: KeyType
    lifetime: timedelta | None = None
    crl_shards: int = 0
    state: State | None = None
    """None: active if its line has no active authority yet, else prepared."""


def create_root(installation: Installation, caller: Caller, plan: Plan) -> Authority:
    """Make a self-signed root."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    generation, name = _next_generation(installation, plan)
    label = _label(name)
    key = installation.keys.create(label, plan.key_type)
    certificate = self_signed(key, plan)
    return _record(installation, caller, plan, name, generation, None, certificate, label)


def create_subordinate(installation: Installation, caller: Caller, profile: str, plan: Plan) -> Authority:
    """Make a CA beneath the active authority that `profile` (of kind authority) names as its issuer."""
    generation, name = _next_generation(installation, plan)
    parent = installation.authorities.issuer_for(installation.profiles[profile].config.issuer)
    label = _label(name)
    key = installation.keys.create(label, plan.key_type)
    request = read_request(make_request(key, plan.subject))  # of a key that is ours, and read like anybody's
    wish = Wish(lifetime=plan.lifetime, subject=plan.subject, path_length=0)
    issued = issue(authorise_authority(installation, caller, profile, request, wish), installation)
    return _record(installation, caller, plan, name, generation, parent.id, issued.certificate, label)


def import_authority(
    installation: Installation, caller: Caller, plan: Plan, certificate: x509.Certificate, key: PrivateKey
) -> Authority:
    """Take over a CA that exists. Its parent has to be known already, or it has to be a root."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    if not isinstance(installation.keys, KeyImport):
        raise BadRequest("this key store makes its own keys and takes none in", code="key-import-unsupported")
    _check_import(certificate, key)
    parent = _parent_of(installation, certificate)
    generation, name = _next_generation(installation, plan)
    label = _label(name)
    installation.keys.put(label, key)
    der = certificate.public_bytes(Encoding.DER)
    return _record(installation, caller, plan, name, generation, parent.id if parent else None, der, label)


def transition(installation: Installation, caller: Caller, name: str, to: State) -> Authority:
    """Move an authority to another state. Activating one generation taints the one that was active before it."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    target = installation.authorities.get(name)
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
    State.RETIRED: "retired",
}


def _next_generation(installation: Installation, plan: Plan) -> tuple[int, str]:
    if not LINE.fullmatch(plan.line) or len(plan.line) > 40:
        raise BadRequest(
            f"{plan.line!r} cannot name a line of authorities",
            code="bad-authority-name",
            hint="use lower-case words joined by hyphens, such as issuing or factory-north",
        )
    if plan.key_type not in AUTHORITY_KEY_TYPES:
        raise BadRequest(
            f"a CA does not sign with {plan.key_type}",
            code="bad-authority-key",
            hint=f"choose from {', '.join(AUTHORITY_KEY_TYPES)}",
        )
    if any(subject_of(_tbs(row)) == plan.subject.public_bytes() for row in installation.authorities.trusted()):
        raise Conflict(
            f"there is already an authority with the subject {plan.subject.rfc4514_string()}",
            code="authority-subject-taken",
            hint="give each generation a name of its own: GnuTLS and Java keep one CRL of a name",
        )
    generation = 1 + max((row.generation for row in installation.authorities.all() if row.line == plan.line), default=0)
    return generation, f"{plan.line}-{generation}"


def _tbs(row: Authority) -> bytes:
    return x509.load_der_x509_certificate(row.certificate).tbs_certificate_bytes


def _label(name: str) -> str:
    """A key label that is never taken: a key of an attempt that crashed must not stand in the way of the next."""
    return f"{name}-{secrets.token_hex(4)}"


def self_signed(key: PrivateKey, plan: Plan) -> bytes:
    """A root certificate, linted, signed and verified."""
    scheme = scheme_of(plan.key_type)
    encoded_key, subject = spki(key.public_key()), plan.subject.public_bytes()
    identifier = encoding.key_identifier(encoded_key)
    not_before = clock.timestamp() - int(ROOT_BACKDATE.total_seconds())
    seconds = int((plan.lifetime or ROOT_LIFETIME).total_seconds())
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    tbs = encoding.encode_tbs(
        serial=new_serial(),
        algorithm=scheme.identifier,
        issuer=subject,
        not_before=not_before,
        not_after=not_before + seconds - 1,
        subject=subject,
        spki=encoded_key,
        extensions=(
            encoding.extension(x509.BasicConstraints(ca=True, path_length=None), critical=True),
            encoding.extension(usage, critical=True),
            encoding.extension(x509.SubjectKeyIdentifier(identifier), critical=False),
        ),
    )
    if found := lint(encoding.preview(tbs, scheme.identifier), None):
        raise Defect("the root that was built is not sound: " + "; ".join(map(str, found)))
    signature = scheme.sign(key, tbs)
    if not scheme.verify(key.public_key(), signature, tbs):
        raise Defect("the signature of the new root does not verify")
    return encoding.assemble(tbs, scheme.identifier, signature)


def _check_import(certificate: x509.Certificate, key: PrivateKey) -> None:
    values = {type(e.value): e.value for e in certificate.extensions}
    constraints, usage = values.get(x509.BasicConstraints), values.get(x509.KeyUsage)
    public_key = key.public_key()
    problems = [str(reason) for reason in weaknesses(public_key)]
    if not isinstance(constraints, x509.BasicConstraints) or not constraints.ca:
        problems.append("the certificate is not a CA's (basic constraints)")
    if isinstance(usage, x509.KeyUsage) and not (usage.key_cert_sign and usage.crl_sign):
        problems.append("the certificate may not sign certificates and CRLs (key usage)")
    if certificate.not_valid_after_utc <= clock.now():
        problems.append("the certificate has expired")
    if key_type_of(public_key) not in AUTHORITY_KEY_TYPES:
        problems.append(f"the key is not one of {', '.join(AUTHORITY_KEY_TYPES)}")
    elif spki(public_key) != spki(certificate.public_key()):  # type: ignore[arg-type]
        problems.append("the key does not belong to the certificate")
    if problems:
        raise BadRequest("this CA cannot be taken over: " + "; ".join(problems), code="bad-authority")


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
    name: str,
    generation: int,
    parent_id: int | None,
    certificate: bytes,
    label: str,
) -> Authority:
    parsed = x509.load_der_x509_certificate(certificate)
    spki_sha256 = sha256(spki(parsed.public_key())).digest()  # type: ignore[arg-type]
    has_active = any(a.line == plan.line and a.state == State.ACTIVE for a in installation.authorities.all())
    state = plan.state or (State.PREPARED if has_active else State.ACTIVE)
    if state is State.ACTIVE and has_active:
        raise Conflict(
            f"{plan.line} has an active authority already", hint=f"certwright ca activate {name}, afterwards"
        )
    now = clock.timestamp()
    row = {
        "name": name,
        "line": plan.line,
        "generation": generation,
        "parent_id": parent_id,
        "state": state.value,
        "certificate": certificate,
        "serial": encoding.serial_text(parsed.serial_number),
        "key_label": label,
        "spki_sha256": spki_sha256,
        "not_before": int(parsed.not_valid_before_utc.timestamp()),
        "not_after": int(parsed.not_valid_after_utc.timestamp()),
        "crl_shards": plan.crl_shards,
        "created_at": now,
    }
    lists = [{"shard": shard, "due_at": 0, **_NO_LIST} for shard in (COMPLETE, *range(plan.crl_shards))]

    def unit(tx: Transaction) -> None:
        authority_id = tx.execute(insert(Authority).returning(col(Authority.id)), row).scalar_one()
        tx.execute(insert(RevocationList), [{"authority_id": authority_id, **entry} for entry in lists])
        own_key = {"spki_sha256": spki_sha256, "reason": "authority", "blocked_at": now}
        tx.execute(insert(BlockedKey), own_key)
        log.append(
            tx,
            "authority-created",
            name,
            caller.identity,
            state=state.value,
            serial=row["serial"],
            sha256=encoding.fingerprint(certificate),
            not_after=row["not_after"],
        )

    installation.store.write(unit)
    installation.authorities.forget()
    return installation.authorities.get(name)


_NO_LIST = {"number": 0, "changes": 0, "this_update": 0, "next_update": 0, "entries": 0, "sha256": b"", "crl": b""}
