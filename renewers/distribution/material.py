"""What one consumer gets, put together: the files of its newest publications, in the formats that it needs.

Everything is read in one snapshot, and each list is held against the hash in the manifest: a list that was replaced
since waits for the manifest that names it. So no consumer gets a bundle without an anchor, a list without the others
of its manifest, or two halves of two versions. How it is brought there is the publisher's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select
from sqlmodel import col

from ca.errors import Unavailable
from ca.ledger.log import encode
from ca.models import Authority, DeltaList, RevocationListContent
from ca.publication.manifest import ListEntry, ListKind, Manifest
from ca.x509.bundle import pem_crl
from renewers.delivering.material import slug
from renewers.distribution import formats
from renewers.distribution.needs import Needs
from renewers.distribution.published import manifest_of, newest
from renewers.distribution.streams import crl_stream, trust_stream
from renewers.lifecycle import Lifecycle
from renewers.publishers import Material

LARGEST_KEPT = 32 * 1024 * 1024
"""Bytes of list files that are kept for the next consumer of the same version."""
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Brought:
    """A consumer's material, and which version of each stream it is."""

    material: Material
    versions: Mapping[str, int]
    sha256s: Mapping[str, str]


def material_for(lifecycle: Lifecycle, name: str, needs: Needs) -> Brought:
    """What the consumer `name` gets now. `Unavailable` (`publication-missing`, `publication-moving`) if not yet."""
    wanted = needs.streams(lifecycle.trust_domain)
    for _ in range(_TRIES):
        with lifecycle.store.read(snapshot=True) as connection:
            rows = {stream: newest(connection, stream) for stream in wanted}
            found = {stream: row for stream, row in rows.items() if row is not None}
            if missing := [stream for stream in wanted if stream not in found]:
                raise _missing(missing)
            lists = _list_files(connection, needs, found.get(crl_stream(lifecycle.trust_domain)))
        if lists is None:
            continue
        files = {**_trust_files(lifecycle, needs, found), **lists}
        if all(files.values()):
            return _brought(name, needs, found, files)
    raise _moving()


def _trust_files(lifecycle: Lifecycle, needs: Needs, found: Mapping[str, Row[Any]]) -> dict[str, bytes]:
    """Those of another trust domain have its name in front."""
    files: dict[str, bytes] = {}
    for domain in needs.trust_domains:
        signed = found[trust_stream(domain)].signed
        manifest, derived = _opened(signed)
        if formats.items_of(derived) != tuple(manifest.items):  # made by another release: a new version is on its way
            raise _moving()
        chosen = {name: derived[name] for name in formats.names_of(needs.bundle, manifest.anchors)}
        if "pkcs12" in needs.bundle:
            anchors = tuple((entry.name, entry.certificate) for entry in manifest.anchors)
            chosen["bundle.p12"] = formats.truststore(anchors)
        prefix = "" if domain == lifecycle.trust_domain else f"{domain}."
        files |= {prefix + name: data for name, data in {**chosen, "trust.jws": signed}.items()}
    return files


def _list_files(connection: Connection, needs: Needs, row: Row[Any] | None) -> Mapping[str, bytes] | None:
    """The files of the lists that it needs; None if one is not, or no longer, the one in the manifest."""
    if row is None:
        return {}
    key = (row.sha256, needs.crl, needs.crl_formats)
    files = _KEPT.get(key)
    if files is None:
        manifest, _ = _opened(row.signed)
        lists = _read(connection, chosen_lists(manifest.lists, needs.crl))
        if not lists:
            return None
        files = _written(lists, needs.crl_formats)
        _KEPT.put(key, files)
    return {**files, "crl.jws": row.signed}


def chosen_lists(lists: Sequence[ListEntry], choice: str) -> list[ListEntry]:
    """Which lists of a manifest a consumer needs: of a CA without shards always the complete one."""
    if choice != "shards":
        kinds = {ListKind.COMPLETE, ListKind.DELTA} if choice == "delta" else {ListKind.COMPLETE}
        return [entry for entry in lists if entry.kind in kinds]
    sharded = {entry.authority for entry in lists if entry.kind is ListKind.SHARD}
    wanted = {name: ListKind.SHARD if name in sharded else ListKind.COMPLETE for name in (e.authority for e in lists)}
    return [entry for entry in lists if entry.kind is wanted[entry.authority]]


def file_of(entry: ListEntry) -> str:
    """The name of a list's DER file."""
    parts = {ListKind.COMPLETE: "", ListKind.DELTA: ".delta", ListKind.SHARD: f".{entry.shard}"}
    return f"{entry.authority}{parts[entry.kind]}.crl"


def _read(connection: Connection, entries: Sequence[ListEntry]) -> Mapping[ListEntry, bytes] | None:
    read: dict[tuple[str, int], bytes] = {}
    for authority in dict.fromkeys(entry.authority for entry in entries):
        shards = [entry.shard for entry in entries if entry.authority == authority and entry.kind is not ListKind.DELTA]
        rows = connection.execute(_CONTENT, {"authority": authority, "shards": shards})
        read |= {(authority, row.shard): row.crl for row in rows}
    found: dict[ListEntry, bytes] = {}
    for entry in entries:
        if entry.kind is ListKind.DELTA:
            crl = connection.execute(_DELTA, {"authority": entry.authority}).scalar()
        else:
            crl = read.pop((entry.authority, entry.shard), None)
        if crl is None or sha256(crl).hexdigest() != entry.sha256:
            return None
        found[entry] = crl
    return found


_OF = col(Authority.name) == bindparam("authority")
_CONTENT = (
    select(col(RevocationListContent.shard), col(RevocationListContent.crl))
    .join(Authority, col(Authority.id) == col(RevocationListContent.authority_id))
    .where(_OF, col(RevocationListContent.shard).in_(bindparam("shards", expanding=True)))
)
_DELTA = select(col(DeltaList.crl)).join(Authority, col(Authority.id) == col(DeltaList.authority_id)).where(_OF)


def _written(lists: Mapping[ListEntry, bytes], wanted: Iterable[str]) -> Mapping[str, bytes]:
    files: dict[str, bytes] = {}
    for name in wanted:
        if name == "pem":
            files["crl.pem"] = "".join(map(pem_crl, lists.values())).encode()
        else:
            files |= {file_of(entry): crl for entry, crl in lists.items()}
    return files


def _brought(name: str, needs: Needs, found: Mapping[str, Row[Any]], files: Mapping[str, bytes]) -> Brought:
    versions = {stream: row.version for stream, row in found.items()}
    hashes = {stream: row.sha256 for stream, row in found.items()}
    told = sha256(encode({"needs": needs.as_json(), "versions": versions, "sha256s": hashes})).hexdigest()
    trust = versions[trust_stream(needs.trust_domains[0])]
    lists = next((version for stream, version in versions.items() if stream.startswith("crl:")), 0)
    version = f"{slug(name)}-{trust}-{lists}-{told[:12]}"
    return Brought(Material(name, version, told, files), versions, hashes)


@lru_cache(maxsize=16)
def _opened(signed: bytes) -> tuple[Manifest, Mapping[str, bytes]]:
    """A manifest and the files that it comes to: the same for all consumers of one version."""
    manifest = manifest_of(signed)
    files = formats.trust_files(manifest.anchors, manifest.authorities, manifest.version) if manifest.anchors else {}
    return manifest, files


class _Kept:
    """The list files of the newest versions, since a thousand consumers get the same; the oldest go first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[tuple[object, ...], Mapping[str, bytes]] = {}

    def get(self, key: tuple[object, ...]) -> Mapping[str, bytes] | None:
        with self._lock:
            return self._files.get(key)

    def put(self, key: tuple[object, ...], files: Mapping[str, bytes]) -> None:
        with self._lock:
            self._files[key] = files
            while self._files and self._size() > LARGEST_KEPT:
                del self._files[next(iter(self._files))]

    def _size(self) -> int:
        return sum(len(data) for files in self._files.values() for data in files.values())


_KEPT = _Kept()


def _missing(streams: Sequence[str]) -> Unavailable:
    return Unavailable(
        f"nothing was published of {', '.join(streams)} yet",
        code="publication-missing",
        hint="is the CA's first CRL made, or the other trust domain given its anchors? certwright bundle list",
    )


def _moving() -> Unavailable:
    return Unavailable(
        "what is to be brought is being replaced at this moment",
        code="publication-moving",
        hint="try again in a second",
    )
