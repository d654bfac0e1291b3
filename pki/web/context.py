"""What handlers ask for: the product they serve, and who is calling."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, cast

from cryptography import x509
from fastapi import Depends, Request

from ca.access import Caller
from ca.errors import BadRequest
from ca.keys.algorithms import KeyType
from ca.profiles.config import parse_duration
from ca.x509 import names
from ca.x509.names import Name
from pki.product import Product
from pki.web.gate import caller_of
from pki.web.identity import Identity


def product_of(request: Request) -> Product:
    """The product that this application serves."""
    return cast(Product, request.app.state.product)


def identity_of(request: Request) -> Identity:
    """Its judge of credentials."""
    return cast(Identity, request.app.state.identity)


ProductDep = Annotated[Product, Depends(product_of)]
CallerDep = Annotated[Caller, Depends(caller_of)]


def read_names(texts: list[str] | None) -> tuple[Name, ...] | None:
    """Names as a request writes them; None where it leaves them to the CSR."""
    return None if texts is None else tuple(dict.fromkeys(names.parse(text) for text in texts))


def read_duration(text: str | None) -> timedelta | None:
    """A duration as a request writes it."""
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise BadRequest(str(error), code="bad-duration") from None


def read_key_type(text: str) -> KeyType:
    """A key type under the name that profiles use."""
    try:
        return KeyType(text)
    except ValueError:
        raise BadRequest(f"{text!r} is not a key type", code="bad-key-type", hint=", ".join(KeyType)) from None


def read_moment(text: str) -> int:
    """A moment as a request writes it: RFC 3339, UTC if it names no zone, or a day, whose last second is meant."""
    try:
        found = datetime.fromisoformat(f"{text}T23:59:59" if len(text) == len("2027-03-31") else text)
        return int((found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise BadRequest("that is not a moment", code="bad-moment", hint="2027-03-31, 2027-03-31T12:00:00Z") from None


def read_subject(text: str | None) -> x509.Name | None:
    """A subject in RFC 4514 text."""
    if text is None:
        return None
    try:
        return x509.Name.from_rfc4514_string(text)
    except Exception as error:  # noqa: BLE001 - the parser raises several kinds
        raise BadRequest(f"the subject is not RFC 4514 text ({type(error).__name__})", code="bad-subject") from None


def read_pair(cursor: str | None) -> tuple[str, str] | None:
    """A cursor of two words, the first of which has no colon in it."""
    if cursor is None:
        return None
    first, colon, second = cursor.partition(":")
    if not colon:
        raise BadRequest("this cursor is not one that we gave out", code="bad-cursor")
    return first, second
