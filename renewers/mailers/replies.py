"""What a mail server's reply means for a letter: taken, this recipient never, or not now. Nothing is sent here.

`MailRefused` takes a mailbox out of use, so that it is said only where a reply is about that mailbox. A server that
refuses us, our sender, our message's size or everything we bring is our own trouble: the letter stays and is tried
again. Codes: RFC 5321 section 4.2, RFC 3463, RFC 7505.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ca.errors import MailRefused, NotDelivered
from renewers.plain import one_line

GONE = frozenset(
    {*("1.0", "1.1", "1.2", "1.3", "1.4", "1.6", "1.10"), *("2.0", "2.1", "2.2", "2.3", "2.4"), "4.4", "4.7"}
)
"""What stands after `5.` in the enhanced code of a mailbox that takes nothing: no such one, disabled, full, too old."""
ABOUT_A_MAILBOX = frozenset({550, 551, 553, 556})
"""Replies to RCPT without an enhanced code that are about the mailbox; 552 and 554 may be about anything."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's reply: its code and what it said, on one line and of bounded length."""

    code: int
    text: str

    @property
    def status(self) -> str:
        """The enhanced code after its class, such as `1.1`; empty without one."""
        found = re.match(r"[245]\.([0-9]{1,3}\.[0-9]{1,3})\b", self.text)
        return found[1] if found else ""

    def __str__(self) -> str:
        return f"{self.code} {self.text}".rstrip()


def read(code: int, said: bytes, secrets: Sequence[str] = ()) -> Reply:
    """A reply as it may be shown: a server that repeats a secret of ours does not get it into a log."""
    text = said.decode("utf-8", "replace")
    for secret in secrets:
        text = text.replace(secret, "***")
    return Reply(code, one_line(text, 300))


def on_recipient(server: str, recipient: str, reply: Reply) -> MailRefused | NotDelivered:
    """What a reply to RCPT that is no success comes to."""
    if _is_of_the_mailbox(reply, or_by_code=True):
        return MailRefused(f"{server} takes no mail for {recipient}: {reply}")
    return NotDelivered(f"{server} takes no mail for {recipient} now: {reply}", hint=_hint(reply))


def on_message(server: str, recipient: str, reply: Reply) -> MailRefused | NotDelivered:
    """What a reply to the message itself that is no success comes to: here, too, some servers say who is not there."""
    if _is_of_the_mailbox(reply, or_by_code=False):
        return MailRefused(f"{server} takes no mail for {recipient}: {reply}")
    return NotDelivered(f"{server} did not take the message: {reply}", hint=_hint(reply))


def on_us(server: str, what: str, reply: Reply) -> NotDelivered:
    """What a reply comes to that is about ourselves: our name, our sender, our password."""
    return NotDelivered(f"{server} refuses {what}: {reply}", hint=_hint(reply))


def _is_of_the_mailbox(reply: Reply, *, or_by_code: bool) -> bool:
    if not 500 <= reply.code < 600 or re.search(r"\brelay", reply.text, re.IGNORECASE):
        return False  # "relaying denied" is said with every code there is, and would take every mailbox out of use
    return reply.status in GONE if reply.status else or_by_code and reply.code in ABOUT_A_MAILBOX


def _hint(reply: Reply) -> str | None:
    if not 500 <= reply.code < 600:
        return None
    return "it will not take it later either: look at [mail] in the settings, and at what the server allows us"
