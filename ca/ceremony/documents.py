"""The two files of a ceremony, JSON: what is to be signed, and the signatures. Read strictly, since they are carried.

Neither holds a secret. A request is what its SHA-256 says, which people compare aloud; an answer is believed for
nothing but its signatures, and its transcript is kept as what it is: what somebody says to have happened.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.errors import BadRequest

REQUEST_FORMAT = "certwright-ceremony-request-1"
ANSWER_FORMAT = "certwright-ceremony-answer-1"
CERTIFICATE, LIST = "certificate", "crl"
LARGEST = 16 * 1024 * 1024
"""Bytes of a file; a list of some 200,000 CAs."""


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to sign: a CA certificate or a CRL, as its to-be-signed bytes, DER."""

    kind: str
    tbs: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """The first file. `certificate` is that of the offline CA, DER; `created_at` is in seconds since the epoch."""

    ceremony: str
    certificate: bytes
    created_at: int
    created_by: str
    tasks: tuple[Task, ...]

    def encode(self) -> bytes:
        """The file."""
        value = {
            "format": REQUEST_FORMAT,
            "ceremony": self.ceremony,
            "authority": _text(self.certificate),
            "created_at": self.created_at,
            "created_by": self.created_by,
            "tasks": [{"kind": task.kind, "tbs": _text(task.tbs)} for task in self.tasks],
        }
        return _encode(value)


@dataclass(frozen=True, slots=True)
class Answered:
    """The second file: a signature for each task, in their order."""

    ceremony: str
    request_sha256: str
    signatures: tuple[bytes, ...]
    transcript: Mapping[str, Any]

    def encode(self) -> bytes:
        """The file."""
        value = {
            "format": ANSWER_FORMAT,
            "ceremony": self.ceremony,
            "request_sha256": self.request_sha256,
            "signatures": [_text(signature) for signature in self.signatures],
            "transcript": dict(self.transcript),
        }
        return _encode(value)


def read_request(data: bytes) -> Asked:
    """The first file; `BadRequest` for anything else."""
    value = _decode(data, REQUEST_FORMAT, {"ceremony", "authority", "created_at", "created_by", "tasks"})
    try:
        certificate = x509.load_der_x509_certificate(_bytes(value["authority"]))
        tasks = tuple(_task(each) for each in value["tasks"])
        asked = Asked(
            ceremony=_word(value["ceremony"]),
            certificate=certificate.public_bytes(Encoding.DER),
            created_at=int(value["created_at"]),
            created_by=_word(value["created_by"]),
            tasks=tasks,
        )
    except (TypeError, ValueError, KeyError) as error:
        raise _bad(REQUEST_FORMAT, type(error).__name__) from None
    if not asked.tasks or asked.encode() != data:  # one way to write it, so that nothing is hidden between the lines
        raise _bad(REQUEST_FORMAT, "it is not written as certwright writes it")
    return asked


def read_answer(data: bytes) -> Answered:
    """The second file; `BadRequest` for anything else."""
    value = _decode(data, ANSWER_FORMAT, {"ceremony", "request_sha256", "signatures", "transcript"})
    try:
        transcript = value["transcript"]
        if not isinstance(transcript, dict):
            raise TypeError
        return Answered(
            ceremony=_word(value["ceremony"]),
            request_sha256=_word(value["request_sha256"]),
            signatures=tuple(_bytes(each) for each in value["signatures"]),
            transcript=transcript,
        )
    except (TypeError, ValueError, KeyError) as error:
        raise _bad(ANSWER_FORMAT, type(error).__name__) from None


def digest(document: bytes) -> str:
    """What a file is known by: the SHA-256 of its bytes, hex."""
    return sha256(document).hexdigest()


def aloud(digest: str) -> str:
    """A digest as people read it to each other: groups of four."""
    return " ".join(digest[start : start + 4] for start in range(0, len(digest), 4))


def _task(value: Any) -> Task:
    if set(value) != {"kind", "tbs"} or value["kind"] not in (CERTIFICATE, LIST):
        raise ValueError
    return Task(value["kind"], _bytes(value["tbs"]))


def _encode(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _decode(data: bytes, wanted: str, names: set[str]) -> Mapping[str, Any]:
    try:
        value = json.loads(data) if len(data) <= LARGEST else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or value.get("format") != wanted:
        raise _bad(wanted, "it is no such file")
    if set(value) != names | {"format"}:
        raise _bad(wanted, "it has fields too many or too few")
    return value


def _word(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1000 or not value.isprintable():
        raise ValueError
    return value


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise TypeError
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError from None


def _bad(wanted: str, why: str) -> BadRequest:
    what = "request of a ceremony" if wanted == REQUEST_FORMAT else "answer of a ceremony"
    hint = f"it begins with its format, {wanted}, and is carried as it is"
    return BadRequest(f"this is not the {what}: {why}", code="bad-ceremony-file", hint=hint)
