"""What a page says has just been done. A link carries a word from this list and never the sentence itself."""

from __future__ import annotations

from collections.abc import Mapping

SENTENCES: Mapping[str, str] = {
    "signed-out": "You are signed out.",
    "done-already": "This form was sent before: what it asks for is done once.",
    "renewal-asked": "It is being renewed: within seconds this page shows how it went.",
    "renewal-under-way": "It is being renewed at this very moment; nothing more was asked for.",
    "delivery-asked": "It is being delivered: within seconds this page shows how it went.",
    "delivery-waits": "It will be delivered: another destination has its turn first, or somebody is at it already.",
    "acknowledged": "You take care of it. Nobody is written to about it until then.",
    "acknowledgement-withdrawn": "The acknowledgement is taken back: letters about it are written again.",
    "nothing-acknowledged": "Nobody had acknowledged it; nothing has changed.",
    "owner-assigned": "It has the owner that you chose.",
    "retired": "It is out of use: nobody is written to about its end.",
    "retired-already": "It was out of use already; nothing has changed.",
    "held": "It is on hold. The next revocation list names it, until it is released or revoked.",
    "released": "It is released: the next revocation list names it no more.",
    "grant": "It is granted: whoever asked for it says it again, and it is done, once.",
    "refuse": "It is refused. Whoever wants it asks anew.",
    "revoked": "It is revoked. The next revocation list names it.",
}


def said(word: str | None) -> str | None:
    """The sentence for a word; None for a word that somebody made up."""
    return None if word is None else SENTENCES.get(word)
