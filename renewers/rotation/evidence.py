"""What was really published, and who was proved to hold it: looked up in the signed versions themselves.

A version counts as containing a CA when its manifest does, not when somebody meant it to. Whoever waits here waits for
others: the CRLs are made by `ca/crl.py`, versions by `renewers/distribution/publishing.py`, proof comes from consumers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256

from cryptography import x509
from sqlalchemy import ColumnElement, func, select
from sqlmodel import col

from ca import clock, crl
from ca.crl import COMPLETE
from ca.models import Authority, RevocationList
from ca.publication import jws
from ca.publication.manifest import Manifest
from ca.store import Transaction
from renewers.distribution import holdings, published, publishing
from renewers.distribution.holdings import Lacking
from renewers.distribution.streams import crl_stream, trust_stream
from renewers.lifecycle import Lifecycle
from renewers.models import Consumer


def unlisted(lifecycle: Lifecycle, names: Collection[str]) -> list[str]:
    """Those of these CAs that have not published all of their CRLs yet."""
    return _with_lists(lifecycle, names, col(RevocationList.number) == 0)


def relisting(lifecycle: Lifecycle, names: Collection[str]) -> list[str]:
    """Those of these CAs that have revoked something which is not in their CRLs yet."""
    return _with_lists(lifecycle, names, col(RevocationList.due_at) == 0)


def introduced(lifecycle: Lifecycle, rows: Sequence[Authority]) -> dict[str, int] | None:
    """The versions of our streams that contain these CAs and their CRLs; None while there are no such versions."""
    trust, lists = _newest(lifecycle)
    if trust is None or lists is None:
        return None
    known = {entry.sha256 for entry in (*trust.anchors, *trust.authorities)}
    listed = {entry.authority for entry in lists.lists}
    if not all(_fingerprint(row) in known and row.name in listed for row in rows):
        return None
    return {trust.stream: trust.version, lists.stream: lists.version}


def withdrawn(lifecycle: Lifecycle, rows: Sequence[Authority], parents: Collection[str]) -> dict[str, int] | None:
    """The versions that these CAs are in no more, with the newest CRLs of those above them; None while there are none.

    A version without any anchor is never what we wait for, nor one whose signer these CAs vouch for.
    """
    trust, lists = _newest(lifecycle)
    if trust is None or lists is None or not trust.anchors or is_signed_beneath(lifecycle, rows):
        return None
    known = {entry.sha256 for entry in (*trust.anchors, *trust.authorities)}
    if any(_fingerprint(row) in known for row in rows):
        return None
    numbers = {entry.key: entry.number for entry in lists.lists}
    if any(numbers.get(key, 0) < number for key, number in _numbers(lifecycle, parents).items()):
        return None
    return {trust.stream: trust.version, lists.stream: lists.version}


def sign_anew(lifecycle: Lifecycle, names: Collection[str]) -> None:
    """Have these CAs make a new CRL: a publication follows, and its signer gets a certificate of what signs now."""
    ids = [row.id for row in lifecycle.installation.authorities.all() if row.name in names and row.id is not None]

    def unit(tx: Transaction) -> None:
        for authority_id in ids:
            crl.touch(tx, authority_id, ())

    lifecycle.store.write(unit)


def lacking(lifecycle: Lifecycle, versions: Mapping[str, int]) -> dict[str, list[Lacking]]:
    """Who was not proved to hold these versions, by the consumer's name."""
    found: dict[str, list[Lacking]] = {}
    for stream, version in sorted(versions.items()):
        for one in holdings.lacking(lifecycle, stream, version):
            found.setdefault(one.name, []).append(one)
    return found


def count_gating(lifecycle: Lifecycle) -> int:
    """How many consumers a rotation waits for."""
    with lifecycle.store.read() as connection:
        query = select(func.count()).select_from(Consumer).where(col(Consumer.gates))
        return connection.execute(query).scalar_one()


def gating_names(lifecycle: Lifecycle, limit: int) -> list[str]:
    """The first of them."""
    query = select(col(Consumer.name)).where(col(Consumer.gates)).order_by(col(Consumer.name)).limit(limit)
    with lifecycle.store.read() as connection:
        return list(connection.execute(query).scalars())


def newest_versions(lifecycle: Lifecycle) -> dict[str, int]:
    """The newest versions of our streams, as they are without us."""
    streams = (trust_stream(lifecycle.trust_domain), crl_stream(lifecycle.trust_domain))
    with lifecycle.store.read() as connection:
        heads = published.heads(connection, streams)
    return {stream: row.version for stream, row in heads.items()}


def is_signed_beneath(lifecycle: Lifecycle, rows: Sequence[Authority]) -> bool:
    """Whether the newest version of a stream of ours is signed by a leaf of one of these CAs."""
    subjects = {x509.load_der_x509_certificate(row.certificate).subject for row in rows}
    with lifecycle.store.read() as connection:
        found = [published.newest(connection, stream) for stream in newest_versions(lifecycle)]
    return any(row is not None and jws.read(bytes(row.signed)).chain[0].issuer in subjects for row in found)


def _newest(lifecycle: Lifecycle) -> tuple[Manifest | None, Manifest | None]:
    """What our streams say now, published first if it is due."""
    publishing.publish_due(lifecycle)
    streams = (trust_stream(lifecycle.trust_domain), crl_stream(lifecycle.trust_domain))
    with lifecycle.store.read() as connection:
        rows = [published.newest(connection, stream) for stream in streams]
    first, second = (None if row is None else published.manifest_of(bytes(row.signed)) for row in rows)
    return first, second


def _with_lists(lifecycle: Lifecycle, names: Collection[str], that: ColumnElement[bool]) -> list[str]:
    """Those of these CAs that have not expired and have a list like that."""
    query = (
        select(col(Authority.name))
        .join(RevocationList, col(RevocationList.authority_id) == col(Authority.id))
        .where(col(Authority.name).in_(names), col(Authority.not_after) > clock.timestamp(), that)
        .distinct()
    )
    with lifecycle.store.read() as connection:
        return sorted(connection.execute(query).scalars())


def _numbers(lifecycle: Lifecycle, names: Collection[str]) -> dict[str, int]:
    """The numbers of the complete lists of these CAs."""
    query = (
        select(col(Authority.name), col(RevocationList.number))
        .join(RevocationList, col(RevocationList.authority_id) == col(Authority.id))
        .where(col(Authority.name).in_(names), col(RevocationList.shard) == COMPLETE)
    )
    with lifecycle.store.read() as connection:
        return {f"{row.name}/complete": row.number for row in connection.execute(query)}


def _fingerprint(row: Authority) -> str:
    return sha256(row.certificate).hexdigest()
