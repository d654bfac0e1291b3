"""Shaking hands with a consumer, to see what it holds: leaves of CAs that it is to trust, and those it is to refuse.

A server that lets in a leaf of the new CA trusts it (and has its CRL, if it checks any); one that refuses a leaf of a
CA that was taken out no longer does; one that refuses a canary, a leaf that was revoked on purpose, has a list at least
as new as that. A version counts as held only with every sign of it there. The work is `probe` (subject: the consumer);
`plan_due` brings it forward for whoever lacks what it was sent. Read `leaves.py` for the leaves.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cryptography import x509
from sqlalchemy import func, or_, select
from sqlmodel import col

from ca import clock
from ca.authority import State
from ca.models import Authority, Revocation
from ca.store import Transaction
from renewers import work
from renewers.distribution import (
    acknowledging,
    canaries,
    holdings,
    latency,
    leaves,
    places,
    published,
    spreading,
    streams,
)
from renewers.distribution.leaves import Leaf
from renewers.distribution.needs import Needs, read_needs
from renewers.lifecycle import Lifecycle
from renewers.models import Consumer, Holding, Publication
from renewers.mutual import Met, meet
from renewers.telling import alarms
from renewers.telling.alarms import Trouble
from renewers.work import Claim, Failed

WORK = "probe"
UNREACHABLE, LETS_IN, KEEPS_OUT = "consumer-not-probed", "consumer-lets-in", "consumer-keeps-out"
LONGEST_WAIT = 300
"""Seconds until a consumer that could not be reached is tried again, at most."""
FRESH = 30
"""Seconds for which a consumer that was brought something is looked at whatever has failed before."""
AGAIN_AFTER = 20
"""Seconds after which a consumer that does not use what it was sent is brought it once more."""
PAGE = 200
BY = "probe"
REFUSED = "revoked"
"""What latencies from a revocation to its refusal are kept under, beside those of streams."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one round of handshakes has shown: who was let in that should be, and who was not refused."""

    kept_out: tuple[str, ...]
    """Authorities that are to be trusted and whose leaf was refused, with the reason."""
    let_in: tuple[str, ...]
    """Authorities that are no longer to be trusted and whose leaf was let in."""
    unchecked: tuple[str, ...]
    """Authorities whose certificate is revoked beneath a root that is trusted, and whose leaf was let in."""
    named: tuple[str, ...]
    """Roots that are no longer to be trusted and that the server still names."""
    shown: int
    """How many leaves were shown that are to be let in."""
    refused_canary: Leaf | None
    """The newest canary, if it was refused."""
    accepted_canary: Leaf | None


def plan_due(lifecycle: Lifecycle) -> int:
    """Bring forward the probes of consumers that were sent something newer than they were seen to hold."""
    with lifecycle.store.read() as connection:
        query = (
            select(col(Consumer.id), func.max(col(Holding.sent_at)).label("sent_at"))
            .join(Holding, col(Holding.consumer_id) == col(Consumer.id))
            .where(col(Consumer.probe) != "", col(Consumer.state) != "paused")
            .where(col(Holding.sent_version) > col(Holding.held_version))
            .group_by(col(Consumer.id))
            .order_by(func.max(col(Holding.sent_at)))
            .limit(PAGE)
        )
        rows = connection.execute(query).all()
    now = clock.timestamp()
    fresh = [str(row.id) for row in rows if row.sent_at is not None and now - row.sent_at < FRESH]

    def unit(tx: Transaction) -> None:
        work.schedule_all(tx, WORK, [str(row.id) for row in rows], now)
        for subject in fresh:  # what it was brought just now may be what it failed by: no back-off
            work.hurry(tx, WORK, subject)

    if rows:
        lifecycle.store.write(unit)
    return len(rows)


def probe(lifecycle: Lifecycle, claim: Claim) -> None:
    """Shake hands with one consumer: the handler of `probe` work."""
    # 1. Look again, and note what is newest before anything is seen: what is published meanwhile is not proved by it.
    with lifecycle.store.read() as connection:
        consumer = connection.execute(select(Consumer).where(col(Consumer.id) == int(claim.subject))).first()
        trust = published.newest(connection, streams.trust_stream(lifecycle.trust_domain))
    if consumer is None or not consumer.probe or consumer.state == "paused":
        lifecycle.store.write(lambda tx: work.settle(tx, claim, again_at=None))
        return
    needs = read_needs(json.loads(consumer.needs), lifecycle.trust_domain)
    canary = canaries.listed(lifecycle) if needs.crl != "none" else None

    # 2. Show it every leaf.
    rows = lifecycle.installation.authorities.all()
    expected = expectations(rows, _revoked(lifecycle, rows), checks_lists=needs.crl != "none")
    seen = _shake(lifecycle, consumer, expected, canary)

    # 3. Write down what that proves, and when to look again.
    outcome, seconds = lifecycle.store.write(lambda tx: _record(tx, lifecycle, claim, consumer, needs, trust, seen))
    lifecycle.count("probes", outcome)
    if seconds is not None:
        lifecycle.measure("revoked_to_refused", seconds)


def failed(lifecycle: Lifecycle, tx: Transaction, claim: Claim, error: Exception) -> Failed:
    """Nothing was learnt: put it on the ladder, and say so from the second time on."""
    outcome = work.fail(tx, claim, error, longest=LONGEST_WAIT)
    name = tx.execute(select(col(Consumer.name)).where(col(Consumer.id) == int(claim.subject))).scalar()
    if name is not None and outcome.attempts > 1:
        message = f"{name} cannot be probed, so nobody sees what it holds: {work.describe(error)}"
        hint = "is the address right, and may this machine connect to it? certwright consumer show"
        alarms.raise_alarm(tx, Trouble(UNREACHABLE, name, "warning", message, hint, None))
    lifecycle.count("probes", "unreachable")
    return outcome


def _shake(lifecycle: Lifecycle, consumer: Any, expected: Mapping[str, Expected], canary: Leaf | None) -> Seen:
    place = places.read_probe(consumer.probe)
    rows = lifecycle.installation.authorities.all()
    kept_out: list[str] = []
    let_in: dict[Expected, list[str]] = {Expected.OUT: [], Expected.OUT_BY_LIST: []}
    shown, anchors = 0, set[bytes]()

    def show(leaf: Leaf) -> Met:
        name = place.server_name or ""
        met = meet(place.protocol, place.host, place.port, leaf.identity, server_name=name, path=place.path)
        anchors.update(met.anchors)
        return met

    for row in rows:
        leaf = leaves.good_leaf(lifecycle, row) if row.name in expected else None
        if leaf is None:
            continue
        met = show(leaf)
        if (wanted := expected[row.name]) is Expected.IN:
            shown += 1
            kept_out += [] if met.is_let_in else [f"{row.name} ({met.reason})"]
        elif met.is_let_in:
            let_in[wanted].append(row.name)
    refused = canary if canary is not None and not show(canary).is_let_in else None
    gone = [row for row in rows if row.parent_id is None and row.state in (State.DISTRUSTED, State.RETIRED)]
    named = tuple(row.name for row in gone if _subject(row) in anchors)
    wrong = (tuple(kept_out), tuple(let_in[Expected.OUT]), tuple(let_in[Expected.OUT_BY_LIST]), named)
    return Seen(*wrong, shown, refused, canary if refused is None else None)


class Expected(StrEnum):
    """What is to become of a leaf."""

    IN = "in"
    OUT = "out"
    OUT_BY_LIST = "out by list"
    """Refused by who checks the lists of whole chains. Some servers check those of leaves alone, and hold them."""


def expectations(rows: Sequence[Authority], revoked: Collection[str], *, checks_lists: bool) -> Mapping[str, Expected]:
    """What is to become of the leaves of each issuing CA; one that can tell nothing is left out."""
    found: dict[str, Expected] = {}
    by_id = {row.id: row for row in rows}
    for row in rows:
        parent = by_id.get(row.parent_id) if row.parent_id is not None else None
        if parent is None or row.state == State.RETIRED or row.not_after <= clock.timestamp():
            continue
        if parent.state in (State.DISTRUSTED, State.RETIRED):
            found[row.name] = Expected.OUT
        elif row.serial in revoked and checks_lists:
            found[row.name] = Expected.OUT_BY_LIST
        elif row.state != State.DISTRUSTED and row.serial not in revoked:
            found[row.name] = Expected.IN
    return found


def _revoked(lifecycle: Lifecycle, rows: Sequence[Authority]) -> set[str]:
    query = select(col(Revocation.serial)).where(col(Revocation.serial).in_([row.serial for row in rows]))
    with lifecycle.store.read() as connection:
        return set(connection.execute(query).scalars())


def _subject(row: Authority) -> bytes:
    return x509.load_der_x509_certificate(row.certificate).subject.public_bytes()


def _record(
    tx: Transaction, lifecycle: Lifecycle, claim: Claim, consumer: Any, needs: Needs, trust: Any, seen: Seen
) -> tuple[str, float | None]:
    """What it came to; and if a canary was refused for the first time, how long after its revocation that was."""
    work.check(tx, claim)
    _say(tx, consumer, seen)
    holds_trust = seen.shown > 0 and not (seen.kept_out or seen.let_in or seen.named)
    if holds_trust and trust is not None:
        acknowledging.prove(tx, consumer.id, trust.stream, trust.version, BY)
    seconds = None
    if needs.crl != "none" and holds_trust and (canary := seen.refused_canary) is not None:
        seconds = _prove_list(tx, lifecycle, consumer, canary)
    lacks = or_(col(Holding.sent_version) > col(Holding.held_version), col(Holding.held_version) == 0)
    left = tx.execute(select(Holding).where(col(Holding.consumer_id) == consumer.id, lacks)).all()
    if any(_is_to_be_brought_again(tx, row) for row in left):
        holdings.forget_sent(tx, consumer.id, with_proof=False)
        work.schedule(tx, spreading.WORK, str(consumer.id), clock.timestamp())
    again = 2 if left else lifecycle.policy.probe_every
    work.settle(tx, claim, again_at=clock.timestamp() + again)
    return "holds" if holds_trust else "lacks", seconds


def _is_to_be_brought_again(tx: Transaction, row: Any) -> bool:
    """Whether what it was sent is not in use after so long that its reload may have been lost.

    Mosquitto loses a signal that comes while it is at the one before. Each time is waited for twice as long.
    """
    if row.sent_at is None:
        return False
    of_it = col(Publication.stream) == row.stream, col(Publication.version) == row.sent_version
    published_at = tx.execute(select(col(Publication.published_at)).where(*of_it)).scalar()
    since = row.sent_at if published_at is None else int(published_at)
    return bool(clock.timestamp() - row.sent_at >= max(AGAIN_AFTER, row.sent_at - since))


def _prove_list(tx: Transaction, lifecycle: Lifecycle, consumer: Any, canary: Leaf) -> float | None:
    listed_in = canaries.listed_in(tx, canary.id)
    stream = streams.crl_stream(lifecycle.trust_domain)
    if listed_in is None or not acknowledging.prove(tx, consumer.id, stream, listed_in, BY):
        return None
    if canary.revoked_at is None or consumer.created_at > canary.revoked_at:  # it was not there to refuse it
        return None
    seconds = max(clock.exactly() - canary.revoked_at, 0.0)
    latency.record(tx, consumer.id, REFUSED, canary.id, BY, seconds)
    return seconds


def _say(tx: Transaction, consumer: Any, seen: Seen) -> None:
    """What is wrong about what was seen, as alarms; and that it no longer is."""
    alarms.clear_alarm(tx, UNREACHABLE, consumer.name)
    wrong = [*seen.let_in, *seen.named]
    if seen.accepted_canary is not None and canaries.is_overdue(tx, seen.accepted_canary.id):
        wrong.append("a revoked leaf")
    if wrong or seen.unchecked:
        message = f"{consumer.name} still trusts {', '.join(wrong)}"
        hint = "has it read what it was sent? does it check CRLs at all? certwright consumer show"
        if not wrong:
            message = f"{consumer.name} lets in leaves of {', '.join(seen.unchecked)}, which is revoked"
            hint = "it checks the lists of leaves alone: after a compromise, rotate the root, too"
        alarms.raise_alarm(tx, Trouble(LETS_IN, consumer.name, "error", message, hint, consumer.owner_id))
    else:
        alarms.clear_alarm(tx, LETS_IN, consumer.name)
    if seen.kept_out:
        message = f"{consumer.name} refuses leaves of {'; '.join(seen.kept_out)}"
        hint = "has it read the new bundle and CRLs? certwright consumer show"
        alarms.raise_alarm(tx, Trouble(KEEPS_OUT, consumer.name, "error", message, hint, consumer.owner_id))
    else:
        alarms.clear_alarm(tx, KEEPS_OUT, consumer.name)
