"""Texts that settings may hold only if they are something: an address, a name, a trust domain, a URL.

Checked when they are read, so that a server does not find out hours later what nobody can reach or verify. The names
are those of `ca.x509.names`, which says why.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from ca.errors import BadRequest
from ca.x509 import names


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) < 65536:
        raise ValueError(f"{text!r} is not an address such as :8443 or 127.0.0.1:8443")
    return f"{host}:{port}"


def _name(text: str) -> str:
    try:
        return str(names.parse(text))
    except BadRequest as error:
        raise ValueError(error.message) from None


def _dns_name(text: str) -> str:
    return _name(f"dns:{text}").removeprefix("dns:")


def _listener_name(text: str) -> str:
    _name(text)
    return text


def _trust_domain(text: str) -> str:
    if text and ("/" in text or _name(f"uri:spiffe://{text}") != f"uri:spiffe://{text}"):
        raise ValueError(f"{text!r} is not a trust domain such as example.internal [SPIFFE-ID 2.1]")
    return text


def _url(text: str) -> str:
    try:
        # As a name it has no space, no fragment and no user information; what is left is the place of a server.
        parts, _ = urlsplit(text), _name(f"uri:{text}")
        host = names.guess(parts.hostname or "")
        is_place = host.kind in (names.Kind.DNS, names.Kind.IP) and not host.is_wildcard and parts.port != 0
    except (BadRequest, ValueError):
        is_place = False
    if not is_place or not text.startswith(("http://", "https://")) or "?" in text or text.endswith(("/", ":")):
        raise ValueError("this is not a URL such as http://ca.example.internal:8080, without a slash at its end")
    return text


Address = Annotated[str, AfterValidator(_address)]
"""`:8443`, `127.0.0.1:8443`, `[::1]:8443`."""
DnsName = Annotated[str, AfterValidator(_dns_name)]
"""In lower case."""
AnyName = Annotated[str, AfterValidator(_name)]
"""With its kind, in canonical form, as certificates are compared: `email:ada@example.org`."""
ListenerName = Annotated[str, AfterValidator(_listener_name)]
"""A name of any kind, kept as it was written."""
TrustDomain = Annotated[str, AfterValidator(_trust_domain)]
"""Of a SPIFFE ID; or empty."""
PublicUrl = Annotated[str, AfterValidator(_url)]
"""http or https, without a slash at its end."""
