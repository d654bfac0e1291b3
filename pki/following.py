"""A consumer on a host of its own: fetches what is published, checks it, puts it into use, says so. Needs no server.

It begins with one root that somebody brought there, and from then on trusts what that root's publications say. What is
fetched over plain HTTP is believed for its signature alone (`ca/publication/opening.py`); nothing is put into use that
does not fit to the last byte, and nothing older than what was held. Where it is put is the `files` publisher's layout.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import clock
from ca.errors import BadRequest, NotDelivered
from ca.publication.manifest import ListKind, Manifest
from ca.publication.opening import check_files, check_list, open_signed
from ca.secret import Secret
from ca.x509.bundle import pem_crl
from pki.client import fetching
from pki.held import Memory, read_held, write_held
from renewers.distribution.streams import crl_stream, trust_stream
from renewers.notifiers.signature import ID, SIGNATURE, TIMESTAMP, signature_of
from renewers.publishers import Material
from renewers.publishers.files import make_files

FILES = ("bundle.pem", "cas.pem")
LARGEST_LIST = 256 << 20
WAIT = 30
TRIES = 3


@dataclass(frozen=True, slots=True)
class Following:
    """What is followed, and where it goes."""

    base: str
    """The plain listener of the installation: `http://ca.example.org:8080`."""
    trust_domain: str
    roots: Path
    """PEM file with the root to begin with; what was accepted since stands in the directory."""
    directory: Path
    with_lists: bool = True
    reload: tuple[str, ...] = ()
    consumer: str = ""
    secret: Secret | None = None
    """What acknowledgements are signed with; without one, nobody is told."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What was put into use."""

    versions: Mapping[str, int]
    files: tuple[str, ...]
    is_acknowledged: bool


def follow(plan: Following, *, wait: float = 0) -> Taken | None:
    """Take what is newest, unless that is held; with `wait`, hear of it when there is something. None if nothing is."""
    memory = read_held(_held(plan), may_be_new=True)
    for _ in range(TRIES):
        manifests, signed = _manifests(plan, memory, wait)
        if all(_is_held(memory, manifest) for manifest in manifests.values()):
            return None
        try:
            files = _files(plan, manifests, memory) | signed
            break
        except _Moved:  # a list was replaced between two requests: ask again which it is now
            wait = 0
    else:
        raise NotDelivered("the lists change faster than they can be fetched", hint="try again in a moment")
    _put(plan, manifests, files)
    for manifest in manifests.values():
        memory = memory.after(manifest)
    write_held(_held(plan), memory)
    told = [_acknowledge(plan, manifest) for manifest in manifests.values()] if plan.secret is not None else [False]
    return Taken({stream: one.version for stream, one in manifests.items()}, tuple(sorted(files)), all(told))


class _Moved(Exception):
    """Something newer was published while it was fetched."""


def _manifests(plan: Following, memory: Memory, wait: float) -> tuple[dict[str, Manifest], dict[str, bytes]]:
    """The newest of each stream, checked: the trust first, by what is held; the lists by what the trust says."""
    anchors, found, signed = _anchors(plan), {}, {}
    streams = [trust_stream(plan.trust_domain), *([crl_stream(plan.trust_domain)] if plan.with_lists else [])]
    for stream in streams:
        held = memory.version_of(stream)
        is_last = stream == streams[-1]
        query = f"?after={held.version}&wait={wait:g}" if held is not None and wait and is_last else ""
        content = fetching.fetch(f"{plan.base}/publications/{stream}{query}", most=1 << 21, seconds=wait + 20)
        if content is None:  # nothing newer came: what is held is the newest
            content = fetching.fetch(f"{plan.base}/publications/{stream}", most=1 << 21, seconds=20) or b""
        manifest = open_signed(
            content, anchors, trust_domain=plan.trust_domain, stream=stream, now=clock.timestamp(), held=held
        )
        if stream == streams[0]:
            anchors = [entry.certificate for entry in manifest.anchors]
        found[stream] = manifest
        signed[f"{stream.partition(':')[0]}.jws"] = content
    return found, signed


def _files(plan: Following, manifests: Mapping[str, Manifest], memory: Memory) -> dict[str, bytes]:
    trust = manifests[trust_stream(plan.trust_domain)]
    files = {name: _fetched(f"{plan.base}/bundles/{plan.trust_domain}/{name}") for name in FILES}
    try:
        check_files(trust, files)
    except BadRequest as error:
        if error.code == "changed-file":
            raise _Moved from None
        raise
    lists = manifests.get(crl_stream(plan.trust_domain))
    if lists is not None:
        files["crl.pem"] = _lists(plan, trust, lists, memory)
    return files


def _lists(plan: Following, trust: Manifest, lists: Manifest, memory: Memory) -> bytes:
    """The complete list of each CA, in one file."""
    numbers = memory.numbers_of(lists.stream)
    certificates = [entry.certificate for entry in (*trust.anchors, *trust.authorities)]
    text = []
    for entry in (entry for entry in lists.lists if entry.kind is ListKind.COMPLETE):
        der = _fetched(f"{plan.base}/crl/{entry.authority}.crl")
        try:
            check_list(lists, entry, der, numbers.get(entry.key), certificates=certificates, now=clock.timestamp())
        except BadRequest as error:
            if error.code in ("changed-list", "older-list") and sha256(der).hexdigest() != entry.sha256:
                raise _Moved from None
            raise
        text.append(pem_crl(der))
    return "".join(text).encode()


def _put(plan: Following, manifests: Mapping[str, Manifest], files: Mapping[str, bytes]) -> None:
    versions = [str(manifest.version) for manifest in manifests.values()]
    digest = sha256(b"".join(manifest.encode() for manifest in manifests.values())).hexdigest()
    name = "-".join(["bundle", *versions, digest[:12]])
    material = Material(plan.consumer or "follower", name, digest, dict(files))
    settings: dict[str, object] = {"directory": str(plan.directory.absolute())}
    if plan.reload:
        settings["reload"] = list(plan.reload)
    publisher = make_files(settings)
    publisher.stage(material)
    publisher.swap(material)


def _acknowledge(plan: Following, manifest: Manifest) -> bool:
    """Tell the installation; False if it does not hear: it is told with the next version, and we are late till then."""
    assert plan.secret is not None
    said = {"consumer": plan.consumer, "stream": manifest.stream, "version": manifest.version}
    now = clock.timestamp()
    body = json.dumps({**said, "sha256": manifest.sha256, "at": now, "state": "loaded"}).encode()
    identity = f"{plan.consumer}-{secrets.token_hex(12)}"
    headers = {ID: identity, TIMESTAMP: str(now), "Content-Type": "application/json"}
    headers[SIGNATURE] = signature_of(plan.secret.reveal(), identity, now, body)
    return fetching.tell(f"{plan.base}/acknowledgements", body, headers)


def _anchors(plan: Following) -> Sequence[bytes]:
    live = plan.directory / "live" / "bundle.pem"
    text = live.read_bytes() if live.exists() else plan.roots.read_bytes()
    return [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(text)]


def _held(plan: Following) -> Path:
    return plan.directory.parent / f".{plan.directory.name}.held.json"


def _is_held(memory: Memory, manifest: Manifest) -> bool:
    held = memory.version_of(manifest.stream)
    return held is not None and held.version == manifest.version


def _fetched(url: str) -> bytes:
    content = fetching.fetch(url, most=LARGEST_LIST, seconds=120)
    if content is None:
        raise NotDelivered(f"{url} answered with nothing")
    return content
