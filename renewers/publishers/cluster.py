"""A Kubernetes API: three calls for an object in a namespace, through the one way out, and what its answers mean.

The client library would bring fourteen packages, a second to every start, and a second way out: one that follows
redirects, asks whichever proxy the environment names, and reads answers without a bound. What is said here is a
handful of JSON, and `egress` says it to one place alone, in bounded time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ca import clock
from ca.errors import Misconfigured, NotDelivered
from renewers.egress import USER_AGENT, PinnedSession, pin
from renewers.plain import one_line
from renewers.publishers.turns import Overtaken

CALL_SECONDS = 60.0
MOST_READ = 1 << 22
"""An object of 1 MiB is a third larger in base64, and the API adds to it."""
LONGEST_TOKEN = 1 << 16
_TOKEN = re.compile(r"[\x21-\x7e]+")
_WORD = re.compile(r"[A-Za-z]{1,60}")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kubernetes API, as this machine's settings name it; we are known by a token, or by a client certificate."""

    server: str
    """https, and no path."""
    ca_file: Path | None = None
    token_file: Path | None = None
    """Read each time: a projected token is replaced while we run."""
    certificate_file: Path | None = None
    key_file: Path | None = None


class Api:
    """One conversation with an API. Whatever does not work is a `NotDelivered` with a plain reason."""

    def __init__(self, server: str, session: PinnedSession, shown: str) -> None:
        self._server = server
        self._session = session
        self.shown = shown

    def get(self, path: str) -> dict[str, Any] | None:
        """An object; None if there is none."""
        status, said = self._ask("GET", path)
        return None if status == 404 else self._accepted(status, said)

    def create(self, path: str, body: Mapping[str, Any], *, is_trial: bool) -> None:
        """Make an object that is not there. `Overtaken` if it is meanwhile."""
        status, said = self._ask("POST", _tried(path, is_trial=is_trial), body)
        if status == 409 and said.get("reason") == "AlreadyExists":
            raise Overtaken
        self._accepted(status, said)

    def replace(self, path: str, body: Mapping[str, Any], *, is_trial: bool) -> None:
        """Replace an object whole. `Overtaken` if it is not the one that `body` has the `resourceVersion` of."""
        status, said = self._ask("PUT", _tried(path, is_trial=is_trial), body)
        if status in (404, 409):
            raise Overtaken
        self._accepted(status, said)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        data = None if body is None else json.dumps(body).encode()
        reply = self._session.request(method, self._server + path, data=data)
        try:
            said = json.loads(reply.content)
        except (ValueError, RecursionError):
            said = None
        return reply.status_code, said if isinstance(said, dict) else {}

    def _accepted(self, status: int, said: dict[str, Any]) -> dict[str, Any]:
        if 200 <= status < 300 and said:
            return said
        why = _why(said)
        if status == 401:
            hint = "the token of this cluster: is it still valid?"
            raise NotDelivered(f"{self.shown} does not know us", code="not-permitted", hint=hint)
        if status == 403:
            hint = "get, create and update on secrets or configmaps of the namespace"
            raise NotDelivered(f"{self.shown} does not permit it", code="not-permitted", hint=hint)
        if status == 404:
            raise NotDelivered(f"{self.shown} has no such namespace{why}")
        raise NotDelivered(f"{self.shown} answered {status}{why}")


@contextmanager
def talking(cluster: Cluster) -> Iterator[Api]:
    """A conversation, for at most `CALL_SECONDS`."""
    where = pin(cluster.server)
    shown = f"the Kubernetes API at {urlsplit(cluster.server).netloc}"
    headers = {"User-Agent": USER_AGENT, "Accept": "application/json", "Content-Type": "application/json"}
    if cluster.token_file is not None:
        headers["Authorization"] = f"Bearer {_token(cluster.token_file)}"
    deadline, identity = clock.monotonic() + CALL_SECONDS, _identity(cluster)
    with PinnedSession(where, ca_file=cluster.ca_file, deadline=deadline, identity=identity, most=MOST_READ) as session:
        session.headers.clear()
        session.headers.update(headers)
        yield Api(cluster.server.rstrip("/"), session, shown)


def _tried(path: str, *, is_trial: bool) -> str:
    """With everything that the API does to a request, but for storing it."""
    return f"{path}?dryRun=All" if is_trial else path


def _why(said: Mapping[str, Any]) -> str:
    """The API's own word and the field that it is about. Its sentences may repeat what was sent."""
    reason = said.get("reason")
    if not isinstance(reason, str) or not _WORD.fullmatch(reason):
        return ""
    try:
        field = said["details"]["causes"][0]["field"]
    except (LookupError, TypeError):
        field = None
    return f" ({reason}: {one_line(field, 100)})" if isinstance(field, str) and field else f" ({reason})"


def _token(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            text = opened.read(LONGEST_TOKEN + 1).decode("ascii").strip()
    except OSError as error:
        raise NotDelivered(f"the token in {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    if not _TOKEN.fullmatch(text) or len(text) > LONGEST_TOKEN:
        raise NotDelivered(f"there is no token in {file}", hint="one line, nothing else")
    return text


def _identity(cluster: Cluster) -> tuple[Path, Path] | None:
    if cluster.certificate_file is not None and cluster.key_file is not None:
        return cluster.certificate_file, cluster.key_file
    if cluster.token_file is None:
        raise Misconfigured(
            f"nothing says who we are at {urlsplit(cluster.server).netloc}",
            hint="token_file, or certificate_file and key_file",
        )
    return None
