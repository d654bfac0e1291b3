"""Links that letters carry: signed, bound to one purpose, one thing, one recipient and one letter, and with an end.

The token is the credential: whoever holds one may do what it is for and nothing else, so it never reaches a log, and a
page that was opened by it lets no other server know it. Opening one changes nothing, since mail scanners open all that
they find; acting spends it, in the transaction that acts. Whether it still fits the world, whose the certificate is by
now, is for `answers.py` to ask. The pages are `pki/web/links.py`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock
from ca.errors import Conflict, NotFound
from ca.store import Transaction
from renewers.lifecycle import Lifecycle
from renewers.models import Letter, SpentLink

DAY = 86400
FOREVER = 1 << 40
"""An end beyond all calendars."""
PAGE = 1000


class Purpose(StrEnum):
    """What a link is for. A token of one purpose is none of another."""

    ACT = "act"
    """Answer for one certificate, once."""
    UNSUBSCRIBE = "unsubscribe"
    """Send this mailbox no digests (RFC 8058)."""
    PREFERENCES = "preferences"
    """Which regular letters this mailbox gets; where the calendar is."""
    FEED = "feeds"
    """Read an owner's calendar, until its address is renewed."""


LIVES: Mapping[Purpose, int] = MappingProxyType(
    {Purpose.ACT: 35 * DAY, Purpose.UNSUBSCRIBE: 400 * DAY, Purpose.PREFERENCES: 100 * DAY}
)
"""Seconds for which a letter's links hold: an answer until well after the next weekly letter, a wish to be left alone
for as long as somebody may find the letter. A calendar's address ends when another takes its place, not by time."""

_FORM = re.compile(r"cwl_([A-Za-z0-9_-]{60,900})")
_MAC_BYTES = 32


@dataclass(frozen=True, slots=True)
class Link:
    """What a token says. `about` is `tracked:12`, or `lineage:3` for one without a certificate; `feed:0` of a feed."""

    purpose: Purpose
    about: str
    owner_id: int
    recipient: str
    letter_id: int
    """The letter that carries it; 0 where none does."""
    expires_at: int

    @property
    def nonce(self) -> str:
        """What is spent: the same for the same link, however often its letter was put together."""
        return sha256(_payload(self)).hexdigest()


def of_letter(letter: Letter, purpose: Purpose, about: str = "") -> Link:
    """A link for a letter. One that is not written down, as a preview's, gets links that have ended already."""
    end = 0 if letter.id is None else letter.opened_at + LIVES[purpose]
    return Link(purpose, about, letter.owner_id, letter.recipient, letter.id or 0, end)


def url(lifecycle: Lifecycle, link: Link) -> str:
    """Where it leads; empty where the settings do not say how owners reach us."""
    base = lifecycle.mail.link_url.rstrip("/")
    return f"{base}{path(lifecycle, link)}" if base else ""


def path(lifecycle: Lifecycle, link: Link) -> str:
    """Its path on our TLS listener: `/act/cwl_...`, `/feeds/cwl_....ics`."""
    suffix = ".ics" if link.purpose is Purpose.FEED else ""
    return f"/{link.purpose}/{token(lifecycle, link)}{suffix}"


def token(lifecycle: Lifecycle, link: Link) -> str:
    """The token: what it says, and HMAC-SHA256 (RFC 2104) over that with a key that every replica derives alike."""
    payload = _payload(link)
    return "cwl_" + base64.urlsafe_b64encode(payload + _mac(lifecycle, payload)).rstrip(b"=").decode()


def read(lifecycle: Lifecycle, purpose: Purpose, text: str) -> Link:
    """What a token says. `NotFound`, in the same words and after the same work, for whatever does not hold."""
    signed, now = _bytes(text), clock.timestamp()
    payload, mac = signed[:-_MAC_BYTES], signed[-_MAC_BYTES:]
    link = _said(payload)  # before it is known to be ours: else only what was once ours would cost this
    is_genuine = hmac.compare_digest(mac, _mac(lifecycle, payload))
    if link is None or not is_genuine or link.purpose is not purpose or link.expires_at <= now:
        raise does_not_hold()
    return link


def does_not_hold() -> NotFound:
    """The one refusal: it says neither what was wrong nor whether there was ever such a link."""
    return NotFound(
        "this link does not hold: it has ended, is incomplete, or is none of ours",
        code="link-does-not-hold",
        hint="use the newest letter, and its whole address",
    )


def spend(tx: Transaction, link: Link) -> None:
    """Use it up, in the transaction that acts. `Conflict` if it was used before."""
    row = {"nonce": link.nonce, "spent_at": clock.timestamp(), "expires_at": link.expires_at}
    new = insert(SpentLink).values(**row).on_conflict_do_nothing(index_elements=["nonce"])
    if tx.execute(new.returning(col(SpentLink.nonce))).first() is None:
        raise was_used()


def was_used() -> Conflict:
    """What who comes a second time is told."""
    hint = "the next letter has another link, if there is still something to do"
    return Conflict("this link has been used: it acts once", code="link-used", hint=hint)


def is_spent(lifecycle: Lifecycle, link: Link) -> bool:
    """Whether it was used, to say so before anybody fills in a form."""
    with lifecycle.store.read() as connection:
        query = select(col(SpentLink.nonce)).where(col(SpentLink.nonce) == link.nonce)
        return connection.execute(query).first() is not None


def prune(lifecycle: Lifecycle) -> int:
    """Forget a page of used links that have ended: they no longer hold anyway. Returns how many; 0 when done."""
    old = select(col(SpentLink.nonce)).where(col(SpentLink.expires_at) < clock.timestamp() - DAY).limit(PAGE)

    def unit(tx: Transaction) -> int:
        nonces = tx.execute(old.with_for_update(skip_locked=True)).scalars().all()
        if nonces:
            tx.execute(delete(SpentLink).where(col(SpentLink.nonce).in_(nonces)))
        return len(nonces)

    with lifecycle.store.read() as connection:
        if connection.execute(old.limit(1)).first() is None:
            return 0
    return lifecycle.store.write(unit)


def _payload(link: Link) -> bytes:
    """One form for one content: JSON of its fields in their order, ASCII, without spaces."""
    said = [link.purpose.value, link.about, link.owner_id, link.recipient, link.letter_id, link.expires_at]
    return json.dumps(said, separators=(",", ":")).encode()


def _mac(lifecycle: Lifecycle, payload: bytes) -> bytes:
    return hmac.digest(lifecycle.sealer.mac_key("links" + lifecycle.links_era), payload, "sha256")


def _bytes(text: str) -> bytes:
    """The bytes of a token; zeros for what is no token, so that it costs what any other costs.

    Base64 has spare bits at its end: only the one spelling that we make is taken, else two tokens would be one link.
    """
    nothing = bytes(2 * _MAC_BYTES)
    match = _FORM.fullmatch(text)
    try:
        found = base64.urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4)) if match else nothing
    except (binascii.Error, ValueError):
        return nothing
    return found if match and base64.urlsafe_b64encode(found).rstrip(b"=").decode() == match[1] else nothing


def _said(payload: bytes) -> Link | None:
    """What a payload says. None for what is none, or is not written as we write it."""
    try:
        purpose, *rest = json.loads(payload)
        link = Link(Purpose(purpose), *_typed(rest))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return link if _payload(link) == payload else None


def _typed(rest: list[Any]) -> tuple[str, int, str, int, int]:
    about, owner_id, recipient, letter_id, expires_at = rest
    return str(about), int(owner_id), str(recipient), int(letter_id), int(expires_at)
