"""Fetching what is public and signed by itself, and telling what is held: the only HTTP of a consumer on a host.

Plain HTTP will do, since whoever fetches believes a signature and nothing else. What comes is bounded in size and time;
no redirect is followed and no proxy of the environment asked.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from ca import clock
from ca.errors import BadRequest, NotDelivered, NotFound

CONNECT = 10.0


def base_of(url: str) -> str:
    """A URL that paths can be put behind. `BadRequest` if it is none."""
    base = url.rstrip("/")
    try:
        parsed = httpx.URL(base)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.userinfo:
        hint = "the plain listener of the installation: http://ca.example.org:8080"
        raise BadRequest(f"{url[:200]!r} is not where publications are fetched", code="bad-url", hint=hint)
    return base


def fetch(url: str, *, most: int, seconds: float) -> bytes | None:
    """What is there; None if nothing is newer (304). `NotDelivered` if it cannot be had within `seconds`."""
    deadline = clock.monotonic() + seconds
    try:
        with _client(seconds) as client, client.stream("GET", url) as response:
            if response.status_code == 304:
                return None
            if response.status_code == 404:
                raise NotFound(f"there is nothing at {url}", code="unknown-publication")
            if response.status_code != 200:
                raise NotDelivered(f"{_place(url)} answered {response.status_code}")
            found = bytearray()
            for part in response.iter_raw():
                found += part
                if len(found) > most:
                    raise NotDelivered(f"{_place(url)} answered with more than {most} bytes")
                if clock.monotonic() > deadline:
                    raise NotDelivered(f"{_place(url)} did not answer in time")
    except httpx.HTTPError as error:
        raise NotDelivered(f"{_place(url)} cannot be reached: {type(error).__name__}") from None
    return bytes(found)


def tell(url: str, content: bytes, headers: Mapping[str, str]) -> bool:
    """POST it; whether it was taken."""
    try:
        with _client(CONNECT) as client:
            return client.post(url, content=content, headers=dict(headers)).is_success
    except httpx.HTTPError:
        return False


def _client(seconds: float) -> httpx.Client:
    timeout = httpx.Timeout(seconds, connect=CONNECT)
    headers = {"Accept-Encoding": "identity", "User-Agent": "certwright"}
    return httpx.Client(timeout=timeout, trust_env=False, follow_redirects=False, headers=headers)


def _place(url: str) -> str:
    return httpx.URL(url).netloc.decode()
