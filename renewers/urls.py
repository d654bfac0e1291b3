"""Which URLs of the settings may be reached at all. Apart from `egress`, which brings two HTTP clients with it."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from ca.errors import Misconfigured


def check_url(url: str) -> str:
    """Return `url` if it is https, or http on this very machine. `Misconfigured` says what is wrong with it."""
    parts = urlsplit(url)
    if not parts.hostname or parts.username or parts.password or parts.fragment:
        raise Misconfigured(f"{url!r} is not a plain URL", hint="https://host/path, secrets stand in files")
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname)):
        return url
    raise Misconfigured(f"{url!r} is not https", hint="http is for addresses of this machine alone")


def is_loopback(host: str) -> bool:
    """Whether a host as a URL writes it is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
