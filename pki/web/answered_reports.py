"""What goes out about letters to owners before they are sent. As `answered.py`."""

from __future__ import annotations

from pydantic import BaseModel, Field


class LetterPreview(BaseModel):
    """A letter as an owner would get it at a moment. Nothing was sent, and no link in it works."""

    owner: str
    kind: str
    at: str
    subject: str
    recipient: str
    act_now: int = Field(description="how many things are for now")
    soon: int = Field(description="how many are for soon")
    healthy: int = Field(description="how many certificates are in order")
    is_empty: bool = Field(description="whether there is nothing to write about: no such letter would be sent")
    text: str = Field(description="the text part, which stands alone")
    message: str = Field(description="the whole message, RFC 5322: ASCII, with CRLF")
