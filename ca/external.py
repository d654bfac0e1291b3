"""CAs of ours beneath somebody else's root: the request goes out, the chain comes in.

The key is made here and never leaves; what waits for its certificate is a row of its own. What comes back is held
against the request and as a path (RFC 5280 section 6.1) up to a self-signed root. The CAs above are recorded as
authorities without a key: they stand in bundles and chains, and sign nothing here, no CRL among it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import delete, insert, select
from sqlmodel import col

from ca import approval, clock, hierarchy
from ca.access import Caller, Operation
from ca.authority import KEYLESS, State
from ca.errors import BadRequest, Conflict, NotFound
from ca.founding import Plan, authority_request, check_import
from ca.installation import Installation
from ca.keys.algorithms import KeyType, key_type_of, spki
from ca.keys.weak import weaknesses
from ca.ledger import log
from ca.models import Authority, AuthorityRequest
from ca.store import Transaction
from ca.x509.certificate import fingerprint

MOST_ABOVE = 8
"""CAs above one of ours; more is no hierarchy but a mistake."""
LINE = "external"
"""The line under which the CAs of others are recorded."""
_HINT = "send the whole chain: the new CA's certificate, those above it, and the self-signed root"


@dataclass(frozen=True, slots=True)
class Requested:
    """A CA whose certificate somebody else has to sign; `csr` is PEM, times are seconds since the epoch."""

    name: str
    line: str
    subject: str
    csr: str
    sha256: str
    """Of the request's public key (SubjectPublicKeyInfo): what is read aloud over the phone."""
    created_at: int
    created_by: str


def request(installation: Installation, caller: Caller, plan: Plan) -> Requested:
    """Make the key of a new CA and its request. Nothing is trusted or signed before its chain is accepted."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    place = hierarchy.place_of(installation, plan)
    key = installation.keys.create(place.key_label, plan.key_type)
    row = {
        "name": place.name,
        "line": plan.line,
        "key_label": place.key_label,
        "spki_sha256": sha256(spki(key.public_key())).digest(),
        "subject": plan.subject.rfc4514_string(),
        "csr": authority_request(key, plan),
        "crl_shards": plan.crl_shards,
        "created_at": clock.timestamp(),
        "created_by": caller.identity,
    }

    def unit(tx: Transaction) -> None:
        if tx.execute(select(AuthorityRequest).where(col(AuthorityRequest.name) == place.name)).first() is not None:
            hint = f"certwright ca accept {place.name} CHAIN.pem, or certwright ca withdraw {place.name}"
            raise Conflict(f"a request for {place.name} waits for its certificate already", hint=hint)
        tx.execute(insert(AuthorityRequest), row)
        held = sha256(spki(key.public_key())).hexdigest()
        details = {"line": plan.line, "key_label": place.key_label, "spki_sha256": held}
        log.append(tx, "authority-requested", place.name, caller.identity, **details)

    try:
        installation.store.write(unit)
    except Exception:
        installation.keys.destroy(place.key_label)
        raise
    return find(installation, place.name)


def requests(installation: Installation) -> list[Requested]:
    """What waits for its certificate, oldest first."""
    query = select(AuthorityRequest).order_by(col(AuthorityRequest.created_at), col(AuthorityRequest.name))
    with installation.store.read() as connection:
        return [_shown(row) for row in connection.execute(query)]


def find(installation: Installation, name: str) -> Requested:
    """One of them; `NotFound` if there is none of that name."""
    return _shown(_row(installation, name))


def withdraw(installation: Installation, caller: Caller, name: str) -> Requested:
    """Give a request up: its key is destroyed, and a certificate that still comes for it is of no use. Returns it."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    row = _row(installation, name)

    def unit(tx: Transaction) -> None:
        _settle(tx, row.name)
        log.append(tx, "authority-request-withdrawn", row.name, caller.identity)

    installation.store.write(unit)
    installation.keys.destroy(row.key_label)
    return _shown(row)


def accept(
    installation: Installation,
    caller: Caller,
    name: str,
    certificates: Sequence[x509.Certificate],
    *,
    state: State | None = None,
) -> Authority:
    """Take in the chain of a CA that was requested. It is active if its line has no active CA yet, else prepared.

    `BadRequest` says everything that keeps the chain from being one that relying parties will accept.
    """
    caller.must(Operation.MANAGE_AUTHORITIES)
    row = _row(installation, name)
    chain = sorted(fingerprint(_der(one)) for one in certificates)
    approval.must(installation, caller, "take the chain of a CA in", name, certificates_sha256=chain)
    own, *above = path(certificates, row.spki_sha256)
    check_import(own, own.public_key())  # type: ignore[arg-type]
    _check_path([own, *above])
    plan = Plan(row.line, own.subject, _type(own), crl_shards=row.crl_shards, state=state)
    stands = hierarchy.place_of(installation, plan)
    _refuse_twins(installation, above)

    def unit(tx: Transaction) -> None:
        _settle(tx, row.name)
        parent = _record_above(tx, caller, [_der(one) for one in above])
        place = hierarchy.Place(stands.name, stands.generation, stands.state, row.key_label, parent)
        hierarchy.make_real(tx, caller, plan, place, _der(own))
        log.append(tx, "authority-accepted", row.name, caller.identity, root=fingerprint(_der(above[-1])))

    installation.store.write(unit)
    installation.authorities.forget()
    return installation.authorities.get(stands.name)


def _record_above(tx: Transaction, caller: Caller, above: Sequence[bytes]) -> int | None:
    """Record those CAs that are not known yet, from the root down. Returns the id of the one right above ours."""
    known = {row.certificate: row.id for row in tx.execute(select(col(Authority.certificate), col(Authority.id)))}
    numbers = tx.execute(select(col(Authority.generation)).where(col(Authority.line) == LINE)).scalars()
    taken, parent = max(numbers, default=0), None
    for one in reversed(above):
        if (found := known.get(one)) is None:
            taken += 1
            parsed = x509.load_der_x509_certificate(one)
            place = hierarchy.Place(f"{LINE}-{taken}", taken, State.PREPARED, KEYLESS, parent)
            found = hierarchy.make_real(tx, caller, Plan(LINE, parsed.subject, KeyType.P256), place, one)
        parent = found
    return parent


def _refuse_twins(installation: Installation, above: Sequence[x509.Certificate]) -> None:
    """A key has one authority: another certificate of a key that is known is a cross-certificate, no CA of its own."""
    by_key = {row.spki_sha256: row for row in installation.authorities.all()}
    for one in above:
        twin = by_key.get(sha256(_spki(one)).digest())
        if twin is not None and twin.certificate != _der(one):
            raise Conflict(f"the key of a CA above is here already, as {twin.name}", code="authority-exists")


def path(certificates: Sequence[x509.Certificate], spki_sha256: bytes) -> list[x509.Certificate]:
    """The certificates in the order of their issuing, that of the public key first, the root last."""
    own = [one for one in certificates if sha256(_spki(one)).digest() == spki_sha256]
    if not own:
        hint = "sign the request as it is: certwright ca requests NAME"
        raise BadRequest("none of the certificates is for the key of the request", code="bad-chain", hint=hint)
    found, left = [own[0]], [one for one in certificates if one is not own[0]]
    while not _is_issued_by(found[-1], found[-1]):
        above = next((one for one in left if _is_issued_by(found[-1], one)), None)
        if above is None or len(found) > MOST_ABOVE:
            raise _broken(found[-1], left)
        found.append(above)
        left.remove(above)
    if len(found) == 1:
        raise BadRequest("the certificate is signed with its own key", code="bad-chain", hint=_HINT)
    return found


def _broken(one: x509.Certificate, others: Sequence[x509.Certificate]) -> BadRequest:
    who = one.issuer.rfc4514_string()
    if any(other.subject == one.issuer for other in others):
        message = (
            f"the signature of {who} on {one.subject.rfc4514_string()} does not hold, or is of a kind not used here"
        )
        return BadRequest(message, code="bad-chain", hint="SHA-1 and MD5 prove nothing any more")
    return BadRequest(f"the chain ends at {who}, whose certificate is missing", code="bad-chain", hint=_HINT)


def _check_path(chain: Sequence[x509.Certificate]) -> None:
    """RFC 5280 section 6.1, as far as it concerns CAs: powers, lengths, lives and keys."""
    problems = []
    for beneath, one in enumerate(chain[1:]):
        who = one.subject.rfc4514_string()
        values = {type(extension.value): extension.value for extension in one.extensions}
        constraints, usage = values.get(x509.BasicConstraints), values.get(x509.KeyUsage)
        if not isinstance(constraints, x509.BasicConstraints) or not constraints.ca:
            problems.append(f"{who} is no CA")
        elif constraints.path_length is not None and constraints.path_length < beneath + 1:
            problems.append(f"{who} allows {constraints.path_length} CAs beneath it, here are {beneath + 1}")
        if isinstance(usage, x509.KeyUsage) and not usage.key_cert_sign:
            problems.append(f"{who} may not sign certificates")
        if not one.not_valid_before_utc <= clock.now() < one.not_valid_after_utc:
            problems.append(f"{who} is not valid now")
        problems += [f"{who}: {reason}" for reason in weaknesses(one.public_key())]  # type: ignore[arg-type]
    if problems:
        raise BadRequest("this chain cannot be accepted: " + "; ".join(problems), code="bad-chain")


def _settle(tx: Transaction, name: str) -> None:
    if tx.execute(delete(AuthorityRequest).where(col(AuthorityRequest.name) == name)).rowcount != 1:
        raise Conflict(f"the request for {name} was settled meanwhile", code="changed-meanwhile")


def _row(installation: Installation, name: str) -> Any:
    with installation.store.read() as connection:
        row = connection.execute(select(AuthorityRequest).where(col(AuthorityRequest.name) == name)).first()
    if row is None:
        hint = "certwright ca requests lists them"
        raise NotFound(f"no request for {name!r} waits for its certificate", code="unknown-request", hint=hint)
    return row


def _shown(row: Any) -> Requested:
    columns = {name: getattr(row, name) for name in Requested.__dataclass_fields__ if name != "sha256"}
    return Requested(**columns, sha256=row.spki_sha256.hex())


def _is_issued_by(one: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(by)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _type(certificate: x509.Certificate) -> KeyType:
    found = key_type_of(certificate.public_key())  # type: ignore[arg-type]
    assert found is not None  # `check_import` refuses what has no type
    return found


def _spki(certificate: x509.Certificate) -> bytes:
    return spki(certificate.public_key())  # type: ignore[arg-type]


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
