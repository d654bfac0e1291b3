"""The one door to a CA key: `issue()`. The steps and their order are the point; see "The issuance cycle" in README.

The story is a generator. Where it says `yield`, everything before has to be durable before anything after happens;
the drivers `issue` (threads) and `aissue` (coroutines) see to that with the store's group commit. A crash between two
steps leaves either nothing, or an intent that is listed, can be revoked and expires; never an unrecorded certificate.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Generator
from dataclasses import dataclass

from ca import clock, signing
from ca.authority import Issuer
from ca.certificates import Stored
from ca.enrolment import Decision
from ca.errors import Conflict, Defect, KeyUnavailable, Unavailable
from ca.installation import Installation
from ca.keys import check_reachable
from ca.recording import Draft, find_answer
from ca.signing import Order
from ca.store import Unit

SERIAL_BITS = 159
"""20 octets whose first bit is clear (RFC 5280 section 4.1.2.2), all of them random."""
WAIT_FOR_TWIN = 5.0
"""Seconds to wait for another request with the same idempotency key that is being answered right now."""


@dataclass(frozen=True, slots=True)
class Issued:
    """The answer."""

    serial: str
    certificate: bytes
    chain: tuple[bytes, ...]
    authority: str
    profile: str
    not_before: int
    not_after: int
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """An effect: let this many seconds go by."""

    seconds: float


Effect = Unit[None] | Pause
Story = Generator[Effect, None, Issued]


def issuing(decision: Decision, installation: Installation) -> Story:
    """Sign one certificate, as numbered steps. Yields what has to be durable before the next line runs."""
    # 0. The same request under the same idempotency key gets the same answer.
    if decision.idempotency_key is not None:
        earlier = yield from _answered_before(decision, installation)
        if earlier is not None:
            return _repeat(earlier, installation)

    # 1. Refuse early: possession of the key, an issuer that may sign. Names, key and life were judged by the decision.
    decision.request.prove_possession()
    issuer = _issuer(decision, installation)
    check_reachable(issuer.key)

    # 2. to 4. Reserve a serial number, build what is to be signed, hold it against the decision and judge it again.
    draft = draw_up(decision, issuer, installation)

    # 5. Record the intent: from here on there is a row for whatever the key will sign.
    try:
        yield draft.intend()
    except Conflict:
        twin = (yield from _answered_before(decision, installation)) if decision.idempotency_key else None
        if twin is None:
            raise
        return _repeat(twin, installation)

    # 6. and 7. Sign, read back, verify under the CA's public key. A device may fail here: then the intent is given up.
    try:
        signature, certificate = signing.seal(draft.tbs, issuer)
    except KeyUnavailable:
        yield draft.give_up()
        raise

    # 8. Record the certificate and its ledger entry in one transaction.
    yield draft.complete(signature, certificate)

    # 9. Answer.
    return Issued(
        serial=draft.row["serial"],
        certificate=certificate,
        chain=issuer.chain,
        authority=issuer.name,
        profile=decision.profile.name,
        not_before=draft.row["not_before"],
        not_after=draft.row["not_after"],
    )


def draw_up(decision: Decision, issuer: Issuer, installation: Installation) -> Draft:
    """Steps 2 to 4: what will be signed, complete and judged. No key is used, nothing is durable yet.

    `ClockUnavailable` while the clock, from which its dates come, cannot be believed.
    """
    not_before, not_after = _validity(decision, issuer, installation.timekeeper.timestamp())

    # 2. Reserve a serial number. It is random; that it is new is checked where it becomes durable, in step 5.
    serial = new_serial()

    # 3. Build what is to be signed, from the decision alone.
    order = Order(
        profile=decision.profile,
        serial=serial,
        spki=decision.request.spki,
        key_type=decision.key_type,
        names=decision.names,
        subject=decision.subject.public_bytes() if decision.subject is not None else None,
        not_before=not_before,
        not_after=not_after,
        path_length=decision.path_length,
        shard=issuer.shard_of(serial) if decision.profile.names_crl else None,
        role=decision.role,
        attributes=decision.attributes,
        limits=decision.limits,
    )
    tbs = signing.build(order, issuer)

    # 4. Lint it and judge it again, as read back from the bytes; the key has done nothing yet.
    signing.check(tbs, order, issuer)
    return Draft.of(decision, order, issuer, tbs)


def issue(decision: Decision, installation: Installation) -> Issued:
    """Issue what was decided; returns when it is durable. The driver for threads."""
    story = issuing(decision, installation)
    try:
        effect = next(story)
        while True:
            try:
                _perform(effect, installation)
            except Exception as error:  # noqa: BLE001 - whatever it was, the story decides what it means
                effect = story.throw(error)
            else:
                effect = story.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def aissue(decision: Decision, installation: Installation) -> Issued:
    """The same for coroutines: the event loop computes, the writer's thread waits for the disk."""
    story = issuing(decision, installation)
    try:
        effect = next(story)
        while True:
            try:
                if isinstance(effect, Pause):
                    await asyncio.sleep(effect.seconds)
                else:
                    await installation.store.awrite(effect)
            except Exception as error:  # noqa: BLE001 - whatever it was, the story decides what it means
                effect = story.throw(error)
            else:
                effect = story.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _perform(effect: Effect, installation: Installation) -> None:
    if isinstance(effect, Pause):
        time.sleep(effect.seconds)
    else:
        installation.store.write(effect)


def new_serial() -> int:
    """A serial number with 159 random bits; drawn again in the one case of 2^31 in which it would look short."""
    while (serial := secrets.randbits(SERIAL_BITS)) < 1 << 128:
        continue
    return serial


def _issuer(decision: Decision, installation: Installation) -> Issuer:
    """The active generation, unless the decision may and does name one. That it may sign is asked again in 5 and 8."""
    if decision.authority is None:
        return installation.authorities.issuer_for(decision.profile.config.issuer)
    if not decision.may_choose:
        raise Defect("a decision about a leaf names the CA that is to sign; nothing was signed")
    return installation.authorities.signer(decision.authority)


def _validity(decision: Decision, issuer: Issuer, now: int) -> tuple[int, int]:
    """First and last second, both inclusive (row 56 of the field's failures: 90 days and one second)."""
    if issuer.facts.not_after <= now:
        hint = f"certwright ca rotate {issuer.line}"
        raise Unavailable(f"the CA certificate of {issuer.name} has expired", code="authority-expired", hint=hint)
    not_before = max(now - decision.profile.backdate, issuer.facts.not_before)
    return not_before, min(not_before + decision.lifetime - 1, issuer.facts.not_after)


def _answered_before(decision: Decision, installation: Installation) -> Generator[Effect, None, Stored | None]:
    """What this idempotency key was answered with. Waits a while for a twin that is being answered right now."""
    deadline = clock.monotonic() + WAIT_FOR_TWIN
    while True:
        earlier = find_answer(installation.store, decision)
        if earlier is None or earlier.certificate is not None:
            return earlier.certificate if earlier is not None else None
        if clock.monotonic() >= deadline:
            raise Conflict(
                "a request with this idempotency key is still being answered",
                code="in-progress",
                hint="send the same request again in a few seconds",
            )
        yield Pause(0.02)


def _repeat(earlier: Stored, installation: Installation) -> Issued:
    return Issued(
        serial=earlier.serial,
        certificate=earlier.der,
        chain=installation.authorities.chain(earlier.authority),
        authority=earlier.authority,
        profile=earlier.profile,
        not_before=earlier.not_before,
        not_after=earlier.not_after,
        is_repeat=True,
    )
