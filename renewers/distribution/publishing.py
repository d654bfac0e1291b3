"""The next version of a stream: made when what it is about has changed, or when the last one is past half of its life.

Versions only grow: the larger of the last one plus one and the present second, so that neither a clock that steps back
nor an old backup makes them go back. Each names the one before and its hash. What is newest is looked at first, then
what the stream is about, and the version is stored only if that is still the newest: so nobody who was slow puts what
was true before over what is true now. A version that would be empty is not made; an alarm says so.

To look at what was published, read `published.py`. To whom it goes is `spreading.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, select
from sqlmodel import col

from ca import clock
from ca.errors import CertwrightError, Defect
from ca.ledger import log
from ca.publication.manifest import Manifest, Previous
from ca.store import Transaction
from ca.store.commit import StaleChange
from renewers.distribution import formats, spreading, streams
from renewers.distribution.published import count, head, heads, known, load, manifest_of, newest, page, payload_of
from renewers.distribution.streams import Content
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Publication
from renewers.plain import one_line
from renewers.telling import alarms, events
from renewers.telling.alarms import Trouble

__all__ = [
    "Published",
    "count",
    "head",
    "heads",
    "known",
    "load",
    "manifest_of",
    "newest",
    "page",
    "prune",
    "publish_due",
    "publish_stream",
]

TRUST_LIFE = int(timedelta(days=30).total_seconds())
KEPT = 1000
"""Versions of a stream of lists: one is worth something until the next, and its hash stays in the ledger."""
ALARM = "publication-empty"
BY = "system:publications"
_TRIES = 5
_MOST_NAMED = 10
_PRUNED_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Published:
    """A version that was just made, and why."""

    stream: str
    version: int
    sha256: str
    cause: str


def publish_due(lifecycle: Lifecycle) -> list[Published]:
    """Make the next version of every stream that has changed. One that fails keeps no other from being made."""
    done: list[Published] = []
    failures: list[CertwrightError] = []
    for stream in streams.all_streams(lifecycle):
        try:
            published = publish_stream(lifecycle, stream)
        except CertwrightError as error:
            failures.append(error)
            continue
        if published is not None:
            done.append(published)
    for failure in failures:
        raise failure
    return done


def publish_stream(lifecycle: Lifecycle, stream: str) -> Published | None:
    """Make the next version of one stream, if there is a reason. None if there is none, or others were faster.

    What was changed before the call is in the newest version after it, whoever has made that, unless others hold us
    up all the time: then the next look finds it.
    """
    for _ in range(_TRIES):
        with lifecycle.store.read() as connection:
            last = newest(connection, stream)
            is_alarmed = connection.execute(_IS_ALARMED, {"subject": one_line(stream)}).first() is not None
        content = streams.compose(lifecycle, stream)  # after the look: it cannot be older than what is newest
        if not _is_usable(content):
            if not is_alarmed:
                _say_empty(lifecycle, stream, last)
            return None
        if is_alarmed:
            lifecycle.store.write(lambda tx: alarms.clear_alarm(tx, ALARM, stream))
        if last is not None and not _is_due(last, content):
            return None
        try:
            return _publish(lifecycle, content, last)
        except StaleChange:
            continue
    return None


def prune(lifecycle: Lifecycle) -> int:
    """Forget old versions of streams of lists; what was trusted when is kept for ever. Returns how many those were."""
    with lifecycle.store.read() as connection:
        of_lists = [stream for stream in known(connection) if streams.is_of_lists(stream)]
    total = 0
    for stream in of_lists:
        while gone := lifecycle.store.write(lambda tx, stream=stream: _prune(tx, stream)):
            total += gone
    return total


def _is_usable(content: Content) -> bool:
    """Whether anybody could do anything with it but refuse everybody."""
    return bool(content.anchors) or any(entry.next_update > clock.timestamp() for entry in content.lists)


def _is_due(last: Row[Any], content: Content) -> bool:
    if last.digest != content.digest:
        return True
    # Once more only if it lives longer for it: lists end when they end, however often they are published.
    half = last.issued_at + (last.expires_at - last.issued_at) // 2
    return bool(clock.timestamp() >= half and _expiry(content) > last.expires_at)


def _expiry(content: Content) -> int:
    """Trust is good for a month; lists until the first of them ends. One that has ended already stops no others."""
    now = clock.timestamp()
    if not streams.is_of_lists(content.stream):
        return now + TRUST_LIFE
    return min(entry.next_update for entry in content.lists if entry.next_update > now)


def _publish(lifecycle: Lifecycle, content: Content, last: Row[Any] | None) -> Published:
    now = clock.timestamp()
    version = now if last is None else max(last.version + 1, now)
    files = formats.trust_files(content.anchors, content.authorities, version) if content.anchors else {}
    manifest = Manifest(
        stream=content.stream,
        trust_domain=content.trust_domain,
        version=version,
        previous=None if last is None else Previous(last.version, last.sha256),
        issued_at=now,
        expires_at=_expiry(content),
        anchors=content.anchors,
        authorities=content.authorities,
        lists=content.lists,
        items=formats.items_of(files),
    )
    encoded = manifest.encode()
    signed = lifecycle.sign_manifest(encoded)  # before the writer is held up
    published = Published(content.stream, version, sha256(encoded).hexdigest(), _cause(last, content))
    row = {
        "stream": published.stream,
        "version": version,
        "sha256": published.sha256,
        "cause": published.cause,
        "digest": content.digest,
        "issued_at": manifest.issued_at,
        "expires_at": manifest.expires_at,
        "revoked_until": max(content.revoked_until, 0 if last is None else last.revoked_until),
        "signed": signed,
    }
    lifecycle.store.write(lambda tx: _store(tx, row, last))
    return published


def _store(tx: Transaction, row: Mapping[str, Any], last: Row[Any] | None) -> None:
    """Refuses unless `last` is still the newest, now that nobody else is at it."""
    stream = row["stream"]
    # A rival holds this row until it has committed; the lock by name is for the first version, which has no row.
    tx.execute(_LAST.with_for_update(), {"of_stream": stream})
    is_alone = tx.try_lock(f"publication:{stream}")
    found = tx.execute(_LAST, {"of_stream": stream}).scalar()
    if not is_alone or found != (None if last is None else last.version):
        raise StaleChange(f"another replica has published {stream} meanwhile")
    tx.execute(insert(Publication), {**row, "published_at": clock.exactly()})
    told = {name: row[name] for name in ("version", "sha256", "cause", "expires_at")}
    log.append(tx, "publication-made", stream, BY, previous=found, **told)
    wanted = spreading.wanted(tx, stream, row["version"])
    message = f"{stream} version {row['version']}: {row['cause']}"
    events.record(tx, "publication-made", stream, message, consumers=wanted, **told)


_LAST = (
    select(col(Publication.version))
    .where(col(Publication.stream) == bindparam("of_stream"))
    .order_by(col(Publication.version).desc())
    .limit(1)
)
_IS_ALARMED = select(col(Alarm.kind)).where(col(Alarm.kind) == ALARM, col(Alarm.subject) == bindparam("subject"))


def _say_empty(lifecycle: Lifecycle, stream: str, last: Row[Any] | None) -> None:
    """Before the first CA, or its first list, there is nothing to say."""
    is_of_lists = streams.is_of_lists(stream)
    if last is None and (is_of_lists or not lifecycle.installation.authorities.all()):
        return
    what, hint = (
        ("no list that is still good", "certwright ca show says which CA's key does not answer")
        if is_of_lists
        else ("no trust anchor", "every root in it is distrusted, retired or has expired: certwright ca list")
    )
    message = f"{stream} would have {what}: no new version is published, consumers keep what they have"
    lifecycle.store.write(lambda tx: alarms.raise_alarm(tx, Trouble(ALARM, stream, "critical", message, hint)))


def _cause(last: Row[Any] | None, content: Content) -> str:
    """Why there is a new version, for people."""
    if last is None:
        return "the first version"
    if last.digest == content.digest:
        return "renewed before it expires"
    try:
        before = json.loads(payload_of(last.signed))  # only to be told apart: not worth the reading of it
    except Defect:
        return "changed; the version before cannot be read"
    changed = _differences(before, content) or ["our own anchors changed"]
    more = len(changed) - _MOST_NAMED
    return one_line("; ".join(changed[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else ""))


def _differences(before: Mapping[str, Any], content: Content) -> list[str]:
    was = {(entry["name"], entry["sha256"]) for entry in (*before["anchors"], *before["authorities"])}
    now = {(entry.name, entry.sha256) for entry in (*content.anchors, *content.authorities)}
    said = [f"{name} is new" for name, _ in sorted(now - was)]
    said += [f"{name} is gone" for name, _ in sorted(was - now)]
    listed = {(entry["authority"], entry["sha256"]) for entry in before["lists"]}
    lists = {(entry.authority, entry.sha256) for entry in content.lists}
    said += [f"CRL of {name} changed" for name in sorted({name for name, _ in lists - listed})]
    gone = {name for name, _ in listed} - {name for name, _ in lists}
    return said + [f"CRL of {name} is gone" for name in sorted(gone)]


def _prune(tx: Transaction, stream: str) -> int:
    of_stream = col(Publication.stream) == stream
    newest_first = select(col(Publication.version)).where(of_stream).order_by(col(Publication.version).desc())
    oldest_kept = tx.execute(newest_first.offset(KEPT - 1).limit(1)).scalar()
    if oldest_kept is None:
        return 0
    old = col(Publication.version) < oldest_kept
    gone = tx.execute(select(col(Publication.version)).where(of_stream, old).limit(_PRUNED_AT_ONCE)).scalars().all()
    if gone:
        tx.execute(delete(Publication).where(of_stream, col(Publication.version).in_(gone)))
        log.append(tx, "publications-pruned", stream, BY, count=len(gone), newest=max(gone))
    return len(gone)
