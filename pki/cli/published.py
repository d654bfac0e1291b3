"""Files that came with a manifest, held against it: those it names, and CRLs under whatever name they were saved."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import clock
from ca.errors import BadRequest
from ca.publication.manifest import ListEntry, ListKind, Manifest
from ca.publication.opening import check_files, check_list

LARGEST = 256 << 20
"""A complete list of two million revocations, as PEM."""
WHOLE = "crl.pem"
"""The file that has all lists of the kinds that its consumer needs; another trust domain's has a name before it."""
_PEM_LIST = re.compile(rb"-----BEGIN X509 CRL-----[A-Za-z0-9+/=\s]+-----END X509 CRL-----")
_NAMED = re.compile(r"(?P<authority>.+?)(?:\.(?P<shard>\d+|delta))?\.crl")


def read_bounded(path: Path) -> bytes:
    """A file's content; `BadRequest` if it is larger than anything that is published."""
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise BadRequest(f"{path} is larger than {LARGEST} bytes", code="too-large")
    return content


def read_anchors(paths: Sequence[Path]) -> list[bytes]:
    """The certificates in PEM files, DER."""
    found: list[bytes] = []
    for path in paths:
        try:
            certificates = x509.load_pem_x509_certificates(read_bounded(path))
        except ValueError:
            hint = "openssl x509 -inform DER -in FILE makes PEM of DER"
            raise BadRequest(f"{path} holds no certificate, PEM", code="bad-certificate", hint=hint) from None
        found += [one.public_bytes(Encoding.DER) for one in certificates]
    return found


def check_published(
    manifest: Manifest, paths: Sequence[Path], numbers: Mapping[str, int], anchors: Sequence[bytes]
) -> list[dict[str, Any]]:
    """What each file is, if all are as they were published; else the first refusal."""
    return [{"file": str(path), "is": _what(manifest, path, numbers, anchors)} for path in paths]


def _what(manifest: Manifest, path: Path, numbers: Mapping[str, int], anchors: Sequence[bytes]) -> list[str]:
    content = read_bounded(path)
    is_item = any(item.name == path.name for item in manifest.items)
    lists = list(_lists_in(path, content))
    if is_item or not lists:
        check_files(manifest, {path.name: content})
        return [f"{path.name} of version {manifest.version}"]
    found = [_entry(manifest, path, der) for der in lists]
    for entry, der in zip(found, lists, strict=True):
        check_list(manifest, entry, der, numbers.get(entry.key), certificates=anchors, now=clock.timestamp())
    if path.name == WHOLE or path.name.endswith(f".{WHOLE}"):
        _must_be_all(manifest, path, found)
    return [f"{entry.key} number {entry.number}" for entry in found]


def _lists_in(path: Path, content: bytes) -> Iterator[bytes]:
    """The CRLs in a file, DER; none if it is something else."""
    blocks = _PEM_LIST.findall(content)
    if blocks and _PEM_LIST.sub(b"", content).strip():
        raise BadRequest(f"{path} is cut off, or holds more than lists", code="changed-list")
    for block in blocks:
        try:
            yield x509.load_pem_x509_crl(block).public_bytes(Encoding.DER)
        except ValueError:
            raise BadRequest(f"a list in {path} cannot be parsed", code="changed-list") from None
    if not blocks and (content[:1] == b"\x30" or path.suffix == ".crl"):
        yield content


def _entry(manifest: Manifest, path: Path, der: bytes) -> ListEntry:
    """Which of the manifest's lists it is, or is meant to be: by its hash, its file's name, or what kind it is."""
    hashed = sha256(der).hexdigest()
    named = _NAMED.fullmatch(path.name)
    key = f"{named['authority']}/{named['shard'] or ListKind.COMPLETE}" if named is not None else None
    kind = _kind(der)
    by_kind = [entry for entry in manifest.lists if entry.kind is kind]
    for meant in (
        [entry for entry in manifest.lists if entry.sha256 == hashed],
        [entry for entry in manifest.lists if entry.key == key],
        by_kind if len(by_kind) == 1 else [],
    ):
        if meant:
            return meant[0]
    message = f"{path} is, or holds, none of the lists in version {manifest.version} of {manifest.stream}"
    raise BadRequest(message, code="changed-list", hint="it may be older or newer than the manifest: fetch both again")


def _must_be_all(manifest: Manifest, path: Path, found: Sequence[ListEntry]) -> None:
    kinds = {entry.kind for entry in found}
    missing = [entry.key for entry in manifest.lists if entry.kind in kinds and entry not in found]
    if missing:
        raise BadRequest(f"{path} lacks the list {missing[0]}: it is cut off, or an older one", code="missing-list")


def _kind(der: bytes) -> ListKind | None:
    try:
        kinds = {type(extension.value) for extension in x509.load_der_x509_crl(der).extensions}
    except ValueError:
        return None
    if x509.DeltaCRLIndicator in kinds:
        return ListKind.DELTA
    return ListKind.SHARD if x509.IssuingDistributionPoint in kinds else ListKind.COMPLETE
