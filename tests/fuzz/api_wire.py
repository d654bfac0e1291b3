"""One request to an ASGI application, as a server hands it over, and whatever comes back, exceptions included.

A client library would mend half of what a campaign wants to break: here path, query, headers and body are the octets
that a connection would bring, and the scope is made of them the way uvicorn makes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

PATIENCE = 60.0
"""Seconds after which an answer is not expected any more."""
SHOWN = 4000
"""Octets of a body that a reproduction shows; the seed and the number of the request make the rest."""


@dataclass(frozen=True)
class Ask:
    """A request. `operation` is the one that it was generated for: a method and a path of the description."""

    operation: str
    caller: str
    kind: str
    """How it came to be: `described`, `negative`, `living` or `damaged`."""
    method: str
    path: str
    """Percent-encoded, as on the wire."""
    query: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    chunks: int = 0
    """In how many pieces of undeclared length the body comes; 0 for one piece with a Content-Length."""

    def __str__(self) -> str:
        """What a person needs to ask the same again."""
        target = self.path + (f"?{self.query}" if self.query else "")
        lines = [f"{self.method} {target[:SHOWN]}", f"as {self.caller}, for {self.operation}, {self.kind}"]
        lines += [f"  {name!r}: {value[:SHOWN]!r}" for name, value in self.headers]
        more = f" ... {len(self.body)} octets" if len(self.body) > SHOWN else ""
        pieces = f" (in {self.chunks} pieces)" if self.chunks else ""
        return "\n".join([*lines, f"  body{pieces}: {self.body[:SHOWN]!r}{more}"])


@dataclass
class Answer:
    """What came back. `raised` is what got past every handler."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    raised: BaseException | None = None


async def exchange(
    app: Any, ask: Ask, headers: Mapping[bytes, bytes] | None = None, known: Mapping[str, Any] | None = None
) -> Answer:
    """Send one request with a credential's headers, over a connection of which something is known."""
    answer, wire = Answer(), _Wire(ask)
    scope = _scope(ask, headers or {}) | dict(known or {})
    try:
        await asyncio.wait_for(app(scope, wire.receive, lambda message: wire.send(message, answer)), PATIENCE)
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise
    except BaseException as error:  # a parser's panics are not even Exceptions
        answer.raised = error
    return answer


class _Wire:
    """The two ends of a request that an application holds."""

    def __init__(self, ask: Ask) -> None:
        size = max(1, -(-len(ask.body) // max(1, ask.chunks)))
        self._pieces = [ask.body[start : start + size] for start in range(0, len(ask.body), size)] or [b""]
        self._ended = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        """The next piece of the body; after the last one, that the connection has ended, when it has."""
        if self._pieces:
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}
        await self._ended.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Mapping[str, Any], answer: Answer) -> None:
        """Take a piece of the answer."""
        if message["type"] == "http.response.start":
            if answer.status:
                raise RuntimeError("the application has answered twice")
            answer.status = message["status"]
            answer.headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]
            }
        else:
            answer.body += message.get("body", b"")
            if not message.get("more_body", False):
                self._ended.set()


def _scope(ask: Ask, credential: Mapping[bytes, bytes]) -> dict[str, Any]:
    length = [] if ask.chunks or not ask.body else [(b"content-length", str(len(ask.body)).encode())]
    own = {name for name, _ in ask.headers}
    headers = [(b"host", b"ca.example.internal"), *length, *credential.items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": ask.method,
        "scheme": "https",
        "path": unquote(ask.path),
        "raw_path": ask.path.encode("ascii"),
        "query_string": ask.query.encode("ascii"),
        "root_path": "",
        "headers": [*(pair for pair in headers if pair[0] not in own), *ask.headers],
        "client": ("192.0.2.7", 4711),
        "server": ("ca.example.internal", 8443),
        "state": {},
    }
