"""Reading what a mail server says of a letter that it could not deliver: a report after RFC 3464, written by strangers.

Bounded before it is parsed and never trusted: what is read here is what somebody claims. Whether it is about a letter
of ours, and what follows, is for `bounces.py`. Reports are cut short, nested and broken in many ways; what cannot be
read names nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from email.policy import compat32
from typing import Any

from ca.errors import BadRequest
from renewers.plain import one_line

LONGEST = 128 * 1024
"""Bytes that are read; a report that returns a large message is cut there, which it survives."""
MOST_PARTS, DEEPEST, MOST_RECIPIENTS = 50, 5, 50
_ID = re.compile(r"<([^<>\s@]{1,200}@[^<>\s@]{1,255})>")
_STATUS = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
_ADDRESS = re.compile(r"[!-;=?-~]{1,64}@[!-;=?-~]{1,255}")


@dataclass(frozen=True, slots=True)
class Failure:
    """What a report says of one recipient (RFC 3464 section 2.3)."""

    recipients: frozenset[str]
    """The final and the original one, as they are written."""
    action: str
    """`failed`, `delayed`, `delivered`, `relayed` or `expanded`."""
    status: str
    """RFC 3463: `5.1.1`; empty if it says none."""
    diagnostic: str

    @property
    def is_permanent(self) -> bool:
        """Whether it failed for good: both words say so, since servers use one alone for what may pass."""
        return self.action == "failed" and self.status.startswith("5.")


@dataclass(frozen=True, slots=True)
class Report:
    """What was read: the messages that it is about, by what their Message-ID headers say, and what became of whom."""

    message_ids: frozenset[str]
    failures: tuple[Failure, ...]


def read(content: bytes) -> Report:
    """What a report says. `BadRequest` if it is none, or names no recipient."""
    try:
        whole = message_from_bytes(content[:LONGEST], policy=compat32)
        parts = list(_parts(whole, 0))
        failures = tuple(_failures(parts))[:MOST_RECIPIENTS]
        found = Report(frozenset(_ids(whole, parts)), failures)
    except Exception:  # noqa: BLE001 - parsers raise what they like, and a report is anybody's text
        raise BadRequest("this report cannot be read", code="bad-report") from None
    if not found.failures:
        hint = "a multipart/report after RFC 3464, as mail servers send it to the sender of a letter"
        raise BadRequest("this is no report of a mail server about a letter", code="bad-report", hint=hint)
    return found


def _parts(message: Message, depth: int) -> Iterator[Message]:
    """The message and all that is in it, a bounded part of it; what is within a returned message as well."""
    yield message
    payload: Any = message.get_payload() if message.is_multipart() else []
    if depth < DEEPEST:
        for part in payload[:MOST_PARTS]:
            yield from _parts(part, depth + 1)


def _failures(parts: list[Message]) -> Iterator[Failure]:
    for part in parts:
        if part.get_content_type() == "message/delivery-status":
            blocks: Any = part.get_payload()
            for block in blocks if isinstance(blocks, list) else []:
                found = _failure(block)
                if found is not None:
                    yield found


def _failure(block: Message) -> Failure | None:
    """One group of fields; that of the whole message, which names no recipient, is none."""
    addresses = {_address(block[name]) for name in ("Final-Recipient", "Original-Recipient") if block[name]}
    if not addresses - {""} or not block["Action"]:
        return None
    status = _STATUS.search(_text(block["Status"]))
    return Failure(
        recipients=frozenset(addresses - {""}),
        action=_text(block["Action"]).strip().split(";")[0].split("(")[0].strip().lower()[:20],
        status=status[1] if status else "",
        diagnostic=one_line(_text(block["Diagnostic-Code"]).partition(";")[2] or _text(block["Diagnostic-Code"]), 200),
    )


def _address(value: Any) -> str:
    """Of `rfc822; <ann@example.org>` the address; empty for another kind of address, or none."""
    kind, _, rest = _text(value).partition(";")
    match = _ADDRESS.search(rest)
    return match[0] if match and kind.strip().lower() in ("rfc822", "utf-8") else ""


def _ids(whole: Message, parts: list[Message]) -> Iterator[str]:
    """Message-IDs of what was returned, wholly or by its headers alone, and of what the report answers."""
    for name in ("In-Reply-To", "References"):
        yield from _ID.findall(_text(whole[name]))[:MOST_PARTS]
    for part in parts[1:]:
        yield from _ID.findall(_text(part["Message-ID"]))[:1]
        if part.get_content_type() in ("text/rfc822-headers", "message/rfc822-headers"):
            content = part.get_payload(decode=True)
            returned = message_from_bytes(content if isinstance(content, bytes) else b"", policy=compat32)
            yield from _ID.findall(_text(returned["Message-ID"]))[:1]


def _text(value: Any) -> str:
    """A header as text, unfolded."""
    return "" if value is None else " ".join(str(value).split())
