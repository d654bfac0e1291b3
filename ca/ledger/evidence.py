"""A proof that somebody carries away: one entry, its way to a signed head, and the check of both, offline.

What holds then: whoever has the verifier's private key has signed a tree with exactly this entry at this place; if the
entry says that a certificate was issued, it names its serial number and the SHA-256 of all its bytes, signature
included. What is not proved: that the certificate is not revoked, or that there is no other one. The check reads what
it is given and nothing else: no store, no network, no clock. `proving.py` makes these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from ca.errors import BadRequest
from ca.ledger.checkpoint import Head, Verifier, open_head
from ca.ledger.merkle import leaf_hash
from ca.ledger.proofs import check_consistency, root_from_inclusion
from ca.x509.bundle import read_certificates
from ca.x509.certificate import fingerprint, serial_text

FORMAT = "certwright-ledger-proof-1"
MAX_BYTES = 1 << 20
_FIELDS = {"format", "entry", "position", "inclusion", "head", "earlier", "certificate"}
_HASH = re.compile(r"[0-9a-f]{64}")
_BINDS = {"certificate-issued", "authority-created", "authority-cross-certified"}
"""Entries that hold the SHA-256 of a certificate as `sha256`."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """That the tree of the head begins with a smaller one: RFC 9162 section 2.1.4."""

    size: int
    proof: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One entry of the ledger with its proof. `certificate` is PEM, for the reader; the entry alone binds it."""

    entry: str
    position: int
    inclusion: Sequence[bytes]
    head: str
    earlier: Earlier | None = None
    certificate: str | None = None

    def to_json(self) -> str:
        """The text that is carried away."""
        earlier = None if self.earlier is None else {"size": self.earlier.size, "proof": _hex(self.earlier.proof)}
        fields = {
            "format": FORMAT,
            "entry": self.entry,
            "position": self.position,
            "inclusion": _hex(self.inclusion),
            "head": self.head,
            "earlier": earlier,
            "certificate": self.certificate,
        }
        return json.dumps(fields, indent=1, sort_keys=True) + "\n"

    @classmethod
    def parse(cls, text: str) -> Evidence:
        """Read what `to_json` wrote. `BadRequest` for anything else: unknown fields, other forms of numbers, hashes."""
        if len(text) > MAX_BYTES:
            raise _bad("the file is too large for a proof")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or set(found) != _FIELDS or found["format"] != FORMAT:
            raise _bad("this is not a proof: certwright ledger prove writes one")
        certificate, earlier = found["certificate"], found["earlier"]
        if certificate is not None:
            certificate = _text(certificate)
        return cls(
            _text(found["entry"]),
            _number(found["position"]),
            _hashes(found["inclusion"]),
            _text(found["head"]),
            None if earlier is None else _earlier(earlier),
            certificate,
        )


@dataclass(frozen=True, slots=True)
class Proved:
    """What the evidence proves: the entry, and the head that covers it."""

    entry: Mapping[str, Any]
    position: int
    head: Head
    certificate: str | None
    """The SHA-256 of the certificate that was compared with the entry, or None if there was none to compare."""
    continues: int | None
    """The size of the head that was kept, if this one was shown to continue it."""


def check(
    evidence: Evidence, verifier: Verifier, *, kept: Head | None = None, certificate: bytes | None = None
) -> Proved:
    """What `evidence` proves to somebody who trusts `verifier` alone, and the head that they kept.

    `certificate` is the DER of the one that they ask about: the entry has to be about that very one. `BadRequest`
    (`bad-proof`, `bad-checkpoint`, `ledger-forked`) says what does not hold.
    """
    head = open_head(evidence.head, verifier)
    leaf = leaf_hash(_encoded(evidence.entry))
    if root_from_inclusion(leaf, evidence.position, head.size, evidence.inclusion) != head.root:
        raise _bad("the entry is not in the tree that was signed")
    if kept is not None:
        _check_continues(evidence.earlier, head, kept)
    entry = _body(evidence.entry)
    asked = [one for one in (certificate, _der(evidence.certificate)) if one is not None]
    for one in asked:
        _check_bound(entry, one)
    compared = fingerprint(asked[0]) if asked else None
    return Proved(entry, evidence.position, head, compared, None if kept is None else kept.size)


def _check_continues(earlier: Earlier | None, head: Head, kept: Head) -> None:
    """That `head` is of the same ledger as the head that was kept: the same tree, or one that begins with it."""
    if kept.size > head.size:
        raise _bad("the head that was kept is newer than the proof's: certwright ledger prove --head makes one for it")
    if kept.size == head.size:
        proof: Sequence[bytes] = ()
    elif earlier is None or earlier.size != kept.size:
        raise _bad(f"the proof does not lead from the head of size {kept.size}: certwright ledger prove --head does")
    else:
        proof = earlier.proof
    check_consistency(kept.size, kept.root, head.size, head.root, proof)


def _check_bound(entry: Mapping[str, Any], certificate: bytes) -> None:
    """That the entry is about exactly this certificate: first its bytes, then what they say."""
    if entry.get("action") not in _BINDS:
        raise _bad(f"the entry is of no issuance: it says {entry.get('action')!r}")
    if entry.get("sha256") != fingerprint(certificate):
        raise _bad("the entry is about another certificate")
    serial = serial_text(read_certificates(certificate)[0].serial_number)
    if serial != entry.get("subject" if entry["action"] == "certificate-issued" else "serial"):
        raise _bad(f"the entry is about another serial number than {serial}")


def _der(pem: str | None) -> bytes | None:
    if pem is None:
        return None
    found = read_certificates(_encoded(pem))
    if len(found) != 1:
        raise _bad("the proof holds more than one certificate")
    return found[0].public_bytes(Encoding.DER)


def _body(entry: str) -> Mapping[str, Any]:
    try:
        found = json.loads(entry)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _bad("the entry is in the tree, and is not JSON")
    return found


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _bad("the proof holds something that is not text") from None


def _earlier(found: object) -> Earlier:
    if not isinstance(found, dict) or set(found) != {"size", "proof"}:
        raise _bad("the proof of an earlier head is not one")
    return Earlier(_number(found["size"]), _hashes(found["proof"]))


def _hashes(found: object) -> tuple[bytes, ...]:
    if not isinstance(found, list) or len(found) > 128:
        raise _bad("a proof is a list of hashes")
    if not all(isinstance(one, str) and _HASH.fullmatch(one) for one in found):
        raise _bad("a hash is 64 lower-case hex digits")
    return tuple(bytes.fromhex(one) for one in found)


def _number(found: object) -> int:
    if type(found) is not int or not 0 <= found < 1 << 62:
        raise _bad("a size or position is a whole number")
    return found


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise _bad("the proof has something else where text has to be")
    return found


def _hex(hashes: Sequence[bytes]) -> list[str]:
    return [one.hex() for one in hashes]


def _bad(message: str) -> BadRequest:
    return BadRequest(message, code="bad-proof")
