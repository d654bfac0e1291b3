"""Letters as a mail program shows them: the HTML part, with the pictures that came along in their places."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP

from renewers.lifecycle import Lifecycle
from renewers.reports import preview
from renewers.reports.content import KINDS
from tests import rig

MOST_WIDTH = 600
"""Pixels that a letter may be wide on a large screen."""
OWNERS = ("payments", "fleet", "nothing-to-do")
"""Whose letters are looked at: one with everything, one with little, one with nothing."""


def letters(lifecycle: Lifecycle) -> Iterator[tuple[str, EmailMessage]]:
    """A letter of every kind to every such owner, by a name for it, as it is read from its file."""
    for kind in KINDS:
        for owner in OWNERS:
            made = preview.preview(lifecycle, rig.ADMIN, owner, kind=kind).message
            yield f"{kind}-{owner}", read(made.as_bytes(policy=SMTP))


def read(content: bytes) -> EmailMessage:
    """A message as a mail program reads it."""
    found = message_from_bytes(content, policy=SMTP)
    assert isinstance(found, EmailMessage)
    return found


def html_of(message: EmailMessage) -> str:
    """The HTML part, each `cid:` replaced by what it stands for. What is not there stays as it is, and is a fault."""
    body = message.get_body(("html",))
    assert body is not None, "the letter has no HTML part"
    pictures = {
        str(part["Content-ID"]).strip("<>"): part
        for part in message.walk()
        if part.get_content_maintype() == "image" and part["Content-ID"]
    }

    def shown(found: re.Match[str]) -> str:
        part = pictures.get(found[1])
        if part is None:
            return found[0]
        content = base64.b64encode(part.get_payload(decode=True)).decode()  # type: ignore[arg-type]
        return f"data:{part.get_content_type()};base64,{content}"

    return re.sub(r"cid:([^\"'\s>)]+)", shown, str(body.get_content()))
