"""What came back from an offline CA: signatures over the bytes that were asked for, or it is refused.

Two transactions, as in `hierarchy`: the certificate first, then what makes the CA real, the list and the end of the
ceremony. After a crash in between the same answer is taken in again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cryptography import x509

from ca import approval, certificates, crl, crossing, hierarchy, recording, signing
from ca.access import Caller, Operation
from ca.authority import Issuer, State
from ca.ceremony import asking
from ca.ceremony.asking import COMPLETED, Shown
from ca.ceremony.documents import CERTIFICATE, Answered, Asked, digest, read_answer, read_request
from ca.errors import BadRequest, Conflict
from ca.founding import Plan
from ca.installation import Installation
from ca.keys.algorithms import KeyType, key_type_of
from ca.ledger import log
from ca.store import Transaction

MOST_SAID = 16 * 1024
"""Characters of a transcript."""


def accept(
    installation: Installation,
    caller: Caller,
    data: bytes,
    *,
    ceremony: str | None = None,
    state: State | None = None,
) -> Shown:
    """Take in an answer, to this ceremony if one is named. A new CA is active if its line has no active CA yet."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    answer = read_answer(data)
    if ceremony not in (None, answer.ceremony):
        raise BadRequest(f"this is the answer to {answer.ceremony}", code="bad-ceremony-answer")
    row = asking.row_of(installation, answer.ceremony)
    asked, issuer = read_request(row.document), _issuer(installation, row)
    signed = _signed(asked, answer, issuer, digest(row.document))
    if row.outcome is not None:
        raise Conflict(f"{row.name} has ended already", code="ceremony-ended")
    transcript = _transcript(answer)
    _refuse_overtaken(installation, row, issuer)
    if row.crosses is not None:
        crossing.must_want(installation, row.crosses, crossing.find_root(installation, issuer.name))
    approval.must(installation, caller, "take in what an offline CA has signed", row.name, answer_sha256=digest(data))
    der = _certificate(installation, row, answer, asked, issuer, signed)
    make_real = None if der is None else _reality(installation, caller, row, der, issuer, state)

    def unit(tx: Transaction) -> None:
        asking.settle(tx, row.name, COMPLETED, caller, transcript)
        if make_real is not None:
            make_real(tx)
        for task, made in zip(asked.tasks, signed, strict=True):
            if task.kind != CERTIFICATE:
                asking.list_of(row, issuer, task.tbs).keep(made, caller.identity)(tx)
        details = {"authority": issuer.name, "answer_sha256": digest(data), "said": json.loads(transcript)}
        log.append(tx, "ceremony-completed", row.name, caller.identity, **details)

    installation.store.write(unit)
    installation.authorities.forget()
    return asking.find(installation, row.name)


def _issuer(installation: Installation, row: Any) -> Issuer:
    name = next(each.name for each in installation.authorities.all() if each.id == row.authority_id)
    return installation.authorities.issuer(name)


def _refuse_overtaken(installation: Installation, row: Any, issuer: Issuer) -> None:
    """`Conflict`, before anything is recorded, if the list that was asked for cannot follow the one that there is now.

    Its key was here meanwhile and signed one, or a backup was restored, after which numbers jump.
    """
    if row.listing is None:
        return
    wanted = asking.list_of(row, issuer, b"")
    now = crl.complete_number(installation, issuer.name)
    if now != wanted.after:
        raise Conflict(
            f"the list of {issuer.name} has gone on to {now or 'its end'} since {row.name} was asked for",
            code="list-overtaken",
            hint=f"certwright ceremony withdraw {row.name}, and ask again",
        )


def _signed(asked: Asked, answer: Answered, issuer: Issuer, sha256: str) -> list[bytes]:
    """The certificates and lists, whole; `BadRequest` unless every signature is over exactly what was asked."""
    if answer.request_sha256 != sha256 or len(answer.signatures) != len(asked.tasks):
        raise BadRequest(
            f"this answer is to another request than the one of {asked.ceremony}",
            code="bad-ceremony-answer",
            hint=f"certwright ceremony show {asked.ceremony} --out FILE writes the request that waits",
        )
    found = []
    for number, (task, signature) in enumerate(zip(asked.tasks, answer.signatures, strict=True), 1):
        join = signing.join if task.kind == CERTIFICATE else signing.join_list
        try:
            made = join(task.tbs, signature, issuer)
        except ValueError:
            made = None
        if made is None:
            raise BadRequest(
                f"signature {number} was not made by the key of {issuer.name} over what was asked",
                code="bad-ceremony-answer",
                hint="nothing was changed; sign the request as it was given out",
            )
        found.append(made)
    return found


def _transcript(answer: Answered) -> str:
    """What was said, as it is kept: of bounded size, and JSON."""
    text = json.dumps(answer.transcript, sort_keys=True)
    if len(text) > MOST_SAID:
        raise BadRequest("the transcript is too long", code="bad-ceremony-answer")
    return text


def _certificate(
    installation: Installation, row: Any, answer: Answered, asked: Asked, issuer: Issuer, signed: list[bytes]
) -> bytes | None:
    """Steps 7 and 8 of the issuance cycle for the CA certificate, if one was asked for; DER, as it is on record."""
    if row.serial is None:
        return None
    place = next(place for place, task in enumerate(asked.tasks) if task.kind == CERTIFICATE)
    found = certificates.find_many(installation.store, [row.serial])
    if not found:
        is_cross = row.crosses is not None
        draft = recording.resume(installation.store, row.serial, issuer.name, row.profile_sha256, is_cross=is_cross)
        installation.store.write(draft.complete(answer.signatures[place], signed[place]))
        return signed[place]
    if found[0].signature is None:
        raise Conflict(f"the certificate of {row.name} was given up or revoked meanwhile", code="revoked-meanwhile")
    return found[0].der  # an accept that died in between has recorded it


def _reality(
    installation: Installation, caller: Caller, row: Any, der: bytes, issuer: Issuer, state: State | None
) -> Callable[[Transaction], object]:
    """What makes of the certificate a CA of ours, or a cross-certificate of one, in the last transaction."""
    if row.crosses is None:
        plan, place = _place(installation, row, der, state)
        return lambda tx: hierarchy.make_real(tx, caller, plan, place, der)
    root_id = installation.authorities.issuer(row.crosses).id
    return lambda tx: crossing.record(tx, root_id, row.crosses, issuer, der, caller)


def _place(installation: Installation, row: Any, der: bytes, state: State | None) -> tuple[Plan, hierarchy.Place]:
    own = x509.load_der_x509_certificate(der)
    key_type = key_type_of(own.public_key())  # type: ignore[arg-type]
    plan = Plan(row.line, own.subject, KeyType(key_type or ""), crl_shards=row.crl_shards, state=state)
    stands = hierarchy.place_of(installation, plan)
    return plan, hierarchy.Place(stands.name, stands.generation, stands.state, row.key_label, row.authority_id)
