"""The one way out over HTTP: time-outs, size caps, no redirects, and no place that somebody else chose.

Nothing else of this floor imports an HTTP client (a test holds that). `post` is for webhooks, whose URLs are in the
settings.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from ca.errors import Misconfigured, NotDelivered

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
USER_AGENT = "certwright/0.1"


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


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """A context that verifies: against that file alone, or else against what the system trusts."""
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:
        raise Misconfigured(f"there is no CA certificate in {ca_file}: {error}") from None


def post(url: str, content: bytes, headers: Mapping[str, str], *, ca_file: Path | None = None) -> None:
    """POST, and nothing else than a 2xx is a success. `NotDelivered` says what came instead, never its body."""
    check_url(url)
    try:
        with (
            httpx.Client(verify=trusting(ca_file), timeout=TIMEOUT, trust_env=False, follow_redirects=False) as client,
            client.stream("POST", url, content=content, headers={"User-Agent": USER_AGENT, **headers}) as response,
        ):
            status = response.status_code
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise NotDelivered(f"{urlsplit(url).netloc} cannot be reached: {type(error).__name__}") from None
    if not 200 <= status < 300:
        raise NotDelivered(f"{urlsplit(url).netloc} answered {status}")
