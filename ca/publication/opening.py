"""The checking side: whether a signed manifest, the files and the lists are what was published, and none older.

No state and no store: whoever has a root and the bytes can ask. `held` is what the asker remembers of the stream; who
remembers nothing is still told of forgeries and of what has expired, but not of replays. Nothing is half accepted:
a function returns, or it raises `BadRequest` with a `code` that says which of the ways to be wrong it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from ca import clock
from ca.errors import BadRequest
from ca.publication import jws
from ca.publication.chain import must_be_signer
from ca.publication.manifest import ListEntry, ListKind, Manifest


@dataclass(frozen=True, slots=True)
class Held:
    """The version of a stream that was accepted last, and the hash of its manifest."""

    version: int
    sha256: str


def open_signed(
    signed: bytes, anchors: Sequence[bytes], *, trust_domain: str, stream: str, now: int, held: Held | None
) -> Manifest:
    """The manifest, if one of `anchors` (DER) stands behind it, for this stream, at this time, after `held`.

    Refused, in this order: `bad-manifest`, `untrusted-manifest`, `wrong-stream`, `expired-manifest`,
    `replayed-manifest` (lower than what is held), `forked-manifest` (it does not go on from what is held).
    """
    found = jws.read(signed)
    if not found.is_signed_by_its_leaf():
        raise _refused("untrusted-manifest", "its signature does not verify: it was changed, or another key made it")
    manifest = Manifest.decode(found.payload)
    # Whoever was away for a whole rotation knows the old root alone: the way from it is a cross-certificate in here.
    ways = [x509.load_der_x509_certificate(entry.certificate) for entry in manifest.authorities]
    must_be_signer([*found.chain, *ways], anchors, trust_domain, clock.from_timestamp(now))
    if (manifest.trust_domain, manifest.stream) != (trust_domain, stream):
        raise _refused("wrong-stream", f"it is of the stream {manifest.stream}, not {stream[:300]}")
    if now > manifest.expires_at:
        until = clock.from_timestamp(manifest.expires_at)
        raise _refused("expired-manifest", f"it was good until {until:%Y-%m-%dT%H:%M:%SZ}", hint="fetch a newer one")
    if held is not None:
        _must_follow(manifest, held)
    return manifest


def unverified(signed: bytes) -> Manifest:
    """What a signed manifest claims to be, to know what to check it against: nobody has stood up for it yet."""
    return Manifest.decode(jws.read(signed).payload)


def _must_follow(manifest: Manifest, held: Held) -> None:
    """Versions never go back, one version is one manifest, and each names the one before it."""
    if manifest.version < held.version:
        raise _refused(
            "replayed-manifest", f"it is version {manifest.version}, older than {held.version}, which is held already"
        )
    if manifest.version == held.version:
        if manifest.sha256 != held.sha256:
            raise _forked(f"there are two of version {held.version}")
        return
    previous = manifest.previous
    if previous is None or previous.version < held.version:
        raise _forked(f"it does not go on from version {held.version}, which is held")
    if previous.version == held.version and previous.sha256 != held.sha256:
        raise _forked(f"it goes on from another version {held.version} than the one that is held")


def check_files(manifest: Manifest, files: Mapping[str, bytes], *, all_of_them: bool = False) -> None:
    """`changed-file` unless each file is byte for byte what was published, `missing-file` if there is no such one.

    With `all_of_them`, files that were published and are not given are missing, too.
    """
    items = {item.name: item for item in manifest.items}
    if unknown := sorted(set(files) - set(items)):
        raise _bad_file("missing-file", f"{unknown[0][:80]} is not in version {manifest.version} of {manifest.stream}")
    if all_of_them and (missing := sorted(set(items) - set(files))):
        raise _bad_file("missing-file", f"{missing[0]} was published and is not there")
    for name, content in files.items():
        item = items[name]
        if len(content) < item.size:
            message = f"{name} has {len(content)} of {item.size} bytes: it is cut off, or an older one"
            raise _bad_file("changed-file", message)
        if len(content) != item.size or sha256(content).hexdigest() != item.sha256:
            raise _bad_file("changed-file", f"{name} is not the file that was published")


def check_numbers(manifest: Manifest, held: Mapping[str, int]) -> None:
    """`older-list` if a list's number went back against what is held, by `ListEntry.key`."""
    for entry in manifest.lists:
        if entry.number < held.get(entry.key, 0):
            raise _older(entry, held[entry.key])


def check_list(
    manifest: Manifest,
    entry: ListEntry,
    der: bytes,
    held_number: int | None,
    *,
    certificates: Sequence[bytes] = (),
    now: int | None = None,
) -> None:
    """Whether `der` is the CRL that `entry` of `manifest` names, and none older than the one that is held.

    `older-list`: its number, or the entry's, is lower. `changed-list`: other bytes. `forged-list`: the bytes are no
    such list, or a CA that the manifest or `certificates` (DER) has under its issuer's name did not sign it.
    `expired-list`: at `now`, if that is given, a newer one ought to have come.
    """
    if held_number is not None and entry.number < held_number:
        raise _older(entry, held_number)
    if sha256(der).hexdigest() != entry.sha256:
        raise _differing(entry, der)
    crl, number = _read_list(entry, der)
    if (number, len(der)) != (entry.number, entry.size) or _is_delta(crl) != (entry.kind is ListKind.DELTA):
        raise _bad_list("forged-list", entry, "it is not the list that the manifest describes")
    issuers = [*(one.certificate for one in (*manifest.anchors, *manifest.authorities)), *certificates]
    known = [one for one in map(x509.load_der_x509_certificate, issuers) if one.subject == crl.issuer]
    if known and not any(_has_signed(one, crl) for one in known):
        raise _bad_list("forged-list", entry, "no CA of this name has signed it")
    if now is not None and now > entry.next_update:
        raise _bad_list("expired-list", entry, "a newer one ought to have come")


def _differing(entry: ListEntry, der: bytes) -> BadRequest:
    """Why it is not the list that was published, as far as it tells."""
    try:
        _, number = _read_list(entry, der)
    except BadRequest:
        return _bad_list("changed-list", entry, "it is cut off or damaged")
    if number < entry.number:
        return _bad_list("older-list", entry, f"it has the number {number}; {entry.number} was published")
    return _bad_list("changed-list", entry, "its bytes are not those that were published")


def _read_list(entry: ListEntry, der: bytes) -> tuple[x509.CertificateRevocationList, int]:
    try:
        crl = x509.load_der_x509_crl(der)
        _ = crl.issuer, list(crl.extensions)  # what is parsed late fails here
        return crl, crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except Exception:  # noqa: BLE001 - parsers raise what they like
        raise _bad_list("forged-list", entry, "it is no CRL with a number") from None


def _is_delta(crl: x509.CertificateRevocationList) -> bool:
    return any(isinstance(extension.value, x509.DeltaCRLIndicator) for extension in crl.extensions)


def _has_signed(issuer: x509.Certificate, crl: x509.CertificateRevocationList) -> bool:
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False


def _refused(code: str, why: str, hint: str | None = None) -> BadRequest:
    return BadRequest(f"this manifest is refused: {why}", code=code, hint=hint)


def _forked(why: str) -> BadRequest:
    hint = "somebody publishes beside the rightful publisher, or it was set up anew: find out which before you forget"
    return _refused("forked-manifest", why, hint=f"{hint} what is held")


def _bad_file(code: str, message: str) -> BadRequest:
    return BadRequest(message, code=code)


def _older(entry: ListEntry, held: int) -> BadRequest:
    return _bad_list("older-list", entry, f"its number {entry.number} is lower than {held}, which is held")


def _bad_list(code: str, entry: ListEntry, why: str) -> BadRequest:
    return BadRequest(f"the list {entry.key} is refused: {why}", code=code)
