"""What issuance makes durable, as units for the store: the intent, the completion, and what becomes of the unfinished.

Two rows' worth of order protects promise 1: the intent is committed before the key signs, and the completion only
fits an intent that nobody has given up. Read `ca/issuance.py` for the story these serve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlmodel import col

from ca import certificates, clock, revocation
from ca.authority import SIGNING, Issuer, State
from ca.certificates import Stored
from ca.enrolment import CROSS_PROFILE, Decision
from ca.errors import Conflict, Defect, PolicyRefusal, Reason, Unavailable
from ca.ledger import log
from ca.models import Answer, Authority, BlockedKey, Ceremony, Certificate, CertificateName, Intent, Revocation
from ca.signing import Order
from ca.store import Store, Transaction, Unit
from ca.store.many import table_of
from ca.x509.certificate import algorithm_of, fingerprint, preview, serial_text
from ca.x509.revocation_list import RevocationReason

PAGE = 500

_TAKEN = select(col(Certificate.serial)).where(col(Certificate.serial).in_(bindparam("values", expanding=True)))
_BLOCKED = select(col(BlockedKey.spki_sha256)).where(
    col(BlockedKey.spki_sha256).in_(bindparam("values", expanding=True))
)
_STOLEN = _BLOCKED.where(col(BlockedKey.reason) != "authority")
"""The keys that a cross-certificate must not carry either."""
_AUTHORITY = select(col(Authority.id)).where(col(Authority.id).in_(bindparam("values", expanding=True)))
_NOT_ACTIVE = _AUTHORITY.where(col(Authority.state) != State.ACTIVE)
_NOT_SIGNING = _AUTHORITY.where(*(col(Authority.state) != state for state in sorted(SIGNING)))
"""For what may be signed by a generation that is still prepared: decisions that named it, of the kinds that may."""


def _key_is_blocked() -> PolicyRefusal:
    return PolicyRefusal([Reason("blocked-key", "this key is compromised, or one of our own CA keys", "blocked keys")])


def _issuer_stopped() -> Unavailable:
    return Unavailable("the CA stopped signing meanwhile; ask again", code="no-active-authority")


def _serial_taken() -> Defect:
    return Defect("a serial number was drawn twice; nothing was signed: check this machine's random numbers")


@dataclass(frozen=True, slots=True)
class Draft:
    """A certificate between its intent and its completion: the row, its names, and who decided about it."""

    row: Mapping[str, Any]
    names: tuple[str, ...]
    authority: str
    profile_sha256: str
    is_chosen: bool
    """Whether the decision named the generation that signs, which then may be one that is still prepared."""
    is_cross: bool = False
    """Whether it certifies the key of a CA of ours once more, which for anything else is blocked."""
    answers: tuple[str, bytes] | None = None
    """The idempotency key that it is the answer to, and the digest of what was asked."""

    @classmethod
    def of(cls, decision: Decision, order: Order, issuer: Issuer, tbs: bytes) -> Draft:
        """The row that intent and certificate share."""
        row = {
            "serial": serial_text(order.serial),
            "authority_id": issuer.id,
            "profile": order.profile.name,
            "subject": certificates.shown_as(decision.names, _subject(decision), order.spki),
            "shard": order.shard,
            "spki_sha256": sha256(order.spki).digest(),
            "not_before": order.not_before,
            "not_after": order.not_after,
            "requested_by": decision.caller.identity,
            "renews": decision.renews,
            "tbs": tbs,
        }
        key = decision.idempotency_key
        return cls(
            row,
            tuple(map(str, order.names)),
            issuer.name,
            decision.profile.sha256,
            decision.authority == issuer.name and decision.may_choose,
            decision.profile.name == CROSS_PROFILE and decision.profile.config.kind == "authority",
            None if key is None else (key, decision.digest),
        )

    @property
    def tbs(self) -> bytes:
        """What is to be signed."""
        tbs: bytes = self.row["tbs"]
        return tbs

    def _guard(self, tx: Transaction) -> None:
        tx.refuse_if_any(_STOLEN if self.is_cross else _BLOCKED, self.row["spki_sha256"], _key_is_blocked)
        tx.refuse_if_any(_NOT_SIGNING if self.is_chosen else _NOT_ACTIVE, self.row["authority_id"], _issuer_stopped)

    def intend(self) -> Unit[None]:
        """The unit that records the intent, and what its idempotency key is answered with."""
        now = clock.timestamp()
        serial, answers = self.row["serial"], self.answers
        intent = {**self.row, "intended_at": now}

        def unit(tx: Transaction) -> None:
            self._guard(tx)
            tx.refuse_if_any(_TAKEN, serial, _serial_taken)
            if answers is not None:
                key, digest = answers
                tx.add(Answer, {"key": key, "request_sha256": digest, "serial": serial, "created_at": now})
            tx.add(Intent, intent)

        return unit

    def complete(self, signature: bytes, certificate: bytes) -> Unit[None]:
        """The unit that turns the intent into the certificate, unless it was given up, the key blocked, the CA stopped.

        The guards are asked again: whoever blocks a key first blocks it and then revokes all that carries it, intents
        included. Either that revocation saw our intent, or we see the block here (row 55 of the field's failures).
        """
        serial, now = self.row["serial"], clock.timestamp()
        completed = {**self.row, "signature": signature, "recorded_at": now}
        details: dict[str, Any] = {
            "at": now,
            "authority": self.authority,
            "profile": self.row["profile"],
            "profile_sha256": self.profile_sha256,
            "names": self.names,
            "not_after": self.row["not_after"],
            "sha256": fingerprint(certificate),
        }
        if self.row["renews"] is not None:
            details["renews"] = self.row["renews"]

        def unit(tx: Transaction) -> None:
            self._guard(tx)
            tx.remove(Intent, "serial", serial)
            tx.add(Certificate, completed)
            for name in self.names:
                tx.add(CertificateName, {"name": name, "serial": serial})
            log.append(tx, "certificate-issued", serial, self.row["requested_by"], **details)

        return unit

    def give_up(self) -> Unit[None]:
        """The unit that gives the intent up, because the key did not answer: a repeat begins anew, and at once."""
        now = clock.timestamp()
        row = {**self.row, "authority": self.authority, "intended_at": now}

        def unit(tx: Transaction) -> None:
            _abandon(tx, row, now)
            _revoke_blocked(tx, [row], now)

        return unit


def _subject(decision: Decision) -> str:
    return "" if decision.subject is None else decision.subject.rfc4514_string()


def find_answer(store: Store, decision: Decision) -> Answered | None:
    """What this idempotency key was answered with. `Conflict` if it was asked another question."""
    query = select(col(Answer.request_sha256), col(Answer.serial)).where(col(Answer.key) == decision.idempotency_key)
    with store.read() as connection:
        row = connection.execute(query).first()
    if row is None:
        return None
    if row.request_sha256 != decision.digest:
        raise Conflict("this idempotency key was used for a different request", code="idempotency-mismatch")
    found = certificates.find_many(store, [row.serial])
    return Answered(row.serial, found[0] if found else None)


@dataclass(frozen=True, slots=True)
class Answered:
    """An idempotency key that was seen before; `certificate` is None while its certificate is being made."""

    serial: str
    certificate: Stored | None


def abandon_intents(store: Store, *, older_than: int) -> int:
    """Give up one page of intents whose process died before it could sign and record.

    They become certificates without a signature: listed, and revocable, since that the key has signed them cannot be
    ruled out, only that anybody was given the result. Their idempotency keys are free again. Returns how many.
    """
    issuer = col(Authority.id) == col(Intent.authority_id)
    old = (
        select(*_INTENT, col(Authority.name).label("authority"))
        .join(Authority, issuer)
        .where(col(Intent.intended_at) < older_than, col(Intent.serial).not_in(CARRIED))
        .order_by(col(Intent.id))
        .limit(PAGE)
        .with_for_update(skip_locked=True, of=Intent)
    )
    now = clock.timestamp()

    def unit(tx: Transaction) -> int:
        rows = [dict(row) for row in tx.execute(old).mappings()]
        for row in rows:
            _abandon(tx, row, now)
        _revoke_blocked(tx, rows, now)
        return len(rows)

    return store.write(unit)


def resume(store: Store, serial: str, authority: str, profile_sha256: str, *, is_cross: bool) -> Draft:
    """The draft of an intent whose signature was made elsewhere (`ca/ceremony`); `Conflict` if there is none."""
    with store.read() as connection:
        row = connection.execute(select(*_INTENT).where(col(Intent.serial) == serial)).mappings().first()
    if row is None:
        raise Conflict(f"the certificate {serial} was given up or revoked meanwhile", code="revoked-meanwhile")
    kept = {key: value for key, value in row.items() if key != "intended_at"}
    return Draft(kept, (), authority, profile_sha256, is_chosen=True, is_cross=is_cross)


def give_up(tx: Transaction, serial: str) -> None:
    """Give one intent up, if it is still there: what was carried to an offline key, and is wanted no more."""
    issuer = col(Authority.id) == col(Intent.authority_id)
    query = select(*_INTENT, col(Authority.name).label("authority")).join(Authority, issuer)
    now = clock.timestamp()
    for row in tx.execute(query.where(col(Intent.serial) == serial)).mappings().all():
        _abandon(tx, dict(row), now)
        _revoke_blocked(tx, [dict(row)], now)


def _abandon(tx: Transaction, row: Mapping[str, Any], now: int) -> None:
    serial, tbs = row["serial"], row["tbs"]
    kept = {key: value for key, value in row.items() if key not in ("authority", "intended_at")}
    tx.remove(Intent, "serial", serial)
    tx.add(Certificate, {**kept, "signature": None, "recorded_at": now})
    for name in certificates.names_of(preview(tbs, algorithm_of(tbs))):
        tx.add(CertificateName, {"name": str(name), "serial": serial})
    tx.execute(delete(Answer).where(col(Answer.serial) == serial))
    details = {key: row[key] for key in ("authority", "profile", "requested_by", "renews", "not_after", "intended_at")}
    tbs_sha256 = sha256(tbs).hexdigest()
    log.append(tx, "issuance-abandoned", serial, "system:recovery", **details, at=now, tbs_sha256=tbs_sha256)


def _revoke_blocked(tx: Transaction, rows: Sequence[Mapping[str, Any]], now: int) -> None:
    """An intent may be committed just behind the block of its key, unseen by it: then it is revoked here."""
    keys, serials = ({row[column] for row in rows} for column in ("spki_sha256", "serial"))
    blocked, stolen = (set(tx.execute(query, {"values": list(keys)}).scalars()) for query in (_BLOCKED, _STOLEN))
    query = select(col(Revocation.serial)).where(col(Revocation.serial).in_(serials))
    revoked = set(tx.execute(query).scalars())
    found = [row for row in rows if row["spki_sha256"] in (stolen if row["profile"] == CROSS_PROFILE else blocked)]
    left = [row for row in found if row["serial"] not in revoked]
    revocation.record(tx, left, "system:recovery", RevocationReason.KEY_COMPROMISE, now)


_INTENT = [column for column in table_of(Intent).columns if column.name != "id"]
CARRIED = select(col(Ceremony.serial)).where(col(Ceremony.outcome).is_(None), col(Ceremony.serial).is_not(None))
"""The intents that wait for a signature from an offline key, for days: nobody gives them up but who withdraws them."""
