"""A prefix in a bucket: versions side by side, and one small object that names the one in use.

    PREFIX/versions/VERSION/...           bundle.pem, crl.pem: never changed, may be cached for ever
    PREFIX/versions/VERSION/index.json    what the version consists of; written last
    PREFIX/current.json                   the index of the version in use, and which was before; exchanged in one step

Who needs the files reads `current.json`, then those that it names, and holds them against its hashes; where one is
gone, the version was replaced meanwhile: look again. `current.json` is written on the condition that nobody else did
meanwhile, and not by who brings an older publication than it names. It is for public files alone. Read `bucket.py`
for the way there.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ca.errors import NotDelivered
from renewers.plain import one_line
from renewers.publishers import Material, Publisher
from renewers.publishers.bucket import Bucket, Listed, ObjectPlace
from renewers.publishers.naming import VERSION, Read, one_of, public_files, read_with
from renewers.publishers.turns import Overtaken, is_older

CURRENT, INDEX, VERSIONS = "current.json", "index.json", "versions/"
KEEP, TRIES = 3, 5
IMMUTABLE, FRESH = "public, max-age=31536000, immutable", "no-cache"
JSON = "application/json"
KINDS = {
    "pem": "application/x-pem-file",
    "cer": "application/pkix-cert",
    "crl": "application/pkix-crl",
    "p7b": "application/x-pkcs7-certificates",
    "p12": "application/x-pkcs12",
    "jws": "application/jose+json",
    "json": JSON,
}
_PREFIX = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_.-]{0,62}/){1,8}")


def make_objects(settings: Mapping[str, Any], *, stores: Mapping[str, ObjectPlace]) -> Publisher:
    """The publisher into one prefix. `BadRequest` names everything that is wrong with its settings.

    `stores` are the buckets that this machine's own settings name: no row says where we connect to.
    """
    readers: dict[str, Read] = {"store": one_of(stores, "object store"), "prefix": _prefix}
    read = read_with(readers, settings, makes="a place in an object store", required=("store", "prefix"))
    return Objects(read["store"], read["prefix"])


def _prefix(value: Any) -> str:
    if not isinstance(value, str) or not _PREFIX.fullmatch(value):
        raise ValueError("is not like edge/ or sites/north/")
    return value


@dataclass(frozen=True, slots=True)
class _Current:
    """What `current.json` says, and its tag."""

    subject: str
    version: str
    index: Mapping[str, Any]
    tag: str | None


class Objects:
    """A `Publisher` into a prefix of a bucket."""

    keeps_secrets = False

    def __init__(self, place: ObjectPlace, prefix: str) -> None:
        self._place = place
        self._prefix = prefix

    def stage(self, material: Material) -> None:
        """Write the version's files, then its index. Nobody is told of them yet."""
        bucket = self._checked(material)
        inside = self._inside(material.version)
        for name, content in material.files.items():
            bucket.put(inside + name, content, kind=_kind(name), cache=IMMUTABLE)
        bucket.put(inside + INDEX, _encoded(_index(material)), kind=JSON, cache=IMMUTABLE)

    def swap(self, material: Material) -> None:
        """Have `current.json` name it, unless it names a newer publication; then clear away what is too old."""
        bucket = self._checked(material)
        self._refuse_unstaged(bucket, material)
        for _ in range(TRIES):
            with suppress(Overtaken):
                self._name(bucket, material)
                break
        else:
            raise NotDelivered(f"{self._shown(bucket)} is written by others all the time")
        with suppress(NotDelivered):
            self._prune(bucket)

    def _checked(self, material: Material) -> Bucket:
        if INDEX in public_files(material):
            raise NotDelivered(f"{INDEX} cannot name a file in an object store: it lists the others")
        return Bucket(self._place, sum(map(len, material.files.values())))

    def _inside(self, version: str) -> str:
        return f"{self._prefix}{VERSIONS}{version}/"

    def _shown(self, bucket: Bucket) -> str:
        return f"{self._prefix}{CURRENT} of {bucket.shown}"

    def _refuse_unstaged(self, bucket: Bucket, material: Material) -> None:
        inside = self._inside(material.version)
        index = bucket.get(inside + INDEX)
        sizes = {each.path.removeprefix(inside): each.size for each in bucket.list(inside)}
        is_whole = all(sizes.get(name) == len(content) for name, content in material.files.items())
        if not is_whole or index is None or index[0] != _encoded(_index(material)):
            raise NotDelivered(f"{material.version} is not in {bucket.shown}: it was not staged, or lost")

    def _name(self, bucket: Bucket, material: Material) -> None:
        """One attempt; `Overtaken` if somebody else was faster."""
        current, index = self._current(bucket), _index(material)
        if current is not None:
            if current.subject != material.subject:
                other = f"{self._shown(bucket)} is of {one_line(current.subject, 100)!r}"
                raise NotDelivered(other, code="not-ours", hint="each has a prefix of its own; or remove the object")
            if current.index == index:
                return
            if is_older(material.version, current.version):
                newer = f"{self._shown(bucket)} names {current.version}, which is newer than {material.version}"
                hint = f"it goes on by itself; if it was given needs of other trust domains, remove {CURRENT}"
                raise NotDelivered(newer, code="older-version", hint=hint)
        said = {**index, "previous": None if current is None else current.version}
        tag = None if current is None else current.tag
        bucket.exchange(self._prefix + CURRENT, _encoded(said), tag, kind=JSON, cache=FRESH)

    def _current(self, bucket: Bucket) -> _Current | None:
        found = bucket.get(self._prefix + CURRENT)
        if found is None:
            return None
        content, tag = found
        try:
            said = json.loads(content)
            index = {name: value for name, value in said.items() if name != "previous"}
            subject, version = index["consumer"], index["version"]
        except (ValueError, RecursionError, LookupError, AttributeError):
            subject = version = None
        if not isinstance(subject, str) or not isinstance(version, str) or not VERSION.fullmatch(version):
            raise NotDelivered(
                f"{self._shown(bucket)} was not written by us", code="not-ours", hint="choose a prefix of its own"
            )
        return _Current(subject, version, index, tag)

    def _prune(self, bucket: Bucket) -> None:
        """Keep the newest versions, and what is in use. The index goes last, so that what is half gone goes later."""
        found: dict[str, list[Listed]] = defaultdict(list)
        beneath = self._prefix + VERSIONS
        for each in bucket.list(beneath):
            version, _, name = each.path.removeprefix(beneath).partition("/")
            if VERSION.fullmatch(version) and name:
                found[version].append(each)
        ages = {version: max(each.at for each in those) for version, those in found.items()}
        whole = [version for version, those in found.items() if self._inside(version) + INDEX in _paths(those)]
        newest = sorted(whole, key=lambda version: (ages[version], version), reverse=True)[:KEEP]
        current = self._current(bucket)
        if len(newest) < KEEP or current is None:
            return
        for version in found:
            if (ages[version], version) < (ages[newest[-1]], newest[-1]) and version != current.version:
                for path in sorted(_paths(found[version]), key=lambda path: path.endswith(f"/{INDEX}")):
                    bucket.delete(path)


def _paths(those: list[Listed]) -> list[str]:
    return [each.path for each in those]


def _kind(name: str) -> str:
    return KINDS.get(name.rpartition(".")[2], "application/octet-stream")


def _index(material: Material) -> dict[str, Any]:
    """What says everything about a version."""
    files = [
        {"name": name, "sha256": sha256(content).hexdigest(), "size": len(content)}
        for name, content in sorted(material.files.items())
    ]
    return {
        "type": "certwright.version/1",
        "consumer": material.subject,
        "version": material.version,
        "sha256": material.sha256,
        "files": files,
    }


def _encoded(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
