"""The one way out over HTTP: time-outs, size caps, no redirects, and no place that somebody else chose.

Nothing else of this floor imports an HTTP client (a test holds that). `post` is for webhooks and `fetch` for what we
publish ourselves, to see it as strangers do; their URLs are in the settings. `PinnedSession` is for the ACME library,
which speaks through `requests` and follows every URL that a CA hands out: it reaches the places of its `Pin` alone, and
what comes in is counted and timed at the socket, so that neither an endless header nor a byte a second gets through.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from ca import clock
from ca.errors import Misconfigured, NotDelivered
from renewers.addresses import resolve
from renewers.bounded import MAX_BODY, Allowance, bounded_tcp, bounded_tls, trusting
from renewers.urls import check_url

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
POST_SECONDS = 15.0
"""Until the head of the answer to a webhook has come, however slowly it trickles in."""
USER_AGENT = "certwright/0.1"


def post(
    url: str,
    content: bytes,
    headers: Mapping[str, str],
    *,
    ca_file: Path | None = None,
    seconds: float | None = None,
) -> None:
    """POST, and nothing else than a 2xx is a success. `NotDelivered` says what came instead, never its body."""
    check_url(url)
    context, allowance = trusting(ca_file), Allowance()
    allowance.renew(clock.monotonic() + (POST_SECONDS if seconds is None else seconds))
    context.sslsocket_class = bounded_tls(allowance)
    try:
        with (
            httpx.Client(verify=context, timeout=TIMEOUT, trust_env=False, follow_redirects=False) as client,
            client.stream("POST", url, content=content, headers={"User-Agent": USER_AGENT, **headers}) as response,
        ):
            status = response.status_code
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise NotDelivered(f"{urlsplit(url).netloc} cannot be reached: {type(error).__name__}") from None
    if not 200 <= status < 300:
        raise NotDelivered(f"{urlsplit(url).netloc} answered {status}")


def fetch(url: str, *, most: int = MAX_BODY, seconds: float = 10.0) -> bytes:
    """GET from a place that the settings name; over plain http, too, since what is published there is signed.

    Nothing but a 200 counts. `NotDelivered` says what came instead, never its body, with the code `unresolvable` where
    it is the name.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise Misconfigured(f"{url!r} is not a plain URL", hint="http://host/path or https://host/path")
    place, allowance = parts.netloc, Allowance()
    allowance.renew(clock.monotonic() + seconds, most)
    connection = HTTPConnection(parts.hostname, parts.port or (HTTPS if parts.scheme == "https" else HTTP))
    try:
        with closing(connection):
            connection.sock = _connected(connection, allowance, is_secure=parts.scheme == "https")
            headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Connection": "close"}
            connection.request("GET", parts.path or "/", headers=headers)
            with closing(connection.getresponse()) as response:  # which has the socket from here on
                body = response.read(most + 1) if response.status == OK else b""
                is_half = response.status == OK and bool(response.length)
    except (HTTPException, OSError, ValueError) as error:
        raise NotDelivered(f"{place} cannot be reached: {_why(error, allowance, most)}") from None
    if response.status != OK:
        raise NotDelivered(f"{place} answered {response.status}")
    if len(body) > most:
        raise NotDelivered(f"{place} answered with more than {most} bytes")
    if is_half:
        raise NotDelivered(f"{place} hung up in the middle of its answer")
    return body


def _connected(connection: HTTPConnection, allowance: Allowance, *, is_secure: bool) -> socket.socket:
    """A bounded socket to the first address of a host that takes one."""
    failure: OSError = OSError("it has no address")
    for address in resolve(connection.host, connection.port, allowance.seconds()):
        try:
            plain = socket.create_connection((address, connection.port), min(CONNECT_SECONDS, allowance.seconds()))
        except OSError as error:
            failure = error
            continue
        if not is_secure:
            return bounded_tcp(plain, allowance)
        context = trusting(None)
        context.sslsocket_class = bounded_tls(allowance)
        plain.settimeout(allowance.seconds())
        return context.wrap_socket(plain, server_hostname=connection.host)
    raise failure


def _why(error: Exception, allowance: Allowance, most: int) -> str:
    """What kept an answer from coming, without a word of what came."""
    if allowance.octets < 0:
        return f"it answered with more than {most} bytes"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, ssl.SSLError):
        return "TLS failed; is its certificate trusted here?"
    return type(error).__name__


CONNECT_SECONDS, REQUEST_SECONDS = 5.0, 30.0
"""Until a connection stands; until an answer is complete, however slowly it trickles in."""
_PLACE = re.compile(
    r"https://([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?(?:/[\w.~!$&'()*+,;=:@%/?-]*)?", re.ASCII
)
_HOST = re.compile(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?")
HTTP, HTTPS, OK = 80, 443, 200


@dataclass(frozen=True, slots=True)
class Pin:
    """The places that one conversation may reach: https at these hosts and ports."""

    origins: frozenset[tuple[str, int]]

    def permits(self, url: str | bytes | None) -> bool:
        """Whether a URL leads there. What two parsers could read in two ways leads nowhere."""
        found = _PLACE.fullmatch(url) if isinstance(url, str) and len(url) <= 2000 else None
        return found is not None and _origin(found) in self.origins


def pin(url: str, also: Iterable[str] = ()) -> Pin:
    """The pin of a URL from the settings, and of more hosts (`host` or `host:port`). `Misconfigured` if one is odd."""
    found = _PLACE.fullmatch(url)
    if found is None:
        raise Misconfigured(
            f"{url!r} is not a plain https URL", hint="https://host/path, without a password or fragment"
        )
    hosts = {host: _HOST.fullmatch(host) for host in also}
    if odd := [host for host, match in hosts.items() if match is None]:
        raise Misconfigured(f"{odd[0]!r} is not a host", hint="host or host:port, as in a URL")
    return Pin(frozenset(_origin(match) for match in (found, *hosts.values()) if match is not None))


def _origin(match: re.Match[str]) -> tuple[str, int]:
    return match[1].lower(), int(match[2] or HTTPS)


class _PinnedAdapter(HTTPAdapter):
    """Verifies against one context; the bundle that comes with `requests` is never added to what it trusts."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(max_retries=0)

    def init_poolmanager(self, *places: Any, **options: Any) -> None:
        """Connections are made with our context."""
        super().init_poolmanager(*places, ssl_context=self._context, **options)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to add: the context verifies."""


class PinnedSession(requests.Session):
    """A session for one conversation in one thread, until `deadline` on the monotonic clock.

    Whatever does not work is a `NotDelivered` with a plain reason. Answers are whole and at most `most` bytes long.
    """

    def __init__(
        self,
        where: Pin,
        *,
        ca_file: Path | None,
        deadline: float,
        identity: tuple[Path, Path] | None = None,
        most: int = MAX_BODY,
    ) -> None:
        super().__init__()
        self.deadline = deadline
        self._most = most
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self._pin = where
        self._allowance = Allowance()
        context = trusting(ca_file, identity)
        context.sslsocket_class = bounded_tls(self._allowance)
        self.adapters.clear()
        self.mount("https://", _PinnedAdapter(context))

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """No answer leads anywhere else."""
        return None

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send one request and read its answer, within all bounds."""
        place = urlsplit(str(request.url)).netloc
        if not self._pin.permits(request.url):
            raise NotDelivered(f"{place} is not among the places that may be reached", code="off-pin")
        left = min(self.deadline - clock.monotonic(), REQUEST_SECONDS)
        if left <= 0:
            raise NotDelivered(f"there was no time left to ask {place}")
        self._allowance.renew(clock.monotonic() + left, self._most)
        options |= {"stream": True, "proxies": {}, "timeout": (min(left, CONNECT_SECONDS), left)}
        try:
            return self._whole(super().send(request, **options), place)
        except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
            raise NotDelivered(f"{place} cannot be reached: {self._reason(error)}") from None

    def _whole(self, response: requests.Response, place: str) -> requests.Response:
        """The same response, its body read as it was sent: what is packed is not unpacked (a bomb is small)."""
        with closing(response):
            body = response.raw.read(self._most + 1, decode_content=False)
        if len(body) > self._most:
            raise NotDelivered(f"{place} answered with more than {self._most} bytes")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise NotDelivered(f"{place} answered in an encoding that was not asked for")
        response._content, response._content_consumed = body, True  # as `requests` itself does
        return response

    def _reason(self, error: Exception) -> str:
        if self._allowance.octets < 0:
            return f"it answered with more than {self._most} bytes"
        if self._allowance.until <= clock.monotonic() or isinstance(error, requests.Timeout):
            return "it did not answer in time"
        if isinstance(error, requests.exceptions.SSLError):
            return "TLS failed; is its certificate trusted here?"
        return type(error).__name__
