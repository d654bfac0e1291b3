"""What a stream is about at this moment: the trust anchors and CA certificates of a trust domain, or our CAs' lists.

Nothing is kept here and nothing is signed: `publishing.py` makes a version of it when it has changed.

A distrusted root is no anchor, and nothing beneath it is listed. Its cross-certificate for a trusted root stays until
it is retired, though leaves are no longer served with it: it is no trust in the old root, but a way from it. A consumer
that was away and knows the old root alone needs just that, beside the chain that comes with a signature, to check who
signs now without asking anybody. A cross-certificate for a root that is itself distrusted goes at once: it would be a
way back. All streams are signed beneath our own anchors, so each gets a new version when these change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from cryptography import x509
from sqlalchemy import Connection, Row, bindparam, func, select
from sqlmodel import col

from ca import clock
from ca.authority import TRUSTED, State
from ca.crl import COMPLETE
from ca.errors import NotFound
from ca.ledger.log import encode
from ca.models import Authority, CrossCertificate, DeltaList, RevocationList, RevocationListContent
from ca.publication.manifest import Entry, ListEntry, ListKind
from renewers.distribution.formats import EDITION
from renewers.lifecycle import Lifecycle
from renewers.models import ForeignAnchor
from renewers.plain import one_line

TRUST, CRL = "trust", "crl"


@dataclass(frozen=True, slots=True)
class Content:
    """What a stream is about, without version and times. `digest` is the same exactly when all of it is."""

    stream: str
    trust_domain: str
    """Our own, whosever anchors it is about: it says who has published it."""
    anchors: tuple[Entry, ...] = ()
    authorities: tuple[Entry, ...] = ()
    lists: tuple[ListEntry, ...] = ()
    digest: str = ""
    revoked_until: int = 0
    """Every revocation that was durable by then is in all of the lists: a lower bound, 0 if nothing is known."""


def trust_stream(domain: str) -> str:
    """The stream of a trust domain's anchors and CA certificates."""
    return f"{TRUST}:{domain}"


def crl_stream(domain: str) -> str:
    """The stream of a trust domain's revocation lists."""
    return f"{CRL}:{domain}"


def is_of_lists(stream: str) -> bool:
    """Whether it is a stream of revocation lists."""
    return stream.startswith(f"{CRL}:")


def all_streams(lifecycle: Lifecycle) -> tuple[str, ...]:
    """The streams that there is something to say about: our own two, and the trust of others that we were given."""
    query = select(col(ForeignAnchor.trust_domain)).distinct().order_by(col(ForeignAnchor.trust_domain))
    with lifecycle.store.read() as connection:
        others = connection.execute(query).scalars().all()
    own = lifecycle.trust_domain
    return (trust_stream(own), crl_stream(own), *(trust_stream(domain) for domain in others if domain != own))


def compose(lifecycle: Lifecycle, stream: str) -> Content:
    """What a stream is about now; cheap enough to look every second, since no list's bytes are read."""
    kind, _, domain = stream.partition(":")
    own = lifecycle.trust_domain
    if stream == trust_stream(own):
        return _own_trust(lifecycle, stream)
    if stream == crl_stream(own):
        return _own_lists(lifecycle, stream)
    if kind == TRUST:
        return _foreign_trust(lifecycle, stream, domain)
    raise _unknown(stream)


def _unknown(stream: str) -> NotFound:
    return NotFound(
        f"there is no stream {one_line(stream, 80)!r}", code="unknown-stream", hint="trust:DOMAIN or crl:DOMAIN"
    )


def _own_trust(lifecycle: Lifecycle, stream: str) -> Content:
    now = clock.timestamp()
    with lifecycle.store.read(snapshot=True) as connection:
        known, crosses = _authorities(connection), connection.execute(_CROSSES).all()
    trusted = {row.id: row for row in known.values() if _is_trusted(row, known, now)}
    others = [Entry(row.name, row.certificate) for row in trusted.values() if row.parent_id is not None]
    others += _crosses(crosses, trusted, known, now)
    content = Content(stream, lifecycle.trust_domain, _anchors(known, now), tuple(others))
    return _digested(content, content.anchors)


def _authorities(connection: Connection) -> Mapping[int | None, Authority]:
    """Not as they are cached: what another replica has just distrusted would be published once more."""
    return {row.id: Authority(**row._mapping) for row in connection.execute(_AUTHORITIES)}


def _anchors(known: Mapping[int | None, Authority], now: int) -> tuple[Entry, ...]:
    roots = [row for row in known.values() if row.parent_id is None and _is_trusted(row, known, now)]
    return tuple(Entry(row.name, row.certificate) for row in roots)


def _is_trusted(row: Authority, known: Mapping[int | None, Authority], now: int) -> bool:
    """Whether it and all above it are: some verifiers stop at a CA that they were given, whatever is above it."""
    if row.state not in TRUSTED or row.not_after <= now:
        return False
    above = known.get(row.parent_id)
    return row.parent_id is None or (above is not None and _is_trusted(above, known, now))


def _crosses(
    rows: Iterable[Row[Any]], trusted: Mapping[int | None, Authority], known: Mapping[int | None, Authority], now: int
) -> list[Entry]:
    """Those for a CA that is trusted, by one that is not retired; of several that say the same, the newest."""
    found: dict[str, Entry] = {}
    for row in rows:
        subject, issuer = trusted.get(row.authority_id), known.get(row.issuer_id)
        if subject is None or issuer is None or issuer.state == State.RETIRED or row.not_after <= now:
            continue
        name = f"{subject.name}-by-{issuer.name}"
        found[name] = Entry(name, row.certificate)
    return list(found.values())


def _foreign_trust(lifecycle: Lifecycle, stream: str, domain: str) -> Content:
    now = clock.now()
    mine = select(ForeignAnchor).where(col(ForeignAnchor.trust_domain) == domain)
    with lifecycle.store.read(snapshot=True) as connection:
        rows = connection.execute(mine.order_by(col(ForeignAnchor.sha256))).all()
        known = _authorities(connection)
    if not rows:
        raise _unknown(stream)
    anchors = tuple(
        Entry(f"anchor-{row.sha256[:12]}", row.certificate)
        for row in rows
        if x509.load_der_x509_certificate(row.certificate).not_valid_after_utc > now
    )
    return _digested(Content(stream, lifecycle.trust_domain, anchors), _anchors(known, clock.timestamp()))


def _own_lists(lifecycle: Lifecycle, stream: str) -> Content:
    now = clock.timestamp()
    with lifecycle.store.read(snapshot=True) as connection:
        lists = connection.execute(_LISTS, {"now": now}).all()
        deltas = connection.execute(_DELTAS, {"now": now}).all()
        known = _authorities(connection)
    # A consumer that lacks one list of a CA refuses all whom that CA has certified: all of its lists, or none yet.
    unfinished = {row.name for row in lists if row.number == 0}
    made = [_list(row) for row in lists if row.name not in unfinished]
    made += [_list(row, ListKind.DELTA, -1) for row in deltas if row.number > 0 and row.name not in unfinished]
    made.sort(key=lambda entry: (entry.authority, entry.kind, entry.shard))
    until = min((_complete_until(row, now) for row in lists), default=0)
    content = Content(stream, lifecycle.trust_domain, lists=tuple(made), revoked_until=until)
    return _digested(content, _anchors(known, now))


def _list(row: Row[Any], kind: ListKind | None = None, shard: int | None = None) -> ListEntry:
    shard = row.shard if shard is None else shard
    kind = kind or (ListKind.COMPLETE if shard == COMPLETE else ListKind.SHARD)
    times = (row.number, row.this_update, row.next_update)
    return ListEntry(row.name, shard, kind, *times, bytes(row.sha256).hex(), row.size)


def _complete_until(row: Row[Any], now: int) -> int:
    """Until when every revocation is in a list. One that waits to be rebuilt was complete when it was made.

    A revocation that has this very second may be recorded after we looked. `this_update` lies before the list was made.
    """
    return int(row.this_update) if row.due_at == 0 else now - 1


_AUTHORITIES = select(Authority).order_by(col(Authority.id))
_CROSSES = select(CrossCertificate).order_by(col(CrossCertificate.id))
_ALIVE = (col(Authority.state) != State.RETIRED, col(Authority.not_after) > bindparam("now"))
_TIMES = ("number", "this_update", "next_update", "sha256")
_LISTS = (
    select(
        col(Authority.name),
        col(RevocationList.shard),
        *(col(getattr(RevocationList, name)) for name in _TIMES),
        col(RevocationList.due_at),
        func.coalesce(func.length(col(RevocationListContent.crl)), 0).label("size"),
    )
    .join(Authority, col(Authority.id) == col(RevocationList.authority_id))
    .outerjoin(
        RevocationListContent,
        (col(RevocationListContent.authority_id) == col(RevocationList.authority_id))
        & (col(RevocationListContent.shard) == col(RevocationList.shard)),
    )
    .where(*_ALIVE)
    .order_by(col(RevocationList.authority_id), col(RevocationList.shard))
)
"""Both databases know a value's length without reading it."""
_DELTAS = (
    select(
        col(Authority.name),
        *(col(getattr(DeltaList, name)) for name in _TIMES),
        func.length(col(DeltaList.crl)).label("size"),
    )
    .join(Authority, col(Authority.id) == col(DeltaList.authority_id))
    .where(*_ALIVE)
    .order_by(col(DeltaList.authority_id))
)


def _digested(content: Content, signed_beneath: Sequence[Entry]) -> Content:
    told = {
        "edition": EDITION,
        "anchors": [(entry.name, entry.sha256) for entry in content.anchors],
        "authorities": [(entry.name, entry.sha256) for entry in content.authorities],
        "lists": [(entry.key, entry.number, entry.sha256) for entry in content.lists],
        "signed_beneath": [entry.sha256 for entry in signed_beneath],
    }
    return replace(content, digest=sha256(encode(told)).hexdigest())
